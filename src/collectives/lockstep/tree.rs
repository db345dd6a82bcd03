//! Along a line whose lanes are empty before every operation: K-trees, their broadcast, and a step to the lower side.
//!
//! Lanes are empty where every message of a line is answered before the next one leaves: a reduction whose result comes
//! back, as in decode. So no message waits for a lane, and the times of lanes are not needed.
//!
//! Invariant: groups and roots are those of `ktree`.

use std::ops::Range;

use super::lanes::Flight;
use super::{Clock, Clocks};
use crate::math::split::split;

/// A line, or the part of one, that reduces: groups level by level, members by their place in the part.
#[derive(Clone, Debug)]
pub struct Group {
    /// Members of every group, and which of them is its root.
    levels: Vec<Vec<(Vec<usize>, usize)>>,
    /// Members.
    n: usize,
    /// The last root.
    pub root: usize,
}

impl Group {
    /// `n` members in groups of these counts, from the leaves.
    pub fn new(n: usize, groups: &[usize]) -> Self {
        let mut members: Vec<usize> = (0..n).collect();
        let mut levels = Vec::new();
        for &count in groups {
            let cut = |range: Range<usize>| (members[range.clone()].to_vec(), range.len() / 2);
            let level: Vec<(Vec<usize>, usize)> = split(members.len(), count.min(members.len())).map(cut).collect();
            members = level.iter().map(|(group, root)| group[*root]).collect();
            levels.push(level);
        }
        Self { levels, n, root: members[0] }
    }

    /// Reduces tiles of `words` words, for members from `first` of a line on. The last send of a leaf may be `posted`.
    pub fn reduce(&self, clocks: &mut Clocks, (line, first): (usize, usize), words: usize, posted: bool) {
        let at = line * clocks.members + first;
        for (group, root) in self.levels.iter().flatten() {
            let (lower, higher) = (&group[..*root], &group[*root + 1..]);
            let root = group[*root];
            let mut side = |member: usize, to: usize, coming: Option<Flight>| {
                Some(pass_on(clocks, coming, [at + member, at + to], words, posted))
            };
            let mut from_higher = None;
            for (i, &member) in higher.iter().enumerate().rev() {
                from_higher = side(member, if i > 0 { higher[i - 1] } else { root }, from_higher);
            }
            let mut from_lower = None;
            for (i, &member) in lower.iter().enumerate() {
                from_lower = side(member, lower.get(i + 1).copied().unwrap_or(root), from_lower);
            }
            for flight in [from_higher, from_lower].into_iter().flatten() {
                take(clocks, &flight, at + root);
            }
        }
    }

    /// The last root sends a tile of `words` words to all others, who wait for it; it may go on meanwhile.
    pub fn broadcast(&self, clocks: &mut Clocks, (line, first): (usize, usize), words: usize, posted: bool) {
        if self.n < 2 {
            return;
        }
        let (at, rules) = (line * clocks.members + first, clocks.rules);
        let root = at + self.root;
        let ready = clocks.issue(root);
        let mut sent = rules.send((root, clocks.all[root].depth), ready, 0, words);
        sent.posted = posted;
        let mut begun = 0;
        for core in (at..at + self.n).filter(|core| *core != root) {
            let mut flight = sent;
            rules.fly(&mut flight, core.abs_diff(root));
            let here = &mut clocks.all[core];
            let start = rules.start(&flight, here.now);
            here.now = rules.taken(&flight, start);
            here.depth = here.depth.max(flight.depth);
            begun = begun.max(start - flight.path);
        }
        clocks.settle(&sent, begun);
        clocks.sent.add(self.n as u64 - 1, words);
    }
}

/// Core `at` adds what comes in, if anything does, and sends on.
#[inline(always)]
fn pass_on(clocks: &mut Clocks, coming: Option<Flight>, [at, to]: [usize; 2], words: usize, posted: bool) -> Flight {
    let (rules, mut min_tail) = (clocks.rules, 0);
    let ready = match &coming {
        None => clocks.issue(at),
        Some(flight) => {
            min_tail = flight.tail + 2 * rules.ramp + rules.stage;
            clocks.all[at].now = clocks.arrive(flight, at) + rules.stage;
            clocks.all[at].now
        }
    };
    let mut flight = rules.send((at, clocks.all[at].depth), ready, min_tail, words);
    flight.posted = posted && coming.is_none();
    let links = at.abs_diff(to);
    rules.fly(&mut flight, links);
    clocks.sent.add(links as u64, words);
    flight
}

/// A receive that the program waits for.
#[inline(always)]
fn take(clocks: &mut Clocks, flight: &Flight, at: usize) {
    let start = clocks.arrive(flight, at);
    clocks.all[at].now = clocks.rules.taken(flight, start);
}

/// The members of `part` of a line each post a tile of `words` words to the next lower one, who waits for it.
pub fn shift(clocks: &mut Clocks, line: usize, part: Range<usize>, words: usize) {
    let (at, rules) = (line * clocks.members, clocks.rules);
    let post = |core: usize, clocks: &mut Clocks| {
        let ready = clocks.issue(core);
        let mut flight = rules.send((core, clocks.all[core].depth), ready, 0, words);
        flight.posted = true;
        rules.fly(&mut flight, 1);
        clocks.sent.add(1, words);
        flight
    };
    let flights: Vec<Flight> = part.map(|member| post(at + member, clocks)).collect();
    for flight in flights {
        take(clocks, &flight, flight.from - 1);
    }
}

/// A member of a line sends a tile of `words` words over so many links to a core outside, who waits for it.
pub fn leave(clocks: &mut Clocks, (line, member): (usize, usize), to: &mut Clock, links: usize, words: usize) {
    let (at, rules) = (line * clocks.members + member, clocks.rules);
    let ready = clocks.issue(at);
    let mut flight = rules.send((at, clocks.all[at].depth), ready, 0, words);
    rules.fly(&mut flight, links);
    let start = rules.start(&flight, to.now);
    (to.now, to.depth) = (rules.taken(&flight, start), to.depth.max(flight.depth));
    clocks.settle(&flight, start - flight.path);
    clocks.sent.add(links as u64, words);
}
