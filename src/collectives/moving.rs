//! Blocks that travel round a ring: posted exchanges, two buffers a PE, joins that wait for the own neighbours alone.
//!
//! ```text
//!   buffers:  [held]  --send-->     post: both ways start at once; what is held may be read meanwhile
//!             [other] <--recv--     turn: both have ended; the buffers change roles, the block is the next one
//! ```
//! Tiles that are *traded* change owners on the host instead of being copied: at the take the receiver gets the
//! sender's buffer with the block, the sender the receiver's empty one. To programs it is a move as any other.
//!
//! Invariant: of traded tiles nothing is written while it is read. A buffer is written by a copying take alone (from
//! another worker, or of a short block). Who reads a block that was given away has not joined, and the owner of its
//! buffer comes behind them on the way of the blocks; what is written there next was sent through them, after they
//! joined, for blocks keep their order on the ring. So blocks that are read under way go one way only.
//! Invariant: a block's number is its place on the ring; in the forward way PE at place p holds block p + rounds mod n.
//! Invariant: sizes follow from block numbers, so both ends of a link agree on them without a word; a block without
//! words is neither sent nor received, so a PE with nothing to pass on never waits for one that computes.
//! Called by programs of GEMM kernels and of prefill.

use crate::arena::Tile;
use crate::link::NONE;
use crate::pe::{JoinAll, Moved, PassOn, Pe, Rx, Ticket, Tx};
use crate::units::Cycles;

use super::interleave::Way;

/// The ends of one way of a ring at a PE.
#[derive(Clone, Copy, Debug)]
pub struct RingEnds {
    /// To the PE that takes from this one.
    pub tx: Tx,
    /// From the PE that gives to this one.
    pub rx: Rx,
}

impl RingEnds {
    /// Starts to give `out` and to take `into`, as far as they have words. `out` may be read until the tickets are
    /// joined.
    pub fn exchange(self, pe: Pe<'_>, out: Tile, into: Tile) -> Exchange {
        Exchange(pe.post_both((self.tx, out, out.words()), (self.rx, into, into.words()), false))
    }
}

/// The tickets of an exchange; must be joined.
#[must_use = "an exchange that is not joined keeps its tiles closed"]
#[derive(Clone, Copy, Debug)]
pub struct Exchange([Ticket; 2]);

impl Exchange {
    /// Nothing to wait for.
    pub const NOTHING: Self = Self([Ticket::NOTHING; 2]);

    /// Where the tiles of that lie, as joins have it: where they lay.
    pub const STILL: [u32; 2] = [NONE; 2];

    /// This if `it_does`, else nothing.
    pub fn only_if(self, it_does: bool) -> Self {
        if it_does { self } else { Self::NOTHING }
    }

