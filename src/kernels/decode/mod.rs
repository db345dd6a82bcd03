//! Decode: one token through the whole model.                                  (WaferLLM section 4.2 and 4.3; arith.md)
//!
//! ```text
//!   head region        stage 0            stage 1                       (all `rows` high)
//!   select, lm_head -> layers ->(hand-over, one multicast a row)-> layers -> ... --return--> head
//! ```
//! Where the chip is too narrow the regions snake over bands of rows (`placement::Floor`). At a turn, and on the way
//! home from a lower band, the slice of a row goes on a color of its own to a PE of the target row, whose program
//! relays it along x: into the next stage on the hand-over color, into the head on the return color.
//!
//! Activations alternate axes: x lies on y (row r holds its slice, every column the same), QKV and gate|up reduce along
//! y, O and down along x. A K-tree reduction ends at a root, the root does the element-wise work, then broadcasts.
//!
//! | colors (K levels)   | what                                  |
//! |---------------------|---------------------------------------|
//! | 0 .. 2K             | tree and broadcast along y            |
//! | 2K+1 .. 4K+1        | tree and broadcast along x            |
//! | +0, +1, +2          | in-band chain and broadcast; in the head region +0 is the command multicast |
//! | +3, +4              | KV shift, by row parity               |
//! | +5, +6              | hand-over, by stage parity            |
//! | +7                  | return to the head                    |
//! | +8 ..               | tracks of turns and of the return from a lower band |
//!
//! At K = 2 these are 18 colors, at K = 3 they are 22; a floorplan with turns adds its tracks, ceil(rows / cols) where
//! no two turns or returns share a PE.
//!
//! Invariant: routes, sizes and cycles depend on positions and shapes, never on values.

mod contents;
pub(in crate::kernels) mod head;
pub(in crate::kernels) mod layout;
pub(in crate::kernels) mod lockstep;
pub mod point;
mod probe;
pub(in crate::kernels) mod routes;
pub(in crate::kernels) mod stage;

use crate::fabric::{Chip, TileId};
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::math::gemv::PackedShape;
use crate::math::split::part;
use crate::pe::{Kernel, Pe};
use crate::placement::{Columns, Place, Plan, tree_root};
use crate::units::{Color, Coord};

pub use contents::Contents;

/// How K and V are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvFormat {
    /// binary16.
    F16,
    /// binary32.
    F32,
}

impl KvFormat {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// The kernel: plain numbers from which layout, contents and programs follow.
#[derive(Clone, Debug)]
pub struct Decode {
    /// The model.
    pub shape: ModelShape,
    /// Mesh, stages, trees.
    pub plan: Plan,
    /// Format of every weight matrix.
    pub format: WeightFormat,
    /// Format of K and V.
    pub kv: KvFormat,
    /// `concat`: prompt positions, which are distributed; later ones go to the bottom row. `None`: shift.
    pub concat_prompt: Option<usize>,
    /// Costs.
    pub chip: Chip,
    /// What this launch finds and leaves room for.
    pub launch: Launch,
}

/// What a launch of decode, or of a kernel that shares its head region and ways, has from the launch before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Positions that are in the KV tiles already, where decode itself would have put them.
    pub positions: usize,
    /// Colors below this one are taken: the ways between regions begin here or later.
    pub ways_from: u8,
}

/// Control word of a pass: bits of its high half.
pub mod pass {
    /// The id is the one that the head found in the pass before.
    pub const OWN_ID: u32 = 1 << 16;
    /// The pass goes through the lm_head.
    pub const WANT_LOGITS: u32 = 1 << 17;
    /// Prefill: the residual of the chunk that begins here is in the first stage already; no other position comes, and
    /// what the layers make of it stays there. Only a layer that is timed alone is started so.
    pub const RESIDENT: u32 = 1 << 18;
}

/// Tiles.
pub mod tile {
    use super::TileId;
    /// Per layer: this + layer x 16.
    pub const LAYER: u16 = 64;
    pub const X: TileId = TileId(0);
    pub const XG: TileId = TileId(1);
    pub const Y: TileId = TileId(2);
    pub const WIDE: TileId = TileId(3);
    pub const ACT: TileId = TileId(4);
    pub const SCORE: TileId = TileId(5);
    pub const ATT: TileId = TileId(6);
    pub const MAX: TileId = TileId(7);
    pub const SUM: TileId = TileId(8);
    pub const SHIFT_OUT: TileId = TileId(9);
    pub const SHIFT_IN: TileId = TileId(10);
    pub const FREQ: TileId = TileId(11);
    pub const SIN_COS: TileId = TileId(12);
    pub const COMMAND: TileId = TileId(13);
    pub const OWN: TileId = TileId(14);
    pub const BEST: TileId = TileId(15);
    pub const LOGITS: TileId = TileId(16);
    pub const OUTPUT: TileId = TileId(17);
    pub const EMBEDDING: TileId = TileId(18);
    pub const FINAL_NORM: TileId = TileId(19);
    /// The parts of one layer.
    pub const W_QKV: u16 = 0;
    pub const W_O: u16 = 1;
    pub const W_UP: u16 = 2;
    pub const W_DOWN: u16 = 3;
    pub const NORM_ATT: u16 = 4;
    pub const NORM_FFN: u16 = 5;
    pub const BIAS: u16 = 6;
    pub const KEYS: u16 = 7;
    pub const VALUES: u16 = 8;

    /// Tile `which` of layer `layer`.
    pub const fn of_layer(layer: usize, which: u16) -> TileId {
        TileId(LAYER + layer as u16 * 16 + which)
    }
}

/// Where a PE is in the pipeline: region, and column and row in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Head region.
    Head {
        /// Column.
        col: usize,
        /// Row.
        row: usize,
    },
    /// A stage.
    Stage(Seat),
    /// None: its router passes a return on.
    Transit,
}

