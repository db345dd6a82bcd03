//! Cannon's algorithm: cyclic shift with an edge across the whole line; with local joins, or in lockstep.
//!
//! The program is MeshGEMM's on rings in line order: everybody sends one link west (north), PE 0 sends across the line.
//! `cannon-lockstep` adds a barrier after every step, which the published cost formula assumes.
//!
//! | colors    | carries                                                                          |
//! |-----------|----------------------------------------------------------------------------------|
//! | 0 .. 11   | the four rings, as in `mesh`; color 2, 5, 8, 11 across the line                  |
//! | 12 .. 15  | barrier: reduction along rows, two levels (`ktree`)                              |
//! | 16 .. 19  | barrier: reduction along the column of the rows' roots                           |
//! | 20        | barrier: release, one multicast from the root over the mesh                      |
//!
//! With local joins the long edge costs its length once, not per step: a PE waits for its own neighbours only, so the
//! delay travels round the ring with the blocks and meets the long edge again after P steps. Both rings of a line of P
//! have 2 P - 2 links in all. Behind a product that outlasts a move across the line nothing of it is seen, and only
//! alignment, which ends after part of a round trip, differs from the interleave's. Where moves outlast products, a
//! chain of steps may meet one long edge of each axis: up to about P cycles in P steps (see `mesh::closed_form`).
//! The barrier is the cheapest that fits: a wavelet, two-level trees (5 cycles and the hops a stage), and a multicast
//! that turns at the root's column. On C x R PEs, C != R, blocks move at different steps in different rows, so the
//! barrier keeps the clock of the lcm(C, R) fine blocks (see `pieces`). With the rings 21 colors, all `wse2` has.
//! Paper: section 5.1, figure 6; formula P (max(comp, P alpha + lat) + c_s).

use crate::arena::Tile;
use crate::collectives::cost::tree_reduce;
use crate::collectives::{Cycle, Roles, Tree, reduce};
use crate::fabric::{Chip, Direction, Layout, LayoutError, Tx as Ports};
use crate::pe::{Fold, Pe, Rx, Tx};
use crate::units::{Color, Coord};

use super::mesh;
use super::spec::Gemm;

/// First color of the barrier.
pub(super) const BARRIER_BASE: u8 = mesh::COLORS;
/// Colors of a two-level tree without broadcast.
const TREE_COLORS: u8 = 4;

/// Rings, and the barrier if there is one.
pub(super) fn lay_out(g: &Gemm, layout: &mut Layout, lockstep: bool) -> Result<(), LayoutError> {
    mesh::lay_out(g, layout)?;
    if lockstep {
        Barrier::lay_out(layout, g.spec.cols, g.spec.rows, &g.chip, BARRIER_BASE)?;
    }
    Ok(())
}

/// The program of a PE with a barrier after each step.
pub(super) async fn in_lockstep(g: &Gemm, pe: Pe<'_>) {
    let barrier = Barrier::new(pe, g.spec.cols, g.spec.rows, &g.chip, BARRIER_BASE);
    mesh::program(g, pe, Cycle::Wrap, Some(&barrier)).await;
}

/// A barrier over the mesh, as one PE sees it.
pub struct Barrier {
    along_row: Roles,
    along_column: Option<Roles>,
    release: Option<Tx>,
    released: Option<Rx>,
}

/// The two-level group count of a line of `n` with the least latency.
fn groups(chip: &Chip, n: usize) -> Vec<usize> {
    let stage = u64::from(2 * chip.ramp + chip.stage_cycles);
    let latency = |g: usize| {
        let size = n.div_ceil(g);
        let (inner, outer) = ((size / 2).max((size - 1) - size / 2) as u64, (g / 2) as u64);
        u64::from(chip.alpha) * (inner + outer * size as u64) + stage * (inner + outer)
    };
    let best = (1..=n).min_by_key(|&g| latency(g)).unwrap_or(1);
    vec![best, 1]
}

fn row_tree(chip: &Chip, cols: usize, row: u32, base: u8) -> Tree {
    let line = (0..cols as u32).map(|col| Coord::new(col, row)).collect();
    Tree { line, groups: groups(chip, cols), base }
}

fn column_tree(chip: &Chip, rows: usize, col: u32, base: u8) -> Tree {
    let line = (0..rows as u32).map(|row| Coord::new(col, row)).collect();
    Tree { line, groups: groups(chip, rows), base: base + TREE_COLORS }
}

