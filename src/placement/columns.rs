//! Heads on columns: a KV head owns a band of columns; a column holds the same RoPE pairs of its K, V and query heads.
//!
//! With fewer columns than KV heads a column holds whole heads, and every band is one column.
//!
//! Invariant: a RoPE pair is never torn; every pair of every head is on exactly one column.

use std::ops::Range;

use crate::math::checkpoint::ModelShape;
use crate::math::split::{part, part_of};

/// What one column holds of the heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadSlice {
    /// KV heads.
    pub kv_heads: Range<usize>,
    /// RoPE pairs of each of them.
    pub pairs: Range<usize>,
    /// Columns of the band.
    pub band: Range<usize>,
}

/// Heads on `cols` columns.
#[derive(Clone, Debug)]
pub struct Columns {
    cols: usize,
    kv_heads: usize,
    /// Query heads per KV head.
    pub group: usize,
    half: usize,
}

impl Columns {
    /// The heads of `shape` on `cols` columns.
    pub fn new(shape: &ModelShape, cols: usize) -> Self {
        let group = shape.n_heads / shape.n_kv_heads;
        Self { cols, kv_heads: shape.n_kv_heads, group, half: shape.head_dim / 2 }
    }

    /// What column `col` holds.
    pub fn slice(&self, col: usize) -> HeadSlice {
        if self.cols < self.kv_heads {
            return HeadSlice {
                kv_heads: part(self.kv_heads, self.cols, col),
                pairs: 0..self.half,
                band: col..col + 1,
            };
        }
        let head = part_of(self.cols, self.kv_heads, col);
        let band = part(self.cols, self.kv_heads, head);
        let pairs = part(self.half, band.len(), col - band.start);
        HeadSlice { kv_heads: head..head + 1, pairs, band }
    }

    /// Local dimensions of one head on a column, in order: lower halves of the pairs, then upper ones.
    pub fn dims(&self, slice: &HeadSlice) -> impl Iterator<Item = usize> + use<> {
        let half = self.half;
        slice.pairs.clone().chain(slice.pairs.clone().map(move |p| p + half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_every_kv_head_is_on_exactly_one_column() {
        for kv_heads in 1..6 {
            for head_dim in [2, 6, 8] {
                for cols in 1..14 {
                    let shape = ModelShape {
                        hidden: 8,
                        n_layers: 1,
                        n_heads: kv_heads,
                        n_kv_heads: kv_heads,
                        head_dim,
                        ffn: 8,
                        vocab: 8,
                        norm_eps: 1e-5,
                        inv_freq: vec![1.0; head_dim / 2],
                        tied: true,
                        qkv_bias: false,
                    };
                    let columns = Columns::new(&shape, cols);
                    let mut seen = vec![0; kv_heads * head_dim];
                    for col in 0..cols {
                        let slice = columns.slice(col);
                        assert!(slice.band.contains(&col));
                        for head in slice.kv_heads.clone() {
                            columns.dims(&slice).for_each(|d| seen[head * head_dim + d] += 1);
                        }
                    }
                    assert!(seen.iter().all(|n| *n == 1), "{kv_heads} heads of {head_dim} on {cols}: {seen:?}");
                }
            }
        }
    }
}
