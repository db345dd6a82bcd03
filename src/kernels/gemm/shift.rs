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
//! Called by `mesh`, `cannon` and `gemm_t`.

use crate::arena::Tile;
use crate::collectives::{Exchange, Moving, RingEnds, Way};
use crate::fabric::Overheads;
use crate::pe::Pe;

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
    pub(super) fn words(&self, block: usize) -> usize {
        self.format.words(self.len[block] * self.width)
    }

    /// The block that is here.
    pub fn tile(&self) -> Tile {
        self.moving.tile(self.words(self.moving.block()))
    }

    /// Words that the next move sends, if there is one.
    fn next_words(&self, is_left: bool) -> usize {
        if is_left && self.forward.is_some() { self.words(self.moving.block()) } else { 0 }
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

    /// After a move, if there was one, has been joined.
    fn arrived(&mut self, moved: bool, way: Way) {
        if moved {
            self.moving.turn(way);
        }
    }
}

/// The software of one round in which so many words are sent, before its posts: nothing hides it.
fn round(pe: Pe<'_>, software: &Overheads, words: usize) {
    pe.compute(software.round(words), |_| {});
}

/// Brings A and B into alignment, both at once; `(way, rounds)` of each. `software` is charged a round.
pub async fn align(pe: Pe<'_>, a: &mut Side<'_>, b: &mut Side<'_>, turns: [(Way, usize); 2], software: &Overheads) {
    let [(a_way, a_rounds), (b_way, b_rounds)] = turns;
    for n in 0..a_rounds.max(b_rounds) {
        let words = a.next_words(n < a_rounds) + b.next_words(n < b_rounds);
        round(pe, software, words);
        let a_move = if n < a_rounds { a.post(pe, a_way) } else { None };
        let b_move = if n < b_rounds { b.post(pe, b_way) } else { None };
        Exchange::join_two(pe, a_move, b_move).await;
        a.arrived(a_move.is_some(), a_way);
        b.arrived(b_move.is_some(), b_way);
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
    (barrier, software): (Option<&Barrier>, &Overheads),
    mut multiply: impl FnMut(&Piece, Tile, Tile),
) {
    let n = map.pieces.len();
    let mut barriers = map.fine_blocks() - 1;
    round(pe, software, a.next_words(left[0] > 0) + b.next_words(left[1] > 0));
    let mut a_move = a.post_left(pe, &mut left[0]);
    let mut b_move = b.post_left(pe, &mut left[1]);
    let mut b_is_older = false;
    for step in 0..n {
        let piece = &map.pieces[(first + step) % n];
        multiply(piece, a.tile(), b.tile());
        let of_a = if piece.ends.0 { a_move.take() } else { None };
        let of_b = if piece.ends.1 { b_move.take() } else { None };
        let (first, second) = if b_is_older { (of_b, of_a) } else { (of_a, of_b) };
        Exchange::join_two(pe, first, second).await;
        a.arrived(of_a.is_some(), Way::Forward);
        b.arrived(of_b.is_some(), Way::Forward);
        if let Some(barrier) = barrier {
            let passed = (piece.fine.end - piece.fine.start - late).min(barriers);
            (late, barriers) = (0, barriers - passed);
            barrier.pass(pe, passed).await;
        }
        if step + 1 < n {
            let [of_a, of_b] = [piece.ends.0 && left[0] > 0, piece.ends.1 && left[1] > 0];
            round(pe, software, a.next_words(of_a) + b.next_words(of_b));
        }
        if piece.ends.0 {
            a_move = a.post_left(pe, &mut left[0]);
        }
        if piece.ends.0 || piece.ends.1 {
            b_is_older = !piece.ends.1;
        }
        if piece.ends.1 {
            b_move = b.post_left(pe, &mut left[1]);
        }
    }
    if let Some(barrier) = barrier {
        barrier.pass(pe, barriers).await;
    }
}
