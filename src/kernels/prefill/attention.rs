//! Attention of a chunk: q stays on its row, blocks of K and V pass on the column's ring.
//!
//! A block is K with its positions side by side, as products and KV tiles have it, then V position by position.
//! Blocks of earlier chunks come from the KV tiles of the rows where decode will look for them, as many positions at a
//! time as the tiles have room for; then those of this chunk, which each row keeps as far as they will be its own.
//!
//! | in `work`  | words              |
//! |------------|--------------------|
//! | o          | q heads x S x dims |
//! | l, m       | q heads x S each   |
//! | scores     | q heads x S x n    |
//! | exp(m - m')| q heads x S        |
//!
//! Invariant: a block wholly in the future of a row's positions is passed on and not looked at.

use std::ops::Range;

use crate::arena::Tile;
use crate::collectives::{Moving, Tour, broadcast};
use crate::kernels::decode::KvFormat;
use crate::kernels::decode::point::{self, Part};
use crate::kernels::decode::stage::check;
use crate::math::gemm::{Dims, Operand, Values, gemm};
use crate::math::reduce::fmax;
use crate::math::vector;
use crate::pe::{FaultKind, Fold, View};
use crate::units::Cycles;

use super::blocks::Chunk;
use super::stage::{Layer, RING, Stage};
use super::{Prefill, cycles};

/// A block of K and V while it is here: its tile, its positions, and whether later ones must be masked.
#[derive(Clone, Copy)]
struct Block {
    tile: Tile,
    first: usize,
    len: usize,
    is_diagonal: bool,
}

