//! The projections that reduce along x (O, down) and the gated feed-forward between.
//!
//! Invariant: the residual is added once, at the x root, which alone holds the new x until it broadcasts or hands over.

use crate::arena::Tile;
use crate::math::gemv::{self, Stream};
use crate::math::vector;
use crate::pe::{Fold, Ticket};

use super::super::packed;
use super::super::point::{self, Marker, Part};
use super::Stage;
use super::norm_qkv::{check, inverse_rms};

impl<'a> Stage<'a> {
    /// y = W input, reduced along x, added to x at the root; a leaf's open send of y.
    pub(super) fn project(
        &self,
        w: Tile,
        input: Tile,
        phase: u16,
    ) -> impl Future<Output = Option<Ticket>> + use<'_, 'a> {
        let k = input.words();
        self.x.ahead(self.pe);
        self.pe.visit(w);
        self.pe.compute(self.d.chip.gemv(k, self.hidden), |v| {
            let kernels = v.kernels();
            let ([w, input], y) = v.read_write([w, input], self.t.y);
            let shape = packed(k, self.hidden);
            let w = &bytemuck::cast_slice::<u32, u16>(w)[..shape.len()];
            gemv::gemv(
                kernels,
                (self.d.format, Stream::Restarted),
                shape,
                w,
                bytemuck::cast_slice(input),
                bytemuck::cast_slice_mut(y),
            );
        });
        self.mark(Marker::Corner, phase, Part::Compute);
        async move {
            let sent = self.x.reduce_posted(self.pe, self.t.y, Fold::Add).await;
            self.mark(Marker::XRoot, phase, Part::Reduce);
            if self.x.is_root() {
                self.add_to_residual(phase);
            }
            sent
        }
    }

    /// At the x root.
    fn add_to_residual(&self, phase: u16) {
        self.pe.compute(self.d.chip.elementwise(self.hidden), |v| {
            let kernels = v.kernels();
            let [x, y] = v.f32_mut([self.t.x, self.t.y]);
            vector::add_assign(kernels, x, y);
            check(v, self.t.x, point::NAMES[usize::from(phase)]);
        });
        self.mark(Marker::XRoot, phase, Part::Compute);
    }

    /// gate|up, SiLU x up at the root, down; a leaf's open send of y.
    pub(super) fn feed_forward(&self, at: usize) -> impl Future<Output = Option<Ticket>> + use<'_, 'a> {
        let layer = &self.layers[at];
        self.normed_gemv(layer.up, layer.norm_ffn, 2 * self.ffn);
        self.mark(Marker::Corner, point::FFN, Part::Compute);
        async move {
            let wide = self.t.wide.slice(0, 2 * self.ffn + 1);
            let sent = self.y.reduce_posted(self.pe, wide, Fold::Add).await;
            self.mark(Marker::YRoot, point::FFN, Part::Reduce);
            if self.y.is_root() {
                self.gate();
            }
            self.y.broadcast(self.pe, self.t.act).await;
            self.mark(Marker::Corner, point::FFN, Part::Broadcast);
            if let Some(ticket) = sent {
                self.pe.join(ticket).await;
            }
            self.project(layer.down, self.t.act, point::FFN).await
        }
    }

    /// SiLU of the gate times up, at the root.
    fn gate(&self) {
        let (n, chip) = (self.ffn, &self.d.chip);
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
        self.mark(Marker::YRoot, point::FFN, Part::Compute);
    }
}
