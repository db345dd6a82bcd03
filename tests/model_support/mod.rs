//! Writes tiny models in both formats, whole or damaged, for the tests of the loaders.
//!
//! Invariant: the same seed gives the same weights, exact in f16, under Hugging Face names and row order; the writers
//! alone know what the formats do to them. Written apart from the readers: nothing here calls them.

// Each test crate uses its part of this module.
#![allow(dead_code)]

pub mod cases;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Value, json};

/// Width of the residual stream; rows of one quantised block.
pub const HIDDEN: usize = 32;
/// Elements of a head.
pub const HEAD_DIM: usize = 16;
/// Query heads.
pub const N_HEADS: usize = 2;
/// Width of the feed-forward layer.
pub const FFN: usize = 64;
/// Layers.
pub const N_LAYERS: usize = 2;

/// A tensor: dimensions, outermost first, and values.
pub type Tensor = (Vec<usize>, Vec<f32>);
/// Tensors by Hugging Face name.
pub type Tensors = BTreeMap<String, Tensor>;

/// GPT-2's stand-in for a byte, from its published description.
fn stand_in(byte: u8) -> char {
    let is_printable = |b: u8| (33..=126).contains(&b) || (161..=172).contains(&b) || b >= 174;
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !is_printable(b)).count() as u32;
    char::from_u32(256 + before).expect("a stand-in")
}

/// 256 bytes, three merged tokens, two control tokens.
pub fn tokens() -> Vec<String> {
    let mut tokens: Vec<String> = (0..=255).map(|byte| stand_in(byte).to_string()).collect();
    tokens.extend(["th", "the", "Ġthe", "<s>", "</s>"].map(str::to_owned));
    tokens
}

/// The merges that make them.
pub const MERGES: [(&str, &str); 3] = [("t", "h"), ("th", "e"), ("Ġ", "the")];
/// `<s>`.
pub const BOS: u32 = 259;
/// `</s>`.
pub const EOS: u32 = 260;

/// Random weights, multiples of 1/64 below 1.
pub fn weights(seed: u32, qkv_bias: bool) -> Tensors {
    let (hidden, kv, vocab) = (HIDDEN, HEAD_DIM, tokens().len());
    let q = N_HEADS * HEAD_DIM;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
        ("lm_head.weight".to_owned(), vec![vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..N_LAYERS {
        for (name, dims) in [
            ("input_layernorm.weight", vec![hidden]),
            ("post_attention_layernorm.weight", vec![hidden]),
            ("self_attn.q_proj.weight", vec![q, hidden]),
            ("self_attn.k_proj.weight", vec![kv, hidden]),
            ("self_attn.v_proj.weight", vec![kv, hidden]),
            ("self_attn.o_proj.weight", vec![hidden, q]),
            ("mlp.gate_proj.weight", vec![FFN, hidden]),
            ("mlp.up_proj.weight", vec![FFN, hidden]),
            ("mlp.down_proj.weight", vec![hidden, FFN]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}"), dims));
        }
        if qkv_bias {
            for (name, n) in [("q", q), ("k", kv), ("v", kv)] {
                shapes.push((format!("model.layers.{layer}.self_attn.{name}_proj.bias"), vec![n]));
            }
        }
    }
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 25) as f32 - 64.0) / 64.0
    };
    let fill = |(name, dims): (String, Vec<usize>)| {
        let values = (0..dims.iter().product()).map(|_| next()).collect();
        (name, (dims, values))
    };
    shapes.into_iter().map(fill).collect()
}

/// config.json of the tiny model.
pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "num_key_value_heads": 1,
        "intermediate_size": FFN, "vocab_size": tokens().len(), "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false,
        "bos_token_id": BOS, "eos_token_id": EOS, "torch_dtype": "float16"
    })
}

/// tokenizer.json of the tiny model.
pub fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> =
        tokens().into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let byte_level = |space| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(BOS, "<s>"), added(EOS, "</s>")],
        "normalizer": null, "pre_tokenizer": byte_level(false), "post_processor": null,
        "decoder": byte_level(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                  "byte_fallback": false, "vocab": vocab,
                  "merges": MERGES.map(|(left, right)| format!("{left} {right}"))}
    })
}

/// Bytes of values in a safetensors number format.
fn encode(dtype: &str, values: &[f32]) -> Vec<u8> {
    match dtype {
        "F32" => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "BF16" => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
    }
}

/// A safetensors file from its header and data.
pub fn safetensors_bytes(header: &Value, data: &[u8]) -> Vec<u8> {
    let mut text = header.to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

/// Header and data of a safetensors file.
pub fn safetensors(tensors: &Tensors, dtype: &str) -> (Value, Vec<u8>) {
    let (mut header, mut data) = (json!({"__metadata__": {"format": "pt"}}), Vec::new());
    for (name, (dims, values)) in tensors {
        let start = data.len();
        data.extend(encode(dtype, values));
        header[name] = json!({"dtype": dtype, "shape": dims, "data_offsets": [start, data.len()]});
    }
    (header, data)
}

/// Writes a whole Hugging Face directory.
pub fn write_hf(dir: &Path, config: &Value, tensors: &Tensors, dtype: &str) {
    std::fs::create_dir_all(dir).expect("a directory");
    std::fs::write(dir.join("config.json"), config.to_string()).expect("config");
    std::fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).expect("tokenizer");
    let (header, data) = safetensors(tensors, dtype);
    std::fs::write(dir.join("model.safetensors"), safetensors_bytes(&header, &data)).expect("weights");
}

