//! The program of a PE in a layer region: ports and tiles looked up once; a chunk in, through the layers, and on.
//!
//! ```text
//!   in:   from the head one burst a position, from a stage one a column of it, to all columns; each keeps its own
//!   out:  blocks go along the row to the x root, the nearest first, the higher side first; it sends them on
//! ```
//! Marks: the x root of the root row takes chunks in and hands them on, so its time is the stage's; what it went into
//! is marked step by step. Where softmax runs at another core, the middle of that one's band, it marks that step. Moves
//! that no operation hides are waits; so is what other cores compute meanwhile where this row has no position.
//!
//! Invariant: which burst comes when follows from the position of a chunk's first one.

use crate::arena::Tile;
use crate::collectives::{Cycle, Ends, MovingRoot, RingEnds, Way};
use crate::kernels::decode::point::{self, Part};
use crate::kernels::decode::{Decode, Local, Seat, pass, tile as kept};
use crate::link::Ctrl;
use crate::math::rope;
use crate::pe::{Pe, Role, Rx, Tx, View};
use crate::placement::tree_root;
use crate::units::Color;

use super::blocks::Chunk;
use super::{BAND, COLUMN_CHAIN, Prefill, ROW_CHAIN, X_RING, Y_RING, tile};

/// How both rings lie in their lines.
pub(super) const RING: Cycle = Cycle::Interleave;

/// What a PE looks up once.
pub(super) struct Stage<'a> {
    pub(super) p: &'a Prefill,
    pub(super) d: &'a Decode,
    pub(super) pe: Pe<'a>,
    pub(super) local: Local,
    pub(super) col: usize,
    pub(super) row: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) x_ring: Option<RingEnds>,
    pub(super) y_ring: Option<RingEnds>,
    /// Along the column, and along the row.
    pub(super) to_row: MovingRoot,
    pub(super) to_col: MovingRoot,
    pub(super) band: MovingRoot,
    pub(super) band_root: usize,
    pub(super) band_ends: Ends,
    pub(super) t: Tiles,
    pub(super) layers: Box<[Layer]>,
    is_first: bool,
    is_last: bool,
    hand_in: Rx,
    onward: Option<Tx>,
    hand_out: Option<Tx>,
    x_root: usize,
    /// The stage, at the core that marks its time; and at the middle of that core's band.
    marks: Option<u16>,
    softens: Option<u16>,
}

pub(super) struct Tiles {
    pub(super) x: Tile,
    pub(super) passing: [Tile; 2],
    pub(super) product: Tile,
    pub(super) work: Tile,
    pub(super) angles: Tile,
    pub(super) freq: Tile,
}

/// Tiles of one layer.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) qkv: Tile,
    pub(super) o: Tile,
    pub(super) up: Tile,
    pub(super) down: Tile,
    pub(super) norm_att: Tile,
    pub(super) norm_ffn: Tile,
    pub(super) bias: Option<Tile>,
    pub(super) kv: [Tile; 2],
}

/// Takes chunks until the session goes on to decode.
pub(super) async fn run<'a>(p: &'a Prefill, pe: Pe<'a>, seat: Seat) {
    let s = Box::new(Stage::new(p, pe, seat));
    loop {
        let (chunk, kind) = s.chunk_in().await;
        pe.compute(s.d.chip.special(s.t.angles.words()), |v| s.turn(v, chunk));
        for layer in &s.layers {
            s.qkv(layer, chunk).await;
            s.attention(layer, chunk).await;
            s.project(layer.o, s.local.att(), point::O, chunk).await;
            s.feed_forward(layer, chunk).await;
        }
        if kind & pass::RESIDENT == 0 {
            s.chunk_out(chunk).await;
        }
    }
}

