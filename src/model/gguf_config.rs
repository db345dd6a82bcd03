//! The metadata of a GGUF file as a `ModelConfig`.
//!
//! Invariant: a key that would change the numbers and is not implemented is a reason to refuse, never ignored.
//! Called by `checkpoint`.

use super::config::{Architecture, FieldNames, ModelConfig, RawSizes, limit, within};
use super::error::{ModelError, Reason, Reasons};
use super::gguf::Gguf;
use super::gguf_value::Value;
use super::rope::{RopePairing, RopeScaling};

/// Divisors of the rotations, if the file has them.
pub const ROPE_FREQS: &str = "rope_freqs.weight";

struct Keys<'a, 'b> {
    file: &'a Gguf<'b>,
    architecture: &'b str,
}

impl Keys<'_, '_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn count(&self, key: &str, most: usize) -> Result<Option<usize>, ModelError> {
        let name = self.name(key);
        let value = self.file.whole(&name)?;
        value.map(|n| within(&self.file.path, &name, n, most)).transpose()
    }

    fn need_count(&self, key: &str, most: usize) -> Result<usize, ModelError> {
        let count = self.count(key, most)?;
        self.file.need(&self.name(key), count)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.file.number(&self.name(key))
    }
}

/// Order of the rows of Q and K in a GGUF file of this family.
pub fn pairing(architecture: Architecture) -> RopePairing {
    match architecture {
        Architecture::Llama | Architecture::Mistral => RopePairing::Interleaved,
        Architecture::Qwen2 => RopePairing::Halves,
    }
}

/// Reads the metadata; `divisors` are the values of `rope_freqs.weight`.
pub fn read(file: &Gguf, divisors: Option<Vec<f32>>, reasons: &mut Reasons) -> Result<ModelConfig, ModelError> {
    let key = "general.architecture";
    let name = file.need(key, file.text(key)?)?;
    let architecture = match name {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        other => {
            reasons.push(Reason::new(key, other, "llama, qwen2"));
            Architecture::Llama
        }
    };
    let keys = Keys { file, architecture: name };
    let context = keys.need_count("context_length", limit::CONTEXT)?;
    let n_heads = keys.need_count("attention.head_count", limit::HEADS)?;
    let key_length = keys.count("attention.key_length", limit::HEAD_DIM)?;
    let rope_theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let rope_scaling = scaling(&keys, divisors, reasons)?;
    let epsilon = "attention.layer_norm_rms_epsilon";
    let sizes = RawSizes {
        hidden: keys.need_count("embedding_length", limit::HIDDEN)?,
        n_layers: keys.need_count("block_count", limit::LAYERS)?,
        n_heads,
        n_kv_heads: keys.count("attention.head_count_kv", limit::HEADS)?.unwrap_or(n_heads),
        head_dim: key_length,
        ffn: keys.need_count("feed_forward_length", limit::FFN)?,
        vocab: vocab(file)?,
        norm_eps: file.need(&keys.name(epsilon), keys.number(epsilon)?)?,
        rope_theta,
        scaling: rope_scaling.clone(),
        tied: !file.has_tensor("output.weight"),
        qkv_bias: architecture == Architecture::Qwen2,
    };
    let names = FieldNames {
        n_heads: keys.name("attention.head_count"),
        n_kv_heads: keys.name("attention.head_count_kv"),
        head_dim: keys.name("attention.key_length"),
        norm_eps: keys.name(epsilon),
        rope_theta: keys.name("rope.freq_base"),
    };
    let shape = sizes.finish(&file.path, &names, reasons)?;
    refuse_variants(&keys, shape.head_dim, context, reasons)?;
    let mut config = ModelConfig {
        architecture,
        shape,
        context,
        rope_theta,
        rope_scaling,
        bos: token(file, "tokenizer.ggml.bos_token_id")?,
        eos: Vec::new(),
        dtype: None,
    };
    for key in ["eos", "eot", "eom"] {
        config.add_eos(token(file, &format!("tokenizer.ggml.{key}_token_id"))?);
    }
    Ok(config)
}

