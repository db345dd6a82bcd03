//! The program of a PE in a layer region.
//!
//! Invariant: the rows' share of positions follows from the position alone, so routes and sizes do too.

use crate::arena::Tile;
use crate::collectives::{Step, broadcast, reduce};
use crate::link::Ctrl;
use crate::math::checkpoint::WeightFormat;
use crate::math::split::part;
use crate::math::{Kernels, gemv, rope, vector};
use crate::pe::{FaultKind, Fold, Pe, Rx, Tx, View};
use crate::units::Cycles;

use super::{Decode, KvFormat, Local, packed, pass, point, tile};

/// One axis of a PE: its part in the tree and the broadcast.
pub(super) struct Axis {
    pub(super) steps: Box<[Step]>,
    pub(super) ends: (Option<Tx>, Option<Rx>),
    pub(super) is_root: bool,
}

impl Axis {
    pub(super) async fn reduce(&self, pe: Pe<'_>, tile: Tile, fold: Fold) {
        reduce(pe, &self.steps, tile, fold).await;
    }

    pub(super) async fn broadcast(&self, pe: Pe<'_>, tile: Tile) {
        broadcast(pe, self.ends, tile).await;
    }
}

/// Positions of one row: a ring of `cap` slots, the oldest at `start`.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    start: usize,
    count: usize,
}

impl Held {
    /// The slots in order of position: at most two runs.
    fn runs(self, cap: usize) -> [std::ops::Range<usize>; 2] {
        let first = self.count.min(cap - self.start);
        [self.start..self.start + first, 0..self.count - first]
    }

    fn newest(self, cap: usize) -> usize {
        (self.start + self.count - 1) % cap
    }
}

/// Everything that the program of one PE looks up once.
struct Stage<'a> {
    d: &'a Decode,
    pe: Pe<'a>,
    local: Local,
    row: usize,
    hidden: usize,
    ffn: usize,
    y: Axis,
    x: Axis,
    band: Axis,
    hand_in: Rx,
    hand_out: Option<Tx>,
    is_last: bool,
    shift_up: Option<Tx>,
    shift_in: Option<Rx>,
    probe: Option<u16>,
    t: Tiles,
    layers: Box<[Layer]>,
    rope: Option<[Tile; 2]>,
    shift: Option<[Tile; 2]>,
}

/// Tiles of one layer.
#[derive(Clone, Copy)]
struct Layer {
    qkv: Tile,
    o: Tile,
    up: Tile,
    down: Tile,
    norm_att: Tile,
    norm_ffn: Tile,
    bias: Option<Tile>,
    kv: [Tile; 2],
}

struct Tiles {
    x: Tile,
    xg: Tile,
    y: Tile,
    wide: Tile,
    act: Tile,
    score: Tile,
    att: Tile,
    max: Tile,
    sum: Tile,
}

/// Runs passes until the session ends.
pub(super) async fn run<'a>(d: &'a Decode, pe: Pe<'a>, stage: usize, col: usize) {
    let s = Box::new(Stage::new(d, pe, stage, col));
    let mut held = Held::default();
    loop {
        let ctrl = pe.recv_pass(s.hand_in, s.t.x).await;
        s.mark(point::ARRIVED);
        let position = ctrl.position as usize;
        let before = held;
        for (at, layer) in s.layers.iter().enumerate() {
            s.qkv(layer, position).await;
            s.mark(point::QKV);
            held = s.keep(layer, position, before).await;
            s.mark(point::SHIFT);
            s.score(layer, held).await;
            s.mark(point::SCORE);
            s.softmax(held).await;
            s.mark(point::SOFTMAX);
            s.values(layer, held).await;
            s.mark(point::AV);
            s.project(layer.o, s.t.att, "O").await;
            s.x.broadcast(pe, s.t.x).await;
            s.mark(point::O);
            s.feed_forward(layer).await;
            if at + 1 < s.layers.len() {
                s.x.broadcast(pe, s.t.x).await;
            } else {
                s.hand_over(ctrl).await;
            }
            s.mark(point::FFN);
        }
    }
}

