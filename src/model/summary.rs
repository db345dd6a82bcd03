//! What `plummer inspect` says of a model before any mesh is involved.
//!
//! Invariant: plain data, counted from the checked tensor table.
//! Made by `Model::summary`.

use std::path::PathBuf;

use super::config::ModelConfig;

/// Tensors of one number format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatCount {
    /// Name of the format.
    pub format: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Their bytes in the file.
    pub bytes: u64,
}

/// A model in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSummary {
    /// As opened.
    pub path: PathBuf,
    /// `Hugging Face safetensors`, `GGUF v3`.
    pub container: String,
    /// Architecture, sizes, context, special ids, rotations.
    pub config: ModelConfig,
    /// Elements of all tensors in use (a tied table once).
    pub parameters: u64,
    /// Tensors by format, in the order F32, F16, BF16, Q8_0, Q4_0, Q4_1; absent ones left out.
    pub formats: Vec<FormatCount>,
    /// Bytes of the weight files.
    pub file_bytes: u64,
    /// Bytes of the matrices as the wafer holds them: 2 an element.
    pub matrix_bytes: u64,
    /// Kind and size.
    pub tokenizer: String,
    /// A chat template is there.
    pub has_chat_template: bool,
}