fn token(file: &Gguf, key: &str) -> Result<Option<u32>, ModelError> {
    let id = file.whole(key)?;
    id.map(|id| u32::try_from(id).map_err(|_| ModelError::damaged(&file.path, key, "a token id", id))).transpose()
}

/// Rows of the embedding table; `vocab_size` is absent from many files.
fn vocab(file: &Gguf) -> Result<usize, ModelError> {
    let name = "token_embd.weight";
    let dims = file.dims(name).and_then(|dims| dims.first().copied());
    match dims {
        Some(rows) => within(&file.path, &format!("rows of tensor {name}"), rows as u64, limit::VOCAB),
        None => Err(ModelError::missing(&file.path, format!("tensor {name}"), "the embedding")),
    }
}

fn refuse_variants(keys: &Keys, head_dim: usize, context: usize, reasons: &mut Reasons) -> Result<(), ModelError> {
    if let Some(n) = keys.file.whole(&keys.name("expert_count"))?.filter(|&n| n > 0) {
        let have = format!("{n} (mixture of experts)");
        reasons.push(Reason::new(keys.name("expert_count"), have, "dense layers"));
    }
    for key in ["rope.dimension_count", "attention.value_length"] {
        if let Some(n) = keys.count(key, usize::MAX)?.filter(|&n| n != head_dim) {
            let need = format!("{head_dim}, all of a head");
            reasons.push(Reason::new(keys.name(key), n.to_string(), need));
        }
    }
    let window = keys.file.whole(&keys.name("attention.sliding_window"))?.filter(|&n| n > 0);
    if let Some(window) = window.filter(|&window| window < context as u64) {
        let have = format!("{window} (of {context} positions)");
        let name = keys.name("attention.sliding_window");
        reasons.push(Reason::new(name, have, "none, or at least the context"));
    }
    Ok(())
}

fn scaling(keys: &Keys, divisors: Option<Vec<f32>>, reasons: &mut Reasons) -> Result<RopeScaling, ModelError> {
    let key = keys.name("rope.scaling.type");
    let kind = keys.file.text(&key)?;
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?,
    };
    // Files that name a factor and no type mean linear.
    let linear = match (kind, factor) {
        (Some("none"), _) | (None, None) => None,
        (Some("linear") | None, factor) => {
            let place = keys.name("rope.scaling.factor");
            let factor = keys.file.need(&place, factor)?;
            if !(factor.is_finite() && factor > 0.0) {
                return Err(ModelError::damaged(&keys.file.path, place, "a positive number", factor));
            }
            Some(factor).filter(|&factor| factor != 1.0)
        }
        (Some(other), _) => {
            reasons.push(Reason::new(key, other, "none, linear, or rope_freqs.weight"));
            None
        }
    };
    Ok(match (linear, divisors) {
        (None, None) => RopeScaling::None,
        (Some(factor), None) => RopeScaling::Linear { factor },
        (None, Some(divisors)) => RopeScaling::Divisors(checked(keys.file, divisors)?),
        (Some(factor), Some(_)) => {
            let have = format!("linear {factor} together with rope_freqs.weight");
            reasons.push(Reason::new(keys.name("rope.scaling.type"), have, "one of the two"));
            RopeScaling::None
        }
    })
}

fn checked(file: &Gguf, divisors: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    match divisors.iter().position(|&d| !(d.is_finite() && d > 0.0)) {
        None => Ok(divisors),
        Some(i) => Err(ModelError::damaged(
            &file.path,
            format!("tensor {ROPE_FREQS}, element {i}"),
            "a positive number",
            divisors[i],
        )),
    }
}

/// Elements of `general.*` and tokenizer arrays that must be whole ids.
pub fn as_id(value: Value) -> Option<u32> {
    match value {
        Value::Unsigned(n) => u32::try_from(n).ok(),
        Value::Signed(n) => u32::try_from(n).ok(),
        _ => None,
    }
}
