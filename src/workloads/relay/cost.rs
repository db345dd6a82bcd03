//! Closed forms of the relayed kernels: clocks as sums and maxima, without execution.
//!
//! ```text
//!   a relay           S + 2 T_R + alpha + stage + its software
//!   T10, a step       product, then the longer of two ways of P - 1 relays (where they cross, one waits), barrier
//!   Ladder, step t    max(t, P - 1 - t) relays along x, as many along y, product, barrier
//!   T10, a sum        (P - 1) headers, 13 (P - 2) + 14 + 2 S        Ladder: P - 1 relays, product, chain
//! ```
//! After a barrier clocks are one number plus a function of the column plus one of the row, always the same two. So
//! every step but the first begins alike, and T10's steps all take what the second takes.
//!
//! Invariant: equal to executed cycles (`tests/kernels/relays.rs`). Called by `layer`.

use crate::collectives::cost::{chain, tree_reduce};
use crate::kernels::gemm::product_cycles;
use crate::link::Timing;
use crate::units::Coord;

use super::gemm::RelayGemm;
use super::gemv::{RelayGemv, header};
use super::{Policy, barrier_groups};

/// Cycles from a sender's clock to the start of the receive at its neighbour.
fn next_door(t: &Timing) -> u64 {
    u64::from(2 * t.ramp + t.alpha + t.issue)
}

/// The barrier of a mesh: what it adds to the clocks that come to it.
struct Rest {
    groups: Vec<usize>,
    timing: Timing,
}

impl Rest {
    /// One number: when the last reduction has ended, if row r's reduction begins with `rows[r]`.
    fn ends(&self, rows: impl Iterator<Item = Vec<u64>>) -> u64 {
        let reduce = |clocks: Vec<u64>| tree_reduce(clocks, &self.groups, 1, &self.timing).1;
        reduce(rows.map(reduce).collect())
    }

    /// What each place of a line adds after a broadcast.
    fn places(&self, p: usize) -> Vec<u64> {
        let root = tree_reduce(vec![0; p], &self.groups, 1, &self.timing).0;
        let t = &self.timing;
        let far = |i: usize| u64::from(2 * t.ramp + t.stage) + u64::from(t.alpha) * i.abs_diff(root) as u64;
        (0..p).map(|i| t.ser(1) * u64::from(p > 1) + if i == root { 0 } else { far(i) }).collect()
    }
}

impl RelayGemm {
    /// Cycles of the whole product.
    pub fn closed_form_cycles(&self) -> u64 {
        let rest = Rest { groups: barrier_groups(&self.chip, self.p), timing: self.chip.timing() };
        match self.policy {
            Policy::T10 => self.t10(&rest),
            Policy::Ladder => self.ladder(&rest),
        }
    }

    fn t10(&self, rest: &Rest) -> u64 {
        let product = product_cycles(&self.chip.f16, self.block).0;
        let steps = self.p as u64 - 1;
        let (even, places) = (vec![0; self.p], rest.places(self.p));
        let last = 2 * places.iter().max().copied().unwrap_or(0) + product;
        match steps {
            0 => product,
            _ => {
                let first = self.t10_step(rest, &even, product);
                let other = if steps > 1 { self.t10_step(rest, &places, product) } else { 0 };
                first + (steps - 1) * other + last
            }
        }
    }

    /// The clock that ends a step's barrier, when core (c, r) begins at `places[c] + places[r]`.
    fn t10_step(&self, rest: &Rest, places: &[u64], product: u64) -> u64 {
        let p = self.p;
        let mut above = vec![0; p];
        let mut clocks: Vec<Vec<u64>> = Vec::with_capacity(p);
        for row in 0..p {
            let mut left = 0;
            let mut line = vec![0; p];
            for col in 0..p {
                let mut now = places[col] + places[row] + product;
                let first = self.a_first(Coord::new(col as u32, row as u32));
                for along_x in [first, !first] {
                    let (at, sent) = if along_x { (col, &mut left) } else { (row, &mut above[col]) };
                    let (end, taken) = self.wrap_clock(rest, now, at, sent, along_x);
                    now = end;
                    // The sender's ticket ends when its block has been taken.
                    let sender = match (taken, along_x) {
                        (None, _) => None,
                        (_, true) => Some(&mut line[col - 1]),
                        (_, false) => clocks.last_mut().map(|above: &mut Vec<u64>| &mut above[col]),
                    };
                    if let (Some(clock), Some(end)) = (sender, taken) {
                        *clock = end.max(*clock);
                    }
                }
                line[col] = now;
            }
            clocks.push(line);
        }
        rest.ends(clocks.into_iter())
    }