impl<'a> Stage<'a> {
    fn new(p: &'a Prefill, pe: Pe<'a>, seat: Seat) -> Self {
        let d = &p.decode;
        let Seat { stage, col, row } = seat;
        let (cols, rows) = (d.plan.cols, d.plan.rows);
        let local = d.local(col);
        let band = d.columns().slice(col).band;
        let band_root = band.start + band.len() / 2;
        let x_root = tree_root(cols, &d.plan.groups_x);
        let root_band = d.columns().slice(x_root).band;
        let stage_at = |at: usize| ((col, row) == (at, d.root_row())).then_some(stage as u16);
        let turn = d.plan.floor.turns[stage + 1].get(row).filter(|w| w.to == pe.coord());
        let hand_over = d.hand_over_color(stage);
        let t = |id| pe.tile(id);
        let band_ends = match (band.len(), col == band_root) {
            (1, _) => None,
            (_, true) => Some(Role::Leaf(pe.tx(Color(BAND)))),
            (_, false) => Some(Role::Root(pe.rx(Color(BAND)))),
        };
        let layer = |l| {
            let t = |which| pe.tile(kept::of_layer(l, which));
            Layer {
                qkv: t(kept::W_QKV),
                o: t(kept::W_O),
                up: t(kept::W_UP),
                down: t(kept::W_DOWN),
                norm_att: t(kept::NORM_ATT),
                norm_ffn: t(kept::NORM_FFN),
                bias: d.shape.qkv_bias.then(|| t(kept::BIAS)),
                kv: [t(kept::KEYS), t(kept::VALUES)],
            }
        };
        Self {
            x_ring: RING.ends(pe, cols, col, X_RING, Way::Forward),
            y_ring: RING.ends(pe, rows, row, Y_RING, Way::Forward),
            to_row: MovingRoot::new(pe, rows, row, COLUMN_CHAIN),
            to_col: MovingRoot::new(pe, cols, col, ROW_CHAIN),
            band: MovingRoot::within(pe, band, col, ROW_CHAIN),
            band_root,
            band_ends,
            layers: d.plan.stages[stage].clone().map(layer).collect(),
            is_first: stage == 0,
            is_last: stage + 1 == d.plan.stages.len(),
            hand_in: pe.rx(turn.map_or(hand_over, |w| d.track_color(w.track))),
            onward: (turn.is_some() && cols > 1).then(|| pe.tx(hand_over)),
            hand_out: (col == x_root).then(|| pe.tx(d.leave_color(stage + 1, row))),
            x_root,
            marks: stage_at(x_root),
            softens: stage_at(root_band.start + root_band.len() / 2),
            hidden: d.hidden_of(row).len(),
            ffn: d.ffn_of(col).len(),
            t: Tiles {
                x: t(tile::X),
                passing: tile::PASSING.map(t),
                product: t(tile::PRODUCT),
                work: t(tile::WORK),
                angles: t(tile::ANGLES),
                freq: t(kept::FREQ),
            },
            p,
            d,
            pe,
            local,
            col,
            row,
        }
    }

    /// What the stage's time up to now went into.
    pub(super) fn mark(&self, point: u16, part: Part) {
        if let Some(stage) = self.marks {
            self.pe.mark(stage, point::id(point, part));
        }
    }

    /// The same, at the core that runs the softmax of the marking one.
    pub(super) fn mark_softmax(&self, part: Part) {
        if let Some(stage) = self.softens {
            self.pe.mark(stage, point::id(point::AV, part));
        }
    }

    fn chunk_at(&self, base: usize) -> Chunk {
        let len = self.p.chunk.min(self.p.prompt - base);
        Chunk { base, len, cols: self.d.plan.cols, rows: self.d.plan.rows }
    }

    /// Takes in the residual of a chunk, and what its first burst says of it; positions of other columns are dropped.
    async fn chunk_in(&self) -> (Chunk, u32) {
        let [_, land] = self.t.passing;
        if self.is_first {
            let one = land.slice(0, self.hidden);
            let first = self.burst(one).await;
            let chunk = self.chunk_at(first.position as usize);
            self.keep(chunk, 0..1, one);
            let others = if first.kind_slot & pass::RESIDENT == 0 { chunk.len } else { 1 };
            for t in 1..others {
                self.burst(one).await;
                self.keep(chunk, t..t + 1, one);
            }
            return (chunk, first.kind_slot);
        }
        // The first burst of a chunk is the x root's own block: its length needs the chunk, so its base comes ahead.
        let first = self.burst(Tile::EMPTY).await;
        let chunk = self.chunk_at(first.position as usize);
        for from in self.senders() {
            let part = chunk.of_col(from);
            if !part.is_empty() {
                let block = land.slice(0, part.len() * self.hidden);
                self.burst(block).await;
                self.keep(chunk, part, block);
            }
        }
        (chunk, 0)
    }

