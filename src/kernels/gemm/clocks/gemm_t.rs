//! Clocks of GEMM-T: B on the y ring; for each run of N a product, then a row's chains toward its root.
//!
//! A chain's member starts at max(clock, arrival), sends on `stage` later, and ends as that send does; the root takes
//! its higher side, then its lower.
//! Called by `clocks`.

use crate::collectives::{Cycle, Way};
use crate::link::Timing;
use crate::math::gemm::Dims;

use super::super::gemm_t::cuts;
use super::super::product::product_cycles;
use super::super::spec::Gemm;
use super::{Blocks, Moves, Ring, latency};

const ORDER: Cycle = Cycle::Interleave;

/// The chains of one row.
struct Row {
    /// Of each side (toward higher roots, toward lower ones), by burst modulo the lane's depth, then by taker: when
    /// the lane into it was freed; and how many bursts went there.
    freed: [Vec<Vec<u64>>; 2],
    bursts: [Vec<usize>; 2],
}

impl Row {
    fn new(n: usize, depth: usize) -> Self {
        let freed = || vec![vec![0; n]; depth];
        Self { freed: [freed(), freed()], bursts: [vec![0; n], vec![0; n]] }
    }

    /// Reduces `w` wavelets to `root`: what it makes of the clocks.
    fn reduce(&mut self, now: &mut [u64], root: usize, w: u32, t: &Timing) {
        let (n, stage) = (now.len(), u64::from(t.stage));
        for (side, members) in [(1, (root + 1..n).rev().collect::<Vec<_>>()), (0, (0..root).collect())] {
            let mut from: Option<(usize, u64)> = None;
            for at in members.into_iter().chain([root]) {
                // What comes in, if anything does; the sender ends as this member begins.
                let began = from.map(|(sender, dep)| {
                    let arrival = dep + latency(t, 1);
                    let start = now[at].max(arrival);
                    let waits = if w > t.queue_wavelets { start - arrival } else { 0 };
                    now[sender] = dep + t.ser(w) + waits;
                    let slot = self.bursts[side][at] % self.freed[side].len();
                    self.freed[side][slot][at] = start;
                    self.bursts[side][at] += 1;
                    start
                });
                if at == root {
                    now[at] = began.map_or(now[at], |start| start + t.ser(w) + stage);
                    break;
                }
                let ready = began.map_or(now[at] + u64::from(t.issue), |start| start + stage);
                let to = if side == 0 { at + 1 } else { at - 1 };
                let slot = self.bursts[side][to] % self.freed[side].len();
                from = Some((at, ready.max(self.freed[side][slot][to])));
            }
        }
    }
}

/// Clocks of all PEs at the end, by row, then column.
pub(super) fn clocks(g: &Gemm) -> Vec<u64> {
    let (cols, rows, t) = (g.spec.cols, g.spec.rows, g.chip.timing());
    let mut ring = Ring::new(ORDER, rows, Way::Forward, &t);
    let mut moves = Moves::new(false, cols, rows);
    let b = Blocks::new(&g.map.b_len, g.map.a_len.clone(), g.b_format());
    let mut chains: Vec<Row> = (0..rows).map(|_| Row::new(cols, usize::from(t.lane_depth.max(1)))).collect();
    let mut now = vec![0; cols * rows];
    for step in 0..rows {
        let moved = step + 1 < rows;
        let block = |row: usize| (ORDER.pos(rows, row) + step) % rows;
        let sent = |col: usize, row: usize| if moved { b.of(col, block(row)) } else { 0 };
        for (at, now) in now.iter_mut().enumerate() {
            let words = sent(at % cols, at / cols);
            *now += g.exchange(words as usize).0 + if words > 0 { u64::from(t.issue) } else { 0 };
            moves.posts[at] = *now;
        }
        for col in (0..cols).filter(|_| moved) {
            moves.exchange(&mut ring, &t, col, |row| sent(col, row));
        }
        for (row, (now, chain)) in now.chunks_mut(cols).zip(&mut chains).enumerate() {
            let m = g.m_of(row).len();
            for (root, run) in cuts(g, ORDER.at(rows, block(row))) {
                for (now, &k) in now.iter_mut().zip(&g.map.a_len) {
                    *now += product_cycles(g.rates(), Dims { m, k, n: run.len() }).0;
                }
                chain.reduce(now, root, g.c_format().words(m * run.len()) as u32, &t);
            }
        }
        if moved {
            now.iter_mut().zip(&moves.ends).for_each(|(now, end)| *now = (*now).max(*end));
        }
    }
    now
}
