//! The products by weights that stay: blocks of activations pass, partial products go to where their positions belong.
//!
//! ```text
//!   to rows (QKV, gate|up):  [x g, sum of squares] passes along x    column chain -> row of the positions
//!   to columns (O, down):    their input passes along y              row chain -> column of the positions, added to x
//! ```
//! Invariant: a PE's weight tile is read in place, in decode's packing; k ascends, as in decode's GEMV.

use crate::arena::Tile;
use crate::collectives::{Moving, Tour};
use crate::kernels::decode::packed;
use crate::kernels::decode::point::{self, Part};
use crate::kernels::decode::stage::{check, inverse_rms};
use crate::math::checkpoint::WeightFormat;
use crate::math::gemm::{Dims, Operand, Values, gemm_strided};
use crate::math::gemv::{PANEL, Stream, gemv};
use crate::math::{Kernels, rope, vector};
use crate::pe::{Fold, View};

use super::blocks::Chunk;
use super::cycles;
use super::stage::{Layer, RING, Stage};

impl Stage<'_> {
    /// q, k and v of this row's positions: norm, bias, RoPE and scale done. `product` holds `qkv + 1` words a position.
    pub(super) async fn qkv(&self, layer: &Layer, chunk: Chunk) {
        let n = self.local.qkv();
        self.to_rows(layer.qkv, layer.norm_att, n, point::QKV, chunk).await;
        let own = chunk.of_row(self.row).len();
        if own == 0 {
            return;
        }
        let chip = &self.d.chip;
        let cost = chip.special(2 * own) + chip.elementwise(own * n) + chip.elementwise(3 * own * n);
        self.pe.compute(cost, |v| self.finish_qkv(v, layer, own, n));
        self.mark(point::QKV, Part::Compute);
    }

    fn finish_qkv(&self, v: &mut View<'_>, layer: &Layer, own: usize, n: usize) {
        let kernels = v.kernels();
        let (dims, group) = (self.local.dims, self.local.group);
        let scale = (1.0 / (self.d.shape.head_dim as f64).sqrt()) as f32;
        let product = self.t.product.slice(0, own * (n + 1));
        let bias = layer.bias.unwrap_or(Tile::EMPTY);
        let [all, bias, angles] = v.f32_mut([product, bias, self.t.angles]);
        for (t, qkv) in all.chunks_exact_mut(n + 1).enumerate() {
            let inv = inverse_rms(qkv[n], self.d.shape.hidden, self.d.shape.norm_eps);
            let qkv = &mut qkv[..n];
            vector::scale(kernels, inv, qkv);
            if !bias.is_empty() {
                vector::add_assign(kernels, qkv, bias);
            }
            if dims == 0 {
                continue;
            }
            let angles = &angles[t * dims..(t + 1) * dims];
            for kv in qkv.chunks_exact_mut((group + 2) * dims) {
                for (i, head) in kv.chunks_exact_mut(dims).take(group + 1).enumerate() {
                    let (lo, hi) = head.split_at_mut(dims / 2);
                    for ((a, b), cs) in lo.iter_mut().zip(hi.iter_mut()).zip(angles.chunks_exact(2)) {
                        (*a, *b) = rope::rotate(*a, *b, cs[0], cs[1]);
                    }
                    if i < group {
                        vector::scale(kernels, scale, head);
                    }
                }
            }
        }
        check(v, product, "QKV");
    }

    /// gate|up, SiLU x up, down.
    pub(super) async fn feed_forward(&self, layer: &Layer, chunk: Chunk) {
        let f = self.ffn;
        self.to_rows(layer.up, layer.norm_ffn, 2 * f, point::FFN, chunk).await;
        let own = chunk.of_row(self.row).len();
        let chip = &self.d.chip;
        if own > 0 {
            let cost = chip.special(own * (f + 2)) + chip.elementwise(2 * own * f) + chip.elementwise(2 * own * f);
            let (product, act) = (self.t.product.slice(0, own * (2 * f + 1)), self.t.passing[0].slice(0, own * f));
            self.pe.compute(cost, |v| {
                let kernels = v.kernels();
                let (hidden, eps) = (self.d.shape.hidden, self.d.shape.norm_eps);
                let [wide, all] = v.f32_mut([product, act]);
                for (t, wide) in wide.chunks_exact_mut(2 * f + 1).enumerate() {
                    let inv = inverse_rms(wide[2 * f], hidden, eps);
                    vector::scale(kernels, inv, &mut wide[..2 * f]);
                    let (gate, up) = wide[..2 * f].split_at(f);
                    vector::silu_mul(kernels, gate, up, &mut all[t * f..(t + 1) * f]);
                }
                check(v, act, "FFN");
            });
            self.mark(point::FFN, Part::Compute);
        }
        self.project(layer.down, f, point::FFN, chunk).await;
    }

    /// `product[t][0..n]` = W (x g) of this row's positions, `[n]` their sums of squares.
    async fn to_rows(&self, w: Tile, g: Tile, n: usize, point: u16, chunk: Chunk) {
        let (pe, h, cols) = (self.pe, self.hidden, self.d.plan.cols);
        self.norm_weighted(g, chunk.of_col(self.col).len());
        self.mark(point, Part::Compute);
        let own = chunk.of_row(self.row);
        let mut tour = Tour::new(Moving::new(self.t.passing, RING.pos(cols, self.col), cols), self.x_ring);
        let words = move |block: usize| chunk.of_col(RING.at(cols, block)).len() * (h + 1);
        while let Some((block, tile)) = tour.next(pe, words, |_| self.mark(point, Part::Wait)).await {
            let col = RING.at(cols, block);
            let first = chunk.of_col(col).start;
            for (row, run) in chunk.to_rows(col) {
                let m = run.len();
                let out = if row == self.row {
                    self.t.product.slice((run.start - own.start) * (n + 1), m * (n + 1))
                } else {
                    self.t.work.slice(0, m * (n + 1))
                };
                let a = tile.slice((run.start - first) * (h + 1), m * (h + 1));
                let chip = &self.d.chip;
                let cost = cycles(&chip.f32, Dims { m, k: h, n }) + chip.elementwise(m);
                pe.compute(cost, |v| {
                    let kernels = v.kernels();
                    let ([a, w], out) = v.read_write([a, w], out);
                    let (a, out): (&[f32], &mut [f32]) = (bytemuck::cast_slice(a), bytemuck::cast_slice_mut(out));
                    by_weights(kernels, self.d.format, Dims { m, k: h, n }, (a, h + 1), w, (out, n + 1));
                    for (out, a) in out.chunks_exact_mut(n + 1).zip(a.chunks_exact(h + 1)) {
                        out[n] = a[h];
                    }
                });
                self.mark(point, Part::Compute);
                self.to_row.reduce(pe, row, out, Fold::Add).await;
                self.mark(point, Part::Reduce);
            }
        }
    }

    /// x g and the sum of squares of x, position by position, where the ring takes them from.
    fn norm_weighted(&self, g: Tile, own: usize) {
        let h = self.hidden;
        let out = self.t.passing[0].slice(0, own * (h + 1));
        let cost = self.d.chip.elementwise(own * h) + self.d.chip.elementwise(own * h);
        self.pe.compute(cost, |v| {
            let kernels = v.kernels();
            let [x, g, out] = v.f32_mut([self.t.x, g, out]);
            for (t, out) in out.chunks_exact_mut(h + 1).enumerate() {
                let x = &x[t * h..(t + 1) * h];
                vector::mul(kernels, x, g, &mut out[..h]);
                out[h] = vector::sum_squares(kernels, x);
            }
        });
    }

    /// x += W input for this column's positions; this row's input is in the first passing tile, `k` words a position.
    pub(super) async fn project(&self, w: Tile, k: usize, point: u16, chunk: Chunk) {
        let (pe, h, rows) = (self.pe, self.hidden, self.d.plan.rows);
        let own = chunk.of_col(self.col);
        // q, k and v, or gate and up, have been used: their tile is the other buffer.
        let buffers = [self.t.passing[0], self.t.product];
        let mut tour = Tour::new(Moving::new(buffers, RING.pos(rows, self.row), rows), self.y_ring);
        let words = move |block: usize| chunk.of_row(RING.at(rows, block)).len() * k;
        while let Some((block, tile)) = tour.next(pe, words, |_| self.mark(point, Part::Wait)).await {
            let row = RING.at(rows, block);
            let first = chunk.of_row(row).start;
            for (col, run) in chunk.to_cols(row) {
                let m = run.len();
                let out = self.t.work.slice(0, m * h);
                let a = tile.slice((run.start - first) * k, m * k);
                let dims = Dims { m, k, n: h };
                pe.compute(cycles(&self.d.chip.f32, dims), |v| {
                    let kernels = v.kernels();
                    let ([a, w], out) = v.read_write([a, w], out);
                    let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                    by_weights(kernels, self.d.format, dims, (bytemuck::cast_slice(a), k), w, (out, h));
                });
                self.mark(point, Part::Compute);
                self.to_col.reduce(pe, col, out, Fold::Add).await;
                self.mark(point, Part::Reduce);
                if col == self.col {
                    let x = self.t.x.slice((run.start - own.start) * h, m * h);
                    pe.compute(self.d.chip.elementwise(m * h), |v| {
                        let kernels = v.kernels();
                        let [to, y] = v.f32_mut([x, out]);
                        vector::add_assign(kernels, to, y);
                        check(v, x, point::NAMES[usize::from(point)]);
                    });
                    self.mark(point, Part::Compute);
                }
            }
        }
    }
}

