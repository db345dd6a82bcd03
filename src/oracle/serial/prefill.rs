//! A prompt in chunks, in the wafer's order of operations, on one thread.
//!
//! ```text
//! chunk of S positions:   the residual x of position t lives on column c(t): part c of S over the columns
//!                         q, k, v, attention and feed-forward of t on row r(t): part r of S over the rows
//! x --norm, QKV: k over rows--> chain to row r(t) --> RoPE, KV
//!   --score: dims over a band--> chain to the band's middle --softmax and AV block by block, as K and V pass by-->
//!   --O: heads, columns--> chain to column c(t) --> x --gate|up--> row r(t) --down--> column c(t)
//! ```
//! A chain to member m: from either end inwards, each adding its own to what comes in; m adds the higher side to its
//! own, then the lower. K and V pass a row in the order of the interleaved ring, its own first: those of earlier chunks
//! (from the rows where decode will look for them, `older` positions of each row at a time), then those of this chunk.
//! Softmax is renormalised at every block: m' = max(m, scores), o = exp(m - m') o, l = exp(m - m') l, then o and l take
//! the block's exp(s - m') v and exp(s - m') in order of position; the output is o / l.
//!
//! Invariant: every f32 operation below is one of the wafer's, in its order; only the head uses K-trees.

use super::{Layer, Oracle, Plan, Weights, positions_of_rows};
use crate::math::reduce::fmax;
use crate::math::split::{part_of, split};
use crate::math::{exp, fma};
use std::ops::Range;

/// How a prompt is cut; both counts are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Positions of a chunk; the last one may be shorter.
    pub positions: usize,
    /// Positions of earlier chunks that pass at once, from every row.
    pub older: usize,
}

/// One chunk.
struct Chunk {
    /// Its first position.
    base: usize,
    /// Positions of every row in it.
    rows: Vec<Range<usize>>,
    /// Blocks of older positions in the order in which they pass, for every row.
    older: Vec<Vec<Range<usize>>>,
    /// Rows in the order in which their blocks pass, for every row.
    order: Vec<Vec<usize>>,
    /// Row and column of every position.
    homes: Vec<(usize, usize)>,
}

impl Oracle<'_> {
    /// Feeds a whole prompt from position 0; `[vocab]` logits of its last position. `step` goes on from there.
    pub fn prefill(&mut self, ids: &[u32], chunks: Chunks) -> Vec<f32> {
        let Chunks { positions, older } = chunks;
        assert!(self.pos == 0 && positions * older > 0 && !ids.is_empty(), "a prefill starts a session");
        let mut last = Vec::new();
        for ids_here in ids.chunks(positions) {
            let chunk = self.plan.chunk(self.pos, ids_here.len(), ids.len(), older);
            let mut x: Vec<Vec<f32>> = ids_here.iter().map(|id| self.embed(*id as usize)).collect();
            for layer in &mut self.layers {
                self.plan.chunk_attention(layer, &chunk, &mut x);
                self.plan.chunk_feed_forward(layer, &chunk, &mut x);
            }
            self.pos += ids_here.len();
            last = x.pop().unwrap_or_default();
        }
        let [logits] = self.plan.normed_gemv(&last, &self.final_norm, [&self.output]);
        logits
    }
}

