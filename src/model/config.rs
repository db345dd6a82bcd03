//! What a model is: architecture, sizes, context, special ids; the checks that both file formats share.
//!
//! Invariant: every size is at least 1, at most its limit below, and the products that the loaders form fit `usize`.
//! Filled by `hf_config` and `gguf_config`.

use std::path::Path;

use super::error::{ModelError, Reason, Reasons};
use super::rope::{RopeScaling, inv_freq};
use crate::math::checkpoint::ModelShape;

/// Families that differ only in what is listed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1, 2, 3, CodeLlama, SmolLM, TinyLlama.
    Llama,
    /// Biases on Q, K and V.
    Qwen2,
    /// Llama without a sliding window in use.
    Mistral,
}

impl Architecture {
    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Mistral => "mistral",
        }
    }
}

/// What the configuration of a model says.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Family.
    pub architecture: Architecture,
    /// Sizes and constants.
    pub shape: ModelShape,
    /// Positions that it was trained for.
    pub context: usize,
    /// Base of the rotations.
    pub rope_theta: f64,
    /// Scaling of the rotations.
    pub rope_scaling: RopeScaling,
    /// First token of a text, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a text, ascending, each once.
    pub eos: Vec<u32>,
    /// Number format that the file claims, in its own words.
    pub dtype: Option<String>,
}

impl ModelConfig {
    /// Adds ids that end a text.
    pub fn add_eos(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.eos.extend(ids);
        self.eos.sort_unstable();
        self.eos.dedup();
    }
}

/// Most that any known model of these families needs, times at least 8: larger is a damaged field.
pub mod limit {
    /// Width of the residual stream (Llama 405B: 16,384).
    pub const HIDDEN: usize = 1 << 18;
    /// Width of the feed-forward layer (Llama 405B: 53,248).
    pub const FFN: usize = 1 << 20;
    /// Layers (Llama 405B: 126).
    pub const LAYERS: usize = 1 << 12;
    /// Query heads (Llama 405B: 128).
    pub const HEADS: usize = 1 << 12;
    /// Elements of a head (256).
    pub const HEAD_DIM: usize = 1 << 12;
    /// Tokens (Qwen2: 152,064).
    pub const VOCAB: usize = 1 << 22;
    /// Positions (10 million).
    pub const CONTEXT: usize = 1 << 28;
}

/// Names of fields as one format spells them, for messages.
#[derive(Clone, Debug)]
pub struct FieldNames {
    /// Query heads.
    pub n_heads: String,
    /// Key/value heads.
    pub n_kv_heads: String,
    /// Elements of a head.
    pub head_dim: String,
    /// Epsilon.
    pub norm_eps: String,
    /// Base of the rotations.
    pub rope_theta: String,
}

/// Sizes as a file gives them, each already within its limit.
#[derive(Clone, Debug)]
pub struct RawSizes {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Elements of a head; `hidden / n_heads` when absent.
    pub head_dim: Option<usize>,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Tokens.
    pub vocab: usize,
    /// Epsilon of RMSNorm.
    pub norm_eps: f64,
    /// Base of the rotations.
    pub rope_theta: f64,
    /// Their scaling.
    pub scaling: RopeScaling,
    /// Output head = embedding.
    pub tied: bool,
    /// Biases on Q, K, V.
    pub qkv_bias: bool,
}

/// `value` of `field` within `1 ..= most`.
pub fn within(file: &Path, field: &str, value: u64, most: usize) -> Result<usize, ModelError> {
    match usize::try_from(value) {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(ModelError::damaged(file, field, format!("1 to {most}"), value)),
    }
}

impl RawSizes {
    /// Checks what the fields say of each other and computes the rotations.
    pub fn finish(self, file: &Path, names: &FieldNames, reasons: &mut Reasons) -> Result<ModelShape, ModelError> {
        let damaged = |field: &str, need: String, have: String| ModelError::damaged(file, field, need, have);
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(damaged(
                &names.n_kv_heads,
                format!("a divisor of {} = {}", names.n_heads, self.n_heads),
                self.n_kv_heads.to_string(),
            ));
        }
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if self.hidden.is_multiple_of(self.n_heads) => self.hidden / self.n_heads,
            None => {
                return Err(damaged(
                    &names.head_dim,
                    format!("a value, as {} = {} does not divide {}", names.n_heads, self.n_heads, self.hidden),
                    "nothing".into(),
                ));
            }
        };
        if head_dim > limit::HEAD_DIM {
            return Err(damaged(&names.head_dim, format!("1 to {}", limit::HEAD_DIM), head_dim.to_string()));
        }
        if !head_dim.is_multiple_of(2) {
            reasons.push(Reason::new(&names.head_dim, head_dim.to_string(), "an even number"));
        }
        let norm_eps = self.norm_eps as f32;
        if !(norm_eps > 0.0 && norm_eps < 1.0) {
            return Err(damaged(&names.norm_eps, "a number between 0 and 1".into(), self.norm_eps.to_string()));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta >= 1.0) {
            return Err(damaged(
                &names.rope_theta,
                "a finite number of at least 1".into(),
                self.rope_theta.to_string(),
            ));
        }
        let inv_freq = inv_freq(self.rope_theta, head_dim, &self.scaling);
        if let Some(turns) = inv_freq.iter().find(|turns| !turns.is_finite()) {
            let place = format!("{} with its scaling", names.rope_theta);
            return Err(damaged(&place, "finite rotations".into(), turns.to_string()));
        }
        Ok(ModelShape {
            hidden: self.hidden,
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            head_dim,
            ffn: self.ffn,
            vocab: self.vocab,
            norm_eps,
            inv_freq,
            tied: self.tied,
            qkv_bias: self.qkv_bias,
        })
    }
}
