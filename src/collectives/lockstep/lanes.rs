//! Lanes as arrays of times, and the rules of one message.                              (design.md section 3)
//!
//! Invariant: the bursts of a lane are entered and freed in order, each freed before the next is entered: operations
//! come one after the other, so of a lane's past only the times are left.

use crate::link::Timing;

/// Constants of the clock, in cycles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) timing: Timing,
    pub(super) alpha: u64,
    pub(super) ramp: u64,
    pub(super) issue: u64,
    pub(super) stage: u64,
}

/// A message on its way: what its sender still has to know, and how it stands at a router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Of the core that sent it.
    pub(super) from: usize,
    /// Wavelets on a link.
    pub(super) ser: u64,
    /// First and last wavelet at the router that it has reached.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// Cycles of the links so far.
    pub(super) path: u64,
    /// First wavelet and last one, as sent.
    left: (u64, u64),
    is_rendezvous: bool,
    /// The program goes on; it joins the send later.
    pub(super) posted: bool,
    pub(super) depth: u32,
}

impl Rules {
    pub(super) fn new(timing: Timing) -> Self {
        let [alpha, ramp, issue, stage] = [timing.alpha, timing.ramp, timing.issue, timing.stage].map(u64::from);
        Self { timing, alpha, ramp, issue, stage }
    }

    /// A send that is ready at `ready`, with the credit of every output; its tail is `min_tail` or later.
    #[inline(always)]
    pub(super) fn send(&self, (from, depth): (usize, u32), ready: u64, min_tail: u64, words: usize) -> Flight {
        let wavelets = words.max(1) as u32;
        let ser = self.timing.ser(wavelets);
        let head = ready + self.ramp;
        let tail = (head + ser).max(min_tail);
        let is_rendezvous = wavelets > self.timing.queue_wavelets;
        Flight { from, ser, head, tail, path: 0, left: (head, tail), is_rendezvous, posted: false, depth: depth + 1 }
    }

    /// Over a link into lane `at` and on from its router, when every output has the credit `credit`.
    #[inline(always)]
    pub(super) fn hop(&self, flight: &mut Flight, lanes: &mut Lanes, at: usize, credit: u64) {
        let (head, tail) = (flight.head + self.alpha, flight.tail + self.alpha);
        flight.path += self.alpha;
        flight.head = head.max(lanes.departed[at]).max(credit);
        flight.tail = (flight.head + flight.ser).max(tail);
        lanes.departed[at] = flight.tail;
    }

    /// Over so many links whose lanes are empty and free.
    #[inline(always)]
    pub(super) fn fly(&self, flight: &mut Flight, links: usize) {
        let way = self.alpha * links as u64;
        (flight.head, flight.tail, flight.path) = (flight.head + way, flight.tail + way, flight.path + way);
    }

    /// When a core that is there at `ready` begins to take it.
    #[inline(always)]
    pub(super) fn start(&self, flight: &Flight, ready: u64) -> u64 {
        ready.max(flight.head + self.ramp)
    }

    /// When a take that begins at `start` has ended.
    #[inline(always)]
    pub(super) fn taken(&self, flight: &Flight, start: u64) -> u64 {
        (start + flight.ser).max(flight.tail + self.ramp) + self.stage
    }

    /// When the send has ended, whose sinks began at `begun` less their paths, the last of them.
    #[inline(always)]
    pub(super) fn ended(&self, flight: &Flight, begun: u64) -> u64 {
        let (head, tail) = flight.left;
        if flight.is_rendezvous { begun + (tail - head) - 2 * self.ramp } else { tail - self.ramp }
    }
}

/// Of each lane: when its last burst left it, and when its slots were freed.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    departed: Vec<u64>,
    freed: Vec<u64>,
    slot: Vec<u8>,
    depth: usize,
}

impl Lanes {
    pub(super) fn new(lanes: usize, rules: &Rules) -> Self {
        let depth = usize::from(rules.timing.lane_depth);
        Self { departed: vec![0; lanes], freed: vec![0; lanes * depth], slot: vec![0; lanes], depth }
    }

    /// The credit of the next burst.
    #[inline(always)]
    pub(super) fn credit(&self, at: usize) -> u64 {
        self.freed[at * self.depth + usize::from(self.slot[at])]
    }

    /// The burst that came last has gone, or is being taken.
    #[inline(always)]
    pub(super) fn free(&mut self, at: usize, time: u64) {
        let slot = usize::from(self.slot[at]);
        self.freed[at * self.depth + slot] = time;
        self.slot[at] = if slot + 1 == self.depth { 0 } else { slot as u8 + 1 };
    }
}