impl<'a> Stage<'a> {
    fn new(d: &'a Decode, pe: Pe<'a>, stage: usize, col: usize) -> Self {
        let (first, row) = (d.stage_col(stage), pe.coord().row as usize);
        let axis = |tree: &crate::collectives::Tree, member| Axis {
            steps: tree.steps(pe, member),
            ends: tree.broadcast_ends(pe, member),
            is_root: tree.root() == member,
        };
        let local = d.local(col);
        let band = local.slice.band.clone();
        let x = axis(&d.x_tree(first, d.plan.cols, row, &d.plan.groups_x), col);
        let y = axis(&d.y_tree(first + col), row);
        let is_last = stage + 1 == d.plan.stages.len();
        let out = if is_last { d.return_color() } else { d.hand_over_color(stage + 1) };
        let shifts = d.concat_prompt.is_none();
        let t = |id| pe.tile(id);
        let layer = |l| {
            let t = |which| pe.tile(tile::of_layer(l, which));
            Layer {
                qkv: t(tile::W_QKV),
                o: t(tile::W_O),
                up: t(tile::W_UP),
                down: t(tile::W_DOWN),
                norm_att: t(tile::NORM_ATT),
                norm_ffn: t(tile::NORM_FFN),
                bias: (d.shape.qkv_bias && y.is_root).then(|| t(tile::BIAS)),
                kv: [t(tile::KEYS), t(tile::VALUES)],
            }
        };
        Self {
            layers: d.plan.stages[stage].clone().map(layer).collect(),
            rope: y.is_root.then(|| [t(tile::FREQ), t(tile::SIN_COS)]),
            shift: shifts.then(|| [t(tile::SHIFT_OUT), t(tile::SHIFT_IN)]),
            band: axis(&d.band_tree(first, &band, row), col - band.start),
            hand_in: pe.rx(d.hand_over_color(stage)),
            hand_out: x.is_root.then(|| pe.tx(out)),
            is_last,
            shift_up: (shifts && row > 0).then(|| pe.tx(d.shift_color(row))),
            shift_in: (shifts && row + 1 < d.plan.rows).then(|| pe.rx(d.shift_color(row + 1))),
            probe: (x.is_root && y.is_root).then_some(stage as u16),
            hidden: d.hidden_of(row).len(),
            ffn: d.ffn_of(col).len(),
            t: Tiles {
                x: t(tile::X),
                xg: t(tile::XG),
                y: t(tile::Y),
                wide: t(tile::WIDE),
                act: t(tile::ACT),
                score: t(tile::SCORE),
                att: t(tile::ATT),
                max: t(tile::MAX),
                sum: t(tile::SUM),
            },
            d,
            pe,
            local,
            row,
            x,
            y,
        }
    }

    fn mark(&self, point: u16) {
        if let Some(stage) = self.probe {
            self.pe.mark(stage, point);
        }
    }

    /// `wide[0..n]` = W (x g), `wide[n]` = sum of squares of x; reduced along y.
    async fn normed_gemv(&self, w: Tile, g: Tile, n: usize) {
        let out = self.t.wide.slice(0, n + 1);
        let chip = &self.d.chip;
        let cost = chip.elementwise(self.hidden) + chip.gemv(self.hidden, n) + chip.elementwise(self.hidden);
        self.pe.compute(cost, |v| {
            let (kernels, format) = (v.kernels(), self.d.format);
            normed(v, kernels, format, [self.t.x, g, self.t.xg, w, out]);
        });
        self.y.reduce(self.pe, out, Fold::Add).await;
    }

    async fn qkv(&self, layer: &Layer, position: usize) {
        let n = self.local.qkv();
        self.normed_gemv(layer.qkv, layer.norm_att, n).await;
        let out = self.t.wide.slice(0, n);
        if let Some(rope) = self.rope {
            let pairs = self.local.slice.pairs.len();
            let chip = &self.d.chip;
            let cost = chip.special(2 * pairs + 2) + chip.elementwise(n) + chip.elementwise(3 * n);
            let bias = layer.bias;
            self.pe.compute(cost, |v| self.finish_qkv(v, n, bias, rope, position));
        }
        self.y.broadcast(self.pe, out).await;
    }

