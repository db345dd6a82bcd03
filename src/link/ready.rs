//! PEs that can run, and which of them a worker takes up next. Bits, cycles and counters do not depend on it.
//!
//! ```text
//!   depth first:  last woken, first run: what was just written is in cache when it is read
//!   sweep:        lowest id first, at most `ahead` runs beyond the others
//!
//!     runs |#\                      where every PE works with its neighbours step by step (rings folded into lines), a
//!          |## \ ahead              front moves over the mesh, and PEs behind it take `ahead` steps while their state
//!          |#####\_______  id ->    is in cache; last in, first out would fetch all state of a wafer for every step
//! ```
//! Invariant: every PE that was pushed is popped once; none is lost at the end of an epoch.
//! Called by `Net`.

use super::lane::LaneFlags;
use super::net::{Net, Store};
use super::record::Record;
use super::ticket::NONE;

/// In which order a worker takes up PEs that can run; a hint of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What was woken last.
    #[default]
    DepthFirst,
    /// See the module.
    Sweep {
        /// Runs of a PE in one epoch, at least 1: with more of them state is fetched less often, until the PEs behind
        /// the front no longer fit into the cache.
        ahead: u16,
    },
}

/// Links of rings that a PE gives along in a sweep, at most: two ways of two rings.
const MOVES_MAX: usize = 4;

/// PEs that a sweep has chosen before they run, whose state is on its way into the cache.
#[derive(Default)]
pub(super) struct Soon {
    /// A ring, from `first` on.
    pes: [u32; 8],
    first: u8,
    n: u8,
}

impl Soon {
    /// How many there are, as far as there are so many.
    const MOST: u8 = 5;

    /// The one that runs after `at` others.
    #[inline(always)]
    pub(super) fn get(&self, at: u8) -> Option<u32> {
        (at < self.n).then(|| self.pes[usize::from(self.first.wrapping_add(at)) % self.pes.len()])
    }

