//! From line to line: rounds of an interleaved ring at every member, posted, and joined when the caller says so.
//!
//! Invariant: a block's number is its place on the ring, as in `Moving`; one without words is neither sent nor taken.

use super::Clocks;
use super::lanes::Lanes;
use crate::collectives::Cycle;

/// A ring through all lines, one at every member; and the round that is under way.
#[derive(Clone, Debug)]
pub struct Round {
    /// Place on the ring of every line.
    place: Vec<usize>,
    /// Line at every place.
    line: Vec<usize>,
    /// Lanes that end at a core, and those of the line between.
    last: Lanes,
    between: Lanes,
    /// Of each core in this round: end of its send, end of its receive, depth of what it received.
    ends: Vec<(u64, u64, u32)>,
    nth: usize,
    posted: bool,
}

impl Round {
    /// Every line with its own block.
    pub fn new(clocks: &Clocks, cycle: Cycle) -> Self {
        let n = clocks.lines;
        let lanes = Lanes::new(clocks.all.len(), &clocks.rules);
        Self {
            place: (0..n).map(|i| cycle.pos(n, i)).collect(),
            line: (0..n).map(|k| cycle.at(n, k)).collect(),
            last: lanes.clone(),
            between: lanes,
            ends: vec![(0, 0, 0); clocks.all.len()],
            nth: 0,
            posted: false,
        }
    }

    /// Whose block is on line `line` now.
    pub fn owner(&self, line: usize) -> usize {
        self.line[(self.place[line] + self.nth) % self.place.len()]
    }

    /// Posts the next exchange, but not in the last round: the block that `owner` had at the start has
    /// `words(owner, member)` words.
    pub fn post(&mut self, clocks: &mut Clocks, words: impl Fn(usize, usize) -> usize) {
        let (n, members) = (clocks.lines, clocks.members);
        self.posted = self.nth + 1 < n;
        if !self.posted {
            return;
        }
        self.ends.fill((0, 0, 0));
        for line in 0..n {
            let owner = self.owner(line);
            for member in (0..members).filter(|m| words(owner, *m) > 0) {
                clocks.issue(line * members + member);
            }
        }
        for line in 0..n {
            let giver = self.line[(self.place[line] + 1) % n];
            let owner = self.owner(giver);
            for member in 0..members {
                let words = words(owner, member);
                if words > 0 {
                    self.exchange(clocks, (giver, line), member, words);
                }
            }
        }
    }

    #[inline(always)]
    fn exchange(&mut self, clocks: &mut Clocks, (giver, line): (usize, usize), member: usize, words: usize) {
        let (rules, members) = (clocks.rules, clocks.members);
        let [from, to] = [giver, line].map(|line| line * members + member);
        let far = giver.abs_diff(line) == 2;
        let (sender, last) = (clocks.all[from], self.last.credit(to));
        // The lane between is named by where it leads.
        let credit = if far { self.between.credit(to) } else { last };
        let mut flight = rules.send((from, sender.depth), sender.now.max(credit), 0, words);
        if far {
            rules.hop(&mut flight, &mut self.between, to, last);
            self.between.free(to, flight.tail);
        }
        rules.hop(&mut flight, &mut self.last, to, 0);
        let start = rules.start(&flight, clocks.all[to].now);
        self.last.free(to, start);
        self.ends[from].0 = rules.ended(&flight, start - flight.path);
        (self.ends[to].1, self.ends[to].2) = (rules.taken(&flight, start), flight.depth);
        clocks.sent.add(if far { 2 } else { 1 }, words);
    }

    /// Joins what was posted; the next block is here. After the last round every line has its own block again.
    pub fn join(&mut self, clocks: &mut Clocks) {
        self.nth = (self.nth + 1) % self.place.len();
        if !self.posted {
            return;
        }
        for (clock, (sent, received, depth)) in clocks.all.iter_mut().zip(&self.ends) {
            clock.now = clock.now.max(*sent).max(*received);
            clock.depth = clock.depth.max(*depth);
        }
    }
}
