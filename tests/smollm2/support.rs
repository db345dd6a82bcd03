//! The downloaded model and the golden files that the tests of it share.
//!
//! `PLUMMER_GOLDEN=DIR` reads the golden files from another folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use plummer::model::Model;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The downloaded model, or a loud word on how to get it.
pub fn smollm2() -> Option<Model> {
    let path = root().join("weights/smollm2");
    if path.exists() {
        return Some(Model::open(&path).unwrap_or_else(|e| panic!("{e}")));
    }
    // Not `eprintln!`: the test runner would hide it.
    writeln!(std::io::stderr(), "SKIPPED: SmolLM2 is not in weights/smollm2; fetch it with weights/fetch-smollm2").ok();
    None
}

/// Bytes of a golden file.
pub fn data(name: &str) -> Vec<u8> {
    let dir = std::env::var_os("PLUMMER_GOLDEN").map_or_else(|| root().join("tests/data"), PathBuf::from);
    std::fs::read(dir.join(name)).expect("golden file")
}

/// A golden file as JSON.
pub fn golden(name: &str) -> Value {
    serde_json::from_slice(&data(name)).expect("JSON")
}

/// Token ids in a field.
pub fn ids(case: &Value, field: &str) -> Vec<u32> {
    case[field].as_array().expect("ids").iter().map(|v| v.as_u64().expect("an id") as u32).collect()
}
