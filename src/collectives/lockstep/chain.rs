//! Along a line: the chain toward a root that moves (`MovingRoot`), and the multicast from a core to both sides.
//!
//! Invariant: a lane belongs to the core that it leads to; chains toward higher and toward lower roots have their own.

use std::ops::Range;

use super::Clocks;
use super::lanes::{Flight, Lanes};

/// Chains of all lines.
#[derive(Clone, Debug)]
pub struct Line {
    /// From the lower neighbour.
    up: Lanes,
    /// From the higher neighbour.
    down: Lanes,
}

impl Line {
    /// Nothing has gone over the lines yet.
    pub fn new(clocks: &Clocks) -> Self {
        let lanes = Lanes::new(clocks.all.len(), &clocks.rules);
        Self { up: lanes.clone(), down: lanes }
    }

    /// Reduces tiles of `words` words over the part `part` of a line to its member `root`.
    pub fn reduce(&mut self, clocks: &mut Clocks, line: usize, part: Range<usize>, root: usize, words: usize) {
        let at = line * clocks.members;
        let (first, root, end) = (at + part.start, at + root, at + part.end);
        let mut higher = None;
        for core in (root + 1..end).rev() {
            higher = Some(pass_on(clocks, &mut self.down, higher, (core, core - 1), words));
        }
        let mut lower = None;
        for core in first..root {
            lower = Some(pass_on(clocks, &mut self.up, lower, (core, core + 1), words));
        }
        for (flight, lanes) in [(higher, &mut self.down), (lower, &mut self.up)] {
            let Some(flight) = flight else { continue };
            let start = take(clocks, lanes, &flight, root);
            clocks.all[root].now = clocks.rules.taken(&flight, start);
        }
    }
}

/// Core `at` adds what comes in, if anything does, and sends to `to`.
#[inline(always)]
fn pass_on(
    clocks: &mut Clocks,
    lanes: &mut Lanes,
    coming: Option<Flight>,
    (at, to): (usize, usize),
    words: usize,
) -> Flight {
    let (rules, mut min_tail) = (clocks.rules, 0);
    let ready = match coming {
        None => clocks.issue(at),
        Some(flight) => {
            min_tail = flight.tail + 2 * rules.ramp + rules.stage;
            clocks.all[at].now = take(clocks, lanes, &flight, at) + rules.stage;
            clocks.all[at].now
        }
    };
    let depth = clocks.all[at].depth;
    let mut flight = rules.send((at, depth), ready.max(lanes.credit(to)), min_tail, words);
    rules.hop(&mut flight, lanes, to, 0);
    clocks.sent.add(1, words);
    flight
}

/// Core `at` begins to take, and frees the lane; the start.
#[inline(always)]
fn take(clocks: &mut Clocks, lanes: &mut Lanes, flight: &Flight, at: usize) -> u64 {
    let start = clocks.arrive(flight, at);
    lanes.free(at, start);
    start
}

/// Multicasts on all lines.
#[derive(Clone, Debug)]
pub struct Cast(Lanes);

impl Cast {
    /// Nothing has gone over the lines yet.
    pub fn new(clocks: &Clocks) -> Self {
        Self(Lanes::new(clocks.all.len(), &clocks.rules))
    }

    /// Member `root` sends a tile of `words` words to all others of the part `part` of a line, who wait for it.
    pub fn broadcast(&mut self, clocks: &mut Clocks, line: usize, part: Range<usize>, root: usize, words: usize) {
        if part.len() < 2 {
            return;
        }
        let (at, rules) = (line * clocks.members, clocks.rules);
        let (first, root, end) = (at + part.start, at + root, at + part.end);
        let beside = [root.checked_sub(1).filter(|at| *at >= first), Some(root + 1).filter(|at| *at < end)];
        let credit = beside.into_iter().flatten().map(|lane| self.0.credit(lane)).max().unwrap_or(0);
        let ready = clocks.issue(root).max(credit);
        let flight = rules.send((root, clocks.all[root].depth), ready, 0, words);
        let lower = self.away(clocks, flight, (first..root).rev());
        let higher = self.away(clocks, flight, root + 1..end);
        clocks.settle(&flight, lower.max(higher));
        clocks.sent.add(part.len() as u64 - 1, words);
    }

    /// To the cores of one side, the nearest first; the last start of a take, less its path.
    fn away(&mut self, clocks: &mut Clocks, mut flight: Flight, side: impl Iterator<Item = usize>) -> u64 {
        let (rules, lanes) = (clocks.rules, &mut self.0);
        let (mut begun, mut side) = (0, side.peekable());
        while let Some(at) = side.next() {
            let credit = side.peek().map(|next| lanes.credit(*next));
            rules.hop(&mut flight, lanes, at, credit.unwrap_or(0));
            let here = &mut clocks.all[at];
            let start = rules.start(&flight, here.now);
            here.now = rules.taken(&flight, start);
            here.depth = here.depth.max(flight.depth);
            // Where it also goes on over a link, the slot is free when both are over.
            lanes.free(at, if credit.is_some() { start.max(flight.tail) } else { start });
            begun = begun.max(start - flight.path);
        }
        begun
    }
}
