//! What a PE of a placement holds of the model, as blocks of matrices: which rows and columns, how they lie in a tile.
//!
//! | tile              | rows                 | columns              | lies             |
//! |-------------------|----------------------|----------------------|------------------|
//! | W qkv, W gate|up  | hidden of the row    | outputs of the column| packed, 16 bits  |
//! | W o, W down       | inputs of the column | hidden of the row    | packed, 16 bits  |
//! | norms, bias, freq | their elements       | one                  | one after another|
//! | K                 | positions of the row | dims of the column   | `[dim][slot]`    |
//! | V                 | positions of the row | dims of the column   | `[slot][dim]`    |
//!
//! Invariant: two placements give the same element the same tile id, row and column; elements are what `Contents` and
//! the programs put there. Called by `plan`.

use crate::fabric::TileId;
use crate::kernels::decode::{Decode, KvFormat, Region, packed, tile};
use crate::math::gemv::PackedShape;
use crate::units::Coord;

/// Where element (row, column), counted in the block, lies in its tile, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// As GEMV's weights.
    Packed(PackedShape),
    /// Row after row, `stride` apart.
    Rows(usize),
    /// Column after column.
    Columns(usize),
}

impl Order {
    /// See the type.
    pub(super) fn at(self, row: usize, col: usize) -> usize {
        match self {
            Self::Packed(shape) => shape.offset(row, col),
            Self::Rows(stride) => row * stride + col,
            Self::Columns(stride) => col * stride + row,
        }
    }
}

/// Rows or columns of a matrix: (number in the matrix, place in the block), by number.
pub(super) type Axis = Vec<(u32, u32)>;

/// A tile as a block of a matrix.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) id: TileId,
    pub(super) rows: Axis,
    pub(super) cols: Axis,
    pub(super) order: Order,
    /// 16-bit elements; else 32.
    pub(super) is_half: bool,
}

fn axis(numbers: impl IntoIterator<Item = usize>) -> Axis {
    let mut axis: Axis = numbers.into_iter().zip(0..).map(|(number, place)| (number as u32, place)).collect();
    axis.sort_unstable();
    axis
}

/// A matrix of weights.
fn weights(id: TileId, rows: impl IntoIterator<Item = usize>, cols: impl IntoIterator<Item = usize>) -> Block {
    let (rows, cols) = (axis(rows), axis(cols));
    let order = Order::Packed(packed(rows.len(), cols.len()));
    Block { id, rows, cols, order, is_half: true }
}

/// 32-bit words.
fn vector(id: TileId, elements: impl IntoIterator<Item = usize>) -> Block {
    Block { id, rows: axis(elements), cols: vec![(0, 0)], order: Order::Rows(1), is_half: false }
}

impl Decode {
    /// All that stays of the model, and of `positions` positions, on a PE. A launch with `everywhere` has biases and
    /// frequencies on every row, decode on the root row alone.
    pub(super) fn blocks(&self, pe: Coord, positions: usize, everywhere: bool) -> Vec<Block> {
        match self.region(pe) {
            Region::Head { col, row } => self.head_blocks(pe, col, row),
            Region::Stage(seat) => {
                let layers = self.plan.stages[seat.stage].clone();
                let finishes = everywhere || seat.row == self.root_row();
                let freq = self.columns().slice(seat.col).pairs.flat_map(|p| [2 * p, 2 * p + 1]);
                let freq = finishes.then(|| vector(tile::FREQ, freq));
                let layer = |l| self.layer_blocks(l, seat.col, seat.row, positions, finishes);
                layers.flat_map(layer).chain(freq).collect()
            }
            Region::Transit => Vec::new(),
        }
    }

    fn head_blocks(&self, pe: Coord, col: usize, row: usize) -> Vec<Block> {
        let (h, v) = (self.hidden_of(row), self.vocab_of(col));
        let mut all = vec![weights(tile::OUTPUT, h.clone(), v.clone()), vector(tile::FINAL_NORM, h.clone())];
        if !self.shape.tied {
            all.push(weights(tile::EMBEDDING, h, v));
        }
        if pe == self.head_root() {
            all.push(vector(tile::OWN, [0]));
        }
        all
    }

    fn layer_blocks(&self, layer: usize, col: usize, row: usize, positions: usize, finishes: bool) -> Vec<Block> {
        let (h, f, shape) = (self.hidden_of(row), self.ffn_of(col), &self.shape);
        let id = |which| tile::of_layer(layer, which);
        let both = f.clone().chain(f.clone().map(|n| shape.ffn + n));
        let mut all = vec![
            weights(id(tile::W_QKV), h.clone(), self.qkv_outputs(col)),
            weights(id(tile::W_O), self.attention_dims(col), h.clone()),
            weights(id(tile::W_UP), h.clone(), both),
            weights(id(tile::W_DOWN), f, h.clone()),
            vector(id(tile::NORM_ATT), h.clone()),
            vector(id(tile::NORM_FFN), h),
        ];
        if shape.qkv_bias && finishes {
            all.push(vector(id(tile::BIAS), self.qkv_outputs(col)));
        }
        let (columns, slice) = (self.columns(), self.columns().slice(col));
        let heads = slice.kv_heads.clone();
        let dims = axis(heads.flat_map(|head| columns.dims(&slice).map(move |d| head * shape.head_dim + d)));
        let (rows, kv) = (axis(self.home(row, positions)), dims.len());
        let is_half = self.kv == KvFormat::F16;
        let [keys, values] = [Order::Columns(self.plan.cap), Order::Rows(kv)];
        for (which, order) in [(tile::KEYS, keys), (tile::VALUES, values)] {
            all.push(Block { id: id(which), rows: rows.clone(), cols: dims.clone(), order, is_half });
        }
        all
    }
}
