//! GEMV r = x W on a rectangle of cores, with the allreduce of one's choice.    (WaferLLM section 6; waferllm.md 2)
//!
//! 1. x lies on y: row py holds x[blk(py)] in every column; core (px, py) holds W[blk(py), blk(px)]. Splits are ragged.
//! 2. Each core multiplies its tile: for k ascending, y[n] = fma(x[k], w[k][n], y[n]).
//! 3. Every column sums its y tiles along y and all its rows get the result: r lies on x, in every row.
//!
//! | file        | allreduce                        | colors | longest hop      | stages                    |
//! |-------------|----------------------------------|--------|------------------|---------------------------|
//! | `mesh_gemv` | K-tree (MeshGEMV)                | 2K + 1 | about P          | about K/2 P^(1/K), one broadcast |
//! | `pipeline`  | one-way chain, broadcast         | 3      | P - 1            | P - 1, one broadcast      |
//! | `ring`      | reduce-scatter, allgather        | 3      | 2, or P - 1      | 2 (P - 1)                 |
//!
//! | tile | bytes (default)  | bytes (paper) | owner       |
//! |------|------------------|---------------|-------------|
//! | W    | 2 Mt Nt, packed  | 2 Mt Nt       | weights     |
//! | x    | 4 Mt             | 2 Mt          | activations |
//! | y    | 4 Nt             | 2 Nt          | activations |
//!
//! Invariant: the order of operations is fixed by shape and allreduce; `oracle::mesh_gemv` states it once more.
//! Invariant: a result that is not finite (in f16: above 65,504) ends the run with a `NumericError` of the column's
//! root (of a ring: of every member).
//! Called by the host's benchmark of GEMV, by examples and tests.

mod mesh_gemv;
mod pipeline;
mod ring;

use half::f16;

use crate::arena::{Owner, Tile};
use crate::collectives::{Allreduce, RingOrder, Seat, allreduce, answer, give};
use crate::fabric::{Chip, Layout, LayoutError, TileDecl, TileId};
use crate::math::binary16::gemv_f16;
use crate::math::checkpoint::WeightFormat;
use crate::math::gemv::{PackedShape, Stream, gemv, pack};
use crate::math::split::part;
use crate::pe::{FaultKind, Fold, Kernel, Pe, View};
use crate::units::{Coord, Cycles};

use super::Numerics;

/// Tiles.
pub mod tile {
    use super::TileId;
    /// W[blk(py), blk(px)], packed.
    pub const W: TileId = TileId(0);
    /// x[blk(py)].
    pub const X: TileId = TileId(1);
    /// Partial sums, then r[blk(px)].
    pub const Y: TileId = TileId(2);
}

/// Which allreduce sums the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GemvAlgo {
    /// MeshGEMV: K-tree with these group counts, the last of them 1.
    KTree(Vec<usize>),
    /// Pipeline.
    Pipeline,
    /// Ring.
    Ring(RingOrder),
}

/// Mesh and matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemvShape {
    /// Columns of cores.
    pub cols: usize,
    /// Rows of cores.
    pub rows: usize,
    /// Length of x.
    pub m: usize,
    /// Length of r.
    pub n: usize,
}

/// The kernel: plain numbers from which layout, contents and programs follow.
#[derive(Clone, Debug)]
pub struct Gemv {
    /// Mesh and matrix.
    pub shape: GemvShape,
    /// Allreduce.
    pub algo: GemvAlgo,
    /// Number formats.
    pub numerics: Numerics,
    /// Costs.
    pub chip: Chip,
    /// How often the product is computed, each core going on as soon as it can; 1 for a measurement of cycles.
    pub passes: usize,
}

/// A core's product: shape, tiles and cost, looked up once (`Gemv::local`).
pub struct Local {
    shape: PackedShape,
    /// W, x, y.
    tiles: [Tile; 3],
    cycles: Cycles,
}

/// x and W in plain numbers.
pub struct Operands<'a> {
    /// M values (rounded to f16 in paper numerics).
    pub x: &'a [f32],
    /// Bits of W[k][n] in f16.
    pub w: &'a (dyn Fn(usize, usize) -> u16 + Sync),
}

impl Gemv {
    /// Indices of x (rows of W) at row `row`.
    fn x_of(&self, row: usize) -> std::ops::Range<usize> {
        part(self.shape.m, self.shape.rows, row)
    }

