//! Clocks of the cyclic shifts: MeshGEMM, Cannon, Cannon in lockstep.
//!
//! Steps are told by the mesh's clock of fine blocks (`pieces`): at time tau of L a row changes its block of A if its
//! places say so, a column its block of B. All PEs of a row have posted A's move at the same tau, so how it ends
//! follows when a piece begins, and with it the clock at the piece's end.
//!
//! Called by `clocks`.

use crate::collectives::{Way, shortest};
use crate::link::Timing;

use super::super::cannon::Barrier;
use super::super::spec::{Finish, Gemm, Load};
use super::{Blocks, Moves, Products, Ring, blocks};

/// An operand on the rings of its lines (A: rows, B: columns).
struct Side {
    n: usize,
    place: Vec<usize>,
    blocks: Blocks,
    rings: [Ring; 2],
    moves: Moves,
    /// By line: how far its blocks are from home, the rounds of alignment, and the moves left of the tour.
    offset: Vec<usize>,
    turn: Vec<(Way, usize)>,
    left: Vec<usize>,
    /// Is the line's next move posted?
    posted: Vec<bool>,
    /// Fine blocks of a block, and what a line's own place shifts.
    per: u64,
    shift: Vec<u64>,
}

impl Side {
    fn words(&self, line: usize, i: usize) -> u32 {
        self.blocks.of(line, (self.place[i] + self.offset[line]) % self.n)
    }

    /// What the PE at `i` sends if its line moves now.
    fn sent(&self, line: usize, i: usize, moves: bool) -> u32 {
        if moves && self.n > 1 { self.words(line, i) } else { 0 }
    }

    /// All PEs of the line have posted: when their moves end; the blocks are one place on then.
    fn exchange(&mut self, t: &Timing, line: usize, way: Way) {
        if self.n < 2 {
            return;
        }
        let ring = &mut self.rings[usize::from(way == Way::Reverse)];
        let (blocks, place, offset, n) = (&self.blocks, &self.place, self.offset[line], self.n);
        self.moves.exchange(ring, t, line, |i| blocks.of(line, (place[i] + offset) % n));
        let step = if way == Way::Forward { 1 } else { n - 1 };
        self.offset[line] = (offset + step) % n;
    }

    /// Does the line change its block at this time?
    fn changes(&self, line: usize, tau: u64) -> bool {
        (self.shift[line] + tau).is_multiple_of(self.per)
    }
}

/// The clocks of one product.
struct Tour<'a> {
    g: &'a Gemm,
    t: Timing,
    sides: [Side; 2],
    now: Vec<u64>,
    /// By PE: the piece at hand, and how many are over.
    piece: Vec<u32>,
    done: Vec<u32>,
    products: Products,
}

/// Clocks of all PEs at the end, by row, then column.
pub(super) fn clocks(g: &Gemm, lockstep: bool) -> Vec<u64> {
    let mut tour = Tour::new(g);
    tour.align();
    let barrier = |tour: &mut Tour<'_>| {
        if lockstep {
            Barrier::clocks(&mut tour.now, (g.spec.cols, g.spec.rows), &g.chip);
        }
    };
    let fine_blocks = g.map.fine_blocks();
    // On a square mesh with equal parts of K all steps but the last do the same, so once they have moved every clock on
    // by one number, they do so until then.
    let alike = g.spec.cols == g.spec.rows && g.spec.size.k.is_multiple_of(g.spec.cols);
    let mut tau = 0;
    while tau < fine_blocks {
        let before = alike.then(|| tour.now.clone());
        tour.step(tau);
        tau += 1;
        if tau < fine_blocks {
            barrier(&mut tour);
            let more = fine_blocks - 1 - tau;
            if let Some(by) = before.and_then(|before| same_step(&before, &tour.now)) {
                tour.repeat(more, by);
                tau += more;
            }
        }
    }
    tour.now
}

/// What every clock has moved on by, if it is one number.
fn same_step(before: &[u64], now: &[u64]) -> Option<u64> {
    let by = now[0] - before[0];
    before.iter().zip(now).all(|(before, now)| now - before == by).then_some(by)
}

impl<'a> Tour<'a> {
    fn new(g: &'a Gemm) -> Self {
        let (cols, rows, order, t) = (g.spec.cols, g.spec.rows, g.spec.order(), g.chip.timing());
        let [x, y] = [cols, rows].map(|n| (0..n).map(|i| order.pos(n, i)).collect::<Vec<_>>());
        let first: Vec<_> = (0..cols * rows).map(|at| g.map.first(x[at % cols], y[at / cols]).0 as u32).collect();
        let fine = g.map.fine_blocks();
        let [a_blocks, b_blocks] = blocks(g);
        let side = |along_x: bool, blocks| {
            let (n, place, across) = if along_x { (cols, &x, &y) } else { (rows, &y, &x) };
            let turns: Vec<_> =
                across.iter().map(|&p| if along_x { g.map.a_turn(p) } else { g.map.b_turn(p) }).collect();
            let aligned = !along_x && g.spec.load == Load::Aligned;
            let left = |turn: &(usize, bool)| n - usize::from(turn.1 && g.spec.finish == Finish::Lean);
            let per_other = fine / across.len() as u64;
            Side {
                n,
                place: place.clone(),
                blocks,
                rings: [Way::Forward, Way::Reverse].map(|way| Ring::new(order, n, way, &t)),
                moves: Moves::new(along_x, cols, rows),
                offset: turns.iter().map(|turn| if aligned { turn.0 % n } else { 0 }).collect(),
                turn: turns.iter().map(|turn| shortest(n, if aligned { 0 } else { turn.0 })).collect(),
                left: turns.iter().map(left).collect(),
                posted: vec![false; across.len()],
                per: fine / n as u64,
                shift: across.iter().map(|&p| p as u64 * per_other).collect(),
            }
        };
        let sides = [side(true, a_blocks), side(false, b_blocks)];
        let (now, done) = (vec![0; cols * rows], vec![0; cols * rows]);
        Self { g, t, sides, now, piece: first, done, products: Products::new(g) }
    }

