//! Cyclic shift on two rings: alignment, then products while the next blocks are on their way.  (WaferLLM section 5)
//!
//! ```text
//!   align:   round 1 .. n     post A, post B, join                      A by rows, B by columns, the short way round
//!   cyclic:  post A, post B | multiply | join what the piece ends, swap, post again | multiply | ...
//! ```
//! The parts are functions over handles, so that a kernel can run several products in sequence over the same rings.
//!
//! Invariant: a PE waits for the four neighbours on its rings alone; there is no barrier unless the caller brings one.
//! Invariant: posted moves read the blocks that are multiplied and write the other buffers, so four tickets are open at
//! most, and multiplying needs no copy.
//! Called by `mesh`, `cannon`, `gemm_t`, and by prefill.

use crate::arena::Tile;
use crate::collectives::{Exchange, Moving, RingEnds, Way};
use crate::pe::Pe;
use crate::units::Cycles;

use super::cannon::Barrier;
use super::pieces::{KMap, Piece};
use super::product::Storage;

/// A factor on its ring, as one PE sees it.
pub struct Side<'a> {
    /// Its block and buffers.
    pub moving: Moving,
    /// Ends of the forward way; `None` in a ring of one.
    pub forward: Option<RingEnds>,
    /// Ends of the reverse way, where alignment has one.
    pub reverse: Option<RingEnds>,
    /// Lengths of the blocks, by place on the ring.
    pub len: &'a [usize],
    /// Elements per unit of length.
    pub width: usize,
    /// Format.
    pub format: Storage,
}

impl Side<'_> {
    fn words(&self, block: usize) -> usize {
        self.format.words(self.len[block] * self.width)
    }

    /// The block that is here.
    pub fn tile(&self) -> Tile {
        self.moving.tile(self.words(self.moving.block()))
    }

    /// Starts one move.
    pub fn post(&self, pe: Pe<'_>, way: Way) -> Option<Exchange> {
        let ring = if way == Way::Forward { self.forward } else { self.reverse };
        ring.map(|ring| self.moving.post(pe, ring, way, |b| self.words(b)))
    }

    /// Starts the next move of the tour if one is left.
    fn post_left(&self, pe: Pe<'_>, left: &mut usize) -> Option<Exchange> {
        if *left == 0 {
            return None;
        }
        *left -= 1;
        self.post(pe, Way::Forward)
    }

    /// Waits for a move; the next block is here then.
    pub async fn arrive(&mut self, pe: Pe<'_>, exchange: Option<Exchange>, way: Way) {
        if let Some(exchange) = exchange {
            exchange.join(pe).await;
            self.moving.turn(way);
        }
    }
}

/// The software of one round, before its posts: nothing hides it.
fn round(pe: Pe<'_>, software: Cycles) {
    pe.compute(software, |_| {});
}

/// Brings A and B into alignment, both at once; `(way, rounds)` of each. `software` is charged a round.
pub async fn align(pe: Pe<'_>, a: &mut Side<'_>, b: &mut Side<'_>, turns: [(Way, usize); 2], software: Cycles) {
    let [(a_way, a_rounds), (b_way, b_rounds)] = turns;
    for n in 0..a_rounds.max(b_rounds) {
        round(pe, software);
        let a_move = if n < a_rounds { a.post(pe, a_way) } else { None };
        let b_move = if n < b_rounds { b.post(pe, b_way) } else { None };
        a.arrive(pe, a_move, a_way).await;
        b.arrive(pe, b_move, b_way).await;
    }
}

/// Goes once round the tour from `first` (see `KMap::first`), with at most `left` moves of A and of B; `multiply`
/// gets each piece and the blocks that it lies in. `software` is charged a step, before its posts. A barrier stands
/// between fine blocks: on a square mesh, between steps.
pub async fn cyclic(
    pe: Pe<'_>,
    (map, (first, mut late)): (&KMap, (usize, u64)),
    (a, b): (&mut Side<'_>, &mut Side<'_>),
    mut left: [usize; 2],
    (barrier, software): (Option<&Barrier>, Cycles),
    mut multiply: impl FnMut(&Piece, Tile, Tile),
) {
    let n = map.pieces.len();
    let mut barriers = map.fine_blocks() - 1;
    round(pe, software);
    let mut a_move = a.post_left(pe, &mut left[0]);
    let mut b_move = b.post_left(pe, &mut left[1]);
    for step in 0..n {
        let piece = &map.pieces[(first + step) % n];
        multiply(piece, a.tile(), b.tile());
        if piece.ends.0 {
            a.arrive(pe, a_move.take(), Way::Forward).await;
        }
        if piece.ends.1 {
            b.arrive(pe, b_move.take(), Way::Forward).await;
        }
        if let Some(barrier) = barrier {
            let passed = (piece.fine.end - piece.fine.start - late).min(barriers);
            (late, barriers) = (0, barriers - passed);
            barrier.pass(pe, passed).await;
        }
        if step + 1 < n {
            round(pe, software);
        }
        if piece.ends.0 {
            a_move = a.post_left(pe, &mut left[0]);
        }
        if piece.ends.1 {
            b_move = b.post_left(pe, &mut left[1]);
        }
    }
    if let Some(barrier) = barrier {
        barrier.pass(pe, barriers).await;
    }
}