/// A tensor of a GGUF file as it is written.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// Name.
    pub name: String,
    /// Innermost first.
    pub dims: Vec<u64>,
    /// ggml's number of the element type.
    pub kind: u32,
    /// Within the data; None = after the tensor before it.
    pub offset: Option<u64>,
    /// Elements.
    pub data: Vec<u8>,
}

/// A GGUF file to be written; every field may lie.
#[derive(Clone, Debug)]
pub struct GgufFile {
    /// Version field.
    pub version: u32,
    /// Count fields that replace the honest ones: tensors, metadata.
    pub counts: (Option<u64>, Option<u64>),
    /// Key, and value with its type in front.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// Tensors.
    pub tensors: Vec<GgufTensor>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A u32 value.
pub fn gguf_u32(value: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), value.to_le_bytes()].concat()
}

/// An f32 value.
pub fn gguf_f32(value: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), value.to_le_bytes()].concat()
}

/// A string value.
pub fn gguf_text(value: &str) -> Vec<u8> {
    [8u32.to_le_bytes().to_vec(), text(value)].concat()
}

/// An array of strings.
pub fn gguf_texts<'a>(values: impl ExactSizeIterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = [9u32.to_le_bytes(), 8u32.to_le_bytes()].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    values.for_each(|value| bytes.extend(text(value)));
    bytes
}

/// An array of i32.
pub fn gguf_numbers(values: &[i32]) -> Vec<u8> {
    let mut bytes = [9u32.to_le_bytes(), 5u32.to_le_bytes()].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

/// An array of f32.
pub fn gguf_floats(values: &[f32]) -> Vec<u8> {
    let mut bytes = [9u32.to_le_bytes(), 6u32.to_le_bytes()].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

impl GgufFile {
    /// Replaces or adds a metadata value.
    pub fn set(&mut self, key: &str, value: Vec<u8>) {
        self.metadata.retain(|(old, _)| old != key);
        self.metadata.push((key.to_owned(), value));
    }

    /// Removes a metadata value.
    pub fn unset(&mut self, key: &str) {
        self.metadata.retain(|(old, _)| old != key);
    }

    /// A tensor by name.
    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor of the model")
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.counts.0.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.counts.1.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }
}

fn gguf_name(name: &str) -> String {
    let renamed = [
        ("model.embed_tokens", "token_embd"),
        ("lm_head", "output"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    renamed.into_iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Rows of Q or K in the order of GGUF `llama` files: row 2i + p of a head is row p * half + i.
fn interleave(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len() / cols;
    let half = HEAD_DIM / 2;
    (0..rows)
        .flat_map(|row| {
            let (head, within) = (row / HEAD_DIM, row % HEAD_DIM);
            let from = head * HEAD_DIM + within % 2 * half + within / 2;
            values[from * cols..(from + 1) * cols].to_vec()
        })
        .collect()
}

/// The tiny model as GGUF, matrices in F16; `architecture` is `llama` (Q and K interleaved) or `qwen2`.
pub fn gguf(tensors: &Tensors, architecture: &str) -> GgufFile {
    let tokens = tokens();
    let key = |name: &str| format!("{architecture}.{name}");
    let merges = MERGES.map(|(left, right)| format!("{left} {right}"));
    let types: Vec<i32> = (0..tokens.len() as u32).map(|id| if id >= BOS { 3 } else { 1 }).collect();
    let metadata = vec![
        ("general.architecture".to_owned(), gguf_text(architecture)),
        (key("block_count"), gguf_u32(N_LAYERS as u32)),
        (key("context_length"), gguf_u32(64)),
        (key("embedding_length"), gguf_u32(HIDDEN as u32)),
        (key("feed_forward_length"), gguf_u32(FFN as u32)),
        (key("attention.head_count"), gguf_u32(N_HEADS as u32)),
        (key("attention.head_count_kv"), gguf_u32(1)),
        (key("attention.layer_norm_rms_epsilon"), gguf_f32(1e-5)),
        (key("rope.freq_base"), gguf_f32(10000.0)),
        ("tokenizer.ggml.model".to_owned(), gguf_text("gpt2")),
        ("tokenizer.ggml.pre".to_owned(), gguf_text("gpt-2")),
        ("tokenizer.ggml.tokens".to_owned(), gguf_texts(tokens.iter().map(String::as_str))),
        ("tokenizer.ggml.token_type".to_owned(), gguf_numbers(&types)),
        ("tokenizer.ggml.merges".to_owned(), gguf_texts(merges.iter().map(String::as_str))),
        ("tokenizer.ggml.bos_token_id".to_owned(), gguf_u32(BOS)),
        ("tokenizer.ggml.eos_token_id".to_owned(), gguf_u32(EOS)),
    ];
    let written = tensors.iter().map(|(name, (dims, values))| {
        let is_rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        let values = if is_rotated && architecture == "llama" { interleave(values, HIDDEN) } else { values.clone() };
        let (kind, data) = if dims.len() == 1 { (0, encode("F32", &values)) } else { (1, encode("F16", &values)) };
        let dims = dims.iter().rev().map(|&dim| dim as u64).collect();
        GgufTensor { name: gguf_name(name), dims, kind, offset: None, data }
    });
    GgufFile { version: 3, counts: (None, None), metadata, tensors: written.collect() }
}
