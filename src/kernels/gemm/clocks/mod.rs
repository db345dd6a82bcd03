//! Cycles of a product without execution: the clocks of all PEs, step by step, as sums and maxima.
//!
//! The contract's rules of virtual time (design: send, receive, combine), written out for each algorithm. With
//! S = Ser(w), a message that PE u posts at `post(u)` and PE v is ready to take at `post(v)`:
//! ```text
//!   dep     = max(post(u), credit)               credit: the lane's burst `lane_depth` before has been freed
//!   arrival = dep + 2 T_R + alpha hops
//!   start   = max(post(v), arrival)              the receive ends at start + S + stage
//!   the send ends at dep + S, and of a rendezvous (w > queue) at dep + S + start - arrival
//! ```
//! A step of a program is then the largest of a handful of such sums over a PE and its four neighbours, so a product
//! costs O(C R (C + R)) additions, whatever the blocks: ragged, empty, of another format. `mesh::closed_form` and
//! `allgather::closed_form` say the same in a formula where blocks are equal.
//!
//! Rings are taken to have room in their lanes: where a lane holds one burst alone, executed cycles may be up to 1 %
//! more.
//!
//! Invariant: nothing is executed, and nothing here knows the engine; equal to executed cycles
//! (`tests/kernels/gemm_forms.rs`).
//! Called by `Gemm::closed_form`.

mod gather;
mod gemm_t;
mod rings;
mod summa;

use crate::collectives::{Cycle, Way};
use crate::link::Timing;
use crate::math::gemm::Dims;

use super::product::{Storage, product_cycles};
use super::spec::{Algo, Gemm};

/// Cycles of the whole product.
pub(super) fn cycles(g: &Gemm) -> u64 {
    let clocks = match g.spec.algo {
        Algo::Mesh | Algo::Cannon => rings::clocks(g, false),
        Algo::CannonLockstep => rings::clocks(g, true),
        Algo::Allgather => gather::clocks(g),
        Algo::Summa => summa::clocks(g, false),
        Algo::GemmT => gemm_t::clocks(g),
    };
    clocks.into_iter().max().unwrap_or(0)
}

/// Cycles of SUMMA where every step begins when the last PE has ended the one before.
pub(super) fn summa_in_step(g: &Gemm) -> u64 {
    summa::clocks(g, true).into_iter().max().unwrap_or(0)
}

/// Cycles between the clock of a sender and the arrival of what it sends so many links away.
fn latency(t: &Timing, hops: usize) -> u64 {
    2 * u64::from(t.ramp) + u64::from(t.alpha) * hops as u64
}

/// Sizes of an operand's blocks: words of block `b` at the lines of each width.
struct Blocks {
    /// Of a narrow line and of a wide one (`split` makes two widths at most), by block.
    words: [Vec<u32>; 2],
    /// Which of the two a line is.
    wide: Vec<bool>,
}

impl Blocks {
    /// Blocks of `len` by lines of `width` elements in a format.
    fn new(len: &[usize], width: Vec<usize>, format: Storage) -> Self {
        let first = width.first().copied().unwrap_or(0);
        let other = width.iter().copied().find(|w| *w != first).unwrap_or(first);
        let words = [first, other].map(|w| len.iter().map(|len| format.words(len * w) as u32).collect());
        Self { words, wide: width.iter().map(|w| *w != first).collect() }
    }

    fn of(&self, line: usize, block: usize) -> u32 {
        self.words[usize::from(self.wide[line])][block]
    }
}

/// Of A by rows, and of B by columns.
fn blocks(g: &Gemm) -> [Blocks; 2] {
    let m = (0..g.spec.rows).map(|row| g.m_of(row).len()).collect();
    let n = (0..g.spec.cols).map(|col| g.n_of(col).len()).collect();
    [Blocks::new(&g.map.a_len, m, g.spec.a), Blocks::new(&g.map.b_len, n, g.b_format())]
}

/// Cycles of piece `piece` at every PE: by the two heights and the two widths that blocks of C have.
struct Products {
    cycles: Vec<[u64; 4]>,
    tall: Vec<bool>,
    wide: Vec<bool>,
}

