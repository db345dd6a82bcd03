//! KV of one row: a ring of slots, balanced over the rows by shift.           (WaferLLM section 4.3)
//!
//! Invariant: of n = q R + r positions the bottom r rows hold q + 1, oldest on top; the shift precedes the score.

use crate::arena::Tile;
use crate::math::split::part;
use crate::pe::{FaultKind, Ticket, View};
use crate::units::Cycles;

use super::super::point::{self, Marker, Part};
use super::super::{Decode, KvFormat};
use super::{Layer, Stage};

/// Positions of one row: a ring of `cap` slots, the oldest at `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    start: u32,
    count: u32,
}

impl Held {
    /// What row `row` holds of the first `n` positions before decode begins: all at the start of the ring.
    pub(super) fn of_prompt(d: &Decode, row: usize, n: usize) -> Self {
        Self { start: 0, count: d.home(row, n).len() as u32 }
    }

    /// How many.
    pub(super) fn count(self) -> usize {
        self.count as usize
    }

    /// The slots in order of position: at most two runs.
    pub(super) fn runs(self, cap: usize) -> [std::ops::Range<usize>; 2] {
        let (start, count) = (self.start as usize, self.count());
        let first = count.min(cap - start);
        [start..start + first, 0..count - first]
    }

    fn oldest(self) -> usize {
        self.start as usize
    }

    fn newest(self, cap: usize) -> usize {
        (self.start as usize + self.count() - 1) % cap
    }

    fn without_oldest(self, cap: usize) -> Self {
        Self { start: (self.start + 1) % cap as u32, count: self.count - 1 }
    }

    fn with_newest(self) -> Self {
        Self { count: self.count + 1, ..self }
    }
}

impl<'a> Stage<'a> {
    /// Makes room by shift, stores the new K and V where they belong; what this row holds afterwards. `sent` is the
    /// root's open broadcast of q, k and v, under which the shift runs.
    pub(super) fn keep(
        &self,
        at: usize,
        position: u32,
        before: Held,
        sent: Option<Ticket>,
    ) -> impl Future<Output = Held> + use<'_, 'a> {
        let layer = &self.layers[at];
        let (mut held, moved) = self.shift_out(layer, position, before);
        async move {
            if let Some(rx) = self.shift_in.filter(|_| self.shifts(position)[1]) {
                self.pe.recv(rx, self.shift.map_or(Tile::EMPTY, |[_, into]| into)).await;
                held = self.take_in(layer, held);
            }
            if let Some(ticket) = moved {
                self.pe.join(ticket).await;
            }
            if let Some(ticket) = sent {
                self.pe.join(ticket).await;
            }
            self.mark(Marker::Corner, point::SHIFT, Part::Wait);
            if self.stores(position) { self.store(layer, position, held) } else { held }
        }
    }

    /// Does the row store this position's K and V?
    fn stores(&self, position: u32) -> bool {
        let rows = self.d.plan.rows;
        match self.d.concat_prompt {
            Some(prompt) if (position as usize) < prompt => part(prompt, rows, self.row).contains(&(position as usize)),
            _ => self.row + 1 == rows,
        }
    }

    /// Does the row pass its oldest position up, and does it get one from below, where there is a shift?
    fn shifts(&self, position: u32) -> [bool; 2] {
        let rows = self.d.plan.rows;
        let grows = position as usize % rows; // rows from the bottom; this one keeps what it gets
        let below = rows - 1 - self.row;
        [below < grows, below >= 1 && below <= grows]
    }

    /// Passes the oldest position up where the balance asks for it; all links in parallel.
    fn shift_out(&self, layer: &Layer, position: u32, held: Held) -> (Held, Option<Ticket>) {
        let (Some(tx), Some([out, _]), [true, _]) = (self.shift_up, self.shift, self.shifts(position)) else {
            return (held, None);
        };
        self.pe.compute(self.move_cost(), |v| self.move_slot(v, layer, held.oldest(), out, false));
        self.mark(Marker::Corner, point::SHIFT, Part::Compute);
        (held.without_oldest(self.d.plan.cap), Some(self.pe.post_send(tx, out)))
    }

    /// Puts the position that came from below where it belongs.
    fn take_in(&self, layer: &Layer, held: Held) -> Held {
        self.mark(Marker::Corner, point::SHIFT, Part::Wait);
        let held = held.with_newest();
        let (slot, into) = (held.newest(self.d.plan.cap), self.shift.map_or(Tile::EMPTY, |[_, into]| into));
        self.pe.compute(self.move_cost(), |v| self.move_slot(v, layer, slot, into, true));
        self.mark(Marker::Corner, point::SHIFT, Part::Compute);
        held
    }

    /// Stores the new position.
    fn store(&self, layer: &Layer, position: u32, before: Held) -> Held {
        let held = before.with_newest();
        if held.count() > self.d.plan.cap {
            self.pe.fail(FaultKind::Capacity { position });
            return before;
        }
        let slot = held.newest(self.d.plan.cap);
        self.pe.compute(self.move_cost(), |v| self.store_new(v, layer, slot));
        self.mark(Marker::Corner, point::SHIFT, Part::Compute);
        held
    }

    fn move_cost(&self) -> Cycles {
        self.d.chip.elementwise(2 * self.local.kv())
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
