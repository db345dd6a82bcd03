//! Opening edited tiny models: the steps that the tests of whole and of damaged files share.
//!
//! Invariant: a helper fails the test with the loader's own message.

use std::path::{Path, PathBuf};

use plummer::math::checkpoint::MatrixId;
use plummer::model::Model;
use serde_json::Value;
use tempfile::TempDir;

use super::{GgufFile, N_LAYERS, Tensors, config, gguf, weights, write_hf};

/// A model that must open.
pub fn open(path: &Path) -> Model {
    Model::open(path).unwrap_or_else(|e| panic!("{e}"))
}

/// What the loader says of a model that must not open.
pub fn refusal(path: &Path) -> String {
    match Model::open(path) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(e) => e.to_string(),
    }
}

/// The message names every one of `words`.
pub fn names_all(label: &str, message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{label}: {word:?} is not in: {message}");
    }
}

/// The tiny Hugging Face model after an edit.
pub fn hf_dir(edit: impl FnOnce(&mut Value, &mut Tensors)) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    let (mut config, mut tensors) = (config(), weights(1, false));
    edit(&mut config, &mut tensors);
    write_hf(dir.path(), &config, &tensors, "F16");
    dir
}

/// The tiny GGUF model after an edit.
pub fn gguf_file(dir: &TempDir, edit: impl FnOnce(&mut GgufFile)) -> PathBuf {
    let mut file = gguf(&weights(1, false), "llama");
    edit(&mut file);
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, file.bytes()).expect("a file");
    path
}

/// All matrices of the untied tiny model.
pub fn matrices() -> Vec<MatrixId> {
    let layer = |l| {
        use MatrixId::*;
        [Q(l), K(l), V(l), O(l), Gate(l), Up(l), Down(l)]
    };
    [MatrixId::Embedding, MatrixId::Output].into_iter().chain((0..N_LAYERS).flat_map(layer)).collect()
}