    /// At the root: norm, bias, RoPE, scale.
    fn finish_qkv(&self, v: &mut View<'_>, n: usize, bias: Option<Tile>, [freq, angles]: [Tile; 2], position: usize) {
        let kernels = v.kernels();
        let hidden = self.d.shape.hidden;
        let eps = self.d.shape.norm_eps;
        let [wide] = v.f32_mut([self.t.wide.slice(0, n + 1)]);
        let inv = inverse_rms(wide[n], hidden, eps);
        vector::scale(kernels, inv, &mut wide[..n]);
        if let Some(bias) = bias {
            let [wide, bias] = v.f32_mut([self.t.wide.slice(0, n), bias]);
            vector::add_assign(kernels, wide, bias);
        }
        let half = self.local.dims / 2;
        let [frequencies, sin_cos] = v.words_mut([freq, angles]);
        for (pair, cs) in frequencies.chunks_exact(2).zip(sin_cos.chunks_exact_mut(2)) {
            let inv_freq = f64::from_bits(u64::from(pair[0]) | u64::from(pair[1]) << 32);
            let (s, c) = rope::sin_cos(position as u64, inv_freq);
            (cs[0], cs[1]) = (c.to_bits(), s.to_bits());
        }
        let [wide, angles] = v.f32_mut([self.t.wide.slice(0, n), angles]);
        let scale = (1.0 / (self.d.shape.head_dim as f64).sqrt()) as f32;
        let group = self.local.group;
        if self.local.dims > 0 {
            for kv in wide.chunks_exact_mut((group + 2) * self.local.dims) {
                for (i, head) in kv.chunks_exact_mut(self.local.dims).take(group + 1).enumerate() {
                    let (lo, hi) = head.split_at_mut(half);
                    for ((a, b), cs) in lo.iter_mut().zip(hi.iter_mut()).zip(angles.chunks_exact(2)) {
                        (*a, *b) = rope::rotate(*a, *b, cs[0], cs[1]);
                    }
                    if i < group {
                        vector::scale(kernels, scale, head);
                    }
                }
            }
        }
        check(v, self.t.wide.slice(0, n), "QKV");
    }

    /// Makes room by shift, stores the new K and V where they belong; what this row holds afterwards.
    async fn keep(&self, layer: &Layer, position: usize, before: Held) -> Held {
        let rows = self.d.plan.rows;
        let mut held = before;
        let stores = match self.d.concat_prompt {
            None => {
                held = self.shift(layer, position, held).await;
                self.row + 1 == rows
            }
            Some(prompt) if position < prompt => part(prompt, rows, self.row).contains(&position),
            Some(_) => self.row + 1 == rows,
        };
        if stores {
            held.count += 1;
            if held.count > self.d.plan.cap {
                self.pe.fail(FaultKind::Capacity { position: position as u32 });
                held.count -= 1;
                return held;
            }
            let slot = held.newest(self.d.plan.cap);
            self.pe.compute(self.d.chip.elementwise(2 * self.local.kv()), |v| self.store_new(v, layer, slot));
        }
        held
    }

    /// Passes the oldest position up where the balance asks for it; all links in parallel.
    async fn shift(&self, layer: &Layer, position: usize, mut held: Held) -> Held {
        let (rows, cap) = (self.d.plan.rows, self.d.plan.cap);
        let grows = position % rows; // rows from the bottom; this one keeps what it gets
        let below = rows - 1 - self.row;
        let sends = below < grows;
        let receives = below >= 1 && below <= grows;
        let move_cost = self.d.chip.elementwise(2 * self.local.kv());
        let [out, into] = self.shift.unwrap_or([Tile::EMPTY; 2]);
        let sent = match self.shift_up {
            Some(tx) if sends => {
                self.pe.compute(move_cost, |v| self.move_slot(v, layer, held.start, out, false));
                held.start = (held.start + 1) % cap;
                held.count -= 1;
                Some(self.pe.post_send(tx, out))
            }
            _ => None,
        };
        if let Some(rx) = self.shift_in.filter(|_| receives) {
            self.pe.recv(rx, into).await;
            held.count += 1;
            let slot = held.newest(cap);
            self.pe.compute(move_cost, |v| self.move_slot(v, layer, slot, into, true));
        }
        if let Some(ticket) = sent {
            self.pe.join(ticket).await;
        }
        held
    }

