//! How long a prefill will take, and the chunk that would take about the least.
//!
//! ```text
//!   cycles   = sum of t over the chunks + (stages - 1) x the longest t                  (a pipeline of equal stages)
//!   t(chunk) = layers x (four product tours + attention) + hand-over
//!   tour     = rounds x (2 T_R + 1 + 2 alpha) + one chain + for every run of positions: product, partial sums, stage
//! ```
//! An estimate: charged operations are exact, waiting is what a busy neighbour would cause. Large chunks leave stages
//! idle: a position's products cost as much in any chunk, so t grows with it, and stages - 1 of these pass before the
//! last stage works. Small ones make more tours, each of which waits for its lines. Between the two the curve is flat:
//! of the chunks within 1/8 of the least the largest is named, which sends the fewest messages.
//!
//! Invariant: follows from shape, plan, chip and prompt alone. Called by the host for reports and `plan`.

use crate::math::gemm::Dims;
use crate::units::Cycles;

use super::blocks::Chunk;
use super::{Prefill, cycles};

/// Chunks within one part in this many of the least count as equal.
const EQUAL_PARTS: u64 = 8;

/// What a chunk costs on the fullest PE of a stage, in numbers of that PE.
struct Stage<'a> {
    p: &'a Prefill,
    chunk: Chunk,
    /// Positions of one column, of one row.
    on_col: usize,
    on_row: usize,
    /// Inputs of QKV and gate|up here.
    h: usize,
    /// Positions that go from one column to one row, run by run.
    runs: Vec<usize>,
}

impl Prefill {
    /// The largest chunk of about the fewest predicted cycles among those up to this prefill's own; and both
    /// predictions, its and that of this prefill's chunk.
    pub fn fastest(&self) -> (usize, [u64; 2]) {
        let free = self.free();
        let all: Vec<u64> = (1..=self.chunk).map(|n| self.predict(n, self.older_at_once(&free, n))).collect();
        let least = all.iter().copied().min().unwrap_or(0);
        let at = all.iter().rposition(|t| *t <= least + least / EQUAL_PARTS).unwrap_or(0);
        (at + 1, [all[at], all[self.chunk - 1]])
    }

    /// Cycles of the prompt in chunks of `chunk` positions, with `older` earlier ones of a row in passing, both at
    /// least 1; estimated.
    pub fn predict(&self, chunk: usize, older: usize) -> u64 {
        self.predict_over(self.decode.plan.stages.len(), chunk, older)
    }

    /// `predict` for a pipeline of `stages` such stages, on this wafer and on others like it.
    pub fn predict_over(&self, stages: usize, chunk: usize, older: usize) -> u64 {
        let (sum, longest) = self.predict_stage(chunk, older);
        sum + (stages as u64 - 1) * longest
    }

    /// Cycles that a stage works on the prompt, and on the chunk that takes it longest.
    pub fn predict_stage(&self, chunk: usize, older: usize) -> (u64, u64) {
        let layers = self.decode.plan.stages.iter().map(|s| s.len()).max().unwrap_or(0) as u64;
        let (mut sum, mut longest) = (0, 0);
        let whole = Stage::new(self, chunk);
        let rest = Stage::new(self, self.prompt % chunk);
        let products = [&whole, &rest].map(Stage::products);
        for base in (0..self.prompt).step_by(chunk) {
            let at = usize::from(self.prompt - base < chunk);
            let stage = [&whole, &rest][at];
            let t = layers * (products[at].0 + stage.attention(base, older).0) + stage.hand_over();
            (sum, longest) = (sum + t, longest.max(t));
        }
        (sum, longest)
    }
}

impl<'a> Stage<'a> {
    fn new(p: &'a Prefill, len: usize) -> Self {
        let plan = &p.decode.plan;
        let chunk = Chunk { base: 0, len, cols: plan.cols, rows: plan.rows };
        let runs = (0..plan.cols).flat_map(|col| chunk.to_rows(col)).map(|(_, run)| run.len()).collect();
        let (on_col, on_row) = (len.div_ceil(plan.cols), len.div_ceil(plan.rows));
        Self { p, chunk, on_col, on_row, h: p.decode.hidden_of(0).len(), runs }
    }

    fn ser(&self, words: usize) -> Cycles {
        Cycles(self.p.decode.chip.timing().ser(words as u32))
    }

    /// One dependent message, without its words.
    fn stage(&self) -> u64 {
        let t = self.p.decode.chip.timing();
        u64::from(2 * t.ramp + t.stage)
    }

