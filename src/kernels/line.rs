//! One collective on one line of cores: a kernel as small as a kernel can be.                   (HPDC'24)
//!
//! Each core begins with a tile of `words` f32; the collective runs `passes` times, back to back.
//!
//! | operation   | ends as                                    | cost (alpha 1, T_R 2)                    |
//! |-------------|--------------------------------------------|------------------------------------------|
//! | `Reduce`    | the sum at the last PE of a chain          | S + 6 (P - 1)                            |
//! | `Broadcast` | the root's tile everywhere                 | S + 5 + max(r, P - 1 - r) from member r  |
//! | `Allreduce` | the sum everywhere                         | see `collectives::cost`                  |
//!
//! | tile | bytes | owner       |
//! |------|-------|-------------|
//! | data | 4 w   | activations |
//!
//! Called by examples, benches and tests.

use crate::arena::Owner;
use crate::collectives::{Allreduce, Seat, allreduce, broadcast, cost, reduce};
use crate::fabric::{Chip, Layout, LayoutError, TileDecl, TileId};
use crate::pe::{Fold, Kernel, Pe};
use crate::units::Coord;

/// The tile.
pub const DATA: TileId = TileId(0);

/// What runs on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// The reduction alone (of a chain or a tree).
    Reduce,
    /// The broadcast alone (of a chain or a tree).
    Broadcast,
    /// All of it.
    Allreduce,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Line {
    /// Collective with its line.
    pub collective: Allreduce,
    /// Part of it that runs.
    pub op: LineOp,
    /// Tile length in f32.
    pub words: usize,
    /// How often it runs, each core going on as soon as it can.
    pub passes: usize,
}

impl Line {
    /// Routes and the tile of every PE.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let line = self.collective.line();
        for (i, &at) in line.iter().enumerate() {
            layout.pe(at).share = (i * 65536 / line.len()) as u16;
            let bytes = self.words as u32 * 4;
            layout.tile(at, TileDecl { id: DATA, name: "data", owner: Owner::Activations, bytes, visit: 0 });
        }
        self.collective.lay_out(&mut layout)?;
        Ok(layout)
    }

    /// Cycles of one pass from the contract's rules, without execution.
    pub fn closed_form_cycles(&self, chip: &Chip) -> u64 {
        let (n, timing) = (self.collective.line().len(), chip.timing());
        let root = match &self.collective {
            Allreduce::Tree(tree) => tree.root(),
            _ => n - 1,
        };
        let all = self.collective.cycles(vec![0; n], self.words, &timing);
        let last = cost::broadcast(n, root, 0, self.words, &timing);
        match self.op {
            LineOp::Allreduce => all,
            LineOp::Broadcast => last,
            LineOp::Reduce => all - last,
        }
    }
}

impl Kernel for Line {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let member = self.collective.line().iter().position(|c| *c == pe.coord()).unwrap_or(0);
        let (seat, tile) = (self.collective.seat(pe, member), pe.tile(DATA));
        for _pass in 0..self.passes {
            match (self.op, &seat) {
                (LineOp::Reduce, Seat::Staged { roles, .. }) => drop(reduce(pe, roles, tile, Fold::Add).await),
                (LineOp::Broadcast, Seat::Staged { ends, .. }) => drop(broadcast(pe, ends, tile).await),
                (_, seat) => allreduce(pe, seat, tile, Fold::Add).await,
            }
        }
    }
}

/// PEs (0, 0) .. (n - 1, 0).
pub fn row_of(n: usize) -> Vec<Coord> {
    (0..n as u32).map(|col| Coord::new(col, 0)).collect()
}
