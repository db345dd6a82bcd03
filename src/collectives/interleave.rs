//! Rings embedded in a line of PEs: the interleave, two hops at most, and the wrap-around.     (waferllm.md 1.2, 1.3)
//!
//! ```text
//!   interleave, N = 7:  0 <- 1 <- 3 <- 5 <- 6 <- 4 <- 2 <- 0      odd PEs send west, even ones east
//!   wrap,       N = 4:  0 <- 1 <- 2 <- 3 <- 0                     everybody sends west, PE 0 across the line
//! ```
//! In the forward way PE i takes the block of `recv(i)` and gives its own to `send(i)`; the reverse way mirrors both.
//! `pos(i)` is the place of PE i on the ring, counted along `recv` from PE 0, `at(k)` its inverse: interleaved,
//! pos(0) = 0, pos(i) = (i + 1) / 2 for odd i and n - i / 2 for even i.
//!
//! | ring       | color of a stream (+ base)                                              |
//! |------------|-------------------------------------------------------------------------|
//! | interleave | PE in the middle, mod 3; edge 0-1: 0; edge (n-2)-(n-1): n - 1, mod 3    |
//! | wrap       | higher end, mod 2; across the line: 2                                   |
//!
//! Invariant: for every n >= 1 the ring is one cycle, and of one way's streams each directed link carries one at most.
//! Invariant: alignment is symmetric: `pos(i)` steps from PE j lead where `pos(j)` steps from PE i lead.
//! Called by the GEMM kernels, for layouts and for the ends of their programs.

use crate::fabric::{Layout, LayoutError};
use crate::pe::Pe;
use crate::units::{Color, Coord};

use super::moving::RingEnds;

/// Colors of one way.
pub const CYCLE_COLORS: u8 = 3;

/// How a ring lies in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycle {
    /// Every second PE out, the others back.
    Interleave,
    /// In line order; the last edge crosses the whole line.
    Wrap,
}

/// Which neighbour on the ring gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From `recv(i)`.
    Forward,
    /// From `send(i)`.
    Reverse,
}

impl Cycle {
    /// Place on the ring of PE `i` of a line of `n`.
    pub fn pos(self, n: usize, i: usize) -> usize {
        match self {
            Self::Interleave if i.is_multiple_of(2) => (n - i / 2) % n,
            Self::Interleave => i.div_ceil(2),
            Self::Wrap => i,
        }
    }

    /// PE at place `k` of the ring, `k < n`.
    pub fn at(self, n: usize, k: usize) -> usize {
        match self {
            Self::Interleave if k == 0 => 0,
            Self::Interleave if k <= n / 2 => 2 * k - 1,
            Self::Interleave => 2 * (n - k),
            Self::Wrap => k,
        }
    }

    /// PE whose block PE `i` takes in the forward way.
    pub fn recv(self, n: usize, i: usize) -> usize {
        self.at(n, (self.pos(n, i) + 1) % n)
    }

    /// PE that takes the block of PE `i` in the forward way.
    pub fn send(self, n: usize, i: usize) -> usize {
        self.at(n, (self.pos(n, i) + n - 1) % n)
    }

    /// From whom PE `i` takes, and to whom it gives.
    pub fn partners(self, n: usize, i: usize, way: Way) -> (usize, usize) {
        let (recv, send) = (self.recv(n, i), self.send(n, i));
        if way == Way::Forward { (recv, send) } else { (send, recv) }
    }

    /// Color of the stream from PE `from` to PE `to`, counted from the base of its way.
    fn color(self, n: usize, from: usize, to: usize) -> u8 {
        let (low, high) = (from.min(to), from.max(to));
        let color = match self {
            Self::Interleave if high - low == 2 => low + 1,
            // In a ring of two both edges are 0-1: the stream to PE 0 counts as the near one.
            Self::Interleave if low == 0 && (n > 2 || to == 0) => 0,
            Self::Interleave => n - 1,
            Self::Wrap if high - low > 1 || (n == 2 && to == 1) => return 2,
            Self::Wrap => return (high % 2) as u8,
        };
        (color % usize::from(CYCLE_COLORS)) as u8
    }

    /// Routes one way of the ring through `line` on colors `base .. base + 3`.
    ///
    /// # Errors
    /// `TwoWriters` when the colors clash with what is there.
    pub fn lay_out(self, layout: &mut Layout, line: &[Coord], base: u8, way: Way) -> Result<(), LayoutError> {
        let n = line.len();
        for i in (0..n).filter(|_| n > 1) {
            let (_, to) = self.partners(n, i, way);
            layout.line(Color(base + self.color(n, i, to)), line[i], line[to], false)?;
        }
        Ok(())
    }

    /// The two ends of one way at PE `i`; nothing in a ring of one.
    pub fn ends(self, pe: Pe<'_>, n: usize, i: usize, base: u8, way: Way) -> Option<RingEnds> {
        if n < 2 {
            return None;
        }
        let (from, to) = self.partners(n, i, way);
        let color = |a, b| Color(base + self.color(n, a, b));
        Some(RingEnds { tx: pe.tx(color(i, to)), rx: pe.rx(color(from, i)) })
    }
}

/// The way and the number of rounds that bring every block `forward` places on, the short way round.
pub fn shortest(n: usize, forward: usize) -> (Way, usize) {
    let forward = forward % n;
    if 2 * forward <= n { (Way::Forward, forward) } else { (Way::Reverse, n - forward) }
}

#[cfg(test)]
#[path = "interleave_tests.rs"]
mod tests;