    /// A chain or broadcast along a line of `n`, without its words.
    fn along(&self, n: usize) -> Cycles {
        Cycles(n as u64 * (self.stage() + u64::from(self.p.decode.chip.alpha)))
    }

    /// `n` rounds of a ring, without its words.
    fn rounds(&self, n: usize) -> Cycles {
        Cycles(n as u64 * (self.stage() + 2 * u64::from(self.p.decode.chip.alpha)))
    }

    /// Blocks by a tile of `k x n`: each run's product and `words` partial sums a position go down a chain of `line`.
    fn tour(&self, (k, n): (usize, usize), words: usize, (ring, line): (usize, usize)) -> Cycles {
        let run = |m: &usize| {
            let product = cycles(&self.p.decode.chip.f32, Dims { m: *m, k, n });
            product + self.ser(m * words) + Cycles(self.stage())
        };
        self.runs.iter().map(run).fold(self.rounds(ring) + self.along(line), |a, b| a + b)
    }

    /// QKV, O, gate|up and down of one layer, with the element-wise work around them.
    fn products(&self) -> Cycles {
        let (d, h, own) = (&self.p.decode, self.h, self.on_row);
        let (chip, local, f) = (&d.chip, d.local(0), d.ffn_of(0).len());
        let (cols, rows, qkv) = (d.plan.cols, d.plan.rows, local.qkv());
        let norm = chip.elementwise(self.on_col * h) + chip.elementwise(self.on_col * h);
        let finish = chip.special(2 * own) + chip.elementwise(own * qkv) + chip.elementwise(3 * own * qkv);
        let silu = chip.special(own * (f + 2)) + chip.elementwise(2 * own * f) + chip.elementwise(2 * own * f);
        let rows_tour = |n| self.tour((h, n), n + 1, (cols, rows));
        let cols_tour = |k| self.tour((k, h), h, (rows, cols)) + chip.elementwise(self.on_col * h);
        norm + rows_tour(qkv) + finish + cols_tour(local.att()) + norm + rows_tour(2 * f) + silu + cols_tour(f)
    }

    /// Attention of a chunk behind `base` positions: blocks of earlier ones, then its own up to the last row's.
    fn attention(&self, base: usize, older: usize) -> Cycles {
        let (d, p) = (&self.p.decode, self.p);
        let (rows, local) = (d.plan.rows, d.local(0));
        let held = |row| {
            let home = d.home(row, p.prompt);
            home.end.min(base) - home.start.min(base)
        };
        let whole = self.block(older).0;
        let blocks = |n: usize| whole * (n / older) as u64 + self.block(n % older).0;
        // Neighbours hold as many, but for a few.
        let (mut tours, mut all, mut last) = (0, 0, (0, 0));
        for n in (0..rows).map(held) {
            if n != last.0 {
                last = (n, blocks(n));
            }
            (tours, all) = (tours.max(n.div_ceil(older)), all + last.1);
        }
        let own = self.on_row;
        let state = d.chip.elementwise(Prefill::state_words(&local, own)) + d.chip.elementwise(own * local.att());
        let load = d.chip.elementwise(2 * older * local.kv()).0 * tours as u64 + self.rounds(rows).0 * tours as u64;
        let earlier = Cycles(all + load);
        let fresh = Cycles(self.block(own).0 * self.chunk.len.min(rows) as u64);
        state + earlier + self.rounds(rows) + fresh
    }

    /// One block of `n` positions, nothing if there are none: scores, their way to the band's middle, softmax, the way
    /// back, values.
    fn block(&self, n: usize) -> Cycles {
        if n == 0 {
            return Cycles::ZERO;
        }
        let d = &self.p.decode;
        let (chip, local, own) = (&d.chip, d.local(0), self.on_row);
        let (heads, band) = (local.q_heads(), d.columns().slice(0).band.len());
        let times = |m, k, n| Cycles(cycles(&chip.f32, Dims { m, k, n }).0 * heads as u64);
        let ways = match band {
            1 => Cycles::ZERO,
            _ => self.ser(heads * own * n) + self.ser(heads * own * (n + 1)) + self.along(band),
        };
        let soften = chip.special(heads * own * (n + 1)) + chip.elementwise(heads * own * n);
        let fade = chip.elementwise(heads * own * local.dims) + chip.elementwise(heads * own * n);
        times(own, local.dims, n) + ways + soften + times(own, n, local.dims) + fade
    }

    /// A chunk leaves a stage column by column and comes into the next one.
    fn hand_over(&self) -> u64 {
        let words = self.chunk.len * self.h;
        2 * self.ser(words).0 + (self.p.decode.plan.cols as u64) * self.stage()
    }
}
