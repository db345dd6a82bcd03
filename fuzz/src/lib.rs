//! What must hold whatever a file says: the bodies of the fuzz targets, one function each.
//!
//! Invariant: a body panics only when the crate breaks a promise: it panics, an error does not name its file, or what
//! it accepts is not sound. Called by `fuzz_targets/*` and, on the seeds, by `tests/model/fuzz_seeds.rs`.

mod layouts;

use std::path::Path;

use plummer::fabric::{Backing, Chip, build};
use plummer::math::checkpoint::{Checkpoint, ModelShape};
use plummer::model::chat::Message;
use plummer::model::config::limit;
use plummer::model::error::{ModelError, Reasons};
use plummer::model::gguf::Gguf;
use plummer::model::names::{TensorId, tensors};
use plummer::model::tensors::SourceFile;
use plummer::model::tokenizer::Tokenizer;
use plummer::model::{Model, gguf_tokenizer, hf_config, safetensors as header, tokenizer as hf_tokenizer};

/// The file that errors must name.
const NAME: &str = "fuzzed.file";

/// What a reader said, unsupported things included; an error must name the file.
fn outcome<T>(read: impl FnOnce(&mut Reasons) -> Result<T, ModelError>) -> Option<T> {
    let mut reasons = Reasons::default();
    let result = read(&mut reasons);
    named(reasons.settle(Path::new(NAME), result))
}

fn named<T>(result: Result<T, ModelError>) -> Option<T> {
    let check = |message: String| {
        assert!(message.contains(NAME), "no file in: {message}");
        // The loader makes an error of it; it is a finding all the same.
        assert!(!message.contains("found a panic"), "{message}");
    };
    result.inspect_err(|e| check(e.to_string())).ok()
}

fn check_shape(shape: &ModelShape) {
    let sizes = [
        (shape.hidden, limit::HIDDEN),
        (shape.n_layers, limit::LAYERS),
        (shape.n_heads, limit::HEADS),
        (shape.n_kv_heads, limit::HEADS),
        (shape.head_dim, limit::HEAD_DIM),
        (shape.ffn, limit::FFN),
        (shape.vocab, limit::VOCAB),
    ];
    assert!(sizes.iter().all(|&(have, most)| (1..=most).contains(&have)), "{sizes:?}");
    assert_eq!(shape.n_heads % shape.n_kv_heads, 0);
    assert!(shape.inv_freq.iter().all(|f| f.is_finite()), "rotations {:?}", shape.inv_freq);
    assert!(shape.norm_eps > 0.0 && shape.norm_eps < 1.0);
}

/// `config.json` and, with the same bytes, `generation_config.json`.
pub fn config(bytes: &[u8]) {
    let file = Path::new(NAME);
    for has_output in [false, true] {
        let read = outcome(|reasons| {
            let json = hf_config::parse(file, bytes)?;
            let mut config = hf_config::read(file, &json, has_output, reasons)?;
            hf_config::add_generation(file, &json, &mut config)?;
            Ok(config)
        });
        if let Some(config) = read {
            check_shape(&config.shape);
            assert!(config.eos.is_sorted_by(|a, b| a < b), "{:?}", config.eos);
            assert!((1..=limit::CONTEXT).contains(&config.context));
        }
    }
}

/// The header of a safetensors file: every entry lies in the file, is as long as its shape says, and can be read.
pub fn safetensors(bytes: &[u8]) {
    let files = [SourceFile::owned(NAME, bytes.to_vec())];
    for entry in outcome(|reasons| header::read(0, &files[0], reasons)).into_iter().flatten() {
        assert!(entry.range.start >= 8 && entry.range.end <= bytes.len(), "{entry:?}");
        assert_eq!(entry.element.bytes(entry.elements()), Some(entry.range.len()), "{entry:?}");
        assert_eq!(entry.floats(&files).len(), entry.elements());
        named(entry.scan(&files, true));
    }
}

/// A whole GGUF file: what opens has all tensors of its shape, only finite numbers, and a template that renders or
/// says why not.
pub fn gguf(bytes: &[u8]) {
    let Some(model) = named(Model::open_gguf(SourceFile::owned(NAME, bytes.to_vec()))) else { return };
    let shape = model.shape();
    check_shape(shape);
    for (id, dims) in tensors(shape) {
        match id {
            TensorId::Matrix(id) => {
                let matrix = model.matrix(id);
                assert_eq!((matrix.rows, matrix.cols), (dims[0], dims[1]));
                assert_eq!(matrix.bits.len(), matrix.rows * matrix.cols);
            }
            TensorId::Vector(id) => {
                let vector = model.vector(id);
                assert!(vector.len() == dims[0] && vector.iter().all(|x| x.is_finite()), "{id:?}");
            }
        }
    }
    named(model.chat(&[Message::new("user", "Hi")]));
    model.summary();
    speak(&model.tokenizer, shape.vocab);
}

/// A tokenizer: `tokenizer.json` where the bytes begin with a brace, GGUF metadata else.
pub fn tokenizer(bytes: &[u8]) {
    let read = outcome(|reasons| {
        if bytes.starts_with(b"{") {
            return hf_tokenizer::from_json(Path::new(NAME), bytes, reasons);
        }
        let source = SourceFile::owned(NAME, bytes.to_vec());
        let file = Gguf::parse(&source, reasons)?;
        let bos = file.whole("tokenizer.ggml.bos_token_id")?.and_then(|id| u32::try_from(id).ok());
        gguf_tokenizer::read(&file, bos, reasons)
    });
    if let Some(Some(tokenizer)) = read {
        speak(&tokenizer, usize::MAX);
    }
}

/// Encodes and decodes; ids stay below `vocab`.
fn speak(tokenizer: &Tokenizer, vocab: usize) {
    for text in ["", " ", "the the naïve 🙂 <s>\n\t  x1234", "\u{2581}a<0x41>\0"] {
        for ids in [tokenizer.encode(text), tokenizer.encode_chat(text)] {
            let ids = named(ids).unwrap_or_default();
            assert!(ids.iter().all(|id| (*id as usize) < vocab), "{ids:?}");
            tokenizer.decode(&ids);
        }
    }
    let ids: Vec<u32> = (0..300).chain([u32::MAX]).collect();
    tokenizer.decode(&ids);
    tokenizer.describe();
}

/// A chip file: what is accepted can be written and read again, and gives finite cycles.
pub fn chip(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let chip = match Chip::from_toml(NAME, text) {
        Ok(chip) => chip,
        Err(e) => return assert!(e.to_string().contains(NAME), "no file in: {e}"),
    };
    let written = toml::to_string(&chip).expect("a chip can be written");
    assert_eq!(Chip::from_toml(NAME, &written).expect("and read again"), chip);
    assert!(chip.usable_colors() >= 1 && chip.timing().ser_den >= 1);
    for n in [0, 1, 1 << 16] {
        let cycles = [chip.gemv(n, n), chip.elementwise(n), chip.special(n)];
        assert!(cycles.iter().all(|c| c.0 < 1 << 53), "{cycles:?}");
    }
    let _ = build(&layouts::pair(), &chip, 1, Backing::Packed);
}

/// A layout: the check accepts what can be delivered, and nothing else, at every number of workers.
pub fn layout(bytes: &[u8]) {
    layouts::check(bytes);
}
