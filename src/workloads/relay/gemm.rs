//! C = A B on P x P cores, blocks of one size, as T10 and as Ladder would do it.                (see `relay`)
//!
//! T10, P steps: multiply the blocks that are here; A's go one core down the ids of the row, B's of the column; core
//! 0's block goes to core P - 1 by P - 1 relays; barrier. Blocks start skewed, so that they meet.
//! Ladder, P steps t: core t of each row gives its block of A, core t of each column its block of B; cores relay them
//! outward, keep them, multiply; barrier.
//!
//! ```text
//!   T10, a row:     [0] <- [1] <- [2] <- [3]        Ladder, t = 1:   [0] <~ [1] ~> [2] ~> [3]
//!                    ~~~~~> ~~~~~> ~~~~~>             ~> relays: software at every core
//! ```
//! | colors  | carries                   |   | arena                                 | words each |
//! |---------|---------------------------|---|---------------------------------------|------------|
//! | 0 .. 7  | to the four neighbours    |   | A, A next, A relayed                  | m k / 2    |
//! | 8 .. 17 | barrier                   |   | B, B next, B relayed; C               | k n / 2, m n / 2 |
//!
//! Order of a T10 core's two relays: by which block comes first, so that rows and columns do not wait for each other.
//! Cycles: `cost`. Numerics: paper (f16). Invariant: C is exact on integers (`tests/kernels/relays.rs`).

use crate::arena::{Owner, Tile};
use crate::exec::{LaunchError, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout, LayoutError, TileDecl, TileId};
use crate::host::trial::{Trial, TrialError};
use crate::kernels::gemm::{Factor, Matrices, Storage, multiply};
use crate::math::gemm::Dims;
use crate::pe::{Kernel, Pe, Rx, Ticket, Tx};
use crate::units::Coord;

use super::{Barrier, Links, Policy, RelayCost, barrier_groups, lay_out_barrier, lay_out_relays};

/// The kernel.
#[derive(Clone, Debug)]
pub struct RelayGemm {
    /// System.
    pub policy: Policy,
    /// Side of the mesh.
    pub p: usize,
    /// Blocks: A is m x k, B k x n at every core.
    pub block: Dims,
    /// Software of a relay.
    pub relay: RelayCost,
    /// Rates.
    pub chip: Chip,
}

/// Tiles: A and B in two buffers each (Ladder: own and fetched), what is relayed, C.
pub mod tile {
    use super::TileId;
    pub const A: TileId = TileId(0);
    pub const A_NEXT: TileId = TileId(1);
    pub const A_RELAY: TileId = TileId(2);
    pub const B: TileId = TileId(3);
    pub const B_NEXT: TileId = TileId(4);
    pub const B_RELAY: TileId = TileId(5);
    pub const C: TileId = TileId(6);
}

/// One operand as a core sees it.
struct Side {
    links: Links,
    here: Tile,
    next: Tile,
    relayed: Tile,
}

impl RelayGemm {
    /// Wavelets of a block of A and of B.
    pub fn words(&self) -> [usize; 2] {
        let Dims { m, k, n } = self.block;
        [Storage::F16.words(m * k), Storage::F16.words(k * n)]
    }

    /// Does the core in this place relay A first?
    pub(super) fn a_first(&self, at: Coord) -> bool {
        let [a, b] = self.words().map(|w| self.relay.cycles(w).0 + w as u64);
        u64::from(at.col) * a <= u64::from(at.row) * b
    }

