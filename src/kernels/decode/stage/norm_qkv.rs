//! RMSNorm fused into the GEMV that follows, and what the root of a column does to q, k and v before the broadcast.
//!
//! Invariant: y = inv x sum((x g) W), the sum of squares rides in the same allreduce; bias, RoPE, scale run once, at
//! the root.

use crate::arena::Tile;
use crate::math::checkpoint::WeightFormat;
use crate::math::gemv::{self, Stream};
use crate::math::{Kernels, rope, vector};
use crate::pe::{FaultKind, Fold, Ticket, View};

use super::super::packed;
use super::super::point::{self, Marker, Part};
use super::Stage;

impl<'a> Stage<'a> {
    /// `wide[0..n]` = W (x g), `wide[n]` = sum of squares of x, of this row: what is reduced along y.
    pub(super) fn normed_gemv(&self, w: Tile, g: Tile, n: usize) {
        let out = self.t.wide.slice(0, n + 1);
        let chip = &self.d.chip;
        let cost = chip.elementwise(self.hidden) + chip.gemv(self.hidden, n) + chip.elementwise(self.hidden);
        self.y.ahead(self.pe);
        self.pe.visit(g);
        self.pe.visit(w);
        self.pe.compute(cost, |v| {
            let (kernels, format) = (v.kernels(), self.d.format);
            normed(v, kernels, format, [self.t.x, g, self.t.xg, w, out]);
        });
    }

    /// q, k and v of the column in every row; at the root its open broadcast.
    pub(super) fn qkv(&self, at: usize, position: u32) -> impl Future<Output = Option<Ticket>> + use<'_, 'a> {
        let layer = &self.layers[at];
        self.normed_gemv(layer.qkv, layer.norm_att, self.local.qkv());
        self.mark(Marker::Corner, point::QKV, Part::Compute);
        async move {
            let n = self.local.qkv();
            let (out, all) = (self.t.wide.slice(0, n + 1), self.t.wide.slice(0, n));
            self.y.gather(self.pe, out, Fold::Add, all).await;
            self.mark(Marker::YRoot, point::QKV, Part::Reduce);
            self.give_qkv(at, position)
        }
    }

    /// At the root: finishes q, k and v and sends them. Angles are computed in the first layer.
    fn give_qkv(&self, at: usize, position: u32) -> Option<Ticket> {
        let (rope, n, first, chip) = (self.rope?, self.local.qkv(), at == 0, &self.d.chip);
        let angles = if first { self.local.dims } else { 0 };
        let cost = chip.special(angles + 2) + chip.elementwise(n) + chip.elementwise(3 * n);
        self.pe.compute(cost, |v| {
            if first {
                turn(v, rope, position as usize);
            }
            self.finish_qkv(v, n, self.layers[at].bias, rope[1]);
        });
        self.mark(Marker::YRoot, point::QKV, Part::Compute);
        self.y.gives().map(|tx| self.pe.post_send(tx, self.t.wide.slice(0, n)))
    }

    /// At the root: norm, bias, RoPE, scale.
    fn finish_qkv(&self, v: &mut View<'_>, n: usize, bias: Option<Tile>, angles: Tile) {
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
}

/// Cosine and sine of every pair at a position.
fn turn(v: &mut View<'_>, [freq, angles]: [Tile; 2], position: usize) {
    let [frequencies, sin_cos] = v.words_mut([freq, angles]);
    for (pair, cs) in frequencies.chunks_exact(2).zip(sin_cos.chunks_exact_mut(2)) {
        let inv_freq = f64::from_bits(u64::from(pair[0]) | u64::from(pair[1]) << 32);
        let (s, c) = rope::sin_cos(position as u64, inv_freq);
        (cs[0], cs[1]) = (c.to_bits(), s.to_bits());
    }
}

/// `out[..n]` = W (x g), `out[n]` = sum of squares of x; xg is as long as x. What is read alone may be on its way.
pub(in crate::kernels) fn normed(
    v: &mut View<'_>,
    kernels: Kernels,
    format: WeightFormat,
    [x, g, xg, w, out]: [Tile; 5],
) {
    let ([factor, gain], product) = v.read_write([x, g], xg);
    vector::mul(kernels, bytemuck::cast_slice(factor), bytemuck::cast_slice(gain), bytemuck::cast_slice_mut(product));
    let sum = vector::sum_squares(kernels, bytemuck::cast_slice(factor));
    let ([w, xg], out) = v.read_write([w, xg], out);
    let out: &mut [f32] = bytemuck::cast_slice_mut(out);
    let n = out.len() - 1;
    let shape = packed(xg.len(), n);
    let w = &bytemuck::cast_slice::<u32, u16>(w)[..shape.len()];
    gemv::gemv(kernels, (format, Stream::Restarted), shape, w, bytemuck::cast_slice(xg), &mut out[..n]);
    out[n] = sum;
}

/// 1 / sqrt(mean + eps).
pub(in crate::kernels) fn inverse_rms(sum_squares: f32, hidden: usize, eps: f32) -> f32 {
    1.0 / (sum_squares / hidden as f32 + eps).sqrt()
}

/// A NaN (or an infinity, which becomes one in the next step) stops the PE.
pub(in crate::kernels) fn check(v: &mut View<'_>, tile: Tile, phase: &'static str) {
    let kernels = v.kernels();
    if vector::has_nan(kernels, v.f32(tile)) {
        v.raise(FaultKind::Numeric { phase });
    }
}
