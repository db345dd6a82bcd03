//! Model files: Hugging Face directories and GGUF, their configuration, weights, tokenizer and chat template.
//!
//! Invariant: every count, offset and length of a file is checked before it is used, and no allocation exceeds a
//! small multiple of the file's size; a damaged file is an error that names file and field, never a panic.
//! This room imports `units` and `math` only; it never names a color or a PE.

pub mod chat;
mod chat_fuel;
pub mod checkpoint;
pub mod config;
pub mod dequant;
pub mod error;
mod files;
pub mod gguf;
pub mod gguf_config;
pub mod gguf_tokenizer;
pub mod gguf_value;
mod growth;
mod guarded;
pub mod hf_config;
pub mod huggingface;
pub mod names;
pub mod rope;
pub mod safetensors;
pub mod sizes;
pub mod spm;
pub mod summary;
pub mod tensors;
pub mod text_stream;
pub mod tokenizer;
mod tokenizer_check;

pub use checkpoint::Model;
pub use error::ModelError;
