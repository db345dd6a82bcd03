//! Clocks of the allgather: rounds on two rings, then all products.
//!
//! Called by `clocks`.

use crate::collectives::{Cycle, Way};

use super::super::spec::Gemm;
use super::{Moves, Products, Ring, blocks};

const ORDER: Cycle = Cycle::Interleave;

/// Clocks of all PEs at the end, by row, then column.
pub(super) fn clocks(g: &Gemm) -> Vec<u64> {
    let (cols, rows, t) = (g.spec.cols, g.spec.rows, g.chip.timing());
    let sides = [cols, rows];
    let mut rings = sides.map(|n| Ring::new(ORDER, n, Way::Forward, &t));
    let mut moves = [Moves::new(true, cols, rows), Moves::new(false, cols, rows)];
    let blocks = blocks(g);
    let mut now = vec![0; cols * rows];
    for round in 0..cols.max(rows) - 1 {
        // What the PE at place `i` of line `line` passes on; nothing once its side has gathered.
        let sent = |side: usize, line: usize, i: usize| {
            let n = sides[side];
            let block = ORDER.at(n, (ORDER.pos(n, i) + round) % n);
            if round + 1 < n { blocks[side].of(line, block) } else { 0 }
        };
        for (at, now) in now.iter_mut().enumerate() {
            let (col, row) = (at % cols, at / cols);
            let words = [sent(0, row, col), sent(1, col, row)];
            *now += g.exchange((words[0] + words[1]) as usize).0;
            for side in [0, 1] {
                *now += if words[side] > 0 { u64::from(t.issue) } else { 0 };
                moves[side].posts[at] = *now;
            }
        }
        for side in [0, 1] {
            for line in 0..sides[1 - side] {
                moves[side].exchange(&mut rings[side], &t, line, |i| sent(side, line, i));
            }
            now.iter_mut().zip(&moves[side].ends).for_each(|(now, end)| *now = (*now).max(*end));
        }
    }
    let products = Products::new(g);
    for (at, now) in now.iter_mut().enumerate() {
        let place = (at % cols, at / cols);
        *now += (0..g.map.pieces.len()).map(|piece| g.exchange(0).0 + products.of(piece, place)).sum::<u64>();
    }
    now
}
