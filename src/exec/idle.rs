//! Exact quiescence: when no worker can move and no message is under way.
//!
//! ```text
//!   active --nothing to do: publish counts--> idle --a message came: leave--> active
//!                                             idle --two equal scans--------> quiescent (every worker sees it itself)
//! ```
//! A desk is one word: idle or not, messages sent, messages received. Whoever is idle scans the desks of the others:
//! all idle and sums equal, twice with the same words. A worker leaves for a message alone, so it comes back with
//! another count: equal words mean that it was idle all the time between the two looks, no message was under way
//! between the scans (Mattern's four-counter argument), and nothing can start one.
//!
//! Invariant: counts are kept modulo 2^31, far above what rings can hold; a desk is written by its worker, or by the
//! host while all workers wait for commands.

use crate::sync::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 31;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const IDLE: u64 = 1 << 62;
/// The desk of a worker that is gone.
const GONE: u64 = u64::MAX;

#[repr(align(256))]
struct Desk(AtomicU64);

/// The idle desks of all workers.
pub struct Idle {
    desks: Box<[Desk]>,
}

/// What an idle worker wrote on its desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts(u64);

impl Counts {
    fn sent(self) -> u64 {
        self.0 >> COUNT_BITS & COUNT
    }

    fn received(self) -> u64 {
        self.0 & COUNT
    }
}

impl Idle {
    /// Desks for `workers` active workers.
    pub fn new(workers: usize) -> Self {
        Self { desks: (0..workers).map(|_| Desk(AtomicU64::new(0))).collect() }
    }

    /// Worker `me` has nothing to do; it has sent and received so many messages.
    pub fn enter(&self, me: usize, (sent, received): (u64, u64)) -> Counts {
        let counts = Counts(IDLE | (sent & COUNT) << COUNT_BITS | received & COUNT);
        // Release: pairs with the Acquire in `scan`. What this worker sent is in the rings of those who see the word.
        self.desks[me].0.store(counts.0, Ordering::Release);
        counts
    }

    /// All workers are active: called by the host while they wait for commands, before it sends the first.
    pub fn begin(&self) {
        for desk in &self.desks {
            // Relaxed: the channel that carries the commands orders this; a worker that is gone stays gone.
            let gone = desk.0.load(Ordering::Relaxed) == GONE;
            desk.0.store(if gone { GONE } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Worker `me` is about to take a message and is active again.
    pub fn leave(&self, me: usize) {
        // Release: pairs with the Acquire in `scan`. A scan that sees a message of ours counted as received sees this
        // too: the receiver's Acquire on the ring follows our Release there, which follows this store.
        self.desks[me].0.store(0, Ordering::Release);
    }

    /// Worker `me` is gone (it panicked): whoever is idle shall not wait for it.
    pub fn abandon(&self, me: usize) {
        // Release: pairs with the Acquire in `scan`; nothing else is handed over.
        self.desks[me].0.store(GONE, Ordering::Release);
    }

    /// Is a worker gone?
    pub fn is_abandoned(&self) -> bool {
        // Acquire: pairs with the Release in `abandon`.
        self.desks.iter().any(|desk| desk.0.load(Ordering::Acquire) == GONE)
    }

    /// Messages that all workers have sent and received, if all are idle. `mine` is on the desk of worker `me`.
    fn scan(&self, me: usize, mine: Counts) -> Scan {
        let (mut sent, mut received) = (mine.sent(), mine.received());
        for desk in self.desks.iter().enumerate().filter(|d| d.0 != me).map(|d| d.1) {
            // Acquire: pairs with the Release in `enter`, `leave` and `abandon`.
            let word = Counts(desk.0.load(Ordering::Acquire));
            if word.0 == GONE {
                return Scan::Gone;
            }
            if word.0 & IDLE == 0 {
                return Scan::Active;
            }
            (sent, received) = (sent + word.sent(), received + word.received());
        }
        Scan::Idle(sent & COUNT, received & COUNT)
    }

    /// Is everything quiescent, or is a worker gone? To be asked by worker `me`, which is idle with `mine` on its desk.
    pub fn is_quiescent(&self, me: usize, mine: Counts) -> bool {
        match self.scan(me, mine) {
            Scan::Gone => true,
            Scan::Active => false,
            // Every count only grows, so equal sums mean equal counts.
            first @ Scan::Idle(sent, received) => sent == received && self.scan(me, mine) == first,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Scan {
    Gone,
    Active,
    Idle(u64, u64),
}