    /// A core's relay that begins at `now`; `sent` is the clock of the sender before, then of this one. The clock
    /// afterwards, and the end of the sender's ticket if it waited for this core.
    fn wrap_clock(&self, rest: &Rest, now: u64, at: usize, sent: &mut u64, along_x: bool) -> (u64, Option<u64>) {
        let t = &rest.timing;
        let words = self.words()[usize::from(!along_x)];
        let (ser, mut now, mut ended) = (t.ser(words as u32), now, None);
        if at > 0 {
            let start = now.max(*sent + next_door(t));
            ended = (words as u32 > t.queue_wavelets).then(|| start + ser - next_door(t));
            now = start + ser + u64::from(t.stage);
        }
        if at + 1 < self.p {
            now += self.relay.cycles(words).0;
        }
        *sent = now;
        (now, ended)
    }

    fn ladder(&self, rest: &Rest) -> u64 {
        let product = product_cycles(&self.chip.f16, self.block).0;
        let (p, places) = (self.p, rest.places(self.p));
        let mut cycles = 0;
        for t in 0..p {
            let starts = if t == 0 { vec![0; p] } else { places.clone() };
            let [x, y] = self.words().map(|words| self.fetch_clocks(rest, &starts, t, words));
            if t + 1 == p {
                return cycles + product + x.iter().max().unwrap_or(&0) + y.iter().max().unwrap_or(&0);
            }
            // Clocks are sums of a row's and a column's part, so the two reductions are apart.
            let reduce = |clocks: Vec<u64>| tree_reduce(clocks, &rest.groups, 1, &rest.timing).1;
            cycles += reduce(x) + reduce(y) + product;
        }
        cycles
    }

    /// Clocks of a line after the fetch from the owner at place `t`.
    fn fetch_clocks(&self, rest: &Rest, starts: &[u64], t: usize, words: usize) -> Vec<u64> {
        let timing = &rest.timing;
        let (software, last) = (self.relay.cycles(words).0, self.p - 1);
        let mut clocks = starts.to_vec();
        clocks[t] += if last > 0 { software } else { 0 };
        let take = timing.ser(words as u32) + u64::from(timing.stage);
        let mut pass = |from: usize, at: usize, end: bool| {
            let start = clocks[at].max(clocks[from] + next_door(timing));
            clocks[at] = start + take + if end { 0 } else { software };
        };
        (t + 1..=last).for_each(|at| pass(at - 1, at, at == last));
        (0..t).rev().for_each(|at| pass(at + 1, at, at == 0));
        clocks
    }
}

impl RelayGemv {
    /// Cycles of the whole product.
    pub fn closed_form_cycles(&self) -> u64 {
        let (p, product, timing) = (self.p, self.chip.f16.gemv(self.k, self.n).0, self.chip.timing());
        match self.policy {
            _ if p == 1 => product,
            Policy::T10 => product + self.relayed_sum_cycles(),
            Policy::Ladder => {
                let clocks = self.load_clocks(&timing).into_iter().map(|clock| clock + product).collect();
                chain(clocks, self.y_words(), &timing)
            }
        }
    }

    /// T10's sum alone, on a line of at least two.
    pub(super) fn relayed_sum_cycles(&self) -> u64 {
        let t = self.chip.timing();
        let headers: u64 = (0..self.p - 1).map(|i| header(&self.relay, i).0).sum();
        let (hop, stage, between) = (next_door(&t), u64::from(t.stage), self.p as u64 - 2);
        // A header is taken before the next is sent; the stream follows one cycle behind; the way back is in stream.
        let down = between * (hop + t.ser(1) + stage) + hop + t.ser(1) + stage;
        let back = hop + between * (hop + stage) + t.ser(self.y_words() as u32) + stage;
        headers + down + t.ser(self.y_words() as u32) + stage + back
    }

    /// Clocks of a column after the load.
    fn load_clocks(&self, t: &Timing) -> Vec<u64> {
        let (last, words) = (self.p - 1, self.w_words());
        let software = self.relay.cycles(words).0;
        let mut clocks = vec![0; self.p];
        clocks[last] = software;
        for row in (0..last).rev() {
            clocks[row] = clocks[row + 1] + next_door(t) + t.ser(words as u32) + u64::from(t.stage);
            clocks[row] += if row > 0 { software } else { 0 };
        }
        clocks
    }
}
