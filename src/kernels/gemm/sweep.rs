//! In which order the host takes up the PEs of a GEMM on rings, and lays out their tiles.
//!
//! ```text
//!   places on the ring of a row     strip 0     strip 1         the ring goes out over every second column and comes
//!   row, by its place       0      > > > > |   > > > > |        back over the others: PEs that wait for each other are
//!   on the ring of a        1      > > > > |   > > > > |        two columns apart, but side by side on the ring
//!   column                  2      > > > > |   > > > > |
//! ```
//! A PE can be one step ahead of its four neighbours on the rings. Behind a front that goes down a strip of W places
//! and takes T steps there, about (W + T) (T + 1) PEs are alive, and W + T are fetched for W x T steps.
//!
//! Invariant: `visit` is the place of a PE in `pes`. Nothing but the host's speed depends on it.
//! Called by the layout, and by the kernel as a hint (`Order::Sweep`).

use crate::collectives::Cycle;
use crate::pe::Order;
use crate::units::Coord;

use super::spec::{Algo, Gemm};

/// Places of a strip: W.
const WIDTH: usize = 20;
/// Steps behind the front: T. The PEs alive, 252, with tiles of 32 x 32 or smaller, fit into the last cache of a host,
/// those with tiles of 8 x 8 into the second. What other settings give: `benches/README.md`.
const AHEAD: u16 = 8;

impl Gemm {
    /// How neighbours of a row, and of a column, follow each other.
    fn rings(&self) -> [Cycle; 2] {
        match self.spec.algo {
            Algo::Mesh => [Cycle::Interleave; 2],
            Algo::GemmT => [Cycle::Wrap, Cycle::Interleave], // of the row's chains line order
            _ => [Cycle::Wrap; 2],
        }
    }

    /// PEs by strip of columns, then row, then column, each in the order of its ring.
    pub fn pes(&self) -> impl Iterator<Item = Coord> + use<> {
        let (cols, rows, [of_cols, of_rows]) = (self.spec.cols, self.spec.rows, self.rings());
        let of_strip = move |from: usize| {
            let strip = from..cols.min(from + WIDTH);
            let in_row = move |row| strip.clone().map(move |col| (of_cols.at(cols, col), of_rows.at(rows, row)));
            (0..rows).flat_map(in_row)
        };
        (0..cols).step_by(WIDTH).flat_map(of_strip).map(|(col, row)| Coord::new(col as u32, row as u32))
    }

    /// Place of a PE in `pes`.
    pub(super) fn visit(&self, at: Coord) -> u64 {
        let (cols, rows, [of_cols, of_rows]) = (self.spec.cols, self.spec.rows, self.rings());
        let (col, row) = (of_cols.pos(cols, at.col as usize), of_rows.pos(rows, at.row as usize));
        let from = col / WIDTH * WIDTH;
        (from * rows + row * WIDTH.min(cols - from) + col - from) as u64
    }
}

/// In which order the host best takes up the PEs.
pub(super) fn order(algo: Algo) -> Order {
    match algo {
        Algo::Mesh | Algo::GemmT => Order::Sweep { ahead: AHEAD },
        _ => Order::DepthFirst,
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
        let size = Dims { m: 9, k: 9, n: 9 };
        for (cols, rows) in (1..=9).flat_map(|c| (1..=9).map(move |r| (c, r))).chain([(64, 3), (WIDTH + 1, 40)]) {
            for algo in Algo::ALL {
                let g = Gemm::new(Spec::new(algo, (cols, rows), size, Numerics::Default), &chip);
                assert!(g.pes().zip(0..).all(|(at, place)| g.visit(at) == place), "{algo:?} {cols}x{rows}");
                assert_eq!(g.pes().count(), cols * rows);
            }
        }
    }
}