impl Stage<'_> {
    /// Attention output of this row's positions in the first passing tile, `att` words a position.
    pub(super) async fn attention(&self, layer: &Layer, chunk: Chunk) {
        let own = chunk.of_row(self.row).len();
        let state = self.t.work.slice(0, Prefill::state_words(&self.local, own));
        let cost = if own > 0 { self.d.chip.elementwise(state.words()) } else { Cycles::ZERO };
        self.pe.compute(cost, |v| {
            let [state] = v.f32_mut([state]);
            let maxima = state.len() - own * self.local.q_heads();
            state[..maxima].fill(0.0);
            state[maxima..].fill(f32::NEG_INFINITY);
        });
        let pass = self.p.older;
        let most = (0..self.d.plan.rows).map(|row| self.older(row, chunk).len()).max().unwrap_or(0);
        for nth in 0..most.div_ceil(pass) {
            let from = |row: usize| {
                let all = self.older(row, chunk);
                let start = (all.start + nth * pass).min(all.end);
                start..all.end.min(start + pass)
            };
            self.load(layer, from(self.row));
            self.tour(layer, chunk, false, from).await;
        }
        self.load_fresh(chunk);
        self.tour(layer, chunk, true, |row| {
            let part = chunk.of_row(row);
            chunk.base + part.start..chunk.base + part.end
        })
        .await;
        self.finish_attention(own);
        self.mark(point::AV, Part::Compute);
    }

    /// Positions of earlier chunks on a row.
    fn older(&self, row: usize, chunk: Chunk) -> Range<usize> {
        let home = self.d.home(row, self.p.prompt);
        home.start.min(chunk.base)..home.end.min(chunk.base)
    }

    /// Blocks once round the column, `from(row)` the positions of a row's; this row's is in the first passing tile.
    async fn tour(&self, layer: &Layer, chunk: Chunk, fresh: bool, from: impl Fn(usize) -> Range<usize>) {
        let (pe, rows, own) = (self.pe, self.d.plan.rows, chunk.of_row(self.row).len());
        let mut tour = Tour::new(Moving::new(self.t.passing, RING.pos(rows, self.row), rows), self.y_ring);
        let words = |block: usize| self.p.kv_words(&self.local, from(RING.at(rows, block)).len());
        self.mark(point::AV, Part::Compute);
        while let Some((block, tile)) = tour.next(pe, words, |_| self.mark(point::AV, Part::Wait)).await {
            let row = RING.at(rows, block);
            let positions = from(row);
            let block =
                Block { tile, first: positions.start, len: positions.len(), is_diagonal: fresh && row == self.row };
            if fresh {
                self.keep_own(layer, block);
            }
            self.mark(point::AV, Part::Compute);
            if own > 0 && block.len > 0 && !(fresh && row > self.row) {
                self.attend(chunk, own, block).await;
            }
        }
    }

    /// Scores, softmax up to here, weighted values of one block.
    async fn attend(&self, chunk: Chunk, own: usize, block: Block) {
        let (pe, chip) = (self.pe, &self.d.chip);
        let (heads, dims, n) = (self.local.q_heads(), self.local.dims, block.len);
        let state = Prefill::state_words(&self.local, own);
        let scores = self.t.work.slice(state, heads * own * n);
        let cost = Cycles(cycles(&chip.f32, Dims { m: own, k: dims, n }).0 * heads as u64);
        pe.compute(cost, |v| self.score(v, own, block, scores));
        self.mark(point::AV, Part::Compute);
        self.band.reduce(pe, self.band_root, scores, Fold::Add).await;
        self.mark_softmax(Part::Reduce);
        let both = self.t.work.slice(state, heads * own * (n + 1));
        if self.col == self.band_root {
            let cost = chip.special(heads * own * (n + 1)) + chip.elementwise(heads * own * n);
            pe.compute(cost, |v| self.soften(v, chunk, own, block, both));
            self.mark_softmax(Part::Compute);
        }
        broadcast(pe, &self.band_ends, both).await;
        self.mark(point::AV, Part::Broadcast);
        let product = cycles(&chip.f32, Dims { m: own, k: n, n: dims }).0 * heads as u64;
        let cost = Cycles(product) + chip.elementwise(heads * own * dims) + chip.elementwise(heads * own * n);
        pe.compute(cost, |v| self.weigh(v, own, block, both));
        self.mark(point::AV, Part::Compute);
    }

    /// Elements of K and V as they pass.
    fn values<'t>(&self, words: &'t [u32], at: usize) -> Values<'t> {
        match self.d.kv {
            KvFormat::F16 => Values::F16(&bytemuck::cast_slice(words)[at..]),
            KvFormat::F32 => Values::F32(&bytemuck::cast_slice(words)[at..]),
        }
    }

    /// Partial scores over this column's dimensions, `[head][position][key]`.
    fn score(&self, v: &mut View<'_>, own: usize, block: Block, scores: Tile) {
        let kernels = v.kernels();
        let (group, dims, n) = (self.local.group, self.local.dims, block.len);
        let stride = self.local.qkv() + 1;
        let ([product, block], scores) = v.read_write([self.t.product.slice(0, own * stride), block.tile], scores);
        let (product, scores): (&[f32], &mut [f32]) = (bytemuck::cast_slice(product), bytemuck::cast_slice_mut(scores));
        scores.fill(0.0);
        if dims == 0 {
            return;
        }
        for (head, out) in scores.chunks_exact_mut(group * own * n).enumerate() {
            let q = &product[head * (group + 2) * dims..];
            let k = Operand { values: self.values(block, head * dims * n), stride: 1, k_stride: n };
            if own == 1 {
                // The heads that share a K are neighbours.
                let q = Operand { values: Values::F32(q), stride: dims, k_stride: 1 };
                gemm(kernels, Dims { m: group, k: dims, n }, q, k, out);
                continue;
            }
            for (i, out) in out.chunks_exact_mut(own * n).enumerate() {
                let q = Operand { values: Values::F32(&q[i * dims..]), stride, k_stride: 1 };
                gemm(kernels, Dims { m: own, k: dims, n }, q, k, out);
            }
        }
    }

    /// At the band's root: masks, moves the maximum, exp(s - m) in place of the scores, exp(m_before - m) behind them.
    fn soften(&self, v: &mut View<'_>, chunk: Chunk, own: usize, block: Block, both: Tile) {
        let kernels = v.kernels();
        let (heads, n) = (self.local.q_heads(), block.len);
        let at = own * (self.local.att() + heads);
        let [maxima, both] = v.f32_mut([self.t.work.slice(at, own * heads), both]);
        let (scores, fades) = both.split_at_mut(heads * own * n);
        let first = chunk.base + chunk.of_row(self.row).start;
        let mut nan = false;
        for (i, s) in scores.chunks_exact_mut(n).enumerate() {
            let position = first + i % own;
            nan |= vector::has_nan(kernels, s);
            if block.is_diagonal {
                let visible = (position + 1 - block.first).min(n);
                s[visible..].fill(f32::NEG_INFINITY);
            }
            let m = s.iter().fold(maxima[i], |m, s| fmax(m, *s));
            fades[i] = maxima[i] - m;
            maxima[i] = m;
            vector::exp_sub_sum(kernels, m, s);
        }
        vector::exp_assign(kernels, fades);
        if nan {
            v.raise(FaultKind::Numeric { phase: "score" });
        }
    }

    /// o and l take the block's values.
    fn weigh(&self, v: &mut View<'_>, own: usize, block: Block, both: Tile) {
        let kernels = v.kernels();
        let (heads, group, dims, kv, n) =
            (self.local.q_heads(), self.local.group, self.local.dims, self.local.kv(), block.len);
        let state = self.t.work.slice(0, own * (self.local.att() + heads));
        let ([both, block], state) = v.read_write([both, block.tile], state);
        let (both, state): (&[f32], &mut [f32]) = (bytemuck::cast_slice(both), bytemuck::cast_slice_mut(state));
        let (o, l) = state.split_at_mut(own * self.local.att());
        let (weights, fades) = both.split_at(heads * own * n);
        for (i, (weights, fade)) in weights.chunks_exact(n).zip(fades).enumerate() {
            l[i] = weights.iter().fold(l[i] * fade, |l, e| l + e);
            vector::scale(kernels, *fade, &mut o[i * dims..(i + 1) * dims]);
        }
        if dims == 0 {
            return;
        }
        for (head, o) in o.chunks_exact_mut(group * own * dims).enumerate() {
            let e = Operand { values: Values::F32(&weights[head * group * own * n..]), stride: n, k_stride: 1 };
            let values = Operand { values: self.values(block, n * kv + head * dims), stride: 1, k_stride: kv };
            gemm(kernels, Dims { m: group * own, k: n, n: dims }, e, values, o);
        }
    }

    /// o / l, position by position, where O's tour begins.
    fn finish_attention(&self, own: usize) {
        let (heads, dims, att) = (self.local.q_heads(), self.local.dims, self.local.att());
        let state = self.t.work.slice(0, own * (att + heads));
        let out = self.t.passing[0].slice(0, own * att);
        self.pe.compute(self.d.chip.elementwise(own * att), |v| {
            let [state, all] = v.f32_mut([state, out]);
            let (o, l) = state.split_at(own * att);
            for (i, l) in l.iter().enumerate() {
                let (h, t) = (i / own, i % own);
                let to = &mut all[t * att + h * dims..][..dims];
                to.iter_mut().zip(&o[i * dims..]).for_each(|(to, o)| *to = o / l);
            }
            check(v, out, "AV");
        });
    }

    /// This row's share of an earlier block, from its KV tiles to where the ring takes it from.
    fn load(&self, layer: &Layer, positions: Range<usize>) {
        let (kv, cap, n) = (self.local.kv(), self.d.plan.cap, positions.len());
        let slot = positions.start - self.d.home(self.row, self.p.prompt).start.min(positions.start);
        let out = self.t.passing[0].slice(0, self.p.kv_words(&self.local, n));
        let [keys, values] = layer.kv;
        self.pe.compute(self.d.chip.elementwise(2 * n * kv), |v| {
            let tiles = v.words_mut([keys, values, out]);
            match self.d.kv {
                KvFormat::F16 => copy(tiles.map(bytemuck::cast_slice_mut::<u32, u16>), (kv, cap), slot, n),
                KvFormat::F32 => copy(tiles, (kv, cap), slot, n),
            }
        });
    }

    /// Stores those positions of a passing block that are this row's when the prompt is over.
    fn keep_own(&self, layer: &Layer, block: Block) {
        let home = self.d.home(self.row, self.p.prompt);
        let (start, end) = (home.start.max(block.first), home.end.min(block.first + block.len));
        if start >= end {
            return;
        }
        let (kv, cap) = (self.local.kv(), self.d.plan.cap);
        let (slot, part) = (start - home.start, (start - block.first, end - start, block.len));
        // The block is on its way to the next row meanwhile: it is read only.
        let [keys, values] = layer.kv;
        self.pe.compute(self.d.chip.elementwise(2 * (end - start) * kv), |v| {
            for (to, is_value) in [(keys, false), (values, true)] {
                let ([from, _], to) = v.read_write([block.tile, Tile::EMPTY], to);
                match self.d.kv {
                    KvFormat::F16 => store::<u16>(
                        bytemuck::cast_slice(from),
                        bytemuck::cast_slice_mut(to),
                        (kv, cap),
                        slot,
                        part,
                        is_value,
                    ),
                    KvFormat::F32 => store::<u32>(from, to, (kv, cap), slot, part, is_value),
                }
            }
        });
    }

    /// This row's new K and V, rounded once, where the ring takes them from.
    fn load_fresh(&self, chunk: Chunk) {
        let own = chunk.of_row(self.row).len();
        let (dims, group, kv, stride) = (self.local.dims, self.local.group, self.local.kv(), self.local.qkv() + 1);
        let out = self.t.passing[0].slice(0, self.p.kv_words(&self.local, own));
        self.pe.compute(self.d.chip.elementwise(2 * own * kv), |v| {
            let [product, out] = v.words_mut([self.t.product.slice(0, own * stride), out]);
            let product: &[f32] = bytemuck::cast_slice(product);
            let mut finite = true;
            for (t, qkv) in product.chunks_exact(stride).enumerate() {
                for i in 0..kv {
                    let base = i / dims * (group + 2) * dims + group * dims + i % dims;
                    for (at, x) in [(i * own + t, qkv[base]), ((own + t) * kv + i, qkv[base + dims])] {
                        match self.d.kv {
                            KvFormat::F32 => out[at] = x.to_bits(),
                            KvFormat::F16 => {
                                let half = half::f16::from_f32(x);
                                finite &= half.is_finite();
                                bytemuck::cast_slice_mut::<u32, u16>(out)[at] = half.to_bits();
                            }
                        }
                    }
                }
            }
            if !finite {
                v.raise(FaultKind::Numeric { phase: "KV store" });
            }
        });
    }
}

