//! One token after the other in the wafer's order of operations, on one thread.
//!
//! A GEMV output is one chain over a slice of k, whichever PE holds the output; so where the wafer gives every PE some
//! outputs, this computes all outputs of a k slice at once. Only slices of k, and trees over them, show in the bits:
//!
//! ```text
//! x --QKV: k over rows--> tree y --> RoPE, KV --score: dims over a band--> tree --softmax: positions, rows--> tree y
//!   --AV: positions over rows--> tree y --O: heads, columns--> tree x --> x --gate|up: rows--> --down: columns--> x
//! ```
//!
//! Invariant: every f32 operation below is one of the wafer's, in its order. Called through `Oracle` by tests, verify.

mod prefill;

pub use prefill::Chunks;

use super::ktree::{add, ktree};
use super::slices::{Heads, positions_of_rows};
use super::{KvType, Recipe, RecipeError};
use crate::math::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId, WeightFormat};
use crate::math::reduce::fmax;
use crate::math::split::split;
use crate::math::{Kernels, exp, fma, rope, vector};
use std::borrow::Cow;

/// A number on the way, for whoever looks for the first one that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// x as the token's embedding.
    Embedding,
    /// q, k and v of a layer after bias, RoPE and scale, before K and V are stored.
    Qkv(usize),
    /// The attention output of a layer.
    Av(usize),
    /// x after a layer's O.
    O(usize),
    /// x after a layer's feed-forward.
    Ffn(usize),
}

/// A weight matrix turned to `[in][out]`, so that a GEMV walks rows.
struct Weights {
    outputs: usize,
    format: WeightFormat,
    bits: Vec<u16>,
}

impl Weights {
    fn new(matrix: &Matrix<'_>) -> Self {
        const BLOCK: usize = 64; // outputs per pass: keeps the written lines in L1
        let mut bits = vec![0; matrix.rows * matrix.cols];
        for first in (0..matrix.rows).step_by(BLOCK) {
            for input in 0..matrix.cols {
                for out in first..(first + BLOCK).min(matrix.rows) {
                    bits[input * matrix.rows + out] = matrix.bits[out * matrix.cols + input];
                }
            }
        }
        Self { outputs: matrix.rows, format: matrix.format, bits }
    }

    /// `y[n] = +0.0`, then `y[n] = fma(x[k], w[k][n], y[n])` for k in the order given.
    fn gemv(&self, kernels: Kernels, x: &[f32], order: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let mut y = vec![0.0; self.outputs];
        for k in order {
            let row = &self.bits[k * self.outputs..][..self.outputs];
            vector::axpy_widen(kernels, self.format, x[k], row, &mut y);
        }
        y
    }
}

/// One decoder layer: weights, and the K and V of each position so far as they are stored.
struct Layer<'a> {
    qkv: [Weights; 3],
    biases: Option<[Cow<'a, [f32]>; 3]>,
    o: Weights,
    gate_up: [Weights; 2],
    down: Weights,
    attention_norm: Cow<'a, [f32]>,
    ffn_norm: Cow<'a, [f32]>,
    k: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
}

impl<'a> Layer<'a> {
    fn new(checkpoint: &'a dyn Checkpoint, layer: usize) -> Self {
        let weights = |id| Weights::new(&checkpoint.matrix(id));
        let vector = |id| checkpoint.vector(id);
        let biases = [VectorId::QBias(layer), VectorId::KBias(layer), VectorId::VBias(layer)];
        Self {
            qkv: [MatrixId::Q(layer), MatrixId::K(layer), MatrixId::V(layer)].map(weights),
            biases: checkpoint.shape().qkv_bias.then(|| biases.map(vector)),
            o: weights(MatrixId::O(layer)),
            gate_up: [MatrixId::Gate(layer), MatrixId::Up(layer)].map(weights),
            down: weights(MatrixId::Down(layer)),
            attention_norm: vector(VectorId::AttentionNorm(layer)),
            ffn_norm: vector(VectorId::FfnNorm(layer)),
            k: Vec::new(),
            v: Vec::new(),
        }
    }
}

/// What does not change from token to token.
struct Plan<'a> {
    shape: &'a ModelShape,
    recipe: Recipe,
    heads: Heads,
    kernels: Kernels,
}

/// The serial twin of a session: same model, same recipe, same bits.
pub struct Oracle<'a> {
    plan: Plan<'a>,
    embedding: Matrix<'a>,
    output: Weights,
    final_norm: Cow<'a, [f32]>,
    layers: Vec<Layer<'a>>,
    pos: usize,
}

