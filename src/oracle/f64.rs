//! A plain LLaMA forward pass in f64: no mesh, no trees, no slices.
//!
//! It bounds the numerical error of the f32 order: the weights are the same bits, everything after them is f64. K and V
//! may be rounded to binary16 as the wafer stores them, which leaves only f32 rounding as a difference.
//!
//! Invariant: nothing here depends on a recipe. Called by tests and by `plummer verify`.

use super::KvType;
use crate::math::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId};
use std::borrow::Cow;

/// One decoder layer with the K and V of each position so far.
struct Layer<'a> {
    matrices: [Matrix<'a>; 7],
    biases: Option<[Cow<'a, [f32]>; 3]>,
    norms: [Cow<'a, [f32]>; 2],
    k: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
}

/// The mesh-independent oracle.
pub struct F64Oracle<'a> {
    shape: &'a ModelShape,
    embedding: Matrix<'a>,
    output: Matrix<'a>,
    final_norm: Cow<'a, [f32]>,
    layers: Vec<Layer<'a>>,
    kv_type: KvType,
    pos: usize,
}

impl<'a> F64Oracle<'a> {
    /// Starts at position 0. With [`KvType::F16`] K and V are rounded to binary16, else they stay f64.
    pub fn new(checkpoint: &'a dyn Checkpoint, kv_type: KvType) -> Self {
        let shape = checkpoint.shape();
        let layer = |l| Layer {
            matrices: [
                MatrixId::Q(l),
                MatrixId::K(l),
                MatrixId::V(l),
                MatrixId::O(l),
                MatrixId::Gate(l),
                MatrixId::Up(l),
                MatrixId::Down(l),
            ]
            .map(|id| checkpoint.matrix(id)),
            biases: shape
                .qkv_bias
                .then(|| [VectorId::QBias(l), VectorId::KBias(l), VectorId::VBias(l)].map(|id| checkpoint.vector(id))),
            norms: [VectorId::AttentionNorm(l), VectorId::FfnNorm(l)].map(|id| checkpoint.vector(id)),
            k: Vec::new(),
            v: Vec::new(),
        };
        Self {
            shape,
            embedding: checkpoint.matrix(MatrixId::Embedding),
            output: checkpoint.matrix(MatrixId::Output),
            final_norm: checkpoint.vector(VectorId::FinalNorm),
            layers: (0..shape.n_layers).map(layer).collect(),
            kv_type,
            pos: 0,
        }
    }

    /// Feeds the token `id` at the next position and gives its `[vocab]` logits. An id outside the vocabulary embeds
    /// to zero.
    pub fn step(&mut self, id: u32) -> Vec<f64> {
        let pos = self.pos;
        self.pos += 1;
        let shape = self.shape;
        let id = id as usize;
        let mut x = vec![0.0; shape.hidden];
        if id < shape.vocab {
            x = (0..shape.hidden).map(|i| f64::from(self.embedding.at(id, i))).collect();
        }
        for layer in &mut self.layers {
            let [q_w, k_w, v_w, o_w, gate_w, up_w, down_w] = &layer.matrices;
            let normed = rms_norm(shape, &x, &layer.norms[0]);
            let mut qkv = [q_w, k_w, v_w].map(|w| multiply(w, &normed));
            if let Some(biases) = &layer.biases {
                for (y, bias) in qkv.iter_mut().zip(biases) {
                    y.iter_mut().zip(bias.iter()).for_each(|(y, b)| *y += f64::from(*b));
                }
            }
            let [mut q, mut k, v] = qkv;
            rotate(shape, &mut q, pos);
            rotate(shape, &mut k, pos);
            layer.k.push(stored(self.kv_type, k));
            layer.v.push(stored(self.kv_type, v));
            accumulate(&mut x, &multiply(o_w, &attend(shape, &q, &layer.k, &layer.v)));

            let normed = rms_norm(shape, &x, &layer.norms[1]);
            let (gate, up) = (multiply(gate_w, &normed), multiply(up_w, &normed));
            let h: Vec<f64> = gate.iter().zip(&up).map(|(z, up)| z / (1.0 + libm::exp(-z)) * up).collect();
            accumulate(&mut x, &multiply(down_w, &h));
        }
        multiply(&self.output, &rms_norm(shape, &x, &self.final_norm))
    }
}

fn multiply(w: &Matrix<'_>, x: &[f64]) -> Vec<f64> {
    (0..w.rows).map(|row| x.iter().enumerate().map(|(col, x)| x * f64::from(w.at(row, col))).sum()).collect()
}

fn accumulate(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rms_norm(shape: &ModelShape, x: &[f64], g: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let inv = 1.0 / (mean + f64::from(shape.norm_eps)).sqrt();
    x.iter().zip(g).map(|(x, g)| x * inv * f64::from(*g)).collect()
}

fn rotate(shape: &ModelShape, y: &mut [f64], pos: usize) {
    let half = shape.head_dim / 2;
    for head in y.chunks_exact_mut(shape.head_dim) {
        for (i, inv_freq) in shape.inv_freq.iter().enumerate() {
            let angle = pos as f64 * inv_freq;
            let (s, c) = (libm::sin(angle), libm::cos(angle));
            let (lo, hi) = (head[i], head[i + half]);
            (head[i], head[i + half]) = (lo * c - hi * s, hi * c + lo * s);
        }
    }
}

fn stored(kv_type: KvType, y: Vec<f64>) -> Vec<f64> {
    match kv_type {
        KvType::F32 => y,
        KvType::F16 => y.into_iter().map(|y| half::f16::from_f64(y).to_f64()).collect(),
    }
}

/// Softmax attention of all query heads over all positions.
fn attend(shape: &ModelShape, q: &[f64], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<f64> {
    let queries = shape.n_heads / shape.n_kv_heads;
    let mut o = vec![0.0; q.len()];
    let heads = q.chunks_exact(shape.head_dim).zip(o.chunks_exact_mut(shape.head_dim));
    for (head, (q, o)) in heads.enumerate() {
        let held = head / queries * shape.head_dim..(head / queries + 1) * shape.head_dim;
        let dot = |k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
        let scores: Vec<f64> = k.iter().map(|k| dot(&k[held.clone()]) / (shape.head_dim as f64).sqrt()).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
        let e: Vec<f64> = scores.iter().map(|s| libm::exp(s - max)).collect();
        let sum: f64 = e.iter().sum();
        for (e, v) in e.iter().zip(v) {
            o.iter_mut().zip(&v[held.clone()]).for_each(|(o, v)| *o += e / sum * v);
        }
    }
    o
}