    /// The software of a round and the posts of one PE, whose row and column move or do not.
    fn post(&mut self, at: usize, moves: [bool; 2]) {
        let (col, row) = (at % self.g.spec.cols, at / self.g.spec.cols);
        let words = [self.sides[0].sent(row, col, moves[0]), self.sides[1].sent(col, row, moves[1])];
        let mut now = self.now[at] + self.g.exchange((words[0] + words[1]) as usize).0;
        for side in [0, 1] {
            now += if words[side] > 0 { u64::from(self.t.issue) } else { 0 };
            self.sides[side].moves.posts[at] = if moves[side] { now } else { self.sides[side].moves.posts[at] };
        }
        self.now[at] = now;
    }

    fn align(&mut self) {
        let cols = self.g.spec.cols;
        let rounds = self.sides.iter().flat_map(|s| s.turn.iter().map(|turn| turn.1)).max().unwrap_or(0);
        for round in 0..rounds {
            for at in 0..self.now.len() {
                let moves = [round < self.sides[0].turn[at / cols].1, round < self.sides[1].turn[at % cols].1];
                if moves != [false; 2] {
                    self.post(at, moves);
                }
            }
            for side in &mut self.sides {
                for line in 0..side.turn.len() {
                    let (way, rounds) = side.turn[line];
                    if round < rounds {
                        side.exchange(&self.t, line, way);
                        for at in (0..side.n).map(|i| side.moves.at(line, i)) {
                            self.now[at] = self.now[at].max(side.moves.ends[at]);
                        }
                    }
                }
            }
        }
    }

    /// At the ends of pieces at time `tau`: posts the next moves, and goes to the end of the next piece.
    fn step(&mut self, tau: u64) {
        let (cols, pieces) = (self.g.spec.cols, self.g.map.pieces.len());
        let changes = [0, 1].map(|side| {
            let s = &self.sides[side];
            (0..s.left.len()).map(|line| tau == 0 || s.changes(line, tau)).collect::<Vec<_>>()
        });
        let columns: Vec<usize> = (0..cols).filter(|col| changes[1][*col]).collect();
        let mut begin = Vec::new();
        for (row, &a) in changes[0].iter().enumerate() {
            let of_row = row * cols;
            if a {
                begin.extend(of_row..of_row + cols);
            } else {
                begin.extend(columns.iter().map(|col| of_row + col));
            }
        }
        begin.retain(|at| (self.done[*at] as usize) < pieces);
        for &at in &begin {
            let (col, row) = (at % cols, at / cols);
            let moves = |side: usize, line: usize| changes[side][line] && self.sides[side].left[line] > 0;
            self.post(at, [moves(0, row), moves(1, col)]);
        }
        for (side, changes) in self.sides.iter_mut().zip(&changes) {
            for (line, _) in changes.iter().enumerate().filter(|c| *c.1) {
                side.posted[line] = side.left[line] > 0 && side.n > 1;
                if side.left[line] > 0 {
                    side.left[line] -= 1;
                    side.exchange(&self.t, line, Way::Forward);
                }
            }
        }
        begin.into_iter().for_each(|at| self.multiply(at));
    }

    /// `steps` steps more, each of which moves every clock on by `by`; on a square mesh.
    fn repeat(&mut self, steps: u64, by: u64) {
        self.now.iter_mut().for_each(|now| *now += steps * by);
        self.done.iter_mut().for_each(|done| *done += steps as u32);
        self.sides.iter_mut().flat_map(|side| &mut side.left).for_each(|left| *left -= steps as usize);
    }

    /// The piece at hand of one PE, and the wait for the moves that end it.
    fn multiply(&mut self, at: usize) {
        let (col, row, piece) = (at % self.g.spec.cols, at / self.g.spec.cols, self.piece[at] as usize);
        let mut now = self.now[at] + self.products.of(piece, (col, row));
        let ends = self.g.map.pieces[piece].ends;
        for (side, line, ends) in [(0, row, ends.0), (1, col, ends.1)] {
            let side = &self.sides[side];
            now = if ends && side.posted[line] { now.max(side.moves.ends[at]) } else { now };
        }
        let next = (piece + 1) % self.g.map.pieces.len();
        (self.now[at], self.piece[at], self.done[at]) = (now, next as u32, self.done[at] + 1);
    }
}
