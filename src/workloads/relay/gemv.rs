//! y = x W on P x P cores, blocks of one size, as T10 and as Ladder would do it.                (see `relay`)
//!
//! x lies on rows, in every column; W's block (r, c) is used at core (c, r); y is summed along columns, for every row.
//! T10: each core multiplies; sums go from core to core down the column, each hop announced by a header that a task
//! answers before the stream is added to; the result comes back from core to core.
//! Ladder: memory is one, and an allocation begins anywhere: here a block lies one core before the one that uses it,
//! and the first core's lies in the last, P - 1 relays away. Fetch, multiply, then a chain sum with a broadcast.
//!
//! | colors  | carries                   |   | arena             | words each          |
//! |---------|---------------------------|---|-------------------|---------------------|
//! | 4 .. 7  | to the neighbours in y    |   | W, W kept, relayed| k n / 2             |
//! | 8 .. 10 | chain sum (Ladder)        |   | x, y              | k / 2, n / 2        |
//!
//! Cycles: `cost`. Numerics: paper (f16). Invariant: y is exact on integers (`tests/kernels/relays.rs`).

use crate::arena::{Owner, Tile};
use crate::collectives::{Allreduce, Chain, allreduce};
use crate::exec::{LaunchError, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout, LayoutError, TileDecl, TileId};
use crate::host::trial::{Trial, TrialError};
use crate::kernels::gemm::Storage;
use crate::math::binary16::gemv_f16;
use crate::math::gemv::{PackedShape, pack};
use crate::pe::{Fold, Kernel, Pe};
use crate::units::{Coord, Cycles};

use super::{Links, Policy, RELAY_COLORS, RelayCost, lay_out_relays};

/// The kernel.
#[derive(Clone, Debug)]
pub struct RelayGemv {
    /// System.
    pub policy: Policy,
    /// Side of the mesh.
    pub p: usize,
    /// Rows of W at a core.
    pub k: usize,
    /// Columns of W at a core.
    pub n: usize,
    /// Software of a relay (T10: a header; Ladder: a message).
    pub relay: RelayCost,
    /// Rates.
    pub chip: Chip,
}

/// Numbers of a matrix by row and column.
pub type Values<'a> = &'a (dyn Fn(usize, usize) -> f32 + Sync);

/// Tiles.
pub mod tile {
    use super::TileId;
    pub const W: TileId = TileId(0);
    pub const KEPT: TileId = TileId(1);
    pub const RELAY: TileId = TileId(2);
    pub const X: TileId = TileId(3);
    pub const Y: TileId = TileId(4);
}

/// Software of the header at place `i` of a line: so that i places take floor(i x cost) cycles.
pub(super) fn header(relay: &RelayCost, i: usize) -> Cycles {
    let until = |i: usize| (i as f64 * relay.message).floor() as u64;
    Cycles(until(i + 1) - until(i))
}

impl RelayGemv {
    pub(super) fn y_words(&self) -> usize {
        Storage::F16.words(self.n)
    }

    pub(super) fn w_words(&self) -> usize {
        Storage::F16.words(self.k * self.n)
    }

    fn chain(&self, col: u32) -> Allreduce {
        let line = (0..self.p as u32).map(|row| Coord::new(col, row)).collect();
        Allreduce::Chain(Chain { line, base: RELAY_COLORS })
    }