    /// Copies one position between its KV slot and a tile in transport order (K then V).
    fn move_slot(&self, v: &mut View<'_>, layer: &Layer, slot: usize, moved: Tile, into_slot: bool) {
        let [keys, values] = layer.kv;
        let (n, cap) = (self.local.kv(), self.d.plan.cap);
        let tiles = v.words_mut([keys, values, moved]);
        match self.d.kv {
            KvFormat::F16 => move_cells(tiles.map(bytemuck::cast_slice_mut::<u32, u16>), n, cap, slot, into_slot),
            KvFormat::F32 => move_cells(tiles, n, cap, slot, into_slot),
        }
    }

    /// Rounds the new K and V into a slot.
    fn store_new(&self, v: &mut View<'_>, layer: &Layer, slot: usize) {
        let [keys, values] = layer.kv;
        let (dims, group, cap) = (self.local.dims, self.local.group, self.d.plan.cap);
        let n = self.local.kv();
        let kv = self.d.kv;
        let [k, val, wide] = v.words_mut([keys, values, self.t.wide.slice(0, self.local.qkv())]);
        let wide: &[f32] = bytemuck::cast_slice(wide);
        let mut overflow = false;
        for head in 0..self.local.kv_heads {
            let base = head * (group + 2) * dims + group * dims;
            for d in 0..dims {
                let (x, y) = (wide[base + d], wide[base + dims + d]);
                let (at_k, at_v) = ((head * dims + d) * cap + slot, slot * n + head * dims + d);
                match kv {
                    KvFormat::F32 => (k[at_k], val[at_v]) = (x.to_bits(), y.to_bits()),
                    KvFormat::F16 => {
                        let (hx, hy) = (half::f16::from_f32(x), half::f16::from_f32(y));
                        overflow |= !hx.is_finite() || !hy.is_finite();
                        bytemuck::cast_slice_mut::<u32, u16>(k)[at_k] = hx.to_bits();
                        bytemuck::cast_slice_mut::<u32, u16>(val)[at_v] = hy.to_bits();
                    }
                }
            }
        }
        if overflow {
            v.raise(FaultKind::Numeric { phase: "KV store" });
        }
    }

    /// Partial scores of this column, summed over the band.
    async fn score(&self, layer: &Layer, held: Held) {
        let (q_heads, dims, cap) = (self.local.q_heads(), self.local.dims, self.d.plan.cap);
        let score = self.t.score.slice(0, q_heads * held.count);
        let [keys, _] = layer.kv;
        let cost = Cycles(self.d.chip.gemv(dims, held.count).0 * q_heads as u64);
        self.pe.compute(cost, |v| {
            let kernels = v.kernels();
            let (kv, group) = (self.d.kv, self.local.group);
            let [score, keys, wide] = v.words_mut([score, keys, self.t.wide.slice(0, self.local.qkv())]);
            let score: &mut [f32] = bytemuck::cast_slice_mut(score);
            let wide: &[f32] = bytemuck::cast_slice(wide);
            score.fill(0.0);
            for h in 0..q_heads {
                let (head, i) = (h / group, h % group);
                let q = &wide[head * (group + 2) * dims + i * dims..][..dims];
                let out = &mut score[h * held.count..(h + 1) * held.count];
                for (d, &q) in q.iter().enumerate() {
                    let mut done = 0;
                    for run in held.runs(cap) {
                        let cells = (head * dims + d) * cap + run.start..(head * dims + d) * cap + run.end;
                        let part = &mut out[done..done + run.len()];
                        axpy(kernels, kv, q, keys, cells, part);
                        done += run.len();
                    }
                }
            }
        });
        self.band.reduce(self.pe, score, Fold::Add).await;
    }