impl Barrier {
    fn root(chip: &Chip, cols: usize, rows: usize) -> Coord {
        let (col, row) = (row_tree(chip, cols, 0, 0).root(), column_tree(chip, rows, 0, 0).root());
        Coord::new(col as u32, row as u32)
    }

    fn release_color(base: u8) -> Color {
        Color(base + 2 * TREE_COLORS)
    }

    /// Routes on colors `base .. base + 9`.
    ///
    /// # Errors
    /// `TwoWriters` when the colors clash with what is there.
    pub fn lay_out(layout: &mut Layout, cols: usize, rows: usize, chip: &Chip, base: u8) -> Result<(), LayoutError> {
        let root = Self::root(chip, cols, rows);
        for row in 0..rows as u32 {
            row_tree(chip, cols, row, base).lay_out(layout, false)?;
        }
        column_tree(chip, rows, root.col, base).lay_out(layout, false)?;
        let color = Self::release_color(base);
        for at in (0..rows as u32).flat_map(|row| (0..cols as u32).map(move |col| Coord::new(col, row))) {
            let (rx, mut tx) = match (at.col.cmp(&root.col), at.row.cmp(&root.row)) {
                (std::cmp::Ordering::Less, _) => (Direction::East, Ports::RAMP),
                (std::cmp::Ordering::Greater, _) => (Direction::West, Ports::RAMP),
                (_, std::cmp::Ordering::Less) => (Direction::South, Ports::RAMP),
                (_, std::cmp::Ordering::Greater) => (Direction::North, Ports::RAMP),
                _ => (Direction::Ramp, Ports::NONE),
            };
            let onward = [
                (at.col <= root.col && at.col > 0, Direction::West),
                (at.col >= root.col && at.col + 1 < cols as u32, Direction::East),
                (at.col == root.col && at.row <= root.row && at.row > 0, Direction::North),
                (at.col == root.col && at.row >= root.row && at.row + 1 < rows as u32, Direction::South),
            ];
            for (_, direction) in onward.into_iter().filter(|o| o.0) {
                tx = tx.and(direction);
            }
            if tx != Ports::NONE {
                layout.route(at, color, rx, tx)?;
            }
        }
        Ok(())
    }

    /// The ends at `pe`.
    pub fn new(pe: Pe<'_>, cols: usize, rows: usize, chip: &Chip, base: u8) -> Self {
        let (at, root) = (pe.coord(), Self::root(chip, cols, rows));
        let color = Self::release_color(base);
        let in_column = at.col == root.col;
        Self {
            along_row: row_tree(chip, cols, at.row, base).roles(pe, at.col as usize),
            along_column: in_column.then(|| column_tree(chip, rows, at.col, base).roles(pe, at.row as usize)),
            release: (at == root && cols * rows > 1).then(|| pe.tx(color)),
            released: (at != root).then(|| pe.rx(color)),
        }
    }

    /// What a barrier makes of the clocks of all PEs, by row, then column: without execution.
    pub(super) fn clocks(now: &mut [u64], (cols, rows): (usize, usize), chip: &Chip) {
        let (t, root) = (chip.timing(), Self::root(chip, cols, rows));
        let along = |clocks: Vec<u64>| {
            let groups = groups(chip, clocks.len());
            tree_reduce(clocks, &groups, 1, &t).1
        };
        let end = along(now.chunks(cols).map(|row| along(row.to_vec())).collect()) + u64::from(t.issue);
        for (at, now) in now.iter_mut().enumerate().filter(|_| cols * rows > 1) {
            let [x, y] = [(at % cols).abs_diff(root.col as usize), (at / cols).abs_diff(root.row as usize)];
            let way = u64::from(t.alpha) * (x + y) as u64 + u64::from(t.turn) * u64::from(x > 0 && y > 0);
            let taken = if x + y > 0 { way + u64::from(2 * t.ramp + t.stage) } else { 0 };
            *now = end + taken + t.ser(1);
        }
    }

    /// `times` times: waits until every PE has come here.
    pub async fn pass(&self, pe: Pe<'_>, times: u64) {
        for _ in 0..times {
            self.once(pe).await;
        }
    }

    async fn once(&self, pe: Pe<'_>) {
        // Nothing to carry: each burst is one control wavelet, and no tile is charged.
        let token = Tile::EMPTY;
        reduce(pe, &self.along_row, token, Fold::Max).await;
        if let Some(steps) = &self.along_column {
            reduce(pe, steps, token, Fold::Max).await;
        }
        if let Some(tx) = self.release {
            pe.send(tx, token).await;
        }
        if let Some(rx) = self.released {
            pe.recv(rx, token).await;
        }
    }
}
