//! Score inside a band, softmax over the rows, weighted values.                (WaferLLM section 4.2)
//!
//! Invariant: softmax runs in the band roots' columns only; a row without positions gives max -inf and sum 0.

use crate::arena::Tile;
use crate::math::{Kernels, rows, vector};
use crate::pe::{FaultKind, Fold};
use crate::units::Cycles;

use super::super::KvFormat;
use super::super::point::{self, Marker, Part};
use super::Stage;
use super::kv::Held;
use super::norm_qkv::check;

impl<'a> Stage<'a> {
    /// Partial scores of this column, summed over the band.
    pub(super) fn score(&self, at: usize, held: Held) -> impl Future<Output = ()> + use<'_, 'a> {
        let (q_heads, dims, cap, n) = (self.local.q_heads(), self.local.dims, self.d.plan.cap, held.count());
        let score = self.scores(held);
        let [keys, _] = self.layers[at].kv;
        let cost = Cycles(self.d.chip.gemv(dims, n).0 * q_heads as u64);
        self.band.ahead(self.pe);
        self.pe.compute(cost, |v| {
            let kernels = v.kernels();
            let (kv, group) = (self.d.kv, self.local.group);
            let [score, keys, wide] = v.words_mut([score, keys, self.t.wide.slice(0, self.local.qkv())]);
            let score: &mut [f32] = bytemuck::cast_slice_mut(score);
            let wide: &[f32] = bytemuck::cast_slice(wide);
            score.fill(0.0);
            let [older, _] = held.runs(cap);
            for h in 0..q_heads {
                let (head, i) = (h / group, h % group);
                let q = &wide[head * (group + 2) * dims + i * dims..][..dims];
                let (old, new) = score[h * n..(h + 1) * n].split_at_mut(older.len());
                let first = head * dims * cap;
                axpy_rows(kernels, kv, cap, q, keys, first + older.start, old);
                axpy_rows(kernels, kv, cap, q, keys, first, new);
            }
        });
        self.mark(Marker::Corner, point::SCORE, Part::Compute);
        async move {
            let score = self.scores(held);
            // Only the root's column goes on with the sums; the others get the probabilities back.
            self.band.gather(self.pe, score, Fold::Add, score).await;
            self.mark(Marker::BandRoot, point::SCORE, Part::Reduce);
        }
    }

    /// A score of every head and position.
    fn scores(&self, held: Held) -> Tile {
        self.t.score.slice(0, self.local.q_heads() * held.count())
    }

    /// Max and sum over the rows in the band roots' columns, probabilities to the band.
    pub(super) fn softmax(&self, held: Held) -> impl Future<Output = ()> + use<'_, 'a> {
        if self.band.is_root() {
            self.largest(held);
        }
        async move {
            if self.band.is_root() {
                self.over_rows(self.t.max, Fold::Max).await;
                self.exponentials(held);
                self.over_rows(self.t.sum, Fold::Add).await;
                self.probabilities(held);
            }
            self.band.give(self.pe, self.scores(held)).await;
        }
    }

    fn largest(&self, held: Held) {
        let (n, score) = (held.count(), self.scores(held));
        self.pe.compute(self.d.chip.elementwise(score.words()), |v| {
            let kernels = v.kernels();
            let [score, max] = v.f32_mut([score, self.t.max]);
            for (h, m) in max.iter_mut().enumerate() {
                let row = &score[h * n..(h + 1) * n];
                *m = row.iter().fold(f32::NEG_INFINITY, |m, s| crate::math::reduce::fmax(m, *s));
            }
            if vector::has_nan(kernels, score) {
                v.raise(FaultKind::Numeric { phase: "score" });
            }
        });
        self.mark(Marker::BandRoot, point::SOFTMAX, Part::Compute);
    }

