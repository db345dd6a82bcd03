//! In which order the host takes up the PEs of a GEMM on rings, and lays out their tiles.
//!
//! ```text
//!   places on the ring of a row     strip 0     strip 1         every second column lies on the way out, the others on
//!   row, by its place       0      > > > > |   > > > > |        the way back: the PEs that wait for each other in a row
//!   on the ring of a        1      > > > > |   > > > > |        are two columns apart, but side by side on the ring
//!   column                  2      > > > > |   > > > > |
//! ```
//! A PE may be one step ahead of its four neighbours on the rings. `ahead` steps behind a front that goes down a strip
//! of W places, about (W + ahead) (ahead + 1) PEs are alive, and the state of each is fetched W + ahead times per
//! W x ahead of its steps. So strips are as wide as what is alive fits into the cache.
//!
//! Invariant: `visit` is the place of a PE in `pes`. Nothing but the host's speed depends on it.
//! Called by the layout, and by the kernel as a hint (`Order::Sweep`).

use crate::collectives::Cycle;
use crate::pe::Order;
use crate::units::Coord;

use super::spec::{Algo, Gemm};

/// Bytes of state that are to stay in cache: three quarters of the second cache of common hosts.
const CACHE: usize = 384 << 10;
/// Bytes of a PE beside its tiles: program, record, lanes, ports, tickets.
const BESIDE: usize = 2300;

/// Columns of a strip and steps ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strips {
    width: usize,
    ahead: u16,
}

impl Strips {
    /// Of PEs with so many bytes of tiles that a step works on. Which settings are best was found with a model of the order
    /// and of a cache that keeps the last PEs; steps are many where a wide strip can have them.
    pub(super) fn of(bytes: usize) -> Self {
        match CACHE / (BESIDE + bytes) {
            pes @ ..100 => Self { width: (pes / 6).clamp(4, 16), ahead: 4 },
            _ => Self { width: 16, ahead: 6 },
        }
    }
}

impl Gemm {
    /// How neighbours of a row, and of a column, follow each other.
    fn rings(&self) -> [Cycle; 2] {
        match self.spec.algo {
            Algo::Mesh => [Cycle::Interleave; 2],
            Algo::GemmT => [Cycle::Wrap, Cycle::Interleave],
            _ => [Cycle::Wrap; 2],
        }
    }

    /// PEs by strip of columns, then row, then column, each in the order of its ring.
    pub fn pes(&self) -> impl Iterator<Item = Coord> + use<> {
        let (cols, rows, [of_cols, of_rows], width) = (self.spec.cols, self.spec.rows, self.rings(), self.strips.width);
        let of_strip = move |from: usize| {
            let strip = from..cols.min(from + width);
            let in_row = move |row| strip.clone().map(move |col| (of_cols.at(cols, col), of_rows.at(rows, row)));
            (0..rows).flat_map(in_row)
        };
        (0..cols).step_by(width).flat_map(of_strip).map(|(col, row)| Coord::new(col as u32, row as u32))
    }

    /// Place of a PE in `pes`.
    pub(super) fn visit(&self, at: Coord) -> u64 {
        let (cols, rows, [of_cols, of_rows], width) = (self.spec.cols, self.spec.rows, self.rings(), self.strips.width);
        let (col, row) = (of_cols.pos(cols, at.col as usize), of_rows.pos(rows, at.row as usize));
        let from = col / width * width;
        (from * rows + row * width.min(cols - from) + col - from) as u64
    }

    /// In which order the host best takes up the PEs.
    pub(super) fn order(&self) -> Order {
        match self.spec.algo {
            Algo::Mesh | Algo::GemmT => Order::Sweep { ahead: self.strips.ahead },
            _ => Order::DepthFirst,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::fabric::Chip;
    use crate::kernels::Numerics;
    use crate::math::gemm::Dims;

    #[test]
    fn every_pe_is_visited_once_at_its_place() {
        let chip = Chip::preset("wse2").unwrap();
        for (cols, rows) in (1..=9).flat_map(|c| (1..=9).map(move |r| (c, r))).chain([(64, 3), (17, 40)]) {
            for (algo, side) in Algo::ALL.into_iter().flat_map(|algo| [(algo, 9), (algo, 300)]) {
                let size = Dims { m: side, k: side, n: side };
                let g = Gemm::new(Spec::new(algo, (cols, rows), size, Numerics::Default), &chip);
                assert!(g.pes().zip(0..).all(|(at, place)| g.visit(at) == place), "{algo:?} {cols}x{rows}");
                assert_eq!(g.pes().count(), cols * rows);
            }
        }
    }

    #[test]
    fn larger_tiles_have_narrower_strips() {
        let width = |bytes| Strips::of(bytes).width;
        assert_eq!([0, 512, 8192, 40_000].map(width), [16, 16, 6, 4]);
    }
}
