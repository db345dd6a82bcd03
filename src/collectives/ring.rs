//! Ring allreduce on one axis: reduce-scatter, then allgather, around a ring that is laid into the line.      (HPDC'24)
//!
//! The tile is cut into P segments. In round t of P - 1, ring position p sends segment p - t onward and adds what comes
//! in to segment p - t - 1; it ends with the sum of segment p + 1. P - 1 more rounds pass the sums on.
//!
//! ```text
//!   wrap-around   0 -> 1 -> 2 -> 3 -> 4 -(back over the whole line)-> 0        longest hop P - 1
//!   interleaved   0 -> 2 -> 4 -> 3 -> 1 -> 0                                   longest hop 2
//! ```
//!
//! | color                    | wrap-around                    | interleaved                                         |
//! |--------------------------|--------------------------------|-----------------------------------------------------|
//! | base, base + 1, base + 2 | even, odd sender; the way back | middle of the edge mod 3 (one hop: end of the line) |
//!
//! Invariant: segment s is summed along the ring from position s on: v[s+1] + v[s], then v[s+2] + that, ...
//! Cost: 2 (P - 1) rounds of S + 5, and the most hops in 2 (P - 1) consecutive edges: 4 P - 6 in the wrap-around form.

use crate::arena::Tile;
use crate::fabric::{Layout, LayoutError};
use crate::math::split::part;
use crate::pe::{Fold, Pe, Rx, Tx};
use crate::units::{Color, Coord};

use super::Seat;

/// How the ring lies in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOrder {
    /// Neighbour to neighbour, and one long way back.
    WrapAround,
    /// Even members one way, odd ones back: two hops at most.
    Interleaved,
}

impl RingOrder {
    /// Ring position of member `i` of `n`.
    pub fn position(self, i: usize, n: usize) -> usize {
        match self {
            Self::WrapAround => i,
            Self::Interleaved if i.is_multiple_of(2) => i / 2,
            Self::Interleaved => n - i.div_ceil(2),
        }
    }

    /// Member that member `i` of `n` sends to.
    pub fn next(self, i: usize, n: usize) -> usize {
        match self {
            Self::WrapAround => (i + 1) % n,
            Self::Interleaved if i.is_multiple_of(2) => match i + 2 {
                to if to < n => to,
                _ if i + 1 < n => i + 1,
                _ => i.saturating_sub(1),
            },
            Self::Interleaved => i.saturating_sub(2),
        }
    }

    /// Color (from the base) on which member `i` of `n` sends.
    fn color(self, i: usize, n: usize) -> u8 {
        let to = self.next(i, n);
        let color = match self {
            Self::WrapAround if to < i => 2,
            Self::WrapAround => i % 2,
            Self::Interleaved if i.abs_diff(to) == 2 => usize::midpoint(i, to) % 3,
            Self::Interleaved if i.min(to) == 0 && to == 0 => 0,
            Self::Interleaved => (n - 1) % 3,
        };
        color as u8
    }
}

/// The ring of a line.
#[derive(Clone, Debug)]
pub struct Ring {
    /// PEs of the line.
    pub line: Vec<Coord>,
    /// How it lies.
    pub order: RingOrder,
    /// First color.
    pub base: u8,
}

/// A member's place in the ring.
#[derive(Clone, Copy, Debug)]
pub struct RingSeat {
    tx: Tx,
    rx: Rx,
    position: u32,
    members: u32,
}

impl Ring {
    /// Colors of a ring.
    pub const COLORS: u8 = 3;

    /// Adds the routes.
    ///
    /// # Errors
    /// `TwoWriters` when colors clash with what is there.
    pub fn lay_out(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        let n = self.line.len();
        for i in (0..n).filter(|_| n > 1) {
            let color = Color(self.base + self.order.color(i, n));
            layout.line(color, self.line[i], self.line[self.order.next(i, n)], false)?;
        }
        Ok(())
    }

    /// What member `member` does.
    pub fn seat(&self, pe: Pe<'_>, member: usize) -> Seat {
        let n = self.line.len();
        let Some(previous) = (0..n).find(|&i| n > 1 && self.order.next(i, n) == member) else {
            return Seat::Alone;
        };
        Seat::Ring(RingSeat {
            tx: pe.tx(Color(self.base + self.order.color(member, n))),
            rx: pe.rx(Color(self.base + self.order.color(previous, n))),
            position: self.order.position(member, n) as u32,
            members: n as u32,
        })
    }
}

/// Runs the ring at one member: `tile` ends as the result everywhere.
pub(super) async fn run(pe: Pe<'_>, seat: RingSeat, tile: Tile, fold: Fold) {
    let (at, n) = (seat.position as usize, seat.members as usize);
    let segment = |s: usize| {
        let words = part(tile.words(), n, s % n);
        tile.slice(words.start, words.len())
    };
    for round in 0..2 * (n - 1) {
        // The allgather goes on where the reduce-scatter ended: the segment just summed is the next to be sent.
        let sent = pe.post_send(seat.tx, segment(at + 2 * n - round));
        let fold = if round < n - 1 { fold } else { Fold::Set };
        pe.recv_fold(seat.rx, segment(at + 2 * n - round - 1), fold).await;
        pe.join(sent).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_are_one_cycle_and_the_interleaved_one_hops_at_most_two() {
        for n in (2..=70).chain([127, 128, 719, 720]) {
            for order in [RingOrder::WrapAround, RingOrder::Interleaved] {
                let mut at = 0;
                for step in 0..n {
                    assert_eq!(order.position(at, n), step, "{order:?} {n}");
                    let to = order.next(at, n);
                    assert!(order == RingOrder::WrapAround || (1..=2).contains(&to.abs_diff(at)), "{n}: {at} -> {to}");
                    at = to;
                }
                assert_eq!(at, 0, "{order:?} {n}");
            }
        }
    }

    #[test]
    fn three_colors_lay_every_ring_and_each_directed_link_of_the_interleaved_one_carries_one_stream() {
        for n in 1..=40u32 {
            for order in [RingOrder::WrapAround, RingOrder::Interleaved] {
                let line = (0..n).map(|row| Coord::new(0, row)).collect();
                let mut layout = Layout::default();
                Ring { line, order, base: 4 }.lay_out(&mut layout).unwrap_or_else(|e| panic!("{order:?} {n}: {e}"));
                for pe in &layout.pes {
                    assert!(pe.routes.iter().all(|r| (4..7).contains(&r.color.0)), "{order:?} {n}: {pe:?}");
                    let mut out: Vec<_> = pe.routes.iter().flat_map(|r| r.tx.links()).collect();
                    let all = out.len();
                    out.dedup();
                    out.sort_by_key(|d| *d as u8);
                    out.dedup();
                    assert!(order == RingOrder::WrapAround || out.len() == all, "{n}: {pe:?}");
                }
            }
        }
    }
}