    /// One burst of the hand-over. A program that waits for one counts as finished: prompts come position by position.
    async fn burst(&self, into: Tile) -> Ctrl {
        let ctrl = self.pe.recv_pass(self.hand_in, into).await;
        if let Some(tx) = self.onward {
            self.pe.send_ctrl(tx, ctrl, into).await;
        }
        self.mark(point::ARRIVED, Part::Broadcast);
        ctrl
    }

    /// Copies what is this column's.
    fn keep(&self, chunk: Chunk, positions: std::ops::Range<usize>, from: Tile) {
        let own = chunk.of_col(self.col);
        if positions.start < own.start || positions.end > own.end {
            return;
        }
        let to = self.t.x.slice((positions.start - own.start) * self.hidden, from.words());
        self.pe.compute(self.d.chip.elementwise(from.words()), |v| {
            let [to, from] = v.words_mut([to, from]);
            to.copy_from_slice(from);
        });
        self.mark(point::ARRIVED, Part::Compute);
    }

    /// Columns in the order in which their blocks leave the x root.
    fn senders(&self) -> impl Iterator<Item = usize> + use<> {
        let (root, cols) = (self.x_root, self.d.plan.cols);
        (root..cols).chain((0..root).rev())
    }

    /// Sends the residual on; behind the last layer of a prompt its last position alone, to the head.
    async fn chunk_out(&self, chunk: Chunk) {
        let last = chunk.len - 1;
        let is_end = chunk.base + chunk.len == self.p.prompt;
        if self.is_last && !is_end {
            return;
        }
        let kind_slot = if self.is_last { pass::WANT_LOGITS } else { 0 };
        let position = if self.is_last { chunk.base + last } else { chunk.base };
        let ctrl = Ctrl { kind_slot, position: position as u32 };
        if let Some(tx) = self.hand_out.filter(|_| !self.is_last) {
            self.pe.send_ctrl(tx, ctrl, Tile::EMPTY).await;
        }
        for from in self.senders() {
            let part = chunk.of_col(from);
            let wanted = if self.is_last { last.max(part.start)..part.end } else { part };
            if wanted.is_empty() {
                continue;
            }
            let words = wanted.len() * self.hidden;
            let at = (wanted.start - chunk.of_col(from).start) * self.hidden;
            self.pass_on(from, at, words, ctrl).await;
        }
    }

    /// One block's way to the x root and off.
    async fn pass_on(&self, from: usize, at: usize, words: usize, ctrl: Ctrl) {
        let (root, col) = (self.x_root, self.col);
        let own = from == col;
        let is_between = (from > col && col >= root) || (from < col && col <= root);
        if !own && !is_between {
            return;
        }
        let block = if own { self.t.x.slice(at, words) } else { self.t.passing[0].slice(0, words) };
        if !own {
            self.to_col.recv_outer(self.pe, from > col, block).await;
        }
        match self.hand_out {
            Some(tx) => self.pe.send_ctrl(tx, ctrl, block).await,
            None => self.to_col.send_inward(self.pe, root, block).await,
        }
    }

    /// Cosine and sine of every pair at every position of this row.
    fn turn(&self, v: &mut View<'_>, chunk: Chunk) {
        let own = chunk.of_row(self.row);
        let pairs = self.local.dims / 2;
        let [freq, angles] = v.words_mut([self.t.freq, self.t.angles]);
        for (t, angles) in own.zip(angles.chunks_exact_mut((2 * pairs).max(1))) {
            for (pair, cs) in freq.chunks_exact(2).zip(angles.chunks_exact_mut(2)) {
                let inv_freq = f64::from_bits(u64::from(pair[0]) | u64::from(pair[1]) << 32);
                let (s, c) = rope::sin_cos((chunk.base + t) as u64, inv_freq);
                (cs[0], cs[1]) = (c.to_bits(), s.to_bits());
            }
        }
    }
}