    /// Indices of r (columns of W) at column `col`.
    pub fn r_of(&self, col: usize) -> std::ops::Range<usize> {
        part(self.shape.n, self.shape.cols, col)
    }

    fn tile_shape(&self, at: Coord) -> PackedShape {
        PackedShape { k: self.x_of(at.row as usize).len(), n: self.r_of(at.col as usize).len() }
    }

    /// The allreduce of column `col`.
    pub fn column(&self, col: usize) -> Allreduce {
        let line = (0..self.shape.rows).map(|r| Coord::new(col as u32, r as u32)).collect();
        match &self.algo {
            GemvAlgo::KTree(groups) => mesh_gemv::column(line, groups),
            GemvAlgo::Pipeline => pipeline::column(line),
            GemvAlgo::Ring(order) => ring::column(line, *order),
        }
    }

    /// Rows in the order in which the host comes to them: from the first one to the root of the allreduce, then from
    /// the last one back to the root's neighbour. A broadcast wakes the outermost core last, and the last one woken
    /// runs first. A mesh has rows.
    fn inward(&self) -> impl Iterator<Item = usize> + use<> {
        let (rows, root) = (self.shape.rows, self.column(0).root());
        (0..rows).map(move |place| if place <= root { place } else { rows - place + root })
    }

    /// Routes and tiles; tiles lie in the order in which the host comes to them.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let GemvShape { cols, rows, .. } = self.shape;
        let inward: Vec<usize> = self.inward().collect();
        for col in 0..cols {
            // A worker begins with the PE that was laid out last.
            for (place, &row) in inward.iter().enumerate().rev() {
                let at = Coord::new(col as u32, row as u32);
                let visit = ((cols - 1 - col) * rows + place) as u64;
                let PackedShape { k, n } = self.tile_shape(at);
                layout.pe(at).share = (col * 65536 / cols) as u16;
                let words = self.numerics.travel_words(&self.chip, n);
                let x_bytes = if self.numerics == Numerics::Paper { 2 * k } else { 4 * k };
                for (id, name, owner, bytes) in [
                    (tile::W, "W", Owner::Weights, 2 * k * n),
                    (tile::X, "x", Owner::Activations, x_bytes),
                    (tile::Y, "y", Owner::Activations, 4 * words),
                ] {
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX); // more than any arena: refused
                    layout.tile(at, TileDecl { id, name, owner, bytes, visit });
                }
            }
            self.column(col).lay_out(&mut layout)?;
        }
        Ok(layout)
    }

    /// Fills a tile before the launch.
    pub fn fill(&self, operands: &Operands<'_>, at: Coord, id: TileId, words: &mut [u32]) {
        let (rows, cols) = (self.x_of(at.row as usize), self.r_of(at.col as usize));
        let bits: &mut [u16] = bytemuck::cast_slice_mut(words);
        if id == tile::W {
            let shape = self.tile_shape(at);
            pack(shape, &mut bits[..shape.len()], |k, n| (operands.w)(rows.start + k, cols.start + n));
        } else if id == tile::X && self.numerics == Numerics::Paper {
            let values = operands.x[rows].iter().map(|v| f16::from_f32(*v).to_bits());
            bits.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        } else if id == tile::X {
            bytemuck::cast_slice_mut(words).copy_from_slice(&operands.x[rows]);
        }
    }

    /// Values of the y tile of a core in column `col`, from its words.
    pub fn values(&self, col: usize, words: &[u32]) -> Vec<f32> {
        let n = self.r_of(col).len();
        let half = |bits: u16| f16::from_bits(bits).to_f32();
        match (self.numerics, self.numerics.rates(&self.chip).per_wavelet) {
            (Numerics::Default, _) => words.iter().map(|w| f32::from_bits(*w)).collect(),
            (Numerics::Paper, 1) => words.iter().map(|w| half(*w as u16)).collect(),
            (Numerics::Paper, _) => {
                words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).map(half).take(n).collect()
            }
        }
    }

    /// Cycles of one pass from the contract's rules, without execution: the last core of the slowest
    /// columns.
    pub fn closed_form_cycles(&self) -> u64 {
        let GemvShape { cols, rows, n, .. } = self.shape;
        let timing = self.chip.timing();
        let mut widths = vec![n / cols, n.div_ceil(cols)];
        widths.dedup();
        let of_width = |n: usize| {
            let clocks = (0..rows).map(|row| self.multiply_cycles(PackedShape { k: self.x_of(row).len(), n }).0);
            let words = self.numerics.travel_words(&self.chip, n);
            self.column(0).cycles(clocks.collect(), words, &timing)
        };
        widths.into_iter().map(of_width).max().unwrap_or(0)
    }

    /// The tile's product, and the software of a call.
    fn multiply_cycles(&self, shape: PackedShape) -> Cycles {
        self.numerics.rates(&self.chip).gemv(shape.k, shape.n) + Cycles(u64::from(self.chip.overheads.call))
    }

    /// What a core's products have in common, looked up once.
    pub fn local(&self, pe: Pe<'_>) -> Local {
        let shape = self.tile_shape(pe.coord());
        let tiles = [tile::W, tile::X, tile::Y].map(|id| pe.tile(id));
        Local { shape, tiles, cycles: self.multiply_cycles(shape) }
    }

    /// The product of a core's tiles.
    pub fn product(&self, pe: Pe<'_>, local: &Local) {
        pe.compute(local.cycles, |view| self.multiply(view, local.shape, local.tiles));
    }

    /// An uncharged check of the sum: one that overflowed or is no number stops the PE.
    pub fn check(&self, pe: Pe<'_>, local: &Local) {
        pe.compute(Cycles(0), |view| self.check_finite(view, local.tiles[2]));
    }

    fn check_finite(&self, view: &mut View<'_>, y: Tile) {
        let kernels = view.kernels();
        let finite = match self.numerics {
            Numerics::Default => crate::math::vector::all_finite(kernels, view.f32(y)),
            Numerics::Paper => {
                let halves: &[u16] = bytemuck::cast_slice(view.words(y));
                halves.iter().all(|bits| f16::from_bits(*bits).is_finite())
            }
        };
        if !finite {
            view.raise(FaultKind::Numeric { phase: "r = x W" });
        }
    }

    async fn by_ring(&self, pe: Pe<'_>, seat: Seat, local: Local, fold: Fold) {
        for _pass in 0..self.passes {
            self.product(pe, &local);
            allreduce(pe, &seat, local.tiles[2], fold).await;
            self.check(pe, &local);
        }
    }

    /// The local product, in the numerics of the kernel.
    fn multiply(&self, view: &mut View<'_>, shape: PackedShape, [w, x, y]: [Tile; 3]) {
        let kernels = view.kernels();
        let ([w, x], y) = view.read_write([w, x], y);
        let w = &bytemuck::cast_slice(w)[..shape.len()];
        if self.numerics == Numerics::Default {
            let (x, y) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
            return gemv(kernels, (WeightFormat::F16, Stream::Scattered), shape, w, x, y);
        }
        let x = &bytemuck::cast_slice(x)[..shape.k];
        y.fill(0);
        if self.numerics.rates(&self.chip).per_wavelet > 1 {
            return gemv_f16(shape, w, x, &mut bytemuck::cast_slice_mut(y)[..shape.n]);
        }
        let mut narrow = vec![0; shape.n];
        gemv_f16(shape, w, x, &mut narrow);
        y.iter_mut().zip(narrow).for_each(|(to, from)| *to = u32::from(from));
    }
}

impl Kernel for Gemv {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let at = pe.coord();
        let column = self.column(at.col as usize);
        let seat = column.seat(pe, at.row as usize);
        // All members of a column end with the bits that its root has, so a fault is the root's.
        let is_root = at.row as usize == column.root();
        let (local, y) = (self.local(pe), pe.tile(tile::Y));
        let fold = if self.numerics == Numerics::Paper { Fold::AddF16 } else { Fold::Add };
        drop(column);
        // Rings are boxed: the programs of trees are small without theirs.
        let Seat::Staged { roles, ends } = seat else {
            return Box::pin(self.by_ring(pe, seat, local, fold)).await;
        };
        for _pass in 0..self.passes {
            self.product(pe, &local);
            pe.relay(&roles, y, fold, answer(&ends, y)).await;
            if is_root {
                give(pe, &ends, y).await;
                self.check(pe, &local);
            }
        }
    }
}