impl<'a> Oracle<'a> {
    /// Turns every matrix of the checkpoint to `[in][out]` (a second copy in memory) and starts at position 0.
    ///
    /// # Errors
    /// A recipe with an empty mesh, or with a group list that is not one of a tree.
    pub fn new(checkpoint: &'a dyn Checkpoint, recipe: Recipe) -> Result<Self, RecipeError> {
        recipe.check()?;
        let shape = checkpoint.shape();
        let heads = Heads::new(shape, recipe.cols);
        Ok(Self {
            plan: Plan { shape, recipe, heads, kernels: Kernels::detect() },
            embedding: checkpoint.matrix(MatrixId::Embedding),
            output: Weights::new(&checkpoint.matrix(MatrixId::Output)),
            final_norm: checkpoint.vector(VectorId::FinalNorm),
            layers: (0..shape.n_layers).map(|layer| Layer::new(checkpoint, layer)).collect(),
            pos: 0,
        })
    }

    /// Goes on in another recipe's order: K and V stay as they are stored.
    ///
    /// # Errors
    /// As `new`.
    pub fn change(&mut self, recipe: Recipe) -> Result<(), RecipeError> {
        recipe.check()?;
        self.plan.heads = Heads::new(self.plan.shape, recipe.cols);
        self.plan.recipe = recipe;
        Ok(())
    }

    /// Feeds the token `id` at the next position; gives `[vocab]` logits if they are wanted. An id that no column
    /// holds embeds to zero, as the one-hot select on the wafer does.
    pub fn step(&mut self, id: u32, want_logits: bool) -> Option<Vec<f32>> {
        self.step_observed(id, want_logits, &mut |_, _| ())
    }

    /// As `step`; shows activations on the way, in order.
    pub fn step_observed(
        &mut self,
        id: u32,
        want_logits: bool,
        observe: &mut dyn FnMut(Observed, &[f32]),
    ) -> Option<Vec<f32>> {
        let pos = self.pos;
        self.pos += 1;
        let mut x = self.embed(id as usize);
        observe(Observed::Embedding, &x);
        for (at, layer) in self.layers.iter_mut().enumerate() {
            let (qkv, av) = self.plan.attention(layer, pos, &mut x);
            observe(Observed::Qkv(at), &qkv);
            observe(Observed::Av(at), &av);
            observe(Observed::O(at), &x);
            self.plan.feed_forward(layer, &mut x);
            observe(Observed::Ffn(at), &x);
        }
        want_logits.then(|| {
            let [logits] = self.plan.normed_gemv(&x, &self.final_norm, [&self.output]);
            logits
        })
    }

    /// The one-hot select: the column that holds `id` contributes the row, every other one zeros.
    fn embed(&self, id: usize) -> Vec<f32> {
        let Plan { shape, recipe, .. } = &self.plan;
        let columns = split(shape.vocab, recipe.head_cols)
            .map(|vocab| match vocab.contains(&id) {
                true => (0..shape.hidden).map(|i| self.embedding.at(id, i)).collect(),
                false => vec![0.0; shape.hidden],
            })
            .collect();
        ktree(columns, &recipe.groups_head, add)
    }
}

