//! Clocks of SUMMA: moves toward the source, multicasts from it, products; one piece of K after the other.
//!
//! A multicast may run ahead of its takers as far as lanes have room, so its way is followed lane by lane:
//! ```text
//!   head(k) = dep(k - 1) + alpha      dep(k) = max(head(k), tail of the burst before, credit of lane k + 1)
//!   start(k) = max(clock(k), dep(k) + T_R)                    the lane into k is freed at max(tail(k), start(k))
//! ```
//! Called by `clocks`.

use crate::link::Timing;

use super::super::spec::Gemm;
use super::{Blocks, Products, blocks, latency};

/// An operand on its lines (A: rows, source in column 0; B: columns, source in row 0).
struct Feed {
    along_x: bool,
    cols: usize,
    n: usize,
    lines: usize,
    blocks: Blocks,
    /// By PE: when the step's sends and receives were posted, and when those end that a step waits for.
    posts: Vec<u64>,
    moved: Vec<u64>,
    /// By line: when the source's multicast and receive end.
    source: Vec<u64>,
    /// By burst modulo the depth of a lane, then by PE: when the lane into it was freed, of moves and of multicasts.
    freed: Vec<Vec<u64>>,
    freed_multicast: Vec<Vec<u64>>,
    /// By PE: the tail of the multicast before, as it left the router.
    tail: Vec<u64>,
}

impl Feed {
    fn new(along_x: bool, (cols, rows): (usize, usize), depth: usize, blocks: Blocks) -> Self {
        let (n, lines) = if along_x { (cols, rows) } else { (rows, cols) };
        let all = || vec![0; cols * rows];
        Self {
            along_x,
            cols,
            n,
            lines,
            blocks,
            posts: all(),
            moved: all(),
            source: vec![0; lines],
            freed: vec![all(); depth],
            freed_multicast: vec![all(); depth],
            tail: all(),
        }
    }

    fn at(&self, line: usize, place: usize) -> usize {
        if self.along_x { line * self.cols + place } else { place * self.cols + line }
    }

    /// Line and place of a PE.
    fn of(&self, at: usize) -> (usize, usize) {
        let (col, row) = (at % self.cols, at / self.cols);
        if self.along_x { (row, col) } else { (col, row) }
    }

    /// Does the PE send in step `block`: the source to all, others toward it?
    fn sends(&self, at: usize, block: usize) -> bool {
        let place = self.of(at).1;
        self.n > 1 && (place == 0 || block + place < self.n)
    }

    /// The blocks that move one PE toward the source.
    fn feed(&mut self, t: &Timing, block: usize) {
        let (lane, stage) = (block % self.freed.len(), u64::from(t.stage));
        self.moved.fill(0);
        for line in 0..self.lines {
            for to in 0..(self.n - 1).saturating_sub(block) {
                let [to_at, from_at] = [self.at(line, to), self.at(line, to + 1)];
                let w = self.blocks.of(line, block + to + 1);
                let dep = self.posts[from_at].max(self.freed[lane][to_at]);
                let arrival = dep + latency(t, 1);
                let start = self.posts[to_at].max(arrival);
                self.freed[lane][to_at] = start;
                let end = start + t.ser(w) + stage;
                if to == 0 {
                    self.source[line] = end;
                } else {
                    self.moved[to_at] = self.moved[to_at].max(end);
                }
                let waits = if w > t.queue_wavelets { start - arrival } else { 0 };
                self.moved[from_at] = self.moved[from_at].max(dep + t.ser(w) + waits);
            }
        }
    }

    /// The multicast of a block: when each PE has taken it, into `taken`, if it begins at its clock.
    fn multicast(&mut self, t: &Timing, block: usize, now: &[u64], taken: &mut [u64]) {
        let (lane, last) = (block % self.freed.len(), self.n - 1);
        let (ramp, alpha, stage) = (u64::from(t.ramp), u64::from(t.alpha), u64::from(t.stage));
        for line in (0..self.lines).filter(|_| last > 0) {
            let ser = t.ser(self.blocks.of(line, block));
            let places: Vec<usize> = (0..self.n).map(|k| self.at(line, k)).collect();
            let sent = self.posts[places[0]].max(self.freed_multicast[lane][places[1]]) + ramp;
            let (mut dep, mut tail, mut begun) = (sent, sent + ser, 0);
            for (k, &at) in places.iter().enumerate().skip(1) {
                (dep, tail) = (dep + alpha, tail + alpha);
                if k < last {
                    dep = dep.max(self.tail[at]).max(self.freed_multicast[lane][places[k + 1]]);
                    tail = tail.max(dep + ser);
                    self.tail[at] = tail;
                }
                let start = now[at].max(dep + ramp);
                taken[at] = taken[at].max((start + ser).max(tail + ramp) + stage);
                self.freed_multicast[lane][at] = if k < last { start.max(tail) } else { start };
                begun = begun.max(start - ramp - alpha * k as u64 - sent);
            }
            let waits = if self.blocks.of(line, block) > t.queue_wavelets { begun } else { 0 };
            self.source[line] = self.source[line].max(sent + ser - ramp + waits);
        }
    }
}

/// Clocks of all PEs at the end, by row, then column. `in_step`: with a barrier after every step that takes no time.
pub(super) fn clocks(g: &Gemm, in_step: bool) -> Vec<u64> {
    let (cols, rows, t) = (g.spec.cols, g.spec.rows, g.chip.timing());
    let [a, b] = blocks(g);
    let depth = usize::from(t.lane_depth.max(1));
    let mut feeds = [Feed::new(true, (cols, rows), depth, a), Feed::new(false, (cols, rows), depth, b)];
    let products = Products::new(g);
    let mut now = vec![0; cols * rows];
    let mut last = [None; 2];
    for (index, piece) in g.map.pieces.iter().enumerate() {
        let blocks = [piece.a, piece.b];
        let new = [0, 1].map(|side| last[side] != Some(blocks[side]));
        let sides = || [0, 1].into_iter().filter(|side| new[*side]);
        for (at, now) in now.iter_mut().enumerate() {
            let words = sides().map(|side| feeds[side].blocks.of(feeds[side].of(at).0, blocks[side])).sum::<u32>();
            *now += g.exchange(words as usize).0;
            for side in sides() {
                *now += if feeds[side].sends(at, blocks[side]) { u64::from(t.issue) } else { 0 };
                feeds[side].posts[at] = *now;
            }
        }
        for side in sides() {
            feeds[side].source.fill(0);
            feeds[side].feed(&t, blocks[side]);
            later(&mut now, &feeds[side].moved);
        }
        let mut taken = vec![0; cols * rows];
        for side in sides() {
            feeds[side].multicast(&t, blocks[side], &now, &mut taken);
        }
        later(&mut now, &taken);
        for (at, now) in now.iter_mut().enumerate() {
            *now += products.of(index, (at % cols, at / cols));
        }
        for (feed, _) in feeds.iter().zip([piece.ends.0, piece.ends.1]).filter(|(_, ends)| *ends) {
            for (line, end) in feed.source.iter().enumerate() {
                let at = feed.at(line, 0);
                now[at] = now[at].max(*end);
            }
        }
        if in_step {
            let end = now.iter().copied().max().unwrap_or(0);
            now.fill(end);
        }
        last = blocks.map(Some);
    }
    now
}

/// Every clock that was earlier becomes the other.
fn later(now: &mut [u64], than: &[u64]) {
    now.iter_mut().zip(than).for_each(|(now, than)| *now = (*now).max(*than));
}
