//! C = A B (and C = A B^T) on a rectangle of PEs: MeshGEMM and the algorithms that it is measured against.
//!
//! A is M x K, B is K x N (of `gemm-t`: N x K). Columns hold parts of K of A and of N of C; rows hold parts of M of A
//! and C, and of K (or N) of B. `pieces` says which, `product` how numbers lie in tiles.
//!
//! | algorithm         | how blocks meet                                  | colors | tiles (A, B)  |
//! |-------------------|--------------------------------------------------|--------|---------------|
//! | `meshgemm`        | interleaved rings, joins with neighbours alone   | 12     | 2, 2          |
//! | `cannon`          | rings that cross the line, the same joins        | 12     | 2, 2          |
//! | `cannon-lockstep` | the same with a barrier after every step         | 21     | 2, 2          |
//! | `summa`           | multicast along rows and columns, step by step   | 6      | 2, 2          |
//! | `allgather`       | whole row of A and column of B first             | 6      | C, R          |
//! | `gemm-t`          | B on the y ring, rows reduce toward a moving root| 7      | 1, 2, 1 of C  |
//!
//! Numerics: `default` has A and B in f16 (A may be f32), C in f32; `paper` has all in f16, each multiply-add and each
//! add rounded once. Blocks travel as they are stored.
//! Software of the chip (`Overheads::exchange`): a core is charged once a round of exchanges and once a step.
//! Invariant: every element of C is one chain of fused multiply-adds from +0.0 (of `gemm-t`: one chain a column, then
//! adds), in an order that the mesh and the sizes fix.
//!
//! Several products in one program, over the same rings: look the ends up once (`Cycle::ends`), keep a `Side` an
//! operand, then `align`, `cyclic` and `transposed` in any sequence; with `Finish::Home`'s count of moves (all C, all
//! R) an operand is aligned again for the next product. Each takes the product as a closure, which charges what it
//! likes. Rings that go back (`align`) after a product want `Moving::new`; here they do not, so tiles are traded, and
//! after the program the tiles of A and B hold whatever the host left there.
//! Called by the host's benchmarks; the cost of a product by prefill.

mod allgather;
mod cannon;
mod clocks;
mod gemm_t;
mod mesh;
mod pieces;
mod product;
mod shift;
mod spec;
mod summa;
mod sweep;

use crate::collectives::Cycle;
use crate::fabric::{Layout, LayoutError, TileDecl, TileId};
use crate::pe::{Kernel, Order, Pe};
use crate::units::{Bytes, Coord};

pub use cannon::Barrier;
pub use gemm_t::transposed;
pub use pieces::{KMap, Piece, balanced};
pub use product::{Factor, Storage, clear, multiply, product_cycles};
pub use shift::{Side, Turn, align, cyclic};
pub use spec::{Algo, Finish, Gemm, Load, Matrices, Spec, tile};

/// Points that programs mark.
pub mod point {
    /// Alignment is over at this PE.
    pub const ALIGNED: u16 = 0;
    /// The product is over at this PE.
    pub const DONE: u16 = 1;
}