/// Up to so many positions read the 16-bit weights once each, widening in registers; more share what is widened once.
const ROWS_BY_GEMV: usize = 2;

/// `out[i][0..n]` = `a[i][0..k]` W for a tile in decode's packing; strides of a and out in elements.
fn by_weights(
    kernels: Kernels,
    format: WeightFormat,
    d: Dims,
    (a, a_stride): (&[f32], usize),
    w: &[u32],
    (out, out_stride): (&mut [f32], usize),
) {
    let w: &[u16] = bytemuck::cast_slice(w);
    if d.m <= ROWS_BY_GEMV && d.k * d.n > 0 {
        for (a, out) in a.chunks(a_stride).zip(out.chunks_mut(out_stride)) {
            gemv(kernels, (format, Stream::Scattered), packed(d.k, d.n), &w[..d.k * d.n], &a[..d.k], &mut out[..d.n]);
        }
        return;
    }
    out.chunks_exact_mut(out_stride.max(1)).for_each(|row| row[..d.n].fill(0.0));
    let a = Operand { values: Values::F32(a), stride: a_stride, k_stride: 1 };
    for first in (0..d.n).step_by(PANEL) {
        let width = PANEL.min(d.n - first);
        let bits = &w[first * d.k..][..width * d.k];
        let values = match format {
            WeightFormat::F16 => Values::F16(bits),
            WeightFormat::Bf16 => Values::Bf16(bits),
        };
        let b = Operand { values, stride: 1, k_stride: width };
        gemm_strided(kernels, Dims { n: width, ..d }, a, b, &mut out[first..], out_stride);
    }
}
