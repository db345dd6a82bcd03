//! A checkpoint of seeded random weights: for tests, examples and synthetic shapes.
//!
//! Weights are uniform with variance `1 / inputs` (embeddings: variance 1), norms are within 10 % of 1, biases within
//! 0.25, so that activations stay near 1 through any number of layers and logits are of order 1.
//!
//! Invariant: the same shape, format and seed give the same bits on every host (ChaCha8, integer to float exactly).
//! Invariant: a tensor's values do not depend on which other tensors the model has: each has a stream of its own.

use super::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId, WeightFormat};
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Random weights of a given shape, all in memory.
#[derive(Clone, Debug)]
pub struct RandomCheckpoint {
    shape: ModelShape,
    matrices: BTreeMap<MatrixId, Matrix<'static>>,
    vectors: BTreeMap<VectorId, Vec<f32>>,
}

impl RandomCheckpoint {
    /// Draws every tensor of `shape` from `seed`.
    pub fn new(shape: ModelShape, format: WeightFormat, seed: u64) -> Self {
        let matrices = matrix_ids(&shape)
            .into_iter()
            .map(|(id, rows, cols)| (id, random_matrix(&shape, format, seed, id, rows, cols)))
            .collect();
        let vectors = vector_ids(&shape).into_iter().map(|(id, len)| (id, random_vector(seed, id, len))).collect();
        Self { shape, matrices, vectors }
    }
}

impl Checkpoint for RandomCheckpoint {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn matrix(&self, id: MatrixId) -> Matrix<'_> {
        let held = match id {
            MatrixId::Output if self.shape.tied => MatrixId::Embedding,
            _ => id,
        };
        let matrix = &self.matrices[&held];
        Matrix { rows: matrix.rows, cols: matrix.cols, format: matrix.format, bits: Cow::Borrowed(&matrix.bits) }
    }

    fn vector(&self, id: VectorId) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.vectors[&id])
    }
}

/// Every matrix that the shape implies, with its rows and columns.
fn matrix_ids(shape: &ModelShape) -> Vec<(MatrixId, usize, usize)> {
    let (hidden, q_dim, kv_dim) = (shape.hidden, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim);
    let mut ids = vec![(MatrixId::Embedding, shape.vocab, hidden)];
    if !shape.tied {
        ids.push((MatrixId::Output, shape.vocab, hidden));
    }
    for layer in 0..shape.n_layers {
        ids.extend([
            (MatrixId::Q(layer), q_dim, hidden),
            (MatrixId::K(layer), kv_dim, hidden),
            (MatrixId::V(layer), kv_dim, hidden),
            (MatrixId::O(layer), hidden, q_dim),
            (MatrixId::Gate(layer), shape.ffn, hidden),
            (MatrixId::Up(layer), shape.ffn, hidden),
            (MatrixId::Down(layer), hidden, shape.ffn),
        ]);
    }
    ids
}

/// Every one-dimensional tensor that the shape implies, with its length.
fn vector_ids(shape: &ModelShape) -> Vec<(VectorId, usize)> {
    let mut ids = vec![(VectorId::FinalNorm, shape.hidden)];
    for layer in 0..shape.n_layers {
        ids.push((VectorId::AttentionNorm(layer), shape.hidden));
        ids.push((VectorId::FfnNorm(layer), shape.hidden));
        if shape.qkv_bias {
            ids.extend([
                (VectorId::QBias(layer), shape.n_heads * shape.head_dim),
                (VectorId::KBias(layer), shape.n_kv_heads * shape.head_dim),
                (VectorId::VBias(layer), shape.n_kv_heads * shape.head_dim),
            ]);
        }
    }
    ids
}

/// A generator for the tensor with this kind and layer.
fn stream(seed: u64, kind: u64, layer: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((layer as u64) << 8 | kind);
    rng
}

/// Uniform in [-1, 1), a multiple of 2^-23.
fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0
}

