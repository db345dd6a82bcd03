//! GEMM-T: C = A B^T without a transpose.                                   (WaferLLM section 4.1; waferllm.md 4.3)
//!
//! A stays; B is N x K with its rows on the mesh's rows, and travels on the y ring alone.
//! R times: 1. Post the move of B's block. 2. Multiply A's block by what of B's block belongs to column c of C: a
//! partial C over the K of this column. 3. The row reduces it to column c (both sides; the root adds its higher side,
//! then its lower). 4. Join the move.
//! At the root the partial product is made in C itself: no copy.
//!
//! | color   | carries                     |   | arena     | bytes, at most | owner       |
//! |---------|-----------------------------|---|-----------|----------------|-------------|
//! | 0 .. 2  | B, forward along columns    |   | A         | 2 m k          | activations |
//! | 3 .. 6  | partial C along rows        |   | B, B next | 2 n k each     | weights     |
//! |         | (`moving_root`)             |   | C         | 4 m n (2 m n)  | activations |
//! |         |                             |   | partial   | one run of C   | activations |
//!
//! Square mesh: block b of N is column b of C, so the root is the ring's block, and moves. Any rectangle: a block of N
//! (split over R rows) is cut into runs by the columns of C (split over C columns), each reduced to its column; a C
//! tile is the runs of its column one after the other, each row-major.
//! B's block lies as a C tile would, row-major `b[j * k + kk]`; A's k-major.
//! The product's order: k ascending inside a column; columns from the ends toward the root, then higher side, lower
//! side.

use std::ops::Range;

use crate::arena::Tile;
use crate::collectives::{CYCLE_COLORS, Cycle, Moving, MovingRoot, Way};
use crate::fabric::{Layout, LayoutError, Overheads, TileId};
use crate::kernels::Numerics;
use crate::math::gemm::Dims;
use crate::math::split::part_of;
use crate::pe::{Fold, Pe};
use crate::units::Coord;

use super::point;
use super::product::{Factor, clear, multiply};
use super::shift::Side;
use super::spec::{Gemm, tile};

const B_BASE: u8 = 0;
const CHAIN_BASE: u8 = CYCLE_COLORS;
const ORDER: Cycle = Cycle::Interleave;

/// Rings and chains.
pub(super) fn lay_out(g: &Gemm, layout: &mut Layout) -> Result<(), LayoutError> {
    let (cols, rows) = (g.spec.cols as u32, g.spec.rows as u32);
    for row in 0..rows {
        MovingRoot::lay_out(layout, &(0..cols).map(|col| Coord::new(col, row)).collect::<Vec<_>>(), CHAIN_BASE)?;
    }
    for col in 0..cols {
        let line: Vec<Coord> = (0..rows).map(|row| Coord::new(col, row)).collect();
        ORDER.lay_out(layout, &line, B_BASE, Way::Forward)?;
    }
    Ok(())
}

/// A PE's tiles, in bytes.
pub(super) fn tiles(g: &Gemm, at: Coord) -> Vec<(TileId, usize)> {
    let most_rows = g.map.b_len.iter().copied().max().unwrap_or(0);
    let (m, k) = (g.m_of(at.row as usize).len(), g.map.a_len[at.col as usize]);
    let b = k * most_rows * g.b_format().bytes();
    let mut tiles = vec![(tile::A, m * k * g.spec.a.bytes()), (tile::B, b), (tile::C, 4 * c_words(g, at))];
    if g.spec.rows > 1 {
        tiles.push((tile::B_NEXT, b));
    }
    if g.spec.cols > 1 {
        tiles.push((tile::PARTIAL, m * g.longest_run * g.c_format().bytes()));
    }
    tiles
}

/// The runs of N that a block of B is cut into, with the column of C that each belongs to.
pub(super) fn cuts(g: &Gemm, row: usize) -> impl Iterator<Item = (usize, Range<usize>)> + use<'_> {
    let block = g.n_in_row(row);
    let mut at = block.start;
    std::iter::from_fn(move || {
        if at == block.end {
            return None;
        }
        let col = part_of(g.spec.size.n, g.spec.cols, at);
        let run = at..g.n_of(col).end.min(block.end);
        at = run.end;
        Some((col, run))
    })
}