    /// Max and sum over the rows in the band roots' columns, probabilities to the band.
    async fn softmax(&self, held: Held) {
        let q_heads = self.local.q_heads();
        let n = held.count;
        let score = self.t.score.slice(0, q_heads * n);
        if self.band.is_root {
            self.pe.compute(self.d.chip.elementwise(q_heads * n), |v| {
                let [score, max] = v.f32_mut([score, self.t.max]);
                for (h, m) in max.iter_mut().enumerate() {
                    let row = &score[h * n..(h + 1) * n];
                    *m = row.iter().fold(f32::NEG_INFINITY, |m, s| crate::math::reduce::fmax(m, *s));
                }
                if score.iter().any(|s| s.is_nan()) {
                    v.raise(FaultKind::Numeric { phase: "score" });
                }
            });
            self.y.reduce(self.pe, self.t.max, Fold::Max).await;
            self.y.broadcast(self.pe, self.t.max).await;
            self.pe.compute(self.d.chip.special(q_heads * n), |v| {
                let kernels = v.kernels();
                let [score, max, sum] = v.f32_mut([score, self.t.max, self.t.sum]);
                for h in 0..q_heads {
                    sum[h] = vector::exp_sub_sum(kernels, max[h], &mut score[h * n..(h + 1) * n]);
                }
            });
            self.y.reduce(self.pe, self.t.sum, Fold::Add).await;
            self.y.broadcast(self.pe, self.t.sum).await;
            self.pe.compute(self.d.chip.elementwise(q_heads * n), |v| {
                let kernels = v.kernels();
                let [score, sum] = v.f32_mut([score, self.t.sum]);
                for h in 0..q_heads {
                    vector::div_assign(kernels, sum[h], &mut score[h * n..(h + 1) * n]);
                }
            });
        }
        self.band.broadcast(self.pe, score).await;
    }

    /// Weighted sum of values, over all rows.
    async fn values(&self, layer: &Layer, held: Held) {
        let (q_heads, dims, cap, n) = (self.local.q_heads(), self.local.dims, self.d.plan.cap, held.count);
        let score = self.t.score.slice(0, q_heads * n);
        let [_, values] = layer.kv;
        let cost = Cycles(self.d.chip.gemv(n, dims).0 * q_heads as u64);
        self.pe.compute(cost, |v| {
            let kernels = v.kernels();
            let (kv, group, width) = (self.d.kv, self.local.group, self.local.kv());
            let [score, values, att] = v.words_mut([score, values, self.t.att]);
            let att: &mut [f32] = bytemuck::cast_slice_mut(att);
            let score: &[f32] = bytemuck::cast_slice(score);
            att.fill(0.0);
            for h in 0..q_heads {
                let out = &mut att[h * dims..(h + 1) * dims];
                let slots = held.runs(cap).into_iter().flatten();
                for (p, slot) in score[h * n..(h + 1) * n].iter().zip(slots) {
                    let first = slot * width + h / group * dims;
                    axpy(kernels, kv, *p, values, first..first + dims, out);
                }
            }
        });
        self.y.reduce(self.pe, self.t.att, Fold::Add).await;
        if self.y.is_root {
            self.pe.compute(Cycles::ZERO, |v| check(v, self.t.att, "AV"));
        }
        self.y.broadcast(self.pe, self.t.att).await;
    }

    /// y = W input, reduced along x, added to x at the root.
    async fn project(&self, w: Tile, input: Tile, phase: &'static str) {
        let k = input.words();
        self.pe.compute(self.d.chip.gemv(k, self.hidden), |v| {
            let kernels = v.kernels();
            let [w, input, y] = v.words_mut([w, input, self.t.y]);
            let shape = packed(k, self.hidden);
            let w = &bytemuck::cast_slice::<u32, u16>(w)[..shape.len()];
            gemv::gemv(kernels, self.d.format, shape, w, bytemuck::cast_slice(input), bytemuck::cast_slice_mut(y));
        });
        self.x.reduce(self.pe, self.t.y, Fold::Add).await;
        if self.x.is_root {
            self.pe.compute(self.d.chip.elementwise(self.hidden), |v| {
                let kernels = v.kernels();
                let [x, y] = v.f32_mut([self.t.x, self.t.y]);
                vector::add_assign(kernels, x, y);
                check(v, self.t.x, phase);
            });
        }
    }

