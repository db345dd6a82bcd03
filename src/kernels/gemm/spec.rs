//! What a GEMM is, in plain numbers: algorithm, mesh, sizes, formats; who holds which block; what is in its tiles.
//!
//! Invariant: routes, sizes and cycles follow from this alone, never from the numbers in the tiles.
//! Called by the layouts and programs of the algorithms, and by the host.

use std::ops::Range;

use crate::collectives::Cycle;
use crate::fabric::{Chip, Rates, TileId};
use crate::kernels::Numerics;
use crate::math::gemm::Dims;
use crate::math::split::part;
use crate::units::{Coord, Cycles};

use super::pieces::{KMap, balanced};
use super::product::Storage;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algo {
    /// Interleaved cyclic shift.
    Mesh,
    /// Cyclic shift with a wrap-around edge, purely local joins.
    Cannon,
    /// The same with a barrier after each step.
    CannonLockstep,
    /// Multicast.
    Summa,
    /// Gather, then multiply.
    Allgather,
    /// C = A B^T.
    GemmT,
}

impl Algo {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Mesh, Self::Cannon, Self::CannonLockstep, Self::Summa, Self::Allgather, Self::GemmT];

    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mesh => "meshgemm",
            Self::Cannon => "cannon",
            Self::CannonLockstep => "cannon-lockstep",
            Self::Summa => "summa",
            Self::Allgather => "allgather",
            Self::GemmT => "gemm-t",
        }
    }

    /// The algorithm of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// Where B's blocks are when the program starts (ring algorithms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// Block of row r in row r: alignment happens on the wafer and is counted.
    #[default]
    Natural,
    /// Where the tour needs it, as the released code's host does it.
    Aligned,
}

/// Where A's and B's blocks are when the program ends (ring algorithms): on which core, not in which of its tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// Wherever the last product found them: no move that the product does not need.
    #[default]
    Lean,
    /// Back in alignment, for a next product with the same A or B: one move more, hidden by the last product.
    Home,
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How.
    pub algo: Algo,
    /// Columns of the mesh.
    pub cols: usize,
    /// Rows of the mesh.
    pub rows: usize,
    /// C is m x n, the sum runs over k.
    pub size: Dims,
    /// Formats of products and sums.
    pub numerics: Numerics,
    /// Format of A: f16, or in `default` numerics f32.
    pub a: Storage,
    /// Where B is at the start.
    pub load: Load,
    /// Where blocks are at the end.
    pub finish: Finish,
}

impl Spec {
    /// `algo` on `cols x rows` PEs with the defaults: f16 A and B, B aligned on the wafer, no needless move.
    pub fn new(algo: Algo, (cols, rows): (usize, usize), size: Dims, numerics: Numerics) -> Self {
        Self { algo, cols, rows, size, numerics, a: Storage::F16, load: Load::Natural, finish: Finish::Lean }
    }

    /// How a ring of the algorithm lies in its line.
    pub fn order(&self) -> Cycle {
        match self.algo {
            Algo::Cannon | Algo::CannonLockstep => Cycle::Wrap,
            _ => Cycle::Interleave,
        }
    }
}

/// Tiles.
pub mod tile {
    use super::TileId;
    pub const A: TileId = TileId(0);
    pub const A_NEXT: TileId = TileId(1);
    pub const B: TileId = TileId(2);
    pub const B_NEXT: TileId = TileId(3);
    pub const C: TileId = TileId(4);
    pub const PARTIAL: TileId = TileId(5);
}

/// The numbers of A and B: A at (m, k), B at (k, n), of `gemm-t` at (n, k).
#[derive(Clone, Copy)]
pub struct Matrices<'a> {
    /// A.
    pub a: &'a (dyn Fn(usize, usize) -> f32 + Sync),
    /// B.
    pub b: &'a (dyn Fn(usize, usize) -> f32 + Sync),
}

/// The kernel.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// What to run.
    pub spec: Spec,
    /// Costs.
    pub chip: Chip,
    /// How K is cut.
    pub map: KMap,
    /// `gemm-t`: the longest run of N that is reduced at once.
    pub(super) longest_run: usize,
}

impl Gemm {
    /// A kernel for `chip`, whose rates are charged.
    ///
    /// # Panics
    /// On a mesh without PEs: a defect of the caller.
    pub fn new(spec: Spec, chip: &Chip) -> Self {
        assert!(spec.cols > 0 && spec.rows > 0, "a mesh has PEs: {spec:?}");
        let (k, cols, rows) = (spec.size.k, spec.cols, spec.rows);
        let map = match spec.algo {
            Algo::Mesh | Algo::Cannon | Algo::CannonLockstep => {
                KMap::tour(&balanced(k, cols, rows, spec.order()), rows, spec.order())
            }
            Algo::Summa | Algo::Allgather | Algo::GemmT => KMap::natural(k, cols, rows),
        };
        let mut map = map;
        if spec.algo == Algo::GemmT {
            let block = |place| part(spec.size.n, rows, spec.order().at(rows, place)).len();
            map.b_len = (0..rows).map(block).collect();
        }
        let mut all = Self { spec, chip: chip.clone(), map, longest_run: 0 };
        all.longest_run = if spec.algo == Algo::GemmT { super::gemm_t::longest_run(&all) } else { 0 };
        all
    }