/// The longest of all runs.
pub(super) fn longest_run(g: &Gemm) -> usize {
    (0..g.spec.rows).flat_map(|row| cuts(g, row)).map(|cut| cut.1.len()).max().unwrap_or(0)
}

/// Runs of a column's C tile, in order, each with its first word (runs start on words).
pub(super) fn runs(g: &Gemm, col: usize) -> impl Iterator<Item = (usize, Range<usize>)> + use<'_> {
    let mine = g.n_of(col);
    let of_row = move |row| cuts(g, row).filter(move |cut| cut.0 == col).map(move |cut| (row, cut.1));
    let rows = match mine.is_empty() {
        true => 0..0,
        false => {
            let row = |n| part_of(g.spec.size.n, g.spec.rows, n);
            row(mine.start)..row(mine.end - 1) + 1
        }
    };
    rows.flat_map(of_row)
}

/// Word at which the run of block `row` starts in the C tile.
fn run_at(g: &Gemm, at: Coord, row: usize) -> usize {
    let m = g.m_of(at.row as usize).len();
    runs(g, at.col as usize).take_while(|run| run.0 < row).map(|run| g.c_format().words(m * run.1.len())).sum()
}

fn c_words(g: &Gemm, at: Coord) -> usize {
    run_at(g, at, g.spec.rows)
}

/// The program of a PE.
pub(super) async fn program(g: &Gemm, pe: Pe<'_>) {
    let at = pe.coord();
    let (cols, rows, col) = (g.spec.cols, g.spec.rows, at.col as usize);
    let (m, k) = (g.m_of(at.row as usize).len(), g.map.a_len[col]);
    let chain = MovingRoot::new(pe, cols, col, CHAIN_BASE);
    let next = if rows > 1 { pe.tile(tile::B_NEXT) } else { Tile::EMPTY };
    let moving = Moving::trading([pe.tile(tile::B), next], ORDER.pos(rows, at.row as usize), rows);
    let ring = ORDER.ends(pe, rows, at.row as usize, B_BASE, Way::Forward);
    let mut b = Box::new(Side::new(moving, ring, (&g.map.b_len, k), g.b_format()));
    let a = Factor::k_major(pe.tile(tile::A), g.spec.a, m, 0);
    let fold = if g.spec.numerics == Numerics::Paper { Fold::AddF16 } else { Fold::Add };
    pe.mark(0, point::ALIGNED);
    let partial = |block: usize, nth: usize, b_block: Tile| {
        let row = ORDER.at(rows, block);
        let (root, run) = cuts(g, row).nth(nth)?;
        let words = g.c_format().words(m * run.len());
        let out = if root == col {
            pe.tile(tile::C).slice(run_at(g, at, row), words)
        } else {
            pe.tile(tile::PARTIAL).slice(0, words)
        };
        clear(pe, out);
        let right = Factor::row_major(b_block, g.b_format(), k, run.start - g.n_in_row(row).start);
        multiply(pe, g.rates(), Dims { m, k, n: run.len() }, a, right, (out, g.c_format()));
        Some((root, out))
    };
    transposed(pe, &mut b, (&chain, fold), &g.chip.overheads, partial).await;
}

/// B's blocks once round their ring; for each, `partial(block, nth, tile)` makes the nth partial product of the block
/// and says at which member of the row, and in which tile, it is to be reduced, until there is none. `software` is
/// charged a block, before its post.
pub async fn transposed(
    pe: Pe<'_>,
    b: &mut Side<'_>,
    (row, fold): (&MovingRoot, Fold),
    software: &Overheads,
    mut partial: impl FnMut(usize, usize, Tile) -> Option<(usize, Tile)>,
) {
    let mut tour = b.tour();
    let software = |words: usize| pe.compute(software.round(words), |_| {});
    while let Some((block, tile)) = tour.next(pe, |b_at| b.words(b_at) as usize, software).await {
        let mut nth = 0;
        while let Some((root, out)) = partial(block, nth, tile) {
            row.reduce(pe, root, out, fold).await;
            nth += 1;
        }
    }
    b.end_tour(tour);
}