impl Plan<'_> {
    fn chunk(&self, base: usize, len: usize, prompt: usize, pass: usize) -> Chunk {
        let (rows, cols) = (self.recipe.rows, self.recipe.cols);
        let parts: Vec<Range<usize>> = split(len, rows).map(|r| base + r.start..base + r.end).collect();
        let held = positions_of_rows(self.recipe.kv, rows, prompt);
        let order: Vec<Vec<usize>> = (0..rows).map(|row| ring_from(row, rows)).collect();
        let most = held.iter().map(|h| h.end.min(base).saturating_sub(h.start)).max().unwrap_or(0);
        let piece = |row: usize, nth: usize| {
            let end = held[row].end.min(base);
            let start = (held[row].start + nth * pass).min(end);
            start..end.min(start + pass)
        };
        let passing = |order: &Vec<usize>| {
            (0..most.div_ceil(pass)).flat_map(|n| order.iter().map(move |b| piece(*b, n))).collect()
        };
        let older = order.iter().map(passing).collect();
        let homes = (0..len).map(|t| (part_of(len, rows, t), part_of(len, cols, t))).collect();
        Chunk { base, rows: parts, older, order, homes }
    }

    fn chunk_attention(&self, layer: &mut Layer<'_>, chunk: &Chunk, x: &mut [Vec<f32>]) {
        let scale = (1.0 / (self.shape.head_dim as f64).sqrt()) as f32;
        let mut queries = Vec::new();
        for (t, x) in x.iter().enumerate() {
            let weights = [&layer.qkv[0], &layer.qkv[1], &layer.qkv[2]];
            let mut qkv = self.normed_to_row(x, &layer.attention_norm, weights, chunk.homes[t].0);
            if let Some(biases) = &layer.biases {
                for (y, bias) in qkv.iter_mut().zip(biases) {
                    y.iter_mut().zip(bias.iter()).for_each(|(y, b)| *y += b);
                }
            }
            let [mut q, mut k, v] = qkv;
            self.rotate(&mut q, chunk.base + t);
            self.rotate(&mut k, chunk.base + t);
            q.iter_mut().for_each(|q| *q *= scale);
            layer.k.push(self.stored(k));
            layer.v.push(self.stored(v));
            queries.push(q);
        }
        for (t, q) in queries.iter().enumerate() {
            let group = self.shape.n_heads / self.shape.n_kv_heads;
            let heads = q.chunks_exact(self.shape.head_dim).enumerate();
            let o: Vec<f32> = heads.flat_map(|(h, q)| self.attend_in_passing(q, h / group, layer, chunk, t)).collect();
            let columns = self.heads.o_inputs.clone();
            self.project_to_column(&mut x[t], &layer.o, &o, columns, chunk.homes[t].1);
        }
    }

    /// One query head of one position, over the blocks that pass its row.
    fn attend_in_passing(&self, q: &[f32], kv_head: usize, layer: &Layer<'_>, chunk: &Chunk, t: usize) -> Vec<f32> {
        let row = chunk.homes[t].0;
        let held = kv_head * self.shape.head_dim..(kv_head + 1) * self.shape.head_dim;
        let band = &self.heads.bands[kv_head];
        let (mut m, mut l, mut o) = (f32::NEG_INFINITY, 0.0, vec![0.0; self.shape.head_dim]);
        let fresh = chunk.order[row].iter().filter(|b| **b <= row).map(|b| chunk.rows[*b].clone());
        for block in chunk.older[row].iter().cloned().chain(fresh).filter(|b| !b.is_empty()) {
            let column = |dims: &Vec<usize>| -> Vec<f32> {
                let score = |k: &[f32]| dims.iter().fold(0.0, |s, d| fma(q[*d], k[*d], s));
                block.clone().map(|p| score(&layer.k[p][held.clone()])).collect()
            };
            let mut s = chain_to(&band.iter().map(column).collect::<Vec<_>>(), band.len() / 2);
            for (s, p) in s.iter_mut().zip(block.clone()) {
                *s = if p > chunk.base + t { f32::NEG_INFINITY } else { *s };
            }
            let new = s.iter().fold(m, |m, s| fmax(m, *s));
            let fade = exp(m - new);
            m = new;
            l *= fade;
            o.iter_mut().for_each(|o| *o *= fade);
            for (s, p) in s.iter().zip(block) {
                let e = exp(s - m);
                l += e;
                o.iter_mut().zip(&layer.v[p][held.clone()]).for_each(|(o, v)| *o = fma(e, *v, *o));
            }
        }
        o.into_iter().map(|o| o / l).collect()
    }

    fn chunk_feed_forward(&self, layer: &Layer<'_>, chunk: &Chunk, x: &mut [Vec<f32>]) {
        let silu = |z: f32| z / (1.0 + exp(-z));
        for (x, (row, col)) in x.iter_mut().zip(&chunk.homes) {
            let weights = [&layer.gate_up[0], &layer.gate_up[1]];
            let [gate, up] = self.normed_to_row(x, &layer.ffn_norm, weights, *row);
            let h: Vec<f32> = gate.iter().zip(&up).map(|(gate, up)| silu(*gate) * up).collect();
            let columns = split(self.shape.ffn, self.recipe.cols).map(Iterator::collect).collect();
            self.project_to_column(x, &layer.down, &h, columns, *col);
        }
    }

    /// As `normed_gemv`, the rows chained to row `root`.
    fn normed_to_row<const N: usize>(
        &self,
        x: &[f32],
        g: &[f32],
        weights: [&Weights; N],
        root: usize,
    ) -> [Vec<f32>; N] {
        let xg: Vec<f32> = x.iter().zip(g).map(|(x, g)| x * g).collect();
        let row = |slice: Range<usize>| {
            let mut y: Vec<f32> = weights.iter().flat_map(|w| w.gemv(self.kernels, &xg, slice.clone())).collect();
            y.push(x[slice].iter().fold(0.0, |ss, x| fma(*x, *x, ss)));
            y
        };
        let rows: Vec<Vec<f32>> = split(self.shape.hidden, self.recipe.rows).map(row).collect();
        let mut y = chain_to(&rows, root);
        let ss = y.pop().unwrap_or(0.0);
        let inv = 1.0 / (ss / self.shape.hidden as f32 + self.shape.norm_eps).sqrt();
        let mut y = y.into_iter().map(|y| inv * y);
        weights.map(|w| y.by_ref().take(w.outputs).collect())
    }

    fn project_to_column(&self, x: &mut [f32], w: &Weights, input: &[f32], columns: Vec<Vec<usize>>, root: usize) {
        let columns: Vec<Vec<f32>> = columns.into_iter().map(|order| w.gemv(self.kernels, input, order)).collect();
        x.iter_mut().zip(chain_to(&columns, root)).for_each(|(x, y)| *x += y);
    }
}

