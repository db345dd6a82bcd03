//! The clocks of a prefill's layers on all cores of a stage, operation by operation: `stage`'s program as arrays.
//!
//! A layer of 4,096 positions on 480 x 480 cores is some 10^9 messages: executed, that takes longer than anybody waits.
//! Every core does the same operations in the same order, so `collectives::lockstep` gives the clocks of each without
//! lanes and futures. One chunk alone: what comes behind it would wait in lanes for the layers to end.
//!
//! | phase                 | line   | member |
//! |-----------------------|--------|--------|
//! | QKV, gate and up      | column | row    |
//! | attention, O, down    | row    | column |
//!
//! Invariant: cycles and counters of every core are those that the program takes (`host::lockstep` holds it to that):
//! each operation here has its counterpart in `project`, `attention` and `stage`, in the same order.
//! Called by `host`.

use crate::collectives::lockstep::{Cast, Clocks, Done, Kinds, Line, Round};
use crate::kernels::decode::lockstep::Heads;
use crate::kernels::decode::{Decode, point};
use crate::math::gemm::Dims;
use crate::pe::Mark;
use crate::placement::tree_root;
use crate::units::Cycles;

use super::blocks::Chunk;
use super::stage::RING;
use super::{Prefill, cycles};

/// One stage. Lines are columns between phases.
struct Sweep<'a> {
    p: &'a Prefill,
    d: &'a Decode,
    chunk: Chunk,
    clocks: Clocks,
    column: Line,
    row: Line,
    band: Cast,
    x_ring: Round,
    y_ring: Round,
    /// Inputs of a row.
    hidden: Kinds<usize>,
    /// Heads and inner dimension of a column.
    heads: Kinds<Heads>,
    ffn: Kinds<usize>,
    /// Bands with their middles.
    bands: Vec<(std::ops::Range<usize>, usize)>,
    marks: Vec<Mark>,
}

impl Prefill {
    /// The layers of the first stage with the prompt as one resident chunk, from the moment at which a head of one
    /// column beside it starts them; nothing for a prompt of several chunks.
    pub fn in_lockstep(&self) -> Option<Done> {
        let d = &self.decode;
        let (cols, rows) = (d.plan.cols, d.plan.rows);
        if self.chunk < self.prompt {
            return None;
        }
        let (mut clocks, head) = d.arrivals();
        // The first position is the first column's.
        (0..rows).for_each(|row| clocks.compute(0, row, d.chip.elementwise(d.hidden_of(row).len())));
        clocks.turn();
        let (row, band, y_ring) = (Line::new(&clocks), Cast::new(&clocks), Round::new(&clocks, RING));
        clocks.turn();
        let bands = (0..cols).map(|col| d.columns().slice(col).band).filter(|b| !b.is_empty());
        let mut bands: Vec<_> = bands.map(|band| (band.clone(), band.start + band.len() / 2)).collect();
        bands.dedup();
        let mut sweep = Sweep {
            p: self,
            d,
            chunk: Chunk { base: 0, len: self.prompt, cols, rows },
            column: Line::new(&clocks),
            x_ring: Round::new(&clocks, RING),
            clocks,
            row,
            band,
            y_ring,
            hidden: Kinds::new((0..rows).map(|row| d.hidden_of(row).len())),
            heads: Kinds::new((0..cols).map(|col| Heads::of(&d.local(col)))),
            ffn: Kinds::new((0..cols).map(|col| d.ffn_of(col).len())),
            bands,
            marks: Vec::new(),
        };
        sweep.run();
        sweep.clocks.turn();
        Some(Done { clocks: sweep.clocks.all, head, sent: sweep.clocks.sent, marks: sweep.marks })
    }
}

