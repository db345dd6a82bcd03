//! A LLaMA-family checkpoint in plain numbers: what the wafer's session and the oracle both read.
//!
//! Invariant: matrices are 16-bit as they come (f16 or bf16), row-major `[out][in]`; vectors are f32;
//! RoPE pairs are `(i, i + head_dim / 2)` (Hugging Face's rotate-half order) whatever the file said.

use std::borrow::Cow;

/// Format of a weight matrix on the wafer; both widen to f32 exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// Sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Width of the gated feed-forward layer.
    pub ffn: usize,
    /// Tokens.
    pub vocab: usize,
    /// Epsilon under the root of RMSNorm.
    pub norm_eps: f32,
    /// Rotation per position of each pair, `head_dim / 2` values (scaling already applied).
    pub inv_freq: Vec<f64>,
    /// The output head is the embedding table.
    pub tied: bool,
    /// Q, K and V have biases (Qwen2).
    pub qkv_bias: bool,
}

/// Weight matrices. `[out][in]` shapes in elements beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatrixId {
    /// `[vocab][hidden]`.
    Embedding,
    /// `[vocab][hidden]`; the embedding itself when tied.
    Output,
    /// `[n_heads * head_dim][hidden]` of a layer.
    Q(usize),
    /// `[n_kv_heads * head_dim][hidden]`.
    K(usize),
    /// `[n_kv_heads * head_dim][hidden]`.
    V(usize),
    /// `[hidden][n_heads * head_dim]`.
    O(usize),
    /// `[ffn][hidden]`.
    Gate(usize),
    /// `[ffn][hidden]`.
    Up(usize),
    /// `[hidden][ffn]`.
    Down(usize),
}

/// One-dimensional tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VectorId {
    /// RMSNorm weight before attention, `[hidden]`.
    AttentionNorm(usize),
    /// RMSNorm weight before the feed-forward layer, `[hidden]`.
    FfnNorm(usize),
    /// Final RMSNorm weight, `[hidden]`.
    FinalNorm,
    /// Bias of Q, `[n_heads * head_dim]`; only with `qkv_bias`.
    QBias(usize),
    /// Bias of K, `[n_kv_heads * head_dim]`.
    KBias(usize),
    /// Bias of V, `[n_kv_heads * head_dim]`.
    VBias(usize),
}

/// A weight matrix: `rows x cols` (out x in) elements of 16 bits, row-major.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// How to read the bits.
    pub format: WeightFormat,
    /// `rows * cols` elements.
    pub bits: Cow<'a, [u16]>,
}

impl Matrix<'_> {
    /// Element `[out][in]`, widened exactly.
    pub fn at(&self, out: usize, input: usize) -> f32 {
        widen(self.format, self.bits[out * self.cols + input])
    }
}

/// The exact f32 value of a 16-bit weight.
#[inline]
pub fn widen(format: WeightFormat, bits: u16) -> f32 {
    match format {
        WeightFormat::F16 => half::f16::from_bits(bits).to_f32(),
        WeightFormat::Bf16 => half::bf16::from_bits(bits).to_f32(),
    }
}

/// Something that holds the weights of one model. Every tensor that the shape implies exists, with the right shape
/// and only finite values: loaders check before they hand one out.
pub trait Checkpoint: Sync {
    /// Sizes and constants.
    fn shape(&self) -> &ModelShape;
    /// A weight matrix. Borrowed where the file holds it as it is; dequantised or permuted on the way otherwise.
    fn matrix(&self, id: MatrixId) -> Matrix<'_>;
    /// A one-dimensional tensor in f32.
    fn vector(&self, id: VectorId) -> Cow<'_, [f32]>;
}