    /// Rows of C and A in mesh row `row`.
    pub fn m_of(&self, row: usize) -> Range<usize> {
        part(self.spec.size.m, self.spec.rows, row)
    }

    /// Columns of C in mesh column `col`.
    pub fn n_of(&self, col: usize) -> Range<usize> {
        part(self.spec.size.n, self.spec.cols, col)
    }

    /// Rows of B in mesh row `row` (`gemm-t`).
    pub fn n_in_row(&self, row: usize) -> Range<usize> {
        part(self.spec.size.n, self.spec.rows, row)
    }

    /// Format of B.
    pub fn b_format(&self) -> Storage {
        Storage::F16
    }

    /// Format of C.
    pub fn c_format(&self) -> Storage {
        match self.spec.numerics {
            Numerics::Default => Storage::F32,
            Numerics::Paper => Storage::F16,
        }
    }

    /// Rates that are charged.
    pub fn rates(&self) -> &Rates {
        self.spec.numerics.rates(&self.chip)
    }

    /// Software of a round of exchange in which a core sends so many words, as the chip has it.
    pub fn exchange(&self, words: usize) -> Cycles {
        self.chip.overheads.round(words)
    }

    /// Bytes of A's longest block in a row, of B's in a column, and of C.
    pub(super) fn block_bytes(&self, at: Coord) -> [usize; 3] {
        let (m, n) = (self.m_of(at.row as usize).len(), self.n_of(at.col as usize).len());
        let longest = |len: &[usize]| len.iter().copied().max().unwrap_or(0);
        let (a, b) = (longest(&self.map.a_len), longest(&self.map.b_len));
        [m * a * self.spec.a.bytes(), n * b * self.b_format().bytes(), m * n * self.c_format().bytes()]
    }

    /// Block of A that column `col` holds at the start, and the elements of K in it, in order.
    fn a_block(&self, col: usize) -> (usize, Vec<usize>) {
        let block = if self.is_tour() { self.spec.order().pos(self.spec.cols, col) } else { col };
        (block, self.map.pieces.iter().filter(|p| p.a == block).flat_map(|p| p.k.clone()).collect())
    }

    /// The elements of K of the block of B that the PE holds at the start, in order.
    fn b_block(&self, at: Coord) -> Vec<usize> {
        let (col, row) = (at.col as usize, at.row as usize);
        let mut block = row;
        if self.is_tour() {
            block = self.spec.order().pos(self.spec.rows, row);
            if self.spec.load == Load::Aligned {
                block += self.map.b_turn(self.spec.order().pos(self.spec.cols, col)).0;
            }
        }
        let block = block % self.spec.rows;
        self.map.pieces.iter().filter(|p| p.b == block).flat_map(|p| p.k.clone()).collect()
    }

    fn is_tour(&self) -> bool {
        matches!(self.spec.algo, Algo::Mesh | Algo::Cannon | Algo::CannonLockstep)
    }

    /// Fills a tile of a PE for the start.
    pub fn fill(&self, matrices: Matrices<'_>, at: Coord, id: TileId, words: &mut [u32]) {
        let (m, n) = (self.m_of(at.row as usize), self.n_of(at.col as usize));
        match id {
            tile::A => {
                let from = self.a_offset(at);
                for (k_at, k) in self.a_block(at.col as usize).1.into_iter().enumerate() {
                    for (i, row) in m.clone().enumerate() {
                        let place = from + k_at * m.len() + i;
                        self.spec.a.put(words, place, (matrices.a)(row, k));
                    }
                }
            }
            tile::B if self.spec.algo == Algo::GemmT => {
                let k = self.a_block(at.col as usize).1;
                for (j, row) in self.n_in_row(at.row as usize).enumerate() {
                    for (k_at, &k_now) in k.iter().enumerate() {
                        self.b_format().put(words, j * k.len() + k_at, (matrices.b)(row, k_now));
                    }
                }
            }
            tile::B => {
                let from = self.b_offset(at);
                for (k_at, k) in self.b_block(at).into_iter().enumerate() {
                    for (j, col) in n.clone().enumerate() {
                        self.b_format().put(words, from + k_at * n.len() + j, (matrices.b)(k, col));
                    }
                }
            }
            // All are used: memory behind them is to be there before the clock of a measurement runs.
            _ => words.fill(0),
        }
    }

    /// C, row-major `m x n`; `read` gives the words of the C tile of a PE.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn gather<E>(&self, mut read: impl FnMut(Coord) -> Result<Vec<u32>, E>) -> Result<Vec<f32>, E> {
        let Dims { m, n, .. } = self.spec.size;
        let mut c = vec![0.0; m * n];
        for at in self.pes() {
            let (words, rows, mut left) = (read(at)?, self.m_of(at.row as usize), 0);
            for run in self.c_runs(at.col as usize) {
                for (i, row) in rows.clone().enumerate() {
                    for (j, col) in run.clone().enumerate() {
                        c[row * n + col] = self.c_format().get(&words[left..], i * run.len() + j);
                    }
                }
                left += self.c_format().words(rows.len() * run.len());
            }
        }
        Ok(c)
    }

    /// Runs of N whose blocks lie one after the other in a column's C tile, each from a word on.
    fn c_runs(&self, col: usize) -> Vec<Range<usize>> {
        let n = self.n_of(col);
        if self.spec.algo == Algo::GemmT {
            return super::gemm_t::runs(self, col).map(|r| r.1).collect();
        }
        vec![n]
    }
}
