//! Which column owns which part of which head, and which row holds which positions.
//!
//! ```text
//! columns >= KV heads: a band of columns per KV head, RoPE pairs split inside it     | kv 0 | kv 0 | kv 1 | kv 1 |
//! columns <  KV heads: whole KV heads per column, each a band of its own             | kv 0, kv 1  | kv 2, kv 3  |
//! ```
//!
//! Invariant: a pair (d, d + head_dim / 2) is never torn; every dim of every head has exactly one column.
//! Invariant: rows of positions are consecutive, the oldest on top, and cover `0..n`. Called by `serial` only.

use super::KvMode;
use crate::math::checkpoint::ModelShape;
use crate::math::split::{part, split};
use std::ops::Range;

/// Heads over the columns of a layer region.
pub(super) struct Heads {
    /// For every KV head the dims of each column of its band, in the column's local order.
    pub(super) bands: Vec<Vec<Vec<usize>>>,
    /// For every column the inputs of the O GEMV in its order: indices into the concatenated query heads.
    pub(super) o_inputs: Vec<Vec<usize>>,
}

impl Heads {
    pub(super) fn new(shape: &ModelShape, cols: usize) -> Self {
        let (n_kv, half) = (shape.n_kv_heads, shape.head_dim / 2);
        let queries = shape.n_heads / n_kv;
        let mut bands = Vec::new();
        let mut o_inputs = vec![Vec::new(); cols];
        for kv_head in 0..n_kv {
            let columns = band_columns(n_kv, cols, kv_head);
            let mut band = Vec::new();
            for (pairs, col) in split(half, columns.len()).zip(columns) {
                let dims: Vec<usize> = pairs.clone().chain(pairs.map(|d| d + half)).collect();
                for head in kv_head * queries..(kv_head + 1) * queries {
                    o_inputs[col].extend(dims.iter().map(|d| head * shape.head_dim + d));
                }
                band.push(dims);
            }
            bands.push(band);
        }
        Self { bands, o_inputs }
    }
}

/// Columns that share a KV head.
fn band_columns(n_kv: usize, cols: usize, kv_head: usize) -> Range<usize> {
    if cols >= n_kv {
        return part(cols, n_kv, kv_head);
    }
    let owner = split(n_kv, cols).take_while(|heads| heads.end <= kv_head).count();
    owner..owner + 1
}

/// The positions that each row holds when there are `n` of them.
pub(super) fn positions_of_rows(kv: KvMode, rows: usize, n: usize) -> Vec<Range<usize>> {
    match kv {
        KvMode::Shift => {
            let (q, r) = (n / rows, n % rows);
            let mut next = 0;
            (0..rows)
                .map(|row| {
                    let start = next;
                    next += q + usize::from(row >= rows - r);
                    start..next
                })
                .collect()
        }
        KvMode::Concat { prompt } => {
            let mut held: Vec<_> = split(prompt, rows).map(|range| range.start.min(n)..range.end.min(n)).collect();
            held[rows - 1].end = n.max(held[rows - 1].start);
            held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(n_heads: usize, n_kv_heads: usize, head_dim: usize) -> ModelShape {
        ModelShape {
            hidden: 8,
            n_layers: 1,
            n_heads,
            n_kv_heads,
            head_dim,
            ffn: 8,
            vocab: 8,
            norm_eps: 1e-5,
            inv_freq: vec![1.0; head_dim / 2],
            tied: true,
            qkv_bias: false,
        }
    }

    #[test]
    fn every_dim_has_one_column_and_no_pair_is_torn() {
        for (n_heads, n_kv, head_dim) in [(6, 3, 8), (4, 4, 6), (8, 1, 4), (9, 3, 64)] {
            for cols in 1..20 {
                let heads = Heads::new(&shape(n_heads, n_kv, head_dim), cols);
                let mut inputs: Vec<usize> = heads.o_inputs.concat();
                inputs.sort_unstable();
                assert_eq!(inputs, (0..n_heads * head_dim).collect::<Vec<_>>());
                for band in &heads.bands {
                    let mut dims = band.concat();
                    dims.sort_unstable();
                    assert_eq!(dims, (0..head_dim).collect::<Vec<_>>());
                    for dims in band {
                        let (low, high) = dims.split_at(dims.len() / 2);
                        assert!(low.iter().zip(high).all(|(l, h)| l + head_dim / 2 == *h));
                    }
                }
            }
        }
    }

    #[test]
    fn columns_hold_bands_or_whole_heads() {
        let bands = |cols| (0..3).map(|h| band_columns(3, cols, h)).collect::<Vec<_>>();
        assert_eq!(bands(1), [0..1, 0..1, 0..1]);
        assert_eq!(bands(2), [0..1, 0..1, 1..2]);
        assert_eq!(bands(3), [0..1, 1..2, 2..3]);
        assert_eq!(bands(7), [0..3, 3..5, 5..7]);
        let heads = Heads::new(&shape(2, 1, 8), 2);
        assert_eq!(heads.bands[0], [vec![0, 1, 4, 5], vec![2, 3, 6, 7]]);
        assert_eq!(heads.o_inputs[1], [2, 3, 6, 7, 10, 11, 14, 15]);
    }

    #[test]
    fn rows_cover_all_positions_in_order() {
        let concat = |prompt| KvMode::Concat { prompt };
        for kv in [KvMode::Shift, concat(0), concat(1), concat(7), concat(10)] {
            for rows in 1..9 {
                for n in 0..40 {
                    let held = positions_of_rows(kv, rows, n);
                    let all: Vec<usize> = held.iter().cloned().flatten().collect();
                    assert_eq!(all, (0..n).collect::<Vec<_>>(), "{kv:?} {rows} rows, {n}");
                    assert_eq!(held.len(), rows);
                }
            }
        }
    }

    #[test]
    fn shift_is_balanced_with_the_longer_rows_at_the_bottom() {
        for rows in 1..9 {
            for n in 0..40 {
                let lens: Vec<_> = positions_of_rows(KvMode::Shift, rows, n).iter().map(|r| r.len()).collect();
                assert!(lens.is_sorted() && lens[rows - 1] - lens[0] <= 1, "{lens:?}");
            }
        }
        // One more position moves at most one entry up per row: each boundary moves by 0 or 1.
        for n in 0..40 {
            let before = positions_of_rows(KvMode::Shift, 5, n);
            let after = positions_of_rows(KvMode::Shift, 5, n + 1);
            for (before, after) in before.iter().zip(&after) {
                assert!(after.start - before.start <= 1);
            }
        }
    }

    #[test]
    fn concat_splits_the_prompt_and_appends_at_the_bottom() {
        let kv = KvMode::Concat { prompt: 7 };
        assert_eq!(positions_of_rows(kv, 3, 2), [0..2, 2..2, 2..2]);
        assert_eq!(positions_of_rows(kv, 3, 7), [0..3, 3..5, 5..7]);
        assert_eq!(positions_of_rows(kv, 3, 11), [0..3, 3..5, 5..11]);
    }
}