impl Plan<'_> {
    /// RMSNorm fused into the GEMVs that follow it: `inv * (sum (x g) W)` the sum of squares in the same reduction.
    fn normed_gemv<const N: usize>(&self, x: &[f32], g: &[f32], weights: [&Weights; N]) -> [Vec<f32>; N] {
        let xg: Vec<f32> = x.iter().zip(g).map(|(x, g)| x * g).collect();
        let rows = split(self.shape.hidden, self.recipe.rows)
            .map(|slice| {
                let mut y: Vec<f32> = weights.iter().flat_map(|w| w.gemv(self.kernels, &xg, slice.clone())).collect();
                y.push(x[slice].iter().fold(0.0, |ss, x| fma(*x, *x, ss)));
                y
            })
            .collect();
        let mut y = ktree(rows, &self.recipe.groups_y, add);
        let ss = y.pop().expect("the sum of squares was pushed last");
        let mean = ss / self.shape.hidden as f32;
        let inv = 1.0 / (mean + self.shape.norm_eps).sqrt();
        let mut y = y.into_iter().map(|y| inv * y);
        weights.map(|w| y.by_ref().take(w.outputs).collect())
    }

    /// A GEMV whose inputs are spread over columns, added to the residual stream.
    fn add_projection(&self, x: &mut [f32], w: &Weights, input: &[f32], columns: impl Iterator<Item = Vec<usize>>) {
        let partial = columns.map(|order| w.gemv(self.kernels, input, order)).collect();
        let y = ktree(partial, &self.recipe.groups_x, add);
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }

    /// Adds the attention to x; its q, k, v and its output.
    fn attention(&self, layer: &mut Layer<'_>, pos: usize, x: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let [q_w, k_w, v_w] = &layer.qkv;
        let mut qkv = self.normed_gemv(x, &layer.attention_norm, [q_w, k_w, v_w]);
        if let Some(biases) = &layer.biases {
            for (y, bias) in qkv.iter_mut().zip(biases) {
                y.iter_mut().zip(bias.iter()).for_each(|(y, b)| *y += b);
            }
        }
        let [mut q, mut k, v] = qkv;
        self.rotate(&mut q, pos);
        self.rotate(&mut k, pos);
        let scale = (1.0 / (self.shape.head_dim as f64).sqrt()) as f32;
        q.iter_mut().for_each(|q| *q *= scale);
        let shown = [&q[..], &k, &v].concat();
        layer.k.push(self.stored(k));
        layer.v.push(self.stored(v));
        let head_dim = self.shape.head_dim;
        let queries = self.shape.n_heads / self.shape.n_kv_heads;
        let o: Vec<f32> = q
            .chunks_exact(head_dim)
            .enumerate()
            .flat_map(|(head, q)| self.attend(q, head / queries, &layer.k, &layer.v))
            .collect();
        self.add_projection(x, &layer.o, &o, self.heads.o_inputs.iter().cloned());
        (shown, o)
    }

    /// RoPE on every head of `y`, pairs `(i, i + head_dim / 2)`.
    fn rotate(&self, y: &mut [f32], pos: usize) {
        for head in y.chunks_exact_mut(self.shape.head_dim) {
            let (low, high) = head.split_at_mut(self.shape.head_dim / 2);
            for ((lo, hi), inv_freq) in low.iter_mut().zip(high).zip(&self.shape.inv_freq) {
                let (s, c) = rope::sin_cos(pos as u64, *inv_freq);
                (*lo, *hi) = rope::rotate(*lo, *hi, c, s);
            }
        }
    }

    /// The values that later uses read back.
    fn stored(&self, y: Vec<f32>) -> Vec<f32> {
        match self.recipe.kv_type {
            KvType::F32 => y,
            KvType::F16 => y.into_iter().map(|y| half::f16::from_f32(y).to_f32()).collect(),
        }
    }

    /// One query head over all positions: score, softmax, AV.
    fn attend(&self, q: &[f32], kv_head: usize, k: &[Vec<f32>], v: &[Vec<f32>]) -> Vec<f32> {
        let head_dim = self.shape.head_dim;
        let held = kv_head * head_dim..(kv_head + 1) * head_dim;
        let groups_y = &self.recipe.groups_y;
        let rows = positions_of_rows(self.recipe.kv, self.recipe.rows, k.len());

        let band = &self.heads.bands[kv_head];
        let partial = band.iter().map(|dims| {
            let score = |k: &[f32]| dims.iter().fold(0.0, |s, d| fma(q[*d], k[*d], s));
            k.iter().map(|k| score(&k[held.clone()])).collect()
        });
        let s = ktree(partial.collect(), &[1], add);

        let row_max =
            |row: &std::ops::Range<usize>| vec![s[row.clone()].iter().fold(f32::NEG_INFINITY, |m, s| fmax(m, *s))];
        let m = ktree(rows.iter().map(row_max).collect(), groups_y, fmax)[0];
        let e: Vec<f32> = s.iter().map(|s| exp(s - m)).collect();
        let row_sum = |row: &std::ops::Range<usize>| vec![e[row.clone()].iter().fold(0.0, |sum, e| sum + e)];
        let sum = ktree(rows.iter().map(row_sum).collect(), groups_y, add)[0];

        let row_output = |row: &std::ops::Range<usize>| {
            let mut o = vec![0.0; head_dim];
            for p in row.clone() {
                let prob = e[p] / sum;
                for (o, v) in o.iter_mut().zip(&v[p][held.clone()]) {
                    *o = fma(prob, *v, *o);
                }
            }
            o
        };
        ktree(rows.iter().map(row_output).collect(), groups_y, add)
    }

    fn feed_forward(&self, layer: &Layer<'_>, x: &mut [f32]) {
        let [gate_w, up_w] = &layer.gate_up;
        let [gate, up] = self.normed_gemv(x, &layer.ffn_norm, [gate_w, up_w]);
        let silu = |z: f32| z / (1.0 + exp(-z));
        let h: Vec<f32> = gate.iter().zip(&up).map(|(gate, up)| silu(*gate) * up).collect();
        let columns = split(self.shape.ffn, self.recipe.cols).map(Iterator::collect);
        self.add_projection(x, &layer.down, &h, columns);
    }
}
