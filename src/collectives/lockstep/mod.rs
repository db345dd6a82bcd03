//! Clocks of all cores of a rectangle that run one program: an operation of all of them at a time, without bursts.
//!
//! ```text
//!   lines x members     a chain or a multicast runs along a line, a ring from line to line at every member
//!   one operation:      clocks of all cores -> start, end and credit of each message -> clocks of all cores
//! ```
//! What a message costs depends on both ends' clocks and on what went over its lanes before (design.md section 3), and
//! on nothing else. A program whose operations all cores run in the same order can so be timed as arrays, a few
//! nanoseconds a message instead of the hundred that lanes, tickets and futures take.
//!
//! Invariant: cycles, busy cycles, depths and counters are those of the executed program (`host::lockstep` compares
//! every core).
//! Values are never looked at, so programs must be oblivious of them; all of ours are.
//! Called by kernels that offer such a clock of theirs.

mod chain;
mod lanes;
mod ring;
mod tree;

pub use chain::{Cast, Line};
pub use ring::Round;
pub use tree::{Group, leave, shift};

use crate::link::Timing;
use crate::pe::Mark;
use crate::units::Cycles;
use lanes::{Flight, Rules};

/// What went over links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bursts that ramps sent.
    pub bursts: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
}

impl Sent {
    /// One burst of `words` wavelets, over so many links.
    pub fn add(&mut self, hops: u64, words: usize) {
        self.bursts += 1;
        self.hops += hops;
        self.wavelets += hops * words.max(1) as u64;
    }
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.bursts += more.bursts;
        self.hops += more.hops;
        self.wavelets += more.wavelets;
    }
}

/// One core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Time of the compute element.
    pub now: u64,
    /// Cycles spent computing and issuing.
    pub busy: u64,
    /// Longest chain of dependent messages that led here.
    pub depth: u32,
    /// End of the sends that were posted and not joined.
    pub open: u64,
}

/// What a program of this kind leaves.
#[derive(Clone, Debug)]
pub struct Done {
    /// By (row, column) of its rectangle.
    pub clocks: Vec<Clock>,
    /// Cores of the head beside it, by row.
    pub head: Vec<Clock>,
    /// What went over links.
    pub sent: Sent,
    /// Points of the cores that mark them, as their programs do.
    pub marks: Vec<Mark>,
}

/// Sizes that members of a line have, and which of them each has.
#[derive(Clone, Debug)]
pub struct Kinds<T> {
    sizes: Vec<T>,
    of: Vec<u8>,
}

impl<T: PartialEq + Copy> Kinds<T> {
    /// The size of every member; at most 256 different ones.
    pub fn new(all: impl Iterator<Item = T>) -> Self {
        let mut kinds = Self { sizes: Vec::new(), of: Vec::new() };
        for size in all {
            let at = kinds.sizes.iter().position(|s| *s == size).unwrap_or(kinds.sizes.len());
            if at == kinds.sizes.len() {
                kinds.sizes.push(size);
            }
            kinds.of.push(u8::try_from(at).expect("parts of a split differ by one"));
        }
        kinds
    }

    /// The size of a member.
    #[inline]
    pub fn at(&self, member: usize) -> T {
        self.sizes[usize::from(self.of[member])]
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.of.iter().map(|kind| self.sizes[usize::from(*kind)])
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// Lines.
    pub lines: usize,
    /// Cores of a line.
    pub members: usize,
    /// Line by line.
    pub all: Vec<Clock>,
    /// So far.
    pub sent: Sent,
    rules: Rules,
}

impl Clocks {
    /// Cores line by line, where they stand.
    ///
    /// # Panics
    /// When they are not `lines x members`: a defect.
    pub fn new(timing: Timing, (lines, members): (usize, usize), all: Vec<Clock>) -> Self {
        assert_eq!(all.len(), lines * members);
        Self { lines, members, all, sent: Sent::default(), rules: Rules::new(timing) }
    }

    /// Members become lines, lines members.
    pub fn turn(&mut self) {
        let (lines, members) = (self.lines, self.members);
        let at = |i: usize| self.all[i % lines * members + i / lines];
        self.all = (0..lines * members).map(at).collect();
        (self.lines, self.members) = (members, lines);
    }

    /// One core computes.
    #[inline]
    pub fn compute(&mut self, line: usize, member: usize, cost: Cycles) {
        let clock = &mut self.all[line * self.members + member];
        clock.now += cost.0;
        clock.busy += cost.0;
    }

    /// The cores of a line compute, each for what its size costs.
    #[inline]
    pub fn compute_by<T: PartialEq + Copy>(&mut self, line: usize, kinds: &Kinds<T>, cost: impl Fn(T) -> Cycles) {
        let costs: smallvec::SmallVec<[u64; 8]> = kinds.sizes.iter().map(|size| cost(*size).0).collect();
        let from = line * self.members;
        for (clock, kind) in self.all[from..from + self.members].iter_mut().zip(&kinds.of) {
            let cost = costs[usize::from(*kind)];
            clock.now += cost;
            clock.busy += cost;
        }
    }

    /// All cores compute, each for `cost(line, member)`.
    pub fn compute_all(&mut self, cost: impl Fn(usize, usize) -> Cycles) {
        for line in 0..self.lines {
            for member in 0..self.members {
                self.compute(line, member, cost(line, member));
            }
        }
    }

    /// Charges the issue of a send; when it is ready.
    #[inline]
    fn issue(&mut self, at: usize) -> u64 {
        let clock = &mut self.all[at];
        clock.now += self.rules.issue;
        clock.busy += self.rules.issue;
        clock.now
    }

    /// Core `at` begins to take a message, which ends its send if no other sink is later; the start.
    #[inline(always)]
    fn arrive(&mut self, flight: &Flight, at: usize) -> u64 {
        let here = &mut self.all[at];
        let start = self.rules.start(flight, here.now);
        here.depth = here.depth.max(flight.depth);
        self.settle(flight, start - flight.path);
        start
    }

    /// A send has ended, whose sinks began at `begun` less their paths.
    #[inline(always)]
    fn settle(&mut self, flight: &Flight, begun: u64) {
        let (end, sender) = (self.rules.ended(flight, begun), &mut self.all[flight.from]);
        let till = if flight.posted { &mut sender.open } else { &mut sender.now };
        *till = end.max(*till);
    }

    /// All cores wait for what they have posted.
    pub fn join(&mut self) {
        for clock in &mut self.all {
            clock.now = clock.now.max(clock.open);
            clock.open = 0;
        }
    }
}