fn random_matrix(
    shape: &ModelShape,
    format: WeightFormat,
    seed: u64,
    id: MatrixId,
    rows: usize,
    cols: usize,
) -> Matrix<'static> {
    let (kind, layer) = match id {
        MatrixId::Embedding => (0, 0),
        MatrixId::Output => (1, 0),
        MatrixId::Q(layer) => (2, layer),
        MatrixId::K(layer) => (3, layer),
        MatrixId::V(layer) => (4, layer),
        MatrixId::O(layer) => (5, layer),
        MatrixId::Gate(layer) => (6, layer),
        MatrixId::Up(layer) => (7, layer),
        MatrixId::Down(layer) => (8, layer),
    };
    let variance = match id {
        MatrixId::Embedding if !shape.tied => 1.0,
        _ => 1.0 / cols as f32,
    };
    let scale = (3.0 * variance).sqrt(); // uniform in [-s, s) has variance s^2 / 3
    let mut rng = stream(seed, kind, layer);
    let mut draw = || {
        let value = unit(&mut rng) * scale;
        match format {
            WeightFormat::F16 => f16::from_f32(value).to_bits(),
            WeightFormat::Bf16 => bf16::from_f32(value).to_bits(),
        }
    };
    Matrix { rows, cols, format, bits: (0..rows * cols).map(|_| draw()).collect() }
}

fn random_vector(seed: u64, id: VectorId, len: usize) -> Vec<f32> {
    let (kind, layer, centre, spread) = match id {
        VectorId::AttentionNorm(layer) => (16, layer, 1.0, 0.1),
        VectorId::FfnNorm(layer) => (17, layer, 1.0, 0.1),
        VectorId::FinalNorm => (18, 0, 1.0, 0.1),
        VectorId::QBias(layer) => (19, layer, 0.0, 0.25),
        VectorId::KBias(layer) => (20, layer, 0.0, 0.25),
        VectorId::VBias(layer) => (21, layer, 0.0, 0.25),
    };
    let mut rng = stream(seed, kind, layer);
    (0..len).map(|_| centre + spread * unit(&mut rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(tied: bool, qkv_bias: bool) -> ModelShape {
        ModelShape {
            hidden: 24,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 6,
            ffn: 40,
            vocab: 50,
            norm_eps: 1e-5,
            inv_freq: vec![1.0, 0.1, 0.01],
            tied,
            qkv_bias,
        }
    }

    #[test]
    fn every_tensor_of_the_shape_exists_with_its_size_and_variance() {
        for (tied, bias) in [(true, false), (false, true)] {
            let shape = shape(tied, bias);
            let checkpoint = RandomCheckpoint::new(shape.clone(), WeightFormat::F16, 7);
            for (id, rows, cols) in matrix_ids(&shape) {
                let matrix = checkpoint.matrix(id);
                assert_eq!((matrix.rows, matrix.cols), (rows, cols), "{id:?}");
                let values = || (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c)));
                let power: f32 = values().map(|(r, c)| matrix.at(r, c).powi(2)).sum();
                let variance = power / (rows * cols) as f32;
                let unit = id == MatrixId::Embedding && !tied;
                let expect = if unit { 1.0 } else { 1.0 / cols as f32 };
                assert!((variance / expect - 1.0).abs() < 0.2, "{id:?}: {variance}");
            }
            for (id, len) in vector_ids(&shape) {
                assert_eq!(checkpoint.vector(id).len(), len, "{id:?}");
            }
            let same = checkpoint.matrix(MatrixId::Output).bits == checkpoint.matrix(MatrixId::Embedding).bits;
            assert_eq!(same, tied);
        }
    }

    #[test]
    fn seed_and_tensor_choose_the_bits_and_nothing_else_does() {
        let bits = |seed, tied, id| {
            RandomCheckpoint::new(shape(tied, false), WeightFormat::Bf16, seed).matrix(id).bits.into_owned()
        };
        assert_eq!(bits(1, true, MatrixId::Q(1)), bits(1, false, MatrixId::Q(1)));
        assert_ne!(bits(1, true, MatrixId::Q(1)), bits(2, true, MatrixId::Q(1)));
        assert_ne!(bits(1, true, MatrixId::Q(1)), bits(1, true, MatrixId::Q(0)));
        assert_ne!(bits(1, true, MatrixId::K(0)), bits(1, true, MatrixId::V(0)));
    }
}