/// Positions from slot `slot` on of the KV tiles (K `[kv][cap]`, V `[cap][kv]`) to a block (K `[kv][n]`, V `[n][kv]`).
fn copy<T: Copy>([keys, values, block]: [&mut [T]; 3], (kv, cap): (usize, usize), slot: usize, n: usize) {
    let (k, v) = block[..2 * n * kv].split_at_mut(n * kv);
    for (to, from) in k.chunks_exact_mut(n.max(1)).zip(keys.chunks_exact(cap.max(1))) {
        to.copy_from_slice(&from[slot..slot + n]);
    }
    v.copy_from_slice(&values[slot * kv..][..n * kv]);
}

/// Positions `from .. from + count` of a block of `n` to the slots from `slot` on of the K or the V tile.
fn store<T: Copy>(
    block: &[T],
    tile: &mut [T],
    (kv, cap): (usize, usize),
    slot: usize,
    (from, count, n): (usize, usize, usize),
    is_value: bool,
) {
    if is_value {
        tile[slot * kv..][..count * kv].copy_from_slice(&block[(n + from) * kv..][..count * kv]);
        return;
    }
    for (to, k) in tile.chunks_exact_mut(cap.max(1)).zip(block.chunks_exact(n.max(1))).take(kv) {
        to[slot..slot + count].copy_from_slice(&k[from..from + count]);
    }
}