    /// Routes and tiles.
    ///
    /// # Errors
    /// A defect in the coloring.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let pes = layout.rectangle(self.p as u32, self.p as u32);
        let [a, b] = self.words();
        let c = Storage::F16.words(self.block.m * self.block.n);
        let all = [
            (tile::A, "A", a),
            (tile::A_NEXT, "A, next or fetched", a),
            (tile::A_RELAY, "A, relayed", a),
            (tile::B, "B", b),
            (tile::B_NEXT, "B, next or fetched", b),
            (tile::B_RELAY, "B, relayed", b),
            (tile::C, "C", c),
        ];
        for (id, name, words) in all {
            for &at in &pes {
                let owner = if id == tile::B { Owner::Weights } else { Owner::Activations };
                layout.tile(at, TileDecl { id, name, owner, bytes: 4 * words as u32, visit: 0 });
            }
        }
        lay_out_relays(&mut layout, self.p, [true, true])?;
        lay_out_barrier(&mut layout, &barrier_groups(&self.chip, self.p), self.p)?;
        Ok(layout)
    }

    /// Runs it; `a(m, k)` and `b(k, n)` are the whole matrices. The trial, and C row by row.
    ///
    /// # Errors
    /// What the chip refuses; a deadlock (a defect).
    pub fn run(
        &self,
        options: &RunOptions,
        a: &(dyn Fn(usize, usize) -> f32 + Sync),
        b: &(dyn Fn(usize, usize) -> f32 + Sync),
    ) -> Result<(Trial, Vec<f32>), TrialError> {
        let fill = |at: Coord, id: TileId, words: &mut [u32]| self.fill(Matrices { a, b }, at, id, words);
        let layout = self.layout().map_err(LaunchError::from)?;
        let trial = Trial::run(self.clone(), layout, &self.chip, options, fill)?;
        let c = if options.dry { Vec::new() } else { self.result(&trial.wafer)? };
        Ok((trial, c))
    }

    /// Fills a tile of a core for the start.
    pub fn fill(&self, matrices: Matrices<'_>, at: Coord, id: TileId, words: &mut [u32]) {
        let (Dims { m, k, n }, Matrices { a, b }) = (self.block, matrices);
        let (col, row) = (at.col as usize, at.row as usize);
        // T10's blocks start skewed; Ladder's lie where they are.
        let skewed = (col + row) % self.p;
        let (a_block, b_block) = if self.policy == Policy::T10 { (skewed, skewed) } else { (col, row) };
        for kk in 0..k {
            if id == tile::A {
                (0..m).for_each(|i| Storage::F16.put(words, kk * m + i, a(row * m + i, a_block * k + kk)));
            } else if id == tile::B {
                (0..n).for_each(|j| Storage::F16.put(words, kk * n + j, b(b_block * k + kk, col * n + j)));
            }
        }
    }

    /// C row by row, after a run with payloads: an uncharged probe.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn result(&self, wafer: &Wafer) -> Result<Vec<f32>, PassError> {
        let Dims { m, n, .. } = self.block;
        let mut c = vec![0.0; self.p * m * self.p * n];
        for at in (0..self.p).flat_map(|row| (0..self.p).map(move |col| (col, row))) {
            let words = wafer.read(Coord::new(at.0 as u32, at.1 as u32), tile::C)?;
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                c[(at.1 * m + i) * self.p * n + at.0 * n + j] = Storage::F16.get(&words, i * n + j);
            }
        }
        Ok(c)
    }

    fn multiply(&self, pe: Pe<'_>, a: Tile, b: Tile) {
        let Dims { m, n, .. } = self.block;
        let (a, b) = (Factor::k_major(a, Storage::F16, m, 0), Factor::k_major(b, Storage::F16, n, 0));
        multiply(pe, &self.chip.f16, self.block, a, b, (pe.tile(tile::C), Storage::F16));
    }

    /// T10: passes both blocks on; the last step passes nothing.
    async fn shift(&self, pe: Pe<'_>, sides: &mut [Side; 2], barrier: &Barrier) {
        let posted =
            [&sides[0], &sides[1]].map(|s| (post(s.links.to_lower, s.here, pe), take(s.links.from_higher, s.next, pe)));
        self.multiply(pe, sides[0].here, sides[1].here);
        let order = if self.a_first(pe.coord()) { [0, 1] } else { [1, 0] };
        let mut relays = [None; 2];
        for side in order {
            relays[side] = self.wrap(pe, &sides[side]).await;
        }
        for ticket in posted.into_iter().flat_map(|p| [p.0, p.1]).chain(relays).flatten() {
            pe.join(ticket).await;
        }
        sides.iter_mut().for_each(|s| std::mem::swap(&mut s.here, &mut s.next));
        barrier.pass(pe).await;
    }

    /// A core's part in the way of core 0's block to core P - 1.
    async fn wrap(&self, pe: Pe<'_>, side: &Side) -> Option<Ticket> {
        let l = side.links;
        let software = self.relay.cycles(side.here.words());
        match (l.from_lower, l.to_higher) {
            (None, Some(tx)) => {
                pe.compute(software, |_| {});
                Some(pe.post_send(tx, side.here))
            }
            (Some(rx), Some(tx)) => {
                pe.recv(rx, side.relayed).await;
                pe.compute(software, |_| {});
                Some(pe.post_send(tx, side.relayed))
            }
            (Some(rx), None) => {
                pe.recv(rx, side.next).await;
                None
            }
            (None, None) => None,
        }
    }

    /// Ladder: the block of the owner at place `t` of the line; the tile to use and the sends under way.
    async fn fetch(&self, pe: Pe<'_>, side: &Side, t: usize) -> (Tile, [Option<Ticket>; 2]) {
        let l = side.links;
        let software = self.relay.cycles(side.here.words());
        let (from, onward) = match l.at.cmp(&t) {
            std::cmp::Ordering::Less => (l.from_higher, [l.to_lower, None]),
            std::cmp::Ordering::Equal => (None, [l.to_lower, l.to_higher]),
            std::cmp::Ordering::Greater => (l.from_lower, [None, l.to_higher]),
        };
        let tile = if from.is_some() { side.next } else { side.here };
        if let Some(rx) = from {
            pe.recv(rx, tile).await;
        }
        if onward.iter().any(Option::is_some) {
            // One tile is sent once at a time: an owner between two sides sends a copy to the higher one.
            pe.compute(software, |view| {
                if from.is_none() {
                    let [from, to] = view.words_mut([side.here, side.relayed]);
                    to.copy_from_slice(from);
                }
            });
        }
        let copy = if from.is_none() { side.relayed } else { tile };
        (tile, [post(onward[0], tile, pe), post(onward[1], copy, pe)])
    }
}

