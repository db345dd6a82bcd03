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
use crate::collectives::{Exchange, Moving, RingEnds, Tour, Way};
use crate::fabric::Overheads;
use crate::pe::{Passing, Pe};
use crate::units::Cycles;

use super::cannon::Barrier;
use super::pieces::{KMap, Piece};
use super::product::Storage;

/// A factor on its ring, as one PE sees it. Small, for there is one a program.
pub struct Side<'a> {
    /// Its block and buffers.
    moving: Moving,
    /// Ends of the forward way; `None` in a ring of one.
    forward: Option<RingEnds>,
    /// Lengths of the blocks, by place on the ring.
    len: &'a [usize],
    /// Elements per unit of length.
    pub width: u32,
    /// Format.
    format: Storage,
    /// Words of the block that is here.
    here: u32,
    /// Words of the block that comes, or `STILL`.
    coming: u32,
    /// Words of every block, if they have equally many.
    each: Option<u32>,
}

/// No block is under way.
const STILL: u32 = u32::MAX;

impl<'a> Side<'a> {
    /// Blocks of `len` x `width` elements, the first of which is here.
    pub fn new(moving: Moving, forward: Option<RingEnds>, (len, width): (&'a [usize], usize), format: Storage) -> Self {
        let new = Self { moving, forward, len, width: width as u32, format, here: 0, coming: STILL, each: None };
        let here = new.words(moving.block());
        let are_equal = len.iter().all(|other| *other == len[moving.block()]);
        Self { here, each: are_equal.then_some(here), ..new }
    }

    /// The tour of its blocks, from the one that is here.
    pub(super) fn tour(&self) -> Tour {
        Tour::new(self.moving, self.forward)
    }

    /// Where that tour ended.
    pub(super) fn end_tour(&mut self, tour: Tour) {
        self.moving = tour.into_moving();
        self.here = self.words(self.moving.block());
    }

    /// Words of a block.
    pub(super) fn words(&self, block: usize) -> u32 {
        self.each.unwrap_or_else(|| self.format.words(self.len[block] * self.width as usize) as u32)
    }

    /// The block that is here.
    pub fn tile(&self) -> Tile {
        self.moving.tile(self.here as usize)
    }

    /// Words that the next move sends, if there is one.
    fn next_words(&self, is_left: bool) -> usize {
        if is_left && self.forward.is_some() { self.here as usize } else { 0 }
    }

    /// Starts one move on the ring of that way.
    fn post(&mut self, pe: Pe<'_>, ring: Option<RingEnds>, way: Way) -> Exchange {
        let Some(ring) = ring else { return Exchange::NOTHING };
        self.coming = self.words(self.moving.coming(way));
        self.moving.exchange(pe, ring, self.here as usize, self.coming as usize)
    }

    /// Starts the next move of the tour if one is left.
    fn post_left(&mut self, pe: Pe<'_>, left: &mut u32) -> Exchange {
        let Some(after) = left.checked_sub(1) else { return Exchange::NOTHING };
        *left = after;
        self.post(pe, self.forward, Way::Forward)
    }

    /// Is a block under way, and another move to follow it?
    fn goes_on(&self, left: u32) -> bool {
        left > 0 && self.coming != STILL
    }

    /// Words of the block behind the one that is under way, where that goes on at once.
    fn then(&self, way: Way) -> u32 {
        self.each.unwrap_or_else(|| self.words(self.moving.coming_then(way)))
    }

    /// A move has ended, and the next one has begun, with so many words to come.
    fn passed_on(&mut self, lie: [u32; 2], then: u32, way: Way) {
        self.moving.turn(lie, way);
        self.here = std::mem::replace(&mut self.coming, then);
    }

    /// A move, if there was one, has ended; where its tiles lie.
    fn arrived(&mut self, lie: [u32; 2], way: Way) {
        if self.coming != STILL {
            self.moving.turn(lie, way);
            self.here = std::mem::replace(&mut self.coming, STILL);
        }
    }
}

/// The software of one round in which so many words are sent, before its posts: nothing hides it.
fn round(pe: Pe<'_>, software: &Overheads, words: usize) {
    let cost = software.round(words);
    if cost > Cycles::ZERO {
        pe.compute(cost, |_| {});
    }
}

/// How a block comes into alignment: the ring of its way, and how many rounds.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Which way.
    pub way: Way,
    /// Moves.
    pub rounds: u32,
    /// The ends of that way; `None` in a ring of one.
    pub ends: Option<RingEnds>,
}

