//! Positions of a chunk on columns and rows.
//!
//! Invariant: parts are those of `split`; cuts of a part cover it in order. Called by the programs of prefill.

use std::ops::Range;

use crate::math::split::{part, part_of};

/// Positions `base .. base + len` that go through the layers together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) base: usize,
    pub(super) len: usize,
    pub(super) cols: usize,
    pub(super) rows: usize,
}

impl Chunk {
    /// Positions whose x is on column `col`, counted from the chunk's first.
    pub(super) fn of_col(self, col: usize) -> Range<usize> {
        part(self.len, self.cols, col)
    }

    /// Positions whose q, k and v are on row `row`.
    pub(super) fn of_row(self, row: usize) -> Range<usize> {
        part(self.len, self.rows, row)
    }

    /// A column's positions, cut by the rows that they belong to.
    pub(super) fn to_rows(self, col: usize) -> Cuts {
        Cuts { left: self.of_col(col), len: self.len, parts: self.rows }
    }

    /// A row's positions, cut by columns.
    pub(super) fn to_cols(self, row: usize) -> Cuts {
        Cuts { left: self.of_row(row), len: self.len, parts: self.cols }
    }
}

/// The parts that a run of positions falls into: number of the part, positions.
#[derive(Clone, Debug)]
pub(super) struct Cuts {
    left: Range<usize>,
    len: usize,
    parts: usize,
}

impl Iterator for Cuts {
    type Item = (usize, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let start = self.left.start;
        let at = part_of(self.len, self.parts, start);
        let end = part(self.len, self.parts, at).end.min(self.left.end);
        self.left.start = end;
        Some((at, start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_cover_every_part_once_and_are_no_longer_than_a_part_of_either_axis() {
        for (cols, rows) in (1..7).flat_map(|c| (1..7).map(move |r| (c, r))) {
            for len in 0..30 {
                let chunk = Chunk { base: 5, len, cols, rows };
                let mut seen = vec![None; len];
                for col in 0..cols {
                    for (row, run) in chunk.to_rows(col) {
                        assert!(run.len() <= len.div_ceil(cols).min(len.div_ceil(rows)));
                        run.for_each(|t| assert_eq!(seen[t].replace((col, row)), None));
                    }
                }
                for row in 0..rows {
                    for (col, run) in chunk.to_cols(row) {
                        run.for_each(|t| assert_eq!(seen[t].take(), Some((col, row)), "{cols}x{rows} {len}"));
                    }
                }
                assert!(seen.iter().all(Option::is_none));
            }
        }
    }
}
