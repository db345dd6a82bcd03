//! What a model asks of any machine: multiplications, bytes.
//!
//! Invariant: counts of the model as it is, no padding; independent of chip and placement.

use crate::math::checkpoint::ModelShape;

/// Multiply-adds of one token's matrices in one layer.
pub fn layer_matrix_macs(s: &ModelShape) -> u64 {
    let (h, hd) = (s.hidden as u64, s.head_dim as u64);
    let (q, kv, f) = (s.n_heads as u64 * hd, s.n_kv_heads as u64 * hd, s.ffn as u64);
    h * (q + 2 * kv) + q * h + 3 * h * f
}

/// Multiply-adds of the scores and values of one token that sees `positions` positions, its own included, in one layer.
pub fn layer_attention_macs(s: &ModelShape, positions: usize) -> u64 {
    2 * (s.n_heads * s.head_dim) as u64 * positions as u64
}

/// Of a layer of decode at `position`.
pub fn decode_layer_macs(s: &ModelShape, position: usize) -> u64 {
    layer_matrix_macs(s) + layer_attention_macs(s, position + 1)
}

/// Of a layer of a prefill of `n` positions, each seeing those before it.
pub fn prefill_layer_macs(s: &ModelShape, n: usize) -> u64 {
    let pairs = n as u64 * (n as u64 + 1) / 2;
    n as u64 * layer_matrix_macs(s) + 2 * (s.n_heads * s.head_dim) as u64 * pairs
}

/// Of the output head for one token.
pub fn head_macs(s: &ModelShape) -> u64 {
    s.hidden as u64 * s.vocab as u64
}

/// Bytes of all weight matrices in 16 bits.
pub fn weight_bytes(s: &ModelShape) -> u64 {
    let tables = if s.tied { 1 } else { 2 };
    2 * (s.n_layers as u64 * layer_matrix_macs(s) + tables * head_macs(s))
}

/// Bytes of K and V of one position in all layers; `kv_bytes` an element.
pub fn kv_bytes(s: &ModelShape, kv_bytes: usize) -> u64 {
    2 * (s.n_layers * s.n_kv_heads * s.head_dim * kv_bytes) as u64
}