impl Sweep<'_> {
    fn run(&mut self) {
        let (d, chip, cols) = (self.d, &self.d.chip, self.chunk.cols);
        let share = self.chunk.len.div_ceil(self.chunk.rows);
        self.mark(point::ARRIVED, false);
        self.clocks.compute_all(|col, _| chip.special(share * self.heads.at(col).dims));
        let qkv: Vec<usize> = (0..cols).map(|col| self.heads.at(col).qkv).collect();
        let wide: Vec<usize> = (0..cols).map(|col| 2 * self.ffn.at(col)).collect();
        let att = Kinds::new((0..cols).map(|col| self.heads.at(col).att));
        let ffn = Kinds::new((0..cols).map(|col| self.ffn.at(col)));
        for _layer in d.plan.stages[0].clone() {
            self.products(&qkv);
            self.finish_qkv();
            self.mark(point::QKV, false);
            self.clocks.turn();
            self.attention();
            self.mark(point::AV, true);
            self.project(&att);
            self.mark(point::O, true);
            self.clocks.turn();
            self.products(&wide);
            self.silu();
            self.clocks.turn();
            self.project(&ffn);
            self.mark(point::FFN, true);
            self.clocks.turn();
        }
    }

    /// The point that the program of the x root in the y root's row marks.
    fn mark(&mut self, id: u16, lines_are_rows: bool) {
        let (col, row) = (tree_root(self.chunk.cols, &self.d.plan.groups_x), self.d.root_row());
        let at = if lines_are_rows { row * self.chunk.cols + col } else { col * self.chunk.rows + row };
        self.marks.push(Mark { id, who: 0, now: self.clocks.all[at].now });
    }

    /// As `Stage::to_rows`, for products of `n[column]` outputs.
    fn products(&mut self, n: &[usize]) {
        let (chunk, chip) = (self.chunk, &self.d.chip);
        for col in 0..chunk.cols {
            let own = chunk.of_col(col).len();
            let norm = |h: usize| chip.elementwise(own * h) + chip.elementwise(own * h);
            self.clocks.compute_by(col, &self.hidden, norm);
        }
        for _round in 0..chunk.cols {
            let words = |owner: usize, row: usize| chunk.of_col(owner).len() * (self.hidden.at(row) + 1);
            self.x_ring.post(&mut self.clocks, words);
            for (col, &n) in n.iter().enumerate() {
                for (row, run) in chunk.to_rows(self.x_ring.owner(col)) {
                    let m = run.len();
                    let product = |h: usize| cycles(&chip.f32, Dims { m, k: h, n }) + chip.elementwise(m);
                    self.clocks.compute_by(col, &self.hidden, product);
                    self.column.reduce(&mut self.clocks, col, 0..chunk.rows, row, m * (n + 1));
                }
            }
            self.x_ring.join(&mut self.clocks);
        }
    }

    /// Norm, bias, RoPE and scale of the rows that have positions.
    fn finish_qkv(&mut self) {
        let (chunk, chip, heads) = (self.chunk, &self.d.chip, &self.heads);
        self.clocks.compute_all(|col, row| {
            let (own, n) = (chunk.of_row(row).len(), heads.at(col).qkv);
            let cost = || chip.special(2 * own) + chip.elementwise(own * n) + chip.elementwise(3 * own * n);
            if own > 0 { cost() } else { Cycles::ZERO }
        });
    }

    fn silu(&mut self) {
        let (chunk, chip, ffn) = (self.chunk, &self.d.chip, &self.ffn);
        self.clocks.compute_all(|col, row| {
            let (own, f) = (chunk.of_row(row).len(), ffn.at(col));
            let cost = || chip.special(own * (f + 2)) + chip.elementwise(2 * own * f) + chip.elementwise(2 * own * f);
            if own > 0 { cost() } else { Cycles::ZERO }
        });
    }

    /// As `Stage::attention`, without earlier chunks.
    fn attention(&mut self) {
        let (chunk, chip) = (self.chunk, &self.d.chip);
        for row in 0..chunk.rows {
            let own = chunk.of_row(row).len();
            let state = |heads: Heads| chip.elementwise(own * (heads.att + 2 * heads.q));
            let begin = |heads| if own > 0 { state(heads) } else { Cycles::ZERO };
            let load = |heads: Heads| chip.elementwise(2 * own * heads.kv);
            self.clocks.compute_by(row, &self.heads, |heads| begin(heads) + load(heads));
        }
        let bytes = self.d.kv.bytes();
        for _round in 0..chunk.rows {
            let words =
                |owner: usize, col: usize| (2 * chunk.of_row(owner).len() * self.heads.at(col).kv * bytes).div_ceil(4);
            self.y_ring.post(&mut self.clocks, words);
            for row in 0..chunk.rows {
                self.attend(row, self.y_ring.owner(row));
            }
            self.y_ring.join(&mut self.clocks);
        }
        for row in 0..chunk.rows {
            let own = chunk.of_row(row).len();
            self.clocks.compute_by(row, &self.heads, |heads| chip.elementwise(own * heads.att));
        }
    }

    /// What a row does with the block of row `owner`: keeps its own of it, scores, softmax, values.
    fn attend(&mut self, row: usize, owner: usize) {
        let (chunk, chip) = (self.chunk, &self.d.chip);
        let (own, block) = (chunk.of_row(row).len(), chunk.of_row(owner));
        let home = self.d.home(row, self.p.prompt);
        let kept = home.end.min(block.end).saturating_sub(home.start.max(block.start));
        if kept > 0 {
            self.clocks.compute_by(row, &self.heads, |heads| chip.elementwise(2 * kept * heads.kv));
        }
        let n = block.len();
        if own == 0 || n == 0 || owner > row {
            return;
        }
        let times = |heads: Heads, k, n| Cycles(cycles(&chip.f32, Dims { m: own, k, n }).0 * heads.q as u64);
        self.clocks.compute_by(row, &self.heads, |heads| times(heads, heads.dims, n));
        for (band, root) in &self.bands {
            let q = self.heads.at(*root).q;
            self.row.reduce(&mut self.clocks, row, band.clone(), *root, q * own * n);
            let soften = chip.special(q * own * (n + 1)) + chip.elementwise(q * own * n);
            self.clocks.compute(row, *root, soften);
            self.band.broadcast(&mut self.clocks, row, band.clone(), *root, q * own * (n + 1));
        }
        let fade = |heads: Heads| chip.elementwise(heads.q * own * heads.dims) + chip.elementwise(heads.q * own * n);
        self.clocks.compute_by(row, &self.heads, |heads| times(heads, n, heads.dims) + fade(heads));
    }

    /// As `Stage::project`, for inputs of `k` values a position.
    fn project(&mut self, k: &Kinds<usize>) {
        let (chunk, chip) = (self.chunk, &self.d.chip);
        for _round in 0..chunk.rows {
            self.y_ring.post(&mut self.clocks, |owner, col| chunk.of_row(owner).len() * k.at(col));
            for row in 0..chunk.rows {
                let h = self.hidden.at(row);
                for (col, run) in chunk.to_cols(self.y_ring.owner(row)) {
                    let m = run.len();
                    self.clocks.compute_by(row, k, |k| cycles(&chip.f32, Dims { m, k, n: h }));
                    self.row.reduce(&mut self.clocks, row, 0..chunk.cols, col, m * h);
                    self.clocks.compute(row, col, chip.elementwise(m * h));
                }
            }
            self.y_ring.join(&mut self.clocks);
        }
    }
}
