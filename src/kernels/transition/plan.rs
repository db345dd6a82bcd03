//! Which PE sends what to whom, on which color, in which launch.
//!
//! Every block of the new placement is put together from the blocks of the old one that overlap it. What one PE sends
//! to another is a *pair*; its path goes along x, then along y. A pair takes the first launch and color that is free at
//! all PEs of its path.
//!
//! Invariant: every element of the new placement comes from exactly one PE. Called by the host, between launches.

use std::collections::{BTreeMap, HashMap};

use crate::fabric::TileId;
use crate::kernels::decode::Decode;
use crate::kernels::decode::layout::cells;
use crate::placement::Way;
use crate::units::Coord;

use super::blocks::{Axis, Block, Order};

/// Words of the longest message.
const MESSAGE_WORDS: usize = 64;

/// Part of a block that goes from a tile to a tile.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) id: TileId,
    /// How it lies there and here.
    pub(super) orders: [Order; 2],
    /// Places in the block there and here, in the order in which they travel.
    pub(super) rows: Axis,
    pub(super) cols: Axis,
    pub(super) is_half: bool,
}

impl Piece {
    /// Rows of one message.
    pub(super) fn rows_at_once(&self) -> usize {
        (MESSAGE_WORDS * if self.is_half { 2 } else { 1 } / self.cols.len().max(1)).max(1)
    }

    /// Words of `rows` rows.
    pub(super) fn words(&self, rows: usize) -> usize {
        (rows * self.cols.len()).div_ceil(if self.is_half { 2 } else { 1 })
    }
}

/// All that goes from one PE to another.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) way: Way,
    pub(super) pieces: Vec<Piece>,
}

/// The PEs of a placement.
pub(super) fn pes(d: &Decode) -> Vec<Coord> {
    let regions = d.plan.floor.regions.iter();
    regions.flat_map(|place| cells(place.cols, d.plan.rows).map(|(col, row)| place.at(col, row))).collect()
}

/// Numbers that both have: places in `a`, in `b`.
fn common(a: &Axis, b: &Axis) -> Axis {
    let (mut i, mut j, mut both) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both.push((a[i].1, b[j].1));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    both
}

/// Pairs from `old` (where prefill ran) to `new`, launch by launch; `track` of a way is its color.
pub(super) fn rounds(old: &Decode, new: &Decode, positions: usize) -> Vec<Vec<Pair>> {
    let mut holders: HashMap<TileId, Vec<(Coord, Block)>> = HashMap::new();
    for pe in pes(old) {
        for block in old.blocks(pe, positions, true) {
            holders.entry(block.id).or_default().push((pe, block));
        }
    }
    let mut pairs: BTreeMap<(Coord, Coord), Vec<Piece>> = BTreeMap::new();
    for to in pes(new) {
        for block in new.blocks(to, positions, false) {
            let from = holders.get(&block.id).map_or(&[][..], Vec::as_slice);
            for (pe, piece) in pieces(&block, from) {
                pairs.entry((pe, to)).or_default().push(piece);
            }
        }
    }
    assign(pairs, new.chip.usable_colors() as usize)
}

/// The pieces that make up `block`. Columns of a vector's holders repeat it: the first one gives.
fn pieces(block: &Block, holders: &[(Coord, Block)]) -> Vec<(Coord, Piece)> {
    let mut missing = block.rows.clone();
    let mut left = block.rows.len() * block.cols.len();
    let mut found = Vec::new();
    for (pe, there) in holders {
        if left == 0 {
            break;
        }
        let (rows, cols) = (common(&there.rows, &missing), common(&there.cols, &block.cols));
        if rows.is_empty() || cols.is_empty() {
            continue;
        }
        left -= rows.len() * cols.len();
        if block.cols.len() == 1 && matches!(block.order, Order::Rows(1)) {
            missing.retain(|row| !rows.iter().any(|(_, here)| *here == row.1));
        }
        let (id, orders, is_half) = (block.id, [there.order, block.order], block.is_half);
        for cols in cols.chunks(MESSAGE_WORDS * if is_half { 2 } else { 1 }) {
            found.push((*pe, Piece { id, orders, rows: rows.clone(), cols: cols.to_vec(), is_half }));
        }
    }
    assert_eq!(left, 0, "every element of {:?} lies somewhere in the placement before", block.id);
    found
}

fn assign(pairs: BTreeMap<(Coord, Coord), Vec<Piece>>, colors: usize) -> Vec<Vec<Pair>> {
    let ends = || pairs.keys().flat_map(|(from, to)| [from, to]);
    let cols = ends().map(|at| at.col + 1).max().unwrap_or(0) as usize;
    let rows = ends().map(|at| at.row + 1).max().unwrap_or(0) as usize;
    let all = u128::MAX >> (128 - colors.clamp(1, 128));
    // By launch and cell, a bit for every color that is taken.
    let mut taken: Vec<Vec<u128>> = Vec::new();
    let mut rounds: Vec<Vec<Pair>> = Vec::new();
    for ((from, to), pieces) in pairs {
        let mut way = Way { from, to, track: 0 };
        let cells: Vec<usize> = way.cells().iter().map(|at| at.row as usize * cols + at.col as usize).collect();
        let free = |taken: &Vec<u128>| all & !cells.iter().fold(0, |some, cell| some | taken[*cell]);
        let found = taken.iter().map(free).enumerate().find(|(_, free)| *free > 0);
        let (round, color) = found.map_or((taken.len(), 0), |(round, free)| (round, free.trailing_zeros() as usize));
        if round == taken.len() {
            taken.push(vec![0; cols * rows]);
            rounds.push(Vec::new());
        }
        way.track = color;
        cells.iter().for_each(|cell| taken[round][*cell] |= 1 << color);
        rounds[round].push(Pair { way, pieces });
    }
    rounds
}