/// A PE of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Stage.
    pub stage: usize,
    /// Column in it, from the west.
    pub col: usize,
    /// Row in it.
    pub row: usize,
}

impl Decode {
    /// Region of a PE.
    pub fn region(&self, pe: Coord) -> Region {
        match self.plan.floor.find(pe, self.plan.rows) {
            Some((0, col, row)) => Region::Head { col, row },
            Some((region, col, row)) => Region::Stage(Seat { stage: region - 1, col, row }),
            None => Region::Transit,
        }
    }

    /// Colors on a floorplan without turns, with `k_tree` levels.
    pub fn straight_colors(k_tree: usize) -> u32 {
        2 * (2 * k_tree as u32 + 1) + 8
    }

    /// Region of a stage.
    pub(in crate::kernels) fn stage_place(&self, stage: usize) -> Place {
        self.plan.floor.regions[stage + 1]
    }

    pub(in crate::kernels) fn levels(&self) -> u8 {
        self.plan.groups_y.len() as u8
    }

    pub(in crate::kernels) fn y_base(&self) -> u8 {
        0
    }

    pub(in crate::kernels) fn x_base(&self) -> u8 {
        2 * self.levels() + 1
    }

    pub(in crate::kernels) fn band_base(&self) -> u8 {
        2 * (2 * self.levels() + 1)
    }

    pub(in crate::kernels) fn shift_color(&self, row: usize) -> Color {
        Color(self.band_base() + 3 + (row % 2) as u8)
    }

    /// First color of the ways between regions.
    fn ways(&self) -> u8 {
        (self.band_base() + 5).max(self.launch.ways_from)
    }

    pub(in crate::kernels) fn hand_over_color(&self, stage: usize) -> Color {
        Color(self.ways() + (stage % 2) as u8)
    }

    pub(in crate::kernels) fn return_color(&self) -> Color {
        Color(self.ways() + 2)
    }

    pub(in crate::kernels) fn command_color(&self) -> Color {
        Color(self.band_base())
    }

    pub(in crate::kernels) fn track_color(&self, track: usize) -> Color {
        Color(self.ways() + 3 + track as u8)
    }

    /// Not one of the chip's: a lane from the host is outside the fabric.
    pub(in crate::kernels) fn host_color(&self) -> Color {
        self.track_color(self.plan.floor.tracks)
    }

    pub(in crate::kernels) fn columns(&self) -> Columns {
        Columns::new(&self.shape, self.plan.cols)
    }

    pub(in crate::kernels) fn hidden_of(&self, row: usize) -> std::ops::Range<usize> {
        part(self.shape.hidden, self.plan.rows, row)
    }

    pub(in crate::kernels) fn ffn_of(&self, col: usize) -> std::ops::Range<usize> {
        part(self.shape.ffn, self.plan.cols, col)
    }

    pub(in crate::kernels) fn vocab_of(&self, col: usize) -> std::ops::Range<usize> {
        part(self.shape.vocab, self.plan.head_cols, col)
    }

    /// Positions on row `row` when there are `n` (at most the prompt, under `concat`).
    pub(in crate::kernels) fn home(&self, row: usize, n: usize) -> std::ops::Range<usize> {
        let rows = self.plan.rows;
        if let Some(prompt) = self.concat_prompt {
            let held = part(prompt, rows, row);
            return held.start.min(n)..held.end.min(n);
        }
        let (q, longer) = (n / rows, n % rows);
        let start = row * q + (row + longer).saturating_sub(rows);
        start..start + q + usize::from(row + longer >= rows)
    }

    /// Counts of a column.
    pub(in crate::kernels) fn local(&self, col: usize) -> Local {
        let columns = self.columns();
        let slice = columns.slice(col);
        let dims = 2 * slice.pairs.len();
        let kv_heads = slice.kv_heads.len();
        Local { kv_heads, group: columns.group, dims }
    }

    /// PE of the head region that takes the host's commands and finds the next id.
    pub fn head_root(&self) -> Coord {
        let col = tree_root(self.plan.head_cols, &self.plan.groups_head);
        self.plan.floor.regions[0].at(col, self.root_row())
    }

    /// Row of a region where reductions along y end.
    pub(in crate::kernels) fn root_row(&self) -> usize {
        tree_root(self.plan.rows, &self.plan.groups_y)
    }

    /// Colors that the launch names.
    pub fn colors(&self) -> u32 {
        u32::from(self.ways()) + 3 + self.plan.floor.tracks as u32
    }
}

/// What a column holds of the heads, in counts.
#[derive(Clone, Debug)]
pub(in crate::kernels) struct Local {
    pub(in crate::kernels) kv_heads: usize,
    pub(in crate::kernels) group: usize,
    pub(in crate::kernels) dims: usize,
}

impl Local {
    pub(in crate::kernels) fn q_heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Words of q, k and v.
    pub(in crate::kernels) fn qkv(&self) -> usize {
        (self.group + 2) * self.kv_heads * self.dims
    }

    /// Words of the attention output.
    pub(in crate::kernels) fn att(&self) -> usize {
        self.q_heads() * self.dims
    }

    /// Words of K (or V) of one position.
    pub(in crate::kernels) fn kv(&self) -> usize {
        self.kv_heads * self.dims
    }
}

/// Shape of a packed tile of `k` inputs and `n` outputs.
pub(in crate::kernels) fn packed(k: usize, n: usize) -> PackedShape {
    PackedShape { k, n }
}

impl Kernel for Decode {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        match self.region(pe.coord()) {
            Region::Head { col, row } => head::run(self, pe, col, row).await,
            Region::Stage(seat) => stage::run(self, pe, seat).await,
            Region::Transit => {}
        }
    }
}
