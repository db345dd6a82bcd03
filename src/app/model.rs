//! Where the model comes from: a path, or the one that is part of the program.
//!
//! Invariant: the only file of this room that names the embedded files. Called by `resolve` and `inspect`.

use std::path::Path;

use crate::model::huggingface::EmbeddedModel;
use crate::model::sizes::Sizes;
use crate::model::{Model, ModelError};

/// The model of `weights/`.
pub(super) const EMBEDDED: EmbeddedModel = EmbeddedModel {
    name: "embedded model",
    config: include_bytes!("../../weights/config.json"),
    generation_config: Some(include_bytes!("../../weights/generation_config.json")),
    tokenizer: include_bytes!("../../weights/tokenizer.json"),
    weights: include_bytes!("../../weights/model.safetensors"),
};

/// Opens the model at `path`, or the embedded one.
///
/// # Errors
/// As the model's reader; the name of a preset is answered with what takes it.
pub fn open(path: Option<&Path>) -> Result<Model, ModelError> {
    match path {
        Some(path) if is_preset(path) => Err(ModelError::SizesAlone { name: path.display().to_string() }),
        Some(path) => {
            super::files::reads_model(path);
            Model::open(path)
        }
        None => Model::open_embedded(&EMBEDDED),
    }
}

/// Does this name sizes that are built in, and no file?
pub(super) fn is_preset(path: &Path) -> bool {
    !path.exists() && path.to_str().and_then(Sizes::preset).is_some()
}

/// What the embedded model's configuration says.
pub fn embedded_sizes() -> Result<Sizes, ModelError> {
    Sizes::from_json(EMBEDDED.name, Path::new(EMBEDDED.name), EMBEDDED.config)
}