impl Products {
    fn new(g: &Gemm) -> Self {
        let m: Vec<usize> = (0..g.spec.rows).map(|row| g.m_of(row).len()).collect();
        let n: Vec<usize> = (0..g.spec.cols).map(|col| g.n_of(col).len()).collect();
        let other = |all: &[usize]| all.iter().copied().find(|x| *x != all[0]).unwrap_or(all[0]);
        let sizes = [(m[0], n[0]), (m[0], other(&n)), (other(&m), n[0]), (other(&m), other(&n))];
        let of = |k: usize| sizes.map(|(m, n)| product_cycles(g.rates(), Dims { m, k, n }).0);
        Self {
            cycles: g.map.pieces.iter().map(|piece| of(piece.k.len())).collect(),
            tall: m.iter().map(|x| *x != m[0]).collect(),
            wide: n.iter().map(|x| *x != n[0]).collect(),
        }
    }

    fn of(&self, piece: usize, (col, row): (usize, usize)) -> u64 {
        self.cycles[piece][2 * usize::from(self.tall[row]) + usize::from(self.wide[col])]
    }
}

/// One way of a ring in a line: who gives to whom over how many links.
struct Ring {
    giver: Vec<usize>,
    taker: Vec<usize>,
    latency: Vec<u64>,
    /// Of the exchange at hand: what the giver waits for the taker.
    waits: Vec<u64>,
}

impl Ring {
    fn new(order: Cycle, n: usize, way: Way, t: &Timing) -> Self {
        let (giver, taker): (Vec<_>, Vec<_>) = (0..n).map(|i| order.partners(n, i, way)).unzip();
        let latency = giver.iter().enumerate().map(|(i, from)| latency(t, i.abs_diff(*from))).collect();
        Self { giver, taker, latency, waits: vec![0; n] }
    }

    /// `ends[i]` becomes the end of the exchange that PE i posts at `posts[i]`, sending `words(i)`; a block without
    /// words does not travel.
    fn exchange(&mut self, t: &Timing, posts: &[u64], words: impl Fn(usize) -> u32, ends: &mut [u64]) {
        for (i, end) in ends.iter_mut().enumerate() {
            let from = self.giver[i];
            let arrival = posts[from] + self.latency[i];
            let start = posts[i].max(arrival);
            self.waits[i] = start - arrival;
            *end = match words(from) {
                0 => 0,
                w => start + t.ser(w) + u64::from(t.stage),
            };
        }
        for (i, end) in ends.iter_mut().enumerate() {
            let w = words(i);
            let waits = if w > t.queue_wavelets { self.waits[self.taker[i]] } else { 0 };
            *end = if w > 0 { (posts[i] + t.ser(w) + waits).max(*end) } else { *end };
        }
    }
}

/// The rings of all rows or of all columns, and the exchanges under way.
struct Moves {
    along_x: bool,
    cols: usize,
    line: [Vec<u64>; 2],
    /// When the exchange of each PE was posted, then when it ends; by row, then column.
    posts: Vec<u64>,
    ends: Vec<u64>,
}

impl Moves {
    fn new(along_x: bool, cols: usize, rows: usize) -> Self {
        let n = if along_x { cols } else { rows };
        let all = || vec![0; cols * rows];
        Self { along_x, cols, line: [vec![0; n], vec![0; n]], posts: all(), ends: all() }
    }

    fn at(&self, line: usize, i: usize) -> usize {
        if self.along_x { line * self.cols + i } else { i * self.cols + line }
    }

    /// The exchange that a line has posted.
    fn exchange(&mut self, ring: &mut Ring, t: &Timing, line: usize, words: impl Fn(usize) -> u32) {
        let [mut posts, mut ends] = std::mem::take(&mut self.line);
        (0..posts.len()).for_each(|i| posts[i] = self.posts[self.at(line, i)]);
        ring.exchange(t, &posts, words, &mut ends);
        for (i, end) in ends.iter().enumerate() {
            let at = self.at(line, i);
            self.ends[at] = *end;
        }
        self.line = [posts, ends];
    }
}