/// Moves of one factor, the first of which has begun, as far as they go in one piece; the other one is where it is to
/// be. Where the tiles of the last one lie, after it has ended.
async fn alone(
    pe: Pe<'_>,
    side: &mut Side<'_>,
    (moves, way): (Exchange, Way),
    left: &mut u32,
    software: &Overheads,
) -> [u32; 2] {
    while side.goes_on(left.saturating_sub(1)) {
        let (then, cost) = (side.then(way), software.round(side.coming as usize));
        match moves.again(pe, then, cost).await {
            Passing::On(lie) => side.passed_on(lie, then, way),
            Passing::Ended(lie) => return lie,
        }
        *left -= 1;
    }
    moves.moved(pe).await
}

/// Brings A and B into alignment, both at once. `software` is charged a round.
pub async fn align(pe: Pe<'_>, a: &mut Side<'_>, b: &mut Side<'_>, turns: [Turn; 2], software: &Overheads) {
    let [(a_way, a_ends, mut a_left), (b_way, b_ends, mut b_left)] = turns.map(|t| (t.way, t.ends, t.rounds));
    while a_left.max(b_left) > 0 {
        round(pe, software, a.next_words(a_left > 0) + b.next_words(b_left > 0));
        let a_move = if a_left > 0 { a.post(pe, a_ends, a_way) } else { Exchange::NOTHING };
        let b_move = if b_left > 0 { b.post(pe, b_ends, b_way) } else { Exchange::NOTHING };
        let (of_a, of_b) = match (a_left, b_left) {
            (_, 0) => (alone(pe, a, (a_move, a_way), &mut a_left, software).await, Exchange::STILL),
            (0, _) => (Exchange::STILL, alone(pe, b, (b_move, b_way), &mut b_left, software).await),
            _ => both(pe, (a, a_move, a_way, &mut a_left), (b, b_move, b_way, &mut b_left), software).await,
        };
        a.arrived(of_a, a_way);
        b.arrived(of_b, b_way);
        (a_left, b_left) = (a_left.saturating_sub(1), b_left.saturating_sub(1));
    }
}