    #[inline(always)]
    fn push(&mut self, pe: u32) {
        self.pes[usize::from(self.first.wrapping_add(self.n)) % self.pes.len()] = pe;
        self.n += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<u32> {
        let first = self.get(0)?;
        (self.first, self.n) = (self.first.wrapping_add(1), self.n - 1);
        Some(first)
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ready {
    stack: Vec<u32>,
    sweep: Option<Box<Sweep>>,
}

impl Ready {
    /// PEs `0 .. n`, the last one on top.
    pub(super) fn all(n: usize) -> Self {
        Self { stack: (0..n as u32).collect(), sweep: None }
    }

    /// Changes to a sweep over `n` PEs; `sinks`: by port, the first PE that takes its bursts, if it is known.
    pub(super) fn sweep(&mut self, n: usize, ahead: u16, sinks: Vec<u32>) {
        let mut sweep = Box::new(Sweep::new(n, ahead, sinks));
        self.stack.drain(..).for_each(|pe| sweep.push(pe));
        self.sweep = Some(sweep);
    }

    /// Takes a PE in; whether it will run next, unless another one comes.
    #[inline(always)]
    pub(super) fn push(&mut self, pe: u32) -> bool {
        match &mut self.sweep {
            None => self.stack.push(pe),
            Some(sweep) => sweep.push(pe),
        }
        self.sweep.is_none()
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<u32> {
        match &mut self.sweep {
            None => self.stack.pop(),
            Some(sweep) => sweep.pop(),
        }
    }

    /// What `pop` gives next and after that, if that is known.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<(u32, Option<u32>)> {
        self.stack.split_last().map(|(next, rest)| (*next, rest.last().copied()))
    }

    /// The PEs that run next in a sweep; and by port the first PE that takes its bursts.
    #[inline(always)]
    pub(super) fn soon(&self) -> Option<(&Soon, &[u32])> {
        self.sweep.as_ref().map(|sweep| (&sweep.soon, &sweep.sinks[..]))
    }

    /// PEs on the stack (random schedules).
    pub(super) fn len(&self) -> usize {
        self.stack.len()
    }

    /// Takes one from the stack.
    pub(super) fn swap_remove(&mut self, at: usize) -> u32 {
        self.stack.swap_remove(at)
    }
}

impl<S: Store> Net<S> {
    /// From now on PEs are taken up in that order. In a sweep they move blocks: their tickets, and what tracks will
    /// need, are backed now and not while they run.
    pub fn take_up(&mut self, order: Order) {
        if let Order::Sweep { ahead } = order {
            if self.is_swift {
                let tickets = &mut self.tickets;
                self.records.iter_mut().for_each(|record| record.tickets = tickets.grow(Record::OPEN_MAX));
                self.tracks.back(MOVES_MAX * self.records.len());
            }
            let sinks = self.ports.iter().map(|port| self.first_sink(port.outs[0])).collect();
            self.ready.sweep(self.records.len(), ahead, sinks);
        }
    }

    /// The first PE that takes what enters a lane, if it is here.
    fn first_sink(&self, mut at: u32) -> u32 {
        while let Some(lane) = self.lanes.get(at as usize) {
            if lane.flags.has(LaneFlags::RAMP) && !lane.flags.has(LaneFlags::REMOTE) {
                return lane.reader;
            }
            at = lane.outs[0];
        }
        NONE
    }
}

/// The PEs of this epoch and of the next one.
struct Sweep {
    now: Bits,
    next: Bits,
    /// Of every PE, wrapping.
    runs: Vec<u16>,
    /// Runs at which this epoch ends.
    limit: u16,
    ahead: u16,
    /// Chosen, but not run.
    soon: Soon,
    sinks: Vec<u32>,
}

impl Sweep {
    fn new(n: usize, ahead: u16, sinks: Vec<u32>) -> Self {
        let (now, next) = (Bits::new(n), Bits::new(n));
        Self { now, next, runs: vec![0; n], limit: ahead, ahead, soon: Soon::default(), sinks }
    }

    #[inline]
    fn push(&mut self, pe: u32) {
        // A PE may be many epochs late, never early.
        let is_late = (self.runs[pe as usize].wrapping_sub(self.limit)) as i16;
        if is_late < 0 { self.now.insert(pe) } else { self.next.insert(pe) }
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        while self.soon.n < Soon::MOST {
            let Some(pe) = self.choose() else { break };
            self.soon.push(pe);
        }
        self.soon.pop()
    }

    fn choose(&mut self) -> Option<u32> {
        let pe = match self.now.take_first() {
            Some(pe) => pe,
            None => {
                std::mem::swap(&mut self.now, &mut self.next);
                let pe = self.now.take_first()?;
                self.limit = self.runs[pe as usize].wrapping_add(self.ahead);
                pe
            }
        };
        let runs = &mut self.runs[pe as usize];
        *runs = runs.wrapping_add(1);
        Some(pe)
    }
}

/// A set of small numbers that gives its least: a bit each, and a bit for every word of them.
struct Bits {
    words: Vec<u64>,
    tops: Vec<u64>,
    /// No top below is set.
    low: usize,
}

impl Bits {
    fn new(n: usize) -> Self {
        let words = n.div_ceil(64);
        Self { words: vec![0; words], tops: vec![0; words.div_ceil(64)], low: 0 }
    }

    #[inline]
    fn insert(&mut self, n: u32) {
        let word = n as usize / 64;
        self.words[word] |= 1 << (n % 64);
        self.tops[word / 64] |= 1 << (word % 64);
        self.low = self.low.min(word / 64);
    }

    #[inline]
    fn first(&self) -> Option<u32> {
        let skip = self.tops[self.low..].iter().position(|top| *top != 0)?;
        let top = self.low + skip;
        let word = top * 64 + self.tops[top].trailing_zeros() as usize;
        Some(word as u32 * 64 + self.words[word].trailing_zeros())
    }

    #[inline]
    fn take_first(&mut self) -> Option<u32> {
        let Some(n) = self.first() else {
            self.low = self.tops.len();
            return None;
        };
        let word = n as usize / 64;
        self.low = word / 64;
        self.words[word] &= self.words[word] - 1;
        if self.words[word] == 0 {
            self.tops[word / 64] &= !(1 << (word % 64));
        }
        Some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_gives_each_pe_once_lowest_first_within_an_epoch() {
        let mut ready = Ready::all(5000);
        ready.sweep(5000, 4, Vec::new());
        for pe in 0..5000 {
            assert_eq!(ready.pop(), Some(pe));
        }
        assert_eq!(ready.pop(), None);
        [4200, 7, 64].into_iter().for_each(|pe| _ = ready.push(pe));
        assert_eq!([(); 4].map(|()| ready.pop()), [Some(7), Some(64), Some(4200), None]);
    }

    #[test]
    fn a_pe_that_has_run_enough_waits_for_the_others() {
        let mut ready = Ready::all(2);
        ready.sweep(2, 4, Vec::new());
        assert_eq!([ready.pop(), ready.pop()], [Some(0), Some(1)]);
        for _ in 1..4 {
            ready.push(0);
            assert_eq!(ready.pop(), Some(0));
        }
        [0, 1].into_iter().for_each(|pe| _ = ready.push(pe));
        assert_eq!([(); 3].map(|()| ready.pop()), [Some(1), Some(0), None]);
    }
}
