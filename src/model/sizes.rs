//! The sizes of a model without its weights: from a config.json, or one of the models that the paper times.
//!
//! Invariant: what is read goes through the checks of `hf_config`; no weight file is opened.
//! Called by `app` for dry runs and plans.

use std::path::Path;

use super::config::ModelConfig;
use super::error::{ModelError, Reasons};
use super::files::read_text;
use super::hf_config::{parse, read};
use crate::math::checkpoint::WeightFormat;

/// What a dry run needs to know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Name in reports.
    pub name: String,
    /// What its configuration says.
    pub config: ModelConfig,
    /// Format of its matrices: bf16 where the configuration says so, else f16.
    pub format: WeightFormat,
}

/// Names of the built-in models, and the fields of the config.json that its publisher ships with the weights (hidden,
/// feed-forward and layers are those of WaferLLM's evaluation too). Every number was read off the file named beside the
/// model: the publisher's own where that is open, else a public copy that names the publisher's model as its origin.
/// Two of the four ship bf16; here all are f16, as the evaluation ran them.
const PRESETS: [(&str, &str); 4] = [
    (
        // meta-llama/Meta-Llama-3-8B: jerryzh168/llama3-8B at a3d5478, Locutusque/Llama-3-Orca-1.0-8B at 1c93cce.
        "llama3-8b",
        r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "rope_theta": 500000.0,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "tie_word_embeddings": false}"#,
    ),
    (
        // meta-llama/Llama-2-13b-hf: LoftQ/Llama-2-13b-hf-4bit-64rank at cb1fcda, malhajar/Llama-2-13b-chat-tr.
        "llama2-13b",
        r#"{"model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
            "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 32000, "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": false}"#,
    ),
    (
        // codellama/CodeLlama-34b-hf: Safurai/Safurai-Csharp-34B at 5cb33a6, HiTZ/GoLLIE-34B at 846a18b.
        "codellama-34b",
        r#"{"model_type": "llama", "hidden_size": 8192, "intermediate_size": 22016, "num_hidden_layers": 48,
            "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 32000, "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 16384, "tie_word_embeddings": false}"#,
    ),
    (
        // Qwen/Qwen2-72B at c03367e (the publisher's).
        "qwen2-72b",
        r#"{"model_type": "qwen2", "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
            "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 152064, "rope_theta": 1000000.0,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 131072, "tie_word_embeddings": false}"#,
    ),
];

impl Sizes {
    /// Names that `preset` knows.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|p| p.0)
    }

    /// A built-in model.
    pub fn preset(name: &str) -> Option<Self> {
        let (name, text) = PRESETS.iter().find(|p| p.0 == name)?;
        Self::from_json(name, Path::new(name), text.as_bytes()).ok()
    }

    /// Reads a config.json, or that of a directory.
    ///
    /// # Errors
    /// Names the file, the field, what was needed and what was found.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let file = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
        let bytes = read_text(&file)?;
        Self::from_json(&path.display().to_string(), &file, &bytes)
    }

    /// Reads the text of a config.json; `file` is named in errors.
    ///
    /// # Errors
    /// As `from_file`.
    pub fn from_json(name: &str, file: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reasons = Reasons::default();
        // Without weights nobody knows whether there is an output matrix: where the file does not say, there is one.
        let outcome = parse(file, bytes).and_then(|value| read(file, &value, true, &mut reasons));
        let config = reasons.settle(file, outcome)?;
        let format = match config.dtype.as_deref() {
            Some("bfloat16") => WeightFormat::Bf16,
            _ => WeightFormat::F16,
        };
        Ok(Self { name: name.to_owned(), config, format })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_sizes_of_the_publishers_and_of_the_evaluation() {
        let sizes: Vec<_> = Sizes::presets()
            .map(|name| {
                let s = Sizes::preset(name).expect("a preset").config.shape;
                (name, [s.hidden, s.ffn, s.n_layers], [s.n_heads, s.n_kv_heads, s.head_dim, s.vocab])
            })
            .collect();
        let need = [
            ("llama3-8b", [4096, 14_336, 32], [32, 8, 128, 128_256]),
            ("llama2-13b", [5120, 13_824, 40], [40, 40, 128, 32_000]),
            ("codellama-34b", [8192, 22_016, 48], [64, 8, 128, 32_000]),
            ("qwen2-72b", [8192, 29_568, 80], [64, 8, 128, 152_064]),
        ];
        assert_eq!(sizes, need);
        assert!(Sizes::preset("qwen2-72b").expect("a preset").config.shape.qkv_bias);
        assert_eq!(Sizes::preset("llama4"), None);
    }

    #[test]
    fn llama3_8b_has_eight_billion_weights_and_128_kib_of_k_and_v_a_position() {
        use crate::math::work::{decode_layer_macs, kv_bytes, prefill_layer_macs, weight_bytes};
        let shape = Sizes::preset("llama3-8b").expect("a preset").config.shape;
        assert_eq!(weight_bytes(&shape) / 2, 8_029_995_008);
        assert_eq!(kv_bytes(&shape, 2), 128 << 10);
        assert_eq!(prefill_layer_macs(&shape, 1), decode_layer_macs(&shape, 0));
        let each: u64 = (0..7).map(|p| decode_layer_macs(&shape, p)).sum();
        assert_eq!(prefill_layer_macs(&shape, 7), each);
    }
}
