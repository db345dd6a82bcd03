//! The bodies of the fuzz targets on their seeds: what fuzzing starts from, and the smallest inputs that once failed.
//!
//! `fuzz/README.md` says how to fuzz; this needs neither cargo-fuzz nor a nightly compiler.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::PathBuf;

/// Runs a target on each of its seeds, by name; at least `least` of them.
fn replay(target: &str, body: fn(&[u8]), least: usize) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<PathBuf> = std::fs::read_dir(&dir).expect("seeds").map(|e| e.expect("a seed").path()).collect();
    seeds.sort();
    assert!(seeds.len() >= least, "{}: {} seeds", dir.display(), seeds.len());
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("a seed");
        let outcome = std::panic::catch_unwind(|| body(&bytes));
        assert!(outcome.is_ok(), "{} breaks a promise", seed.display());
    }
}

#[test]
fn configurations() {
    replay("config", targets::config, 7);
}

#[test]
fn safetensors_headers() {
    replay("safetensors", targets::safetensors, 4);
}

#[test]
fn gguf_files() {
    replay("gguf", targets::gguf, 8);
}

#[test]
fn tokenizers() {
    replay("tokenizer", targets::tokenizer, 8);
}

#[test]
fn chip_files() {
    replay("chip", targets::chip, 4);
}

#[test]
fn layouts() {
    replay("layout", targets::layout, 8);
}
