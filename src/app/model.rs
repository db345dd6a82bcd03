//! Where the model comes from: a path, or the one that is part of the program.
//!
//! Invariant: the only file of this room that names the embedded files. Called by `resolve` and `inspect`.

use std::path::Path;

use crate::model::huggingface::EmbeddedModel;
use crate::model::sizes::Sizes;
use crate::model::{Model, ModelError};

/// The model of `weights/`.
const EMBEDDED: EmbeddedModel = EmbeddedModel {
    name: "embedded model",
    config: include_bytes!("../../weights/config.json"),
    generation_config: Some(include_bytes!("../../weights/generation_config.json")),
    tokenizer: include_bytes!("../../weights/tokenizer.json"),
    weights: include_bytes!("../../weights/model.safetensors"),
};

/// Opens the model at `path`, or the embedded one.
pub fn open(path: Option<&Path>) -> Result<Model, ModelError> {
    match path {
        Some(path) => Model::open(path),
        None => Model::open_embedded(&EMBEDDED),
    }
}

/// What the embedded model's configuration says.
pub fn embedded_sizes() -> Result<Sizes, ModelError> {
    Sizes::from_json(EMBEDDED.name, Path::new(EMBEDDED.name), EMBEDDED.config)
}
