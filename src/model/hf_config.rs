//! `config.json` and `generation_config.json` of a Hugging Face model.
//!
//! Invariant: a field that would change the numbers and is not implemented is a reason to refuse, never ignored.
//! Called by `huggingface`.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{Architecture, FieldNames, ModelConfig, RawSizes, limit, within};
use super::error::{ModelError, Reason, Reasons};
use super::rope::RopeScaling;

/// A JSON object with the file and the prefix that its fields have in messages.
pub struct Fields<'a> {
    file: &'a Path,
    prefix: &'static str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The top-level object of a file.
    pub fn root(file: &'a Path, value: &'a Value) -> Result<Self, ModelError> {
        let map =
            value.as_object().ok_or_else(|| ModelError::damaged(file, "top level", "a JSON object", kind(value)))?;
        Ok(Self { file, prefix: "", map })
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(&self, name: &str, need: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let wrong = || {
            let have: String = value.to_string().chars().take(80).collect();
            ModelError::damaged(self.file, format!("{}{name}", self.prefix), need, have)
        };
        read(value).map(Some).ok_or_else(wrong)
    }

    /// A count within `1 ..= most`.
    pub fn count(&self, name: &str, most: usize) -> Result<Option<usize>, ModelError> {
        self.typed(name, &format!("a whole number, 1 to {most}"), |value| {
            value.as_u64().and_then(|n| within(self.file, name, n, most).ok())
        })
    }

    fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, ModelError> {
        value.ok_or_else(|| ModelError::missing(self.file, format!("{}{name}", self.prefix), "a value"))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// An object.
    pub fn object(&self, name: &str, prefix: &'static str) -> Result<Option<Self>, ModelError> {
        let map = self.typed(name, "an object", Value::as_object)?;
        Ok(map.map(|map| Self { file: self.file, prefix, map }))
    }

    /// One token id or a list of them.
    pub fn ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = self.typed(name, "a token id or a list of token ids", |value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            single => id(single).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Parses JSON; the error names the file and the line.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Value, ModelError> {
    serde_json::from_slice(bytes).map_err(|e| ModelError::damaged(file, "JSON", "a valid file", e))
}

fn architecture(config: &Fields, reasons: &mut Reasons) -> Result<Architecture, ModelError> {
    let listed = config.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let (field, name) = match (listed, config.text("model_type")?) {
        (Some(name), _) => ("architectures", name),
        (None, Some(name)) => ("model_type", name),
        (None, None) => return config.need("architectures", None),
    };
    Ok(match name {
        "LlamaForCausalLM" | "LLaMAForCausalLM" | "llama" => Architecture::Llama,
        "Qwen2ForCausalLM" | "qwen2" => Architecture::Qwen2,
        "MistralForCausalLM" | "mistral" => Architecture::Mistral,
        other => {
            let need = "LlamaForCausalLM, Qwen2ForCausalLM, MistralForCausalLM";
            reasons.push(Reason::new(field, other, need));
            Architecture::Llama
        }
    })
}

/// Window of Mistral's attention when its config does not name one (the family's published default).
const MISTRAL_WINDOW: usize = 4096;

fn refuse_variants(
    config: &Fields,
    architecture: Architecture,
    context: usize,
    reasons: &mut Reasons,
) -> Result<(), ModelError> {
    let act = config.text("hidden_act")?.unwrap_or("silu");
    if act != "silu" {
        reasons.push(Reason::new("hidden_act", act, "silu"));
    }
    if config.flag("attention_bias")? == Some(true) && architecture != Architecture::Qwen2 {
        reasons.push(Reason::new("attention_bias", "true (o_proj bias)", "false"));
    }
    if config.flag("mlp_bias")? == Some(true) {
        reasons.push(Reason::new("mlp_bias", "true", "false"));
    }
    for name in ["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"] {
        if let Some(n) = config.number(name)?.filter(|&n| n > 0.0) {
            reasons.push(Reason::new(name, format!("{n} (mixture of experts)"), "dense layers"));
        }
    }
    if config.get("quantization_config").is_some() {
        reasons.push(Reason::new("quantization_config", "present", "F32, F16 or BF16 weights"));
    }
    refuse_partial_rotation(config, reasons)?;
    let window = match architecture {
        Architecture::Qwen2 if config.flag("use_sliding_window")? != Some(true) => None,
        Architecture::Mistral if !config.map.contains_key("sliding_window") => Some(MISTRAL_WINDOW),
        _ => config.count("sliding_window", usize::MAX)?,
    };
    if let Some(window) = window.filter(|&window| window < context) {
        let have = format!("{window} (of {context} positions)");
        reasons.push(Reason::new("sliding_window", have, "null, or at least the context"));
    }
    let layers = config.typed("layer_types", "a list of full_attention", Value::as_array)?;
    for (i, layer) in layers.into_iter().flatten().enumerate() {
        if layer.as_str() != Some("full_attention") {
            let have: String = layer.to_string().chars().take(80).collect();
            reasons.push(Reason::new(format!("layer_types[{i}]"), have, "full_attention"));
            break;
        }
    }
    Ok(())
}

fn refuse_partial_rotation(fields: &Fields, reasons: &mut Reasons) -> Result<(), ModelError> {
    let name = "partial_rotary_factor";
    if let Some(part) = fields.number(name)?.filter(|&part| part != 1.0) {
        reasons.push(Reason::new(format!("{}{name}", fields.prefix), part.to_string(), "1"));
    }
    Ok(())
}

/// (theta, scaling): `rope_theta` and `rope_scaling`, or both within `rope_parameters` in newer files.
fn rope(config: &Fields, context: usize, reasons: &mut Reasons) -> Result<(f64, RopeScaling), ModelError> {
    let newer = config.object("rope_parameters", "rope_parameters.")?;
    let older = config.object("rope_scaling", "rope_scaling.")?;
    let inner = newer.as_ref().map(|fields| fields.number("rope_theta")).transpose()?.flatten();
    let theta = inner.or(config.number("rope_theta")?).unwrap_or(10_000.0);
    for fields in newer.iter().chain(&older) {
        refuse_partial_rotation(fields, reasons)?;
    }
    let Some(fields) = newer.or(older) else {
        return Ok((theta, RopeScaling::None));
    };
    let kind = match fields.text("rope_type")? {
        Some(kind) => kind,
        None => fields.text("type")?.unwrap_or("default"),
    };
    let positive = |name: &str| -> Result<f64, ModelError> {
        let value = fields.need(name, fields.number(name)?)?;
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        let place = format!("{}{name}", fields.prefix);
        Err(ModelError::damaged(fields.file, place, "a positive number", value))
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: positive("factor")? },
        "llama3" => {
            let (low, high) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
            if low >= high {
                let place = format!("{}high_freq_factor", fields.prefix);
                let need = format!("more than low_freq_factor = {low}");
                return Err(ModelError::damaged(fields.file, place, need, high));
            }
            let name = "original_max_position_embeddings";
            let original = if fields.get(name).is_some() { positive(name)? } else { context as f64 };
            RopeScaling::Llama3 {
                factor: positive("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: original,
            }
        }
        other => {
            let place = format!("{}rope_type", fields.prefix);
            reasons.push(Reason::new(place, other, "default, linear, llama3"));
            RopeScaling::None
        }
    };
    Ok((theta, scaling))
}

/// Reads `config.json`. `has_output`: the weights hold `lm_head.weight` (decides when the file is silent on tying).
pub fn read(file: &Path, value: &Value, has_output: bool, reasons: &mut Reasons) -> Result<ModelConfig, ModelError> {
    let config = Fields::root(file, value)?;
    let architecture = architecture(&config, reasons)?;
    let need = |name: &str, most| config.need(name, config.count(name, most)?);
    let context = config.count("max_position_embeddings", limit::CONTEXT)?.unwrap_or(2048);
    refuse_variants(&config, architecture, context, reasons)?;
    let (rope_theta, rope_scaling) = rope(&config, context, reasons)?;
    let n_heads = need("num_attention_heads", limit::HEADS)?;
    let sizes = RawSizes {
        hidden: need("hidden_size", limit::HIDDEN)?,
        n_layers: need("num_hidden_layers", limit::LAYERS)?,
        n_heads,
        n_kv_heads: config.count("num_key_value_heads", limit::HEADS)?.unwrap_or(n_heads),
        head_dim: config.count("head_dim", limit::HEAD_DIM)?,
        ffn: need("intermediate_size", limit::FFN)?,
        vocab: need("vocab_size", limit::VOCAB)?,
        norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        scaling: rope_scaling.clone(),
        tied: config.flag("tie_word_embeddings")?.unwrap_or(!has_output),
        qkv_bias: architecture == Architecture::Qwen2,
    };
    let names = FieldNames {
        n_heads: "num_attention_heads".into(),
        n_kv_heads: "num_key_value_heads".into(),
        head_dim: "head_dim".into(),
        norm_eps: "rms_norm_eps".into(),
        rope_theta: "rope_theta".into(),
    };
    let shape = sizes.finish(file, &names, reasons)?;
    let bos = config.ids("bos_token_id")?.first().copied();
    let dtype = match config.text("torch_dtype")? {
        Some(dtype) => Some(dtype),
        None => config.text("dtype")?,
    };
    let mut read = ModelConfig {
        architecture,
        shape,
        context,
        rope_theta,
        rope_scaling,
        bos,
        eos: Vec::new(),
        dtype: dtype.map(str::to_owned),
    };
    read.add_eos(config.ids("eos_token_id")?);
    Ok(read)
}

/// Adds the special ids of `generation_config.json`.
pub fn add_generation(file: &Path, value: &Value, config: &mut ModelConfig) -> Result<(), ModelError> {
    let fields = Fields::root(file, value)?;
    config.add_eos(fields.ids("eos_token_id")?);
    config.bos = config.bos.or(fields.ids("bos_token_id")?.first().copied());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The refusal of a small config.json with one more field, if any.
    fn refusal(name: &str, value: Value) -> Option<String> {
        let mut config = json!({
            "model_type": "llama", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": 32
        });
        config[name] = value;
        let (file, mut reasons) = (Path::new("config.json"), Reasons::default());
        let outcome = read(file, &config, true, &mut reasons);
        reasons.settle(file, outcome).err().map(|e| e.to_string())
    }

    #[test]
    fn a_part_of_the_rotations_is_refused_wherever_it_stands() {
        for name in ["rope_parameters", "rope_scaling"] {
            let rope = |part: f64| json!({"rope_type": "default", "partial_rotary_factor": part});
            let message = refusal(name, rope(0.5)).unwrap_or_default();
            assert!(message.contains(&format!("{name}.partial_rotary_factor is 0.5, supported: 1")), "{message}");
            assert_eq!(refusal(name, rope(1.0)), None);
        }
        let message = refusal("partial_rotary_factor", json!(0.25)).unwrap_or_default();
        assert!(message.contains("- partial_rotary_factor is 0.25"), "{message}");
    }

    #[test]
    fn layer_types_are_a_list_of_full_attention() {
        for (value, words) in [
            (json!("sliding_attention"), "layer_types: needs a list of full_attention, found \"sliding_attention\""),
            (json!({"0": "full_attention"}), "layer_types: needs a list"),
            (json!(["full_attention", "linear_attention"]), "layer_types[1] is \"linear_attention\""),
        ] {
            let message = refusal("layer_types", value).unwrap_or_default();
            assert!(message.contains(words), "{message}");
        }
        for value in [Value::Null, json!(["full_attention", "full_attention"])] {
            assert_eq!(refusal("layer_types", value), None);
        }
    }
}