    fn exponentials(&self, held: Held) {
        let (n, score) = (held.count(), self.scores(held));
        self.pe.compute(self.d.chip.special(score.words()), |v| {
            let kernels = v.kernels();
            let [score, max, sum] = v.f32_mut([score, self.t.max, self.t.sum]);
            for h in 0..self.local.q_heads() {
                sum[h] = vector::exp_sub_sum(kernels, max[h], &mut score[h * n..(h + 1) * n]);
            }
        });
        self.mark(Marker::BandRoot, point::SOFTMAX, Part::Compute);
    }

    fn probabilities(&self, held: Held) {
        let (n, score) = (held.count(), self.scores(held));
        self.pe.compute(self.d.chip.elementwise(score.words()), |v| {
            let kernels = v.kernels();
            let [score, sum] = v.f32_mut([score, self.t.sum]);
            for h in 0..self.local.q_heads() {
                vector::div_assign(kernels, sum[h], &mut score[h * n..(h + 1) * n]);
            }
        });
        self.mark(Marker::BandRoot, point::SOFTMAX, Part::Compute);
    }

    /// The fold of a tile over the rows of a column, in every row.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    fn over_rows(&self, tile: Tile, fold: Fold) -> impl Future<Output = ()> + use<'_, 'a> {
        async move {
            self.y.gather(self.pe, tile, fold, tile).await;
            self.mark(Marker::BandYRoot, point::SOFTMAX, Part::Reduce);
            self.y.give(self.pe, tile).await;
            self.mark(Marker::BandRoot, point::SOFTMAX, Part::Broadcast);
        }
    }

    /// Weighted sum of values, over all rows.
    pub(super) fn values(&self, at: usize, held: Held) -> impl Future<Output = ()> + use<'_, 'a> {
        let (q_heads, dims, cap, n) = (self.local.q_heads(), self.local.dims, self.d.plan.cap, held.count());
        let score = self.scores(held);
        let [_, values] = self.layers[at].kv;
        let cost = Cycles(self.d.chip.gemv(n, dims).0 * q_heads as u64);
        self.y.ahead(self.pe);
        self.pe.compute(cost, |v| {
            let kernels = v.kernels();
            let (kv, group, width) = (self.d.kv, self.local.group, self.local.kv());
            let [score, values, att] = v.words_mut([score, values, self.t.att]);
            let att: &mut [f32] = bytemuck::cast_slice_mut(att);
            let score: &[f32] = bytemuck::cast_slice(score);
            att.fill(0.0);
            let [older, _] = held.runs(cap);
            for h in 0..q_heads {
                let out = &mut att[h * dims..(h + 1) * dims];
                let (old, new) = score[h * n..(h + 1) * n].split_at(older.len());
                let first = h / group * dims;
                axpy_rows(kernels, kv, width, old, values, first + older.start * width, out);
                axpy_rows(kernels, kv, width, new, values, first, out);
            }
        });
        self.mark(Marker::Corner, point::AV, Part::Compute);
        async move {
            self.y.gather(self.pe, self.t.att, Fold::Add, self.t.att).await;
            self.mark(Marker::YRoot, point::AV, Part::Reduce);
            if self.y.is_root() {
                self.pe.compute(Cycles::ZERO, |v| check(v, self.t.att, "AV"));
            }
            self.y.give(self.pe, self.t.att).await;
        }
    }
}

/// out = fma(a[k], row k, out) for k ascending, over rows of cells of the KV format: the first one begins at `first`,
/// the next ones `stride` further on.
fn axpy_rows(kernels: Kernels, kv: KvFormat, stride: usize, a: &[f32], cells: &[u32], first: usize, out: &mut [f32]) {
    if a.is_empty() || out.is_empty() {
        return;
    }
    match kv {
        KvFormat::F16 => {
            rows::axpy_rows_f16(kernels, stride, a, &bytemuck::cast_slice::<u32, u16>(cells)[first..], out)
        }
        KvFormat::F32 => {
            let cells: &[f32] = bytemuck::cast_slice(cells);
            for (k, a) in a.iter().enumerate() {
                vector::axpy(kernels, *a, &cells[first + k * stride..][..out.len()], out);
            }
        }
    }
}