/// Rows in the order in which their blocks come to row `row` of `n`: who gives to whom, walked.
fn ring_from(row: usize, n: usize) -> Vec<usize> {
    let giver = |i: usize| match i {
        _ if n == 1 => 0,
        0 => 1,
        i if i % 2 == 1 && i + 2 < n => i + 2,
        i if i % 2 == 1 && i + 1 < n => i + 1,
        i if i % 2 == 1 => i - 1,
        i => i - 2,
    };
    let mut order = vec![row];
    while order.len() < n {
        order.push(giver(order[order.len() - 1]));
    }
    order
}

/// Sums of the members, elementwise, in the order of a chain to `root` from both ends.
fn chain_to(members: &[Vec<f32>], root: usize) -> Vec<f32> {
    let plus = |own: &[f32], incoming: &[f32]| own.iter().zip(incoming).map(|(a, b)| a + b).collect::<Vec<f32>>();
    let mut sum = members[root].clone();
    let higher: Vec<&Vec<f32>> = members[root + 1..].iter().rev().collect();
    for side in [higher, members[..root].iter().collect()] {
        let mut side = side.into_iter();
        if let Some(end) = side.next() {
            let passed = side.fold(end.clone(), |passed, own| plus(own, &passed));
            sum = plus(&sum, &passed);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_one_cycle_of_two_hops_at_most_with_the_published_neighbours() {
        assert_eq!(ring_from(0, 8), [0, 1, 3, 5, 7, 6, 4, 2]);
        assert_eq!(ring_from(0, 7), [0, 1, 3, 5, 6, 4, 2]);
        for n in 1..40 {
            for row in 0..n {
                let order = ring_from(row, n);
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>(), "{n} from {row}");
                assert!(order.windows(2).all(|w| w[0].abs_diff(w[1]) <= 2), "{n} from {row}");
            }
        }
    }

    #[test]
    fn a_chain_adds_from_both_ends_inwards_the_higher_side_first() {
        let big = 2f32.powi(24);
        let chain = |values: &[f32], root| chain_to(&values.iter().map(|v| vec![*v]).collect::<Vec<_>>(), root)[0];
        assert_eq!(chain(&[5.0], 0), 5.0);
        // (0.5 + big) + (1 + -big) would be 0; the lower side alone is 1 + -big = -big + 1.
        assert_eq!(chain(&[1.0, -big, 0.0, 1.0, big], 2), (0.0 + (1.0 + big)) + (-big + 1.0));
        assert_eq!(chain(&[1.0, -big, big], 1), (-big + big) + 1.0, "the higher side is added first");
    }
}