    /// Routes and tiles.
    ///
    /// # Errors
    /// A defect in the coloring.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let pes = layout.rectangle(self.p as u32, self.p as u32);
        let (w, ladder) = (self.w_words(), usize::from(self.policy == Policy::Ladder));
        let all = [
            (tile::W, "W", w),
            (tile::KEPT, "W, kept for another", w * ladder),
            (tile::RELAY, "W, relayed", w * ladder),
            (tile::X, "x", Storage::F16.words(self.k)),
            (tile::Y, "y", self.y_words()),
        ];
        for (id, name, words) in all {
            for &at in &pes {
                let owner = if name.starts_with('W') { Owner::Weights } else { Owner::Activations };
                layout.tile(at, TileDecl { id, name, owner, bytes: 4 * words as u32, visit: 0 });
            }
        }
        lay_out_relays(&mut layout, self.p, [false, true])?;
        for col in (0..self.p as u32).filter(|_| self.policy == Policy::Ladder) {
            self.chain(col).lay_out(&mut layout)?;
        }
        Ok(layout)
    }

    /// Runs it on x and W; the trial, and y as row `row` holds it.
    ///
    /// # Errors
    /// What the chip refuses; a deadlock (a defect).
    pub fn run(
        &self,
        options: &RunOptions,
        x: &[f32],
        w: Values<'_>,
        row: usize,
    ) -> Result<(Trial, Vec<f32>), TrialError> {
        let fill = |at: Coord, id: TileId, words: &mut [u32]| self.fill(x, w, at, id, words);
        let layout = self.layout().map_err(LaunchError::from)?;
        let trial = Trial::run(self.clone(), layout, &self.chip, options, fill)?;
        let y = if options.dry { Vec::new() } else { self.result(&trial.wafer, row)? };
        Ok((trial, y))
    }

    /// Fills a tile of a core for the start.
    pub fn fill(&self, x: &[f32], w: Values<'_>, at: Coord, id: TileId, words: &mut [u32]) {
        let (col, row) = (at.col as usize, at.row as usize);
        let shape = PackedShape { k: self.k, n: self.n };
        // Ladder keeps the block of the next core.
        let ladder = self.policy == Policy::Ladder;
        let (place, user) = if ladder { (tile::KEPT, (row + 1) % self.p) } else { (tile::W, row) };
        if id == place {
            let bits: &mut [u16] = bytemuck::cast_slice_mut(words);
            let value = |k: usize, n: usize| w(user * self.k + k, col * self.n + n);
            pack(shape, &mut bits[..shape.len()], |k, n| half::f16::from_f32(value(k, n)).to_bits());
        } else if id == tile::X {
            (0..self.k).for_each(|k| Storage::F16.put(words, k, x[row * self.k + k]));
        }
    }

    /// y as row `row` holds it, after a run with payloads: an uncharged probe.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn result(&self, wafer: &Wafer, row: usize) -> Result<Vec<f32>, PassError> {
        let mut y = Vec::new();
        for col in 0..self.p as u32 {
            let words = wafer.read(Coord::new(col, row as u32), tile::Y)?;
            y.extend((0..self.n).map(|n| Storage::F16.get(&words, n)));
        }
        Ok(y)
    }

    fn multiply(&self, pe: Pe<'_>, w: Tile) {
        let shape = PackedShape { k: self.k, n: self.n };
        pe.compute(self.chip.f16.gemv(self.k, self.n), |view| {
            let [w, x, y] = view.words_mut([w, pe.tile(tile::X), pe.tile(tile::Y)]);
            let w = &bytemuck::cast_slice(w)[..shape.len()];
            y.fill(0);
            gemv_f16(shape, w, &bytemuck::cast_slice(x)[..self.k], &mut bytemuck::cast_slice_mut(y)[..self.n]);
        });
    }

    /// T10's sum: header and stream down the ids, the result back.
    async fn relayed_sum(&self, pe: Pe<'_>, l: Links) {
        let (y, token) = (pe.tile(tile::Y), Tile::EMPTY);
        if let Some(rx) = l.from_lower {
            pe.recv(rx, token).await;
        }
        if let Some(tx) = l.to_higher {
            pe.compute(header(&self.relay, l.at), |_| {});
            pe.send(tx, token).await;
        }
        match (l.from_lower, l.to_higher) {
            (None, Some(tx)) => pe.send(tx, y).await,
            (Some(rx), Some(tx)) => {
                pe.combine(rx, tx, y, Fold::AddF16).await;
            }
            (Some(rx), None) => {
                pe.recv_fold(rx, y, Fold::AddF16).await;
            }
            (None, None) => {}
        }
        match (l.from_higher, l.to_lower) {
            (None, Some(tx)) => pe.send(tx, y).await,
            (Some(rx), Some(tx)) => {
                pe.combine(rx, tx, y, Fold::Set).await;
            }
            (Some(rx), None) => {
                pe.recv(rx, y).await;
            }
            (None, None) => {}
        }
    }

    /// Ladder's load: every block to the core that uses it, the last core's by relays.
    async fn load(&self, pe: Pe<'_>, l: Links) {
        let (w, kept, relayed) = (pe.tile(tile::W), pe.tile(tile::KEPT), pe.tile(tile::RELAY));
        let software = self.relay.cycles(kept.words());
        let given = l.to_higher.map(|tx| pe.post_send(tx, kept));
        let taken = l.from_lower.map(|rx| pe.post_recv(rx, w));
        let on = match (l.from_higher, l.to_lower) {
            (None, Some(tx)) => {
                pe.compute(software, |_| {});
                Some(pe.post_send(tx, kept))
            }
            (Some(rx), Some(tx)) => {
                pe.recv(rx, relayed).await;
                pe.compute(software, |_| {});
                Some(pe.post_send(tx, relayed))
            }
            (Some(rx), None) => {
                pe.recv(rx, w).await;
                None
            }
            (None, None) => {
                pe.compute(Cycles::ZERO, |view| {
                    let [from, to] = view.words_mut([kept, w]);
                    to.copy_from_slice(from);
                });
                None
            }
        };
        for ticket in [given, taken, on].into_iter().flatten() {
            pe.join(ticket).await;
        }
    }
}

impl Kernel for RelayGemv {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let at = pe.coord();
        let links = Links::new(pe, self.p, false);
        match self.policy {
            Policy::T10 => {
                self.multiply(pe, pe.tile(tile::W));
                self.relayed_sum(pe, links).await;
            }
            Policy::Ladder => {
                let seat = Box::new(self.chain(at.col).seat(pe, at.row as usize));
                self.load(pe, links).await;
                self.multiply(pe, pe.tile(tile::W));
                allreduce(pe, &seat, pe.tile(tile::Y), Fold::AddF16).await;
            }
        }
    }
}
