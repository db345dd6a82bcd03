//! KV of one row: a ring of slots, balanced over the rows by shift.           (WaferLLM section 4.3)
//!
//! Invariant: of n = q R + r positions the bottom r rows hold q + 1, oldest on top; the shift precedes the score.

use crate::arena::Tile;
use crate::math::split::part;
use crate::pe::{FaultKind, Ticket, View};

use super::super::point::{self, Marker, Part};
use super::super::{Decode, KvFormat};
use super::{Layer, Stage};

/// Positions of one row: a ring of `cap` slots, the oldest at `start`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) start: usize,
    pub(super) count: usize,
}

impl Held {
    /// What row `row` holds of the first `n` positions before decode begins: all at the start of the ring.
    pub(super) fn of_prompt(d: &Decode, row: usize, n: usize) -> Self {
        Self { start: 0, count: d.home(row, n).len() }
    }

    /// The slots in order of position: at most two runs.
    pub(super) fn runs(self, cap: usize) -> [std::ops::Range<usize>; 2] {
        let first = self.count.min(cap - self.start);
        [self.start..self.start + first, 0..self.count - first]
    }

    pub(super) fn newest(self, cap: usize) -> usize {
        (self.start + self.count - 1) % cap
    }
}

impl Stage<'_> {
    /// Makes room by shift, stores the new K and V where they belong; what this row holds afterwards. `sent` is the
    /// root's open broadcast of q, k and v, under which the shift runs.
    pub(super) async fn keep(&self, layer: &Layer, position: usize, before: Held, sent: Option<Ticket>) -> Held {
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
        if let Some(ticket) = sent {
            self.pe.join(ticket).await;
        }
        self.mark(Marker::Corner, point::SHIFT, Part::Wait);
        if stores {
            held.count += 1;
            if held.count > self.d.plan.cap {
                self.pe.fail(FaultKind::Capacity { position: position as u32 });
                held.count -= 1;
                return held;
            }
            let slot = held.newest(self.d.plan.cap);
            self.pe.compute(self.d.chip.elementwise(2 * self.local.kv()), |v| self.store_new(v, layer, slot));
            self.mark(Marker::Corner, point::SHIFT, Part::Compute);
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
                self.mark(Marker::Corner, point::SHIFT, Part::Compute);
                held.start = (held.start + 1) % cap;
                held.count -= 1;
                Some(self.pe.post_send(tx, out))
            }
            _ => None,
        };
        if let Some(rx) = self.shift_in.filter(|_| receives) {
            self.pe.recv(rx, into).await;
            self.mark(Marker::Corner, point::SHIFT, Part::Wait);
            held.count += 1;
            let slot = held.newest(cap);
            self.pe.compute(move_cost, |v| self.move_slot(v, layer, slot, into, true));
            self.mark(Marker::Corner, point::SHIFT, Part::Compute);
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
