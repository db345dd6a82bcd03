//! The tiny model of the tests of decode and prefill: sizes that no mesh and no SIMD width divides.

use plummer::math::checkpoint::ModelShape;

/// Three layers of 22 hidden numbers, heads of 6.
pub fn shape(n_heads: usize, n_kv_heads: usize, tied: bool, qkv_bias: bool) -> ModelShape {
    ModelShape {
        hidden: 22,
        n_layers: 3,
        n_heads,
        n_kv_heads,
        head_dim: 6,
        ffn: 29,
        vocab: 37,
        norm_eps: 1e-5,
        inv_freq: vec![1.0, 0.1, 0.01],
        tied,
        qkv_bias,
    }
}