    /// Waits for both.
    #[track_caller]
    pub fn join(self, pe: Pe<'_>) -> JoinAll<'_, 2> {
        pe.join_these(self.0)
    }

    /// The same, to `turn`.
    #[track_caller]
    pub fn moved(self, pe: Pe<'_>) -> Moved<'_, 2> {
        Moved(self.join(pe))
    }

    /// Waits for both of both; `first` was posted first, and the first two places are its.
    #[track_caller]
    pub fn both_moved(pe: Pe<'_>, first: Self, Self([c, d]): Self) -> Moved<'_, 4> {
        let Self([a, b]) = first;
        Moved(pe.join_these([a, b, c, d]))
    }

    /// As `both_again`, of one move.
    #[track_caller]
    pub(crate) fn again(self, pe: Pe<'_>, coming: u32, software: Cycles) -> PassOn<'_, 2> {
        PassOn { joins: self.join(pe), coming: [coming; 2], software, is_apart: false }
    }

    /// Two moves of traded tiles end as in `both_moved`; where it goes in one piece, `software` is charged and both
    /// begin again, with blocks of so many words to come.
    #[track_caller]
    pub(crate) fn both_again(
        pe: Pe<'_>,
        first: Self,
        second: Self,
        coming: [u32; 2],
        software: Cycles,
    ) -> PassOn<'_, 4> {
        let Moved(joins) = Self::both_moved(pe, first, second);
        PassOn { joins, coming, software, is_apart: false }
    }
}

/// A block on its way round a ring of `n`, in one of two buffers.
#[derive(Clone, Copy, Debug)]
pub struct Moving {
    buffers: [Tile; 2],
    second: bool,
    /// Buffers change owners.
    trades: bool,
    block: u32,
    n: u32,
}

impl Moving {
    /// Block `block` in the first of two buffers.
    pub fn new(buffers: [Tile; 2], block: usize, n: usize) -> Self {
        Self { buffers, second: false, trades: false, block: block as u32, n: n as u32 }
    }

    /// The same for whole tiles where nobody asks for the two by name any more, neither this program nor, afterwards,
    /// the host: blocks need not be copied, so which words the tiles of the layout hold in the end is left open. For
    /// rings that never turn back after blocks were read under way. A copy of this value names tiles of others after a
    /// `turn`.
    pub fn trading(buffers: [Tile; 2], block: usize, n: usize) -> Self {
        Self { trades: true, ..Self::new(buffers, block, n) }
    }

    /// Number of the block that is here.
    pub fn block(&self) -> usize {
        self.block as usize
    }

    /// The block that is here, of `words` words.
    pub fn tile(&self, words: usize) -> Tile {
        self.buffers[usize::from(self.second)].slice(0, words)
    }

    /// Number of the block that comes next.
    pub fn coming(&self, way: Way) -> usize {
        self.next(way) as usize
    }

    /// Number of the one after that.
    pub fn coming_then(&self, way: Way) -> usize {
        self.behind(self.next(way), way) as usize
    }

    fn next(&self, way: Way) -> u32 {
        self.behind(self.block, way)
    }

    fn behind(&self, block: u32, way: Way) -> u32 {
        match way {
            Way::Forward if block + 1 == self.n => 0,
            Way::Forward => block + 1,
            Way::Reverse => block.checked_sub(1).unwrap_or(self.n - 1),
        }
    }

    /// Starts to pass the block on, of `here` words, and to take the one of `coming` words.
    pub fn exchange(&self, pe: Pe<'_>, ring: RingEnds, here: usize, coming: usize) -> Exchange {
        let [held, other] = [self.second, !self.second].map(|at| self.buffers[usize::from(at)]);
        Exchange(pe.post_both((ring.tx, held, here), (ring.rx, other, coming), self.trades))
    }

    /// After `exchange` has ended, and its tiles lie at these places: the next block is here.
    pub fn turn(&mut self, [given, taken]: [u32; 2], way: Way) {
        if self.trades {
            let [held, other] = [usize::from(self.second), usize::from(!self.second)];
            self.buffers[held].moved_to(given);
            self.buffers[other].moved_to(taken);
        }
        self.block = self.next(way);
        self.second = !self.second;
    }
}

/// Blocks once round their ring past a PE that does something with each, while the next one is on its way.
///
/// ```text
///   while let Some((block, tile)) = tour.next(pe, words, software).await { .. what the kernel does with it .. }
/// ```
#[derive(Debug)]
pub struct Tour {
    moving: Moving,
    /// Nothing in a ring of one.
    ring: Option<RingEnds>,
    left: u32,
    under_way: Option<Exchange>,
    /// Words of what is under way.
    coming: u32,
}

impl Tour {
    /// From the block that is here now.
    pub fn new(moving: Moving, ring: Option<RingEnds>) -> Self {
        Self { moving, ring, left: moving.n, under_way: None, coming: 0 }
    }

    /// The last block, after the tour.
    pub fn into_moving(self) -> Moving {
        self.moving
    }

    /// Waits for the next block and starts the move after it: the block's number and tile; `None` after the last.
    /// `words(b)` is the length of block b; `software` is told how many words will be sent, before they are.
    pub async fn next(
        &mut self,
        pe: Pe<'_>,
        words: impl Fn(usize) -> usize,
        software: impl FnOnce(usize),
    ) -> Option<(usize, Tile)> {
        let came = match self.under_way.take() {
            Some(exchange) => {
                let lie = exchange.moved(pe).await;
                self.moving.turn(lie, Way::Forward);
                Some(self.coming as usize)
            }
            None => None,
        };
        self.left = self.left.checked_sub(1)?;
        let block = self.moving.block();
        let here = came.unwrap_or_else(|| words(block));
        let ring = self.ring.filter(|_| self.left > 0);
        software(if ring.is_some() { here } else { 0 });
        if let Some(ring) = ring {
            let coming = words(self.moving.coming(Way::Forward));
            self.coming = coming as u32;
            self.under_way = Some(self.moving.exchange(pe, ring, here, coming));
        }
        Some((block, self.moving.tile(here)))
    }
}