    async fn feed_forward(&self, layer: &Layer) {
        let n = self.ffn;
        self.normed_gemv(layer.up, layer.norm_ffn, 2 * n).await;
        if self.y.is_root {
            let chip = &self.d.chip;
            let cost = chip.special(n + 2) + chip.elementwise(2 * n) + chip.elementwise(2 * n);
            self.pe.compute(cost, |v| {
                let kernels = v.kernels();
                let (hidden, eps) = (self.d.shape.hidden, self.d.shape.norm_eps);
                let [wide, act] = v.f32_mut([self.t.wide.slice(0, 2 * n + 1), self.t.act]);
                let inv = inverse_rms(wide[2 * n], hidden, eps);
                vector::scale(kernels, inv, &mut wide[..2 * n]);
                let (gate, up) = wide[..2 * n].split_at(n);
                vector::silu_mul(kernels, gate, up, act);
                check(v, self.t.act, "FFN");
            });
        }
        self.y.broadcast(self.pe, self.t.act).await;
        self.project(layer.down, self.t.act, "FFN").await;
    }

    /// The x root sends x on: to the next stage, or home if the head wants it.
    async fn hand_over(&self, ctrl: Ctrl) {
        let wanted = !self.is_last || ctrl.kind_slot & pass::WANT_LOGITS != 0;
        if let Some(tx) = self.hand_out.filter(|_| wanted) {
            self.pe.send_ctrl(tx, ctrl, self.t.x).await;
        }
    }
}

/// `out[..n]` = W (x g), `out[n]` = sum of squares of x.
pub(super) fn normed(v: &mut View<'_>, kernels: Kernels, format: WeightFormat, [x, g, xg, w, out]: [Tile; 5]) {
    let [x, g, xg, w, out] = v.words_mut([x, g, xg, w, out]);
    let (x, g): (&[f32], &[f32]) = (bytemuck::cast_slice(x), bytemuck::cast_slice(g));
    let (xg, out): (&mut [f32], &mut [f32]) = (bytemuck::cast_slice_mut(xg), bytemuck::cast_slice_mut(out));
    vector::mul(kernels, x, g, xg);
    let n = out.len() - 1;
    let shape = packed(x.len(), n);
    let w = &bytemuck::cast_slice::<u32, u16>(w)[..shape.len()];
    gemv::gemv(kernels, format, shape, w, xg, &mut out[..n]);
    out[n] = vector::sum_squares(kernels, x);
}

/// 1 / sqrt(mean + eps).
pub(super) fn inverse_rms(sum_squares: f32, hidden: usize, eps: f32) -> f32 {
    1.0 / (sum_squares / hidden as f32 + eps).sqrt()
}

/// A NaN (or an infinity, which becomes one in the next step) stops the PE.
pub(super) fn check(v: &mut View<'_>, tile: Tile, phase: &'static str) {
    if v.f32(tile).iter().any(|x| x.is_nan()) {
        v.raise(FaultKind::Numeric { phase });
    }
}

/// out = fma(a, cells, out) over cells of the KV format.
fn axpy(kernels: Kernels, kv: KvFormat, a: f32, cells: &[u32], range: std::ops::Range<usize>, out: &mut [f32]) {
    match kv {
        KvFormat::F16 => vector::axpy_f16(kernels, a, &bytemuck::cast_slice::<u32, u16>(cells)[range], out),
        KvFormat::F32 => vector::axpy(kernels, a, &bytemuck::cast_slice::<u32, f32>(cells)[range], out),
    }
}

/// Moves one position between slot `slot` and `moved` (K of all heads, then V). K is `[n][cap]`, V `[cap][n]`.
fn move_cells<T: Copy>([keys, values, moved]: [&mut [T]; 3], n: usize, cap: usize, slot: usize, into_slot: bool) {
    for i in 0..n {
        let (k, v) = (&mut keys[i * cap + slot], &mut values[slot * n + i]);
        if into_slot {
            (*k, *v) = (moved[i], moved[n + i]);
        } else {
            (moved[i], moved[n + i]) = (*k, *v);
        }
    }
}
