//! What the tensors of a model are called in each format, and the shape that each must have.
//!
//! Invariant: `tensors` lists exactly what a `Checkpoint` can be asked for; anything else in a file is either known to
//! be redundant or a reason to refuse it.
//! Called by `checkpoint`.

use crate::math::checkpoint::{MatrixId, ModelShape, VectorId};

/// Naming scheme of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
    /// `blk.0.attn_q.weight`.
    Gguf,
}

/// A matrix or a vector of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorId {
    /// Two dimensions.
    Matrix(MatrixId),
    /// One dimension.
    Vector(VectorId),
}

impl Naming {
    /// Name of a matrix.
    pub fn matrix(self, id: MatrixId) -> String {
        let (layer, hugging_face, gguf) = match id {
            MatrixId::Embedding => {
                return self.pick("model.embed_tokens.weight", "token_embd.weight");
            }
            MatrixId::Output => return self.pick("lm_head.weight", "output.weight"),
            MatrixId::Q(layer) => (layer, "self_attn.q_proj", "attn_q"),
            MatrixId::K(layer) => (layer, "self_attn.k_proj", "attn_k"),
            MatrixId::V(layer) => (layer, "self_attn.v_proj", "attn_v"),
            MatrixId::O(layer) => (layer, "self_attn.o_proj", "attn_output"),
            MatrixId::Gate(layer) => (layer, "mlp.gate_proj", "ffn_gate"),
            MatrixId::Up(layer) => (layer, "mlp.up_proj", "ffn_up"),
            MatrixId::Down(layer) => (layer, "mlp.down_proj", "ffn_down"),
        };
        self.layered(layer, hugging_face, gguf, "weight")
    }

    /// Name of a vector.
    pub fn vector(self, id: VectorId) -> String {
        let (layer, hugging_face, gguf, part) = match id {
            VectorId::FinalNorm => return self.pick("model.norm.weight", "output_norm.weight"),
            VectorId::AttentionNorm(layer) => (layer, "input_layernorm", "attn_norm", "weight"),
            VectorId::FfnNorm(layer) => (layer, "post_attention_layernorm", "ffn_norm", "weight"),
            VectorId::QBias(layer) => (layer, "self_attn.q_proj", "attn_q", "bias"),
            VectorId::KBias(layer) => (layer, "self_attn.k_proj", "attn_k", "bias"),
            VectorId::VBias(layer) => (layer, "self_attn.v_proj", "attn_v", "bias"),
        };
        self.layered(layer, hugging_face, gguf, part)
    }

    /// Name of either.
    pub fn tensor(self, id: TensorId) -> String {
        match id {
            TensorId::Matrix(id) => self.matrix(id),
            TensorId::Vector(id) => self.vector(id),
        }
    }

    fn pick(self, hugging_face: &str, gguf: &str) -> String {
        match self {
            Self::HuggingFace => hugging_face.to_owned(),
            Self::Gguf => gguf.to_owned(),
        }
    }

    fn layered(self, layer: usize, hugging_face: &str, gguf: &str, part: &str) -> String {
        match self {
            Self::HuggingFace => format!("model.layers.{layer}.{hugging_face}.{part}"),
            Self::Gguf => format!("blk.{layer}.{gguf}.{part}"),
        }
    }

    /// A tensor that repeats what the configuration says or what tying makes unused.
    pub fn is_redundant(self, name: &str, shape: &ModelShape) -> bool {
        match self {
            Self::HuggingFace => name.ends_with(".rotary_emb.inv_freq") || (shape.tied && name == "lm_head.weight"),
            Self::Gguf => name == "rope_freqs.weight",
        }
    }
}

/// All tensors of a model with their dimensions, `[out, in]` or `[n]`, layer by layer.
pub fn tensors(shape: &ModelShape) -> impl Iterator<Item = (TensorId, Vec<usize>)> {
    let hidden = shape.hidden;
    let (vocab, tied) = (shape.vocab, shape.tied);
    let output = (!tied).then_some(MatrixId::Output);
    let ends = std::iter::once(MatrixId::Embedding)
        .chain(output)
        .map(move |id| (TensorId::Matrix(id), vec![vocab, hidden]))
        .chain([(TensorId::Vector(VectorId::FinalNorm), vec![hidden])]);
    let layers = (0..shape.n_layers).flat_map(move |layer| layer_tensors(shape, layer));
    ends.chain(layers)
}

fn layer_tensors(shape: &ModelShape, layer: usize) -> Vec<(TensorId, Vec<usize>)> {
    let (hidden, ffn) = (shape.hidden, shape.ffn);
    // Within limit::HEADS * limit::HEAD_DIM = 2^24.
    let q = shape.n_heads * shape.head_dim;
    let kv = shape.n_kv_heads * shape.head_dim;
    let matrix = |id, rows, cols| (TensorId::Matrix(id), vec![rows, cols]);
    let vector = |id, n| (TensorId::Vector(id), vec![n]);
    let mut list = vec![
        vector(VectorId::AttentionNorm(layer), hidden),
        matrix(MatrixId::Q(layer), q, hidden),
        matrix(MatrixId::K(layer), kv, hidden),
        matrix(MatrixId::V(layer), kv, hidden),
        matrix(MatrixId::O(layer), hidden, q),
        vector(VectorId::FfnNorm(layer), hidden),
        matrix(MatrixId::Gate(layer), ffn, hidden),
        matrix(MatrixId::Up(layer), ffn, hidden),
        matrix(MatrixId::Down(layer), hidden, ffn),
    ];
    if shape.qkv_bias {
        list.push(vector(VectorId::QBias(layer), q));
        list.push(vector(VectorId::KBias(layer), kv));
        list.push(vector(VectorId::VBias(layer), kv));
    }
    list
}