impl Gemm {
    /// Routes and tiles.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        for at in self.pes() {
            layout.pe(at).share = (at.col as usize * 65536 / self.spec.cols) as u16;
        }
        match self.spec.algo {
            Algo::Mesh => mesh::lay_out(self, &mut layout)?,
            Algo::Cannon => cannon::lay_out(self, &mut layout, false)?,
            Algo::CannonLockstep => cannon::lay_out(self, &mut layout, true)?,
            Algo::Summa => summa::lay_out(self, &mut layout)?,
            Algo::Allgather => allgather::lay_out(self, &mut layout)?,
            Algo::GemmT => gemm_t::lay_out(self, &mut layout)?,
        }
        for at in self.pes() {
            self.tiles(at).into_iter().for_each(|(id, bytes)| declare(self, &mut layout, at, id, bytes));
        }
        Ok(layout)
    }

    /// Tiles of a PE, in bytes and in the order of their addresses.
    pub fn tiles(&self, at: Coord) -> Vec<(TileId, usize)> {
        match self.spec.algo {
            Algo::Allgather => allgather::tiles(self, at),
            Algo::GemmT => gemm_t::tiles(self, at),
            Algo::Mesh | Algo::Cannon | Algo::CannonLockstep | Algo::Summa => {
                let [a, b, c] = self.block_bytes(at);
                let mut tiles = vec![(tile::A, a), (tile::B, b), (tile::C, c)];
                // A line of one never receives.
                tiles.extend((self.spec.cols > 1).then_some((tile::A_NEXT, a)));
                tiles.extend((self.spec.rows > 1).then_some((tile::B_NEXT, b)));
                tiles
            }
        }
    }

    /// Bytes of tiles on a PE, as a ledger counts them.
    pub fn arena_of(&self, at: Coord) -> Bytes {
        Bytes(self.tiles(at).iter().map(|tile| tile.1.next_multiple_of(16) as u64).sum())
    }

    /// Bytes of tiles on the PE that has most.
    pub fn arena_peak(&self) -> Bytes {
        self.pes().map(|at| self.arena_of(at)).max().unwrap_or(Bytes(0))
    }

    /// Cycles that the algorithm's formula says: for equal blocks alone, and not of every algorithm.
    pub fn formula(&self) -> Option<u64> {
        match self.spec.algo {
            Algo::Mesh | Algo::Cannon => mesh::closed_form(self),
            Algo::Allgather => allgather::closed_form(self),
            Algo::CannonLockstep | Algo::Summa | Algo::GemmT => None,
        }
    }

    /// Cycles of the product without execution: the clocks of all PEs as sums and maxima (`clocks`), for any blocks.
    pub fn clocks(&self) -> u64 {
        clocks::cycles(self)
    }

    /// Cycles of SUMMA if every step began when the last core has ended the one before, as the published formula has
    /// it: an ideal barrier, which no program here has, so these are not executed cycles.
    pub fn summa_in_step(&self) -> u64 {
        clocks::summa_in_step(self)
    }

    /// Cycles of the product without execution: the formula if there is one, else the clocks.
    pub fn closed_form(&self) -> u64 {
        self.formula().unwrap_or_else(|| self.clocks())
    }
}

impl Kernel for Gemm {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        clear(pe, pe.tile(tile::C));
        pe.works_on(pe.tile(tile::C));
        // Boxed but for MeshGEMM's, whose small tiles ask for a small program.
        match self.spec.algo {
            Algo::Mesh => mesh::program(self, pe, Cycle::Interleave, None).await,
            Algo::Cannon => Box::pin(mesh::program(self, pe, Cycle::Wrap, None)).await,
            Algo::CannonLockstep => Box::pin(cannon::in_lockstep(self, pe)).await,
            Algo::Summa => Box::pin(summa::program(self, pe)).await,
            Algo::Allgather => Box::pin(allgather::program(self, pe)).await,
            Algo::GemmT => Box::pin(gemm_t::program(self, pe)).await,
        }
        pe.mark(0, point::DONE);
    }

    fn order(&self) -> Order {
        sweep::order(self.spec.algo)
    }
}

/// Declares a tile of `bytes` bytes; what moves lies together on the host, PE by PE, and C behind all of that.
fn declare(g: &Gemm, layout: &mut Layout, at: Coord, id: TileId, bytes: usize) {
    use crate::arena::Owner;
    let (name, owner) = match id {
        tile::A => ("A", Owner::Activations),
        tile::B => ("B", Owner::Weights),
        tile::C => ("C", Owner::Activations),
        tile::A_NEXT => ("A, next", Owner::Receive),
        tile::B_NEXT => ("B, next", Owner::Receive),
        _ => ("partial C", Owner::Activations),
    };
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX); // more than any arena either way: the ledger refuses it
    // No tile of C is then in the hull of moves that are under way (`Record::hull`), which saves looks at tickets.
    let visit = g.visit(at) + if id == tile::C { (g.spec.cols * g.spec.rows) as u64 } else { 0 };
    layout.tile(at, TileDecl { id, name, owner, bytes, visit });
}