fn post(tx: Option<Tx>, tile: Tile, pe: Pe<'_>) -> Option<Ticket> {
    tx.map(|tx| pe.post_send(tx, tile))
}

fn take(rx: Option<Rx>, tile: Tile, pe: Pe<'_>) -> Option<Ticket> {
    rx.map(|rx| pe.post_recv(rx, tile))
}

impl Kernel for RelayGemm {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let side = |along_x, [here, next, relayed]: [TileId; 3]| Side {
            links: Links::new(pe, self.p, along_x),
            here: pe.tile(here),
            next: pe.tile(next),
            relayed: pe.tile(relayed),
        };
        let mut sides = Box::new([
            side(true, [tile::A, tile::A_NEXT, tile::A_RELAY]),
            side(false, [tile::B, tile::B_NEXT, tile::B_RELAY]),
        ]);
        let barrier = Box::new(Barrier::new(pe, &barrier_groups(&self.chip, self.p), self.p));
        crate::kernels::gemm::clear(pe, pe.tile(tile::C));
        for t in 0..self.p {
            let last = t + 1 == self.p;
            match self.policy {
                Policy::T10 if last => self.multiply(pe, sides[0].here, sides[1].here),
                Policy::T10 => self.shift(pe, &mut sides, &barrier).await,
                Policy::Ladder => {
                    let (a, a_sends) = self.fetch(pe, &sides[0], t).await;
                    let (b, b_sends) = self.fetch(pe, &sides[1], t).await;
                    self.multiply(pe, a, b);
                    for ticket in a_sends.into_iter().chain(b_sends).flatten() {
                        pe.join(ticket).await;
                    }
                    if !last {
                        barrier.pass(pe).await;
                    }
                }
            }
        }
    }
}