/// A factor, its move that has begun, its way, and the moves left with that one.
type Under<'s, 'a> = (&'s mut Side<'a>, Exchange, Way, &'s mut u32);

/// As `alone`, of both.
async fn both(
    pe: Pe<'_>,
    (a, a_move, a_way, a_left): Under<'_, '_>,
    (b, b_move, b_way, b_left): Under<'_, '_>,
    software: &Overheads,
) -> ([u32; 2], [u32; 2]) {
    while a.goes_on(*a_left - 1) && b.goes_on(*b_left - 1) {
        let then = [a.then(a_way), b.then(b_way)];
        let cost = software.round((a.coming + b.coming) as usize);
        match Exchange::both_again(pe, a_move, b_move, then, cost).await {
            Passing::On([a_gave, a_took, of_b @ ..]) => {
                a.passed_on([a_gave, a_took], then[0], a_way);
                b.passed_on(of_b, then[1], b_way);
            }
            Passing::Ended([a_gave, a_took, of_b @ ..]) => return ([a_gave, a_took], of_b),
        }
        (*a_left, *b_left) = (*a_left - 1, *b_left - 1);
    }
    let [a_gave, a_took, of_b @ ..] = Exchange::both_moved(pe, a_move, b_move).await;
    ([a_gave, a_took], of_b)
}

/// Blocks of A, of B, of both have come: where they lie, those whose move is older first.
#[inline(always)]
fn arrived((a, b): (&mut Side<'_>, &mut Side<'_>), ends: (bool, bool), b_is_older: bool, lie: [u32; 4]) {
    let [gave, took, others @ ..] = lie;
    let (of_a, of_b) = if b_is_older { (others, [gave, took]) } else { ([gave, took], others) };
    if ends.0 {
        a.arrived(of_a, Way::Forward);
    }
    if ends.1 {
        b.arrived(of_b, Way::Forward);
    }
}

/// Goes once round the tour from `first` (see `KMap::first`), with at most `left` moves of A and of B; `multiply`
/// gets each piece and the blocks that it lies in. `software` is charged a step, before its posts. A barrier stands
/// between fine blocks: on a square mesh, between steps.
///
/// One block, not an `async fn` (which would keep its arguments twice), and few words live across its waits: a step of
/// a small tile costs the host less than bringing a large program into its cache.
pub fn cyclic<'a>(
    pe: Pe<'a>,
    (map, (first, mut late)): (&'a KMap, (usize, u64)),
    (a, b): (&'a mut Side<'_>, &'a mut Side<'_>),
    mut left: [u32; 2],
    (barrier, software): (Option<&'a Barrier>, &'a Overheads),
    mut multiply: impl FnMut(&Piece, Tile, Tile) + 'a,
) -> impl Future<Output = ()> {
    let mut barriers = if barrier.is_some() { map.fine_blocks() - 1 } else { 0 };
    let (mut at, charges) = (first as u32, software.charges_rounds());
    let is_free = barrier.is_none();
    async move {
        round(pe, software, a.next_words(left[0] > 0) + b.next_words(left[1] > 0));
        let mut a_move = a.post_left(pe, &mut left[0]);
        let mut b_move = b.post_left(pe, &mut left[1]);
        let mut b_is_older = false;
        let mut to_do = map.pieces.len() as u32;
        while to_do > 0 {
            let piece = &map.pieces[at as usize];
            multiply(piece, a.tile(), b.tile());
            let both_end = piece.ends == (true, true) && !b_is_older;
            let lie = if is_free && both_end && a.goes_on(left[0]) && b.goes_on(left[1]) {
                let then = [a.then(Way::Forward), b.then(Way::Forward)];
                let words = if charges && to_do > 1 { (a.coming + b.coming) as usize } else { 0 };
                let cost = if words > 0 { software.round(words) } else { Cycles::ZERO };
                match Exchange::both_again(pe, a_move, b_move, then, cost).await {
                    Passing::On([gave, took, of_b @ ..]) => {
                        a.passed_on([gave, took], then[0], Way::Forward);
                        b.passed_on(of_b, then[1], Way::Forward);
                        left = [left[0] - 1, left[1] - 1];
                        (at, to_do) = ((at + 1) % map.pieces.len() as u32, to_do - 1);
                        continue;
                    }
                    Passing::Ended(lie) => lie,
                }
            } else {
                let [of_a, of_b] = [a_move.only_if(piece.ends.0), b_move.only_if(piece.ends.1)];
                let (older, newer) = if b_is_older { (of_b, of_a) } else { (of_a, of_b) };
                Exchange::both_moved(pe, older, newer).await
            };
            let piece = &map.pieces[at as usize];
            arrived((a, b), piece.ends, b_is_older, lie);
            if let Some(barrier) = barrier {
                let passed = (piece.fine.end - piece.fine.start - late).min(barriers);
                (late, barriers) = (0, barriers - passed);
                Box::pin(barrier.pass(pe, passed)).await;
            }
            let ends = piece.ends;
            (at, to_do) = ((at + 1) % map.pieces.len() as u32, to_do - 1);
            if to_do > 0 && charges {
                let [of_a, of_b] = [ends.0 && left[0] > 0, ends.1 && left[1] > 0];
                round(pe, software, a.next_words(of_a) + b.next_words(of_b));
            }
            if ends.0 {
                a_move = a.post_left(pe, &mut left[0]);
            }
            if ends.0 || ends.1 {
                b_is_older = !ends.1;
            }
            if ends.1 {
                b_move = b.post_left(pe, &mut left[1]);
            }
        }
        if let Some(barrier) = barrier {
            Box::pin(barrier.pass(pe, barriers)).await;
        }
    }
}
