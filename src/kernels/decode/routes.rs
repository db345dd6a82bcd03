//! Routes of decode: trees and bands of a region, the shift, the command, and the vector's way from region to region.
//!
//! ```text
//!   straight on:  root ----> target region, all columns (one multicast a row, hand-over color)
//!   at a turn:    root ---> corner             track color, taken by the relay alone
//!                             |
//!                  <-- <--  relay --> -->      hand-over color (home: return color), all columns of the target
//! ```
//! Invariant: of two regions in a row the colors of the hand-over alternate, so what a region takes and what leaves it
//! never meet; tracks are disjoint by `Floor`.

use std::ops::Range;

use crate::collectives::Tree;
use crate::fabric::{Direction, Layout, LayoutError, PeDecl, Tx};
use crate::placement::{Place, Way};
use crate::units::{Color, Coord};

use super::Decode;

/// Lines whose routes are laid: along x in these rows of every region, along y in these of its columns.
#[derive(Clone, Debug)]
pub(in crate::kernels) struct Lines {
    pub(in crate::kernels) rows: Range<usize>,
    pub(in crate::kernels) cols: Range<usize>,
}

impl Lines {
    /// Of columns up to `end`.
    pub(in crate::kernels) fn cols_of(&self, end: usize) -> Range<usize> {
        self.cols.start..self.cols.end.min(end)
    }
}

impl Decode {
    /// All lines of all regions.
    pub(in crate::kernels) fn lines(&self) -> Lines {
        Lines { rows: 0..self.plan.rows, cols: 0..usize::MAX }
    }

    /// All routes of these lines.
    pub(super) fn routes(&self, layout: &mut Layout, lines: &Lines) -> Result<(), LayoutError> {
        for (i, place) in self.plan.floor.regions.iter().enumerate() {
            self.tree_routes(layout, lines, (place, i > 0))?;
            if i > 0 {
                self.band_routes(layout, lines, place)?;
                self.shift_routes(layout, lines, place)?;
            }
        }
        self.way_routes(layout, lines)
    }

    /// Trees of the head or, with their broadcasts, of a stage.
    pub(in crate::kernels) fn tree_routes(
        &self,
        layout: &mut Layout,
        lines: &Lines,
        (place, is_stage): (&Place, bool),
    ) -> Result<(), LayoutError> {
        let groups = if is_stage { &self.plan.groups_x } else { &self.plan.groups_head };
        for row in lines.rows.clone() {
            self.x_tree(place, row, groups).lay_out(layout, is_stage)?;
        }
        for col in lines.cols_of(place.cols) {
            self.y_tree(place, col).lay_out(layout, is_stage)?;
        }
        Ok(())
    }

    /// The command, and the ways between regions.
    pub(in crate::kernels) fn way_routes(&self, layout: &mut Layout, lines: &Lines) -> Result<(), LayoutError> {
        self.command_routes(layout, lines)?;
        self.hand_over_routes(layout, lines)
    }

    /// Most colors at one PE, of the routes that `lay` makes, without making them all: where the head has one column
    /// and x goes straight on, lines along x are alike, those along y too, and a PE knows the colors of its two.
    ///
    /// # Errors
    /// As `lay`.
    pub(in crate::kernels) fn most_colors(
        &self,
        lay: impl Fn(&mut Layout, &Lines) -> Result<(), LayoutError>,
    ) -> Result<u32, LayoutError> {
        let laid = |rows, cols| {
            let mut layout = Layout::default();
            lay(&mut layout, &Lines { rows, cols }).map(|()| layout)
        };
        let lines = [laid(0..1, 0..0)?, laid(0..0, 0..1)?];
        let most = |layout: &Layout, place: &Place| {
            let inside = |at: Coord| (place.col..place.col + place.cols).contains(&(at.col as usize));
            let colors = |pe: &PeDecl| pe.routes.iter().filter(|r| r.rx != Direction::Host).count();
            layout.pes.iter().filter(|pe| inside(pe.coord)).map(colors).max().unwrap_or(0)
        };
        let of = |place: &Place| lines.iter().map(|layout| most(layout, place)).sum::<usize>();
        Ok(self.plan.floor.regions.iter().map(of).max().unwrap_or(0) as u32)
    }

    /// Most colors at one PE; as `most_colors`.
    ///
    /// # Errors
    /// A defect in the coloring (two writers).
    pub fn colors_at_most(&self) -> Result<u32, LayoutError> {
        self.most_colors(|layout, lines| self.routes(layout, lines))
    }

    pub(in crate::kernels) fn x_tree(&self, place: &Place, row: usize, groups: &[usize]) -> Tree {
        let line = (0..place.cols).map(|c| place.at(c, row)).collect();
        Tree { line, groups: groups.to_vec(), base: self.x_base() }
    }

    pub(in crate::kernels) fn y_tree(&self, place: &Place, col: usize) -> Tree {
        let line = (0..self.plan.rows).map(|r| place.at(col, r)).collect();
        Tree { line, groups: self.plan.groups_y.clone(), base: self.y_base() }
    }

    pub(in crate::kernels) fn band_tree(&self, place: &Place, band: &std::ops::Range<usize>, row: usize) -> Tree {
        let line = band.clone().map(|c| place.at(c, row)).collect();
        Tree { line, groups: vec![1], base: self.band_base() }
    }

    /// Chain and broadcast of every band of a stage.
    fn band_routes(&self, layout: &mut Layout, lines: &Lines, place: &Place) -> Result<(), LayoutError> {
        let columns = self.columns();
        let mut col = 0;
        while col < place.cols {
            let band = columns.slice(col).band;
            for row in lines.rows.clone() {
                self.band_tree(place, &band, row).lay_out(layout, true)?;
            }
            col = band.end;
        }
        Ok(())
    }

    /// By shift every row but the top one sends up, on its parity's color.
    fn shift_routes(&self, layout: &mut Layout, lines: &Lines, place: &Place) -> Result<(), LayoutError> {
        let shifts = self.concat_prompt.is_none();
        for col in lines.cols_of(place.cols).filter(|_| shifts) {
            for row in 1..self.plan.rows {
                layout.line(self.shift_color(row), place.at(col, row), place.at(col, row - 1), false)?;
            }
        }
        Ok(())
    }

    /// Host to the head root; from there along its row, and from every PE of the row along its column.
    fn command_routes(&self, layout: &mut Layout, lines: &Lines) -> Result<(), LayoutError> {
        layout.route(self.head_root(), self.host_color(), Direction::Host, Tx::RAMP)?;
        // From here on in the region's own coordinates.
        let place = self.plan.floor.regions[0];
        let root_col = self.head_root().col as usize - place.col;
        let root = Coord::new(root_col as u32, self.root_row() as u32);
        let (cols, rows) = (self.plan.head_cols as u32, self.plan.rows as u32);
        if cols * rows == 1 {
            return Ok(());
        }
        for col in lines.cols_of(self.plan.head_cols) {
            let col = col as u32;
            for row in 0..rows {
                let at = Coord::new(col, row);
                let mut tx = if at == root { Tx::NONE } else { Tx::RAMP };
                let rx = if row != root.row {
                    if row < root.row { Direction::South } else { Direction::North }
                } else if col == root.col {
                    Direction::Ramp
                } else {
                    if col < root.col { Direction::East } else { Direction::West }
                };
                if row <= root.row && row > 0 {
                    tx = tx.and(Direction::North);
                }
                if row >= root.row && row + 1 < rows {
                    tx = tx.and(Direction::South);
                }
                if row == root.row && col <= root.col && col > 0 {
                    tx = tx.and(Direction::West);
                }
                if row == root.row && col >= root.col && col + 1 < cols {
                    tx = tx.and(Direction::East);
                }
                layout.route(place.at(col as usize, row as usize), self.command_color(), rx, tx)?;
            }
        }
        Ok(())
    }

    /// Color on which the x root of a region's row sends the vector on.
    pub(in crate::kernels) fn leave_color(&self, region: usize, row: usize) -> Color {
        let floor = &self.plan.floor;
        let (ways, straight) = match floor.turns.get(region + 1) {
            Some(turn) => (turn, self.hand_over_color(region)),
            None => (&floor.home, self.return_color()),
        };
        ways.get(row).map_or(straight, |way| self.track_color(way.track))
    }

    /// From the x root of a region to all columns of the next; from the last one back to all columns of the head.
    fn hand_over_routes(&self, layout: &mut Layout, lines: &Lines) -> Result<(), LayoutError> {
        let floor = &self.plan.floor;
        for (i, place) in floor.regions.iter().enumerate() {
            let groups = if i == 0 { &self.plan.groups_head } else { &self.plan.groups_x };
            let root = crate::placement::tree_root(place.cols, groups);
            let (target, ways, color) = match floor.regions.get(i + 1) {
                Some(next) => (next, &floor.turns[i + 1], self.hand_over_color(i)),
                None => (&floor.regions[0], &floor.home, self.return_color()),
            };
            for row in lines.rows.clone() {
                let mut from = place.at(root, row);
                if let Some(way) = ways.get(row) {
                    lay(layout, self.track_color(way.track), way)?;
                    from = way.to;
                }
                spread(layout, color, from, target, row)?;
            }
        }
        Ok(())
    }
}

/// One way: from ramp to ramp, routers between.
pub(in crate::kernels) fn lay(layout: &mut Layout, color: Color, way: &Way) -> Result<(), LayoutError> {
    let cells = way.cells();
    let mut rx = Direction::Ramp;
    for (at, next) in cells.iter().zip(&cells[1..]) {
        let out = toward(*at, *next);
        layout.route(*at, color, rx, Tx::to(out))?;
        rx = out.opposite();
    }
    layout.route(way.to, color, rx, Tx::RAMP)
}

/// One multicast along x from a PE to all columns of a region in its row; the sender itself is not one of its sinks.
fn spread(layout: &mut Layout, color: Color, from: Coord, to: &Place, row: usize) -> Result<(), LayoutError> {
    let taken = to.col as u32..(to.col + to.cols) as u32;
    for end in [to.at(0, row), to.at(to.cols - 1, row)].into_iter().filter(|end| *end != from) {
        let out = toward(from, end);
        layout.route(from, color, Direction::Ramp, Tx::to(out))?;
        let mut at = from;
        while at != end {
            at.col = if out == Direction::West { at.col - 1 } else { at.col + 1 };
            let mut tx = if taken.contains(&at.col) { Tx::RAMP } else { Tx::NONE };
            if at != end {
                tx = tx.and(out);
            }
            layout.route(at, color, out.opposite(), tx)?;
        }
    }
    Ok(())
}

/// Direction of a PE in the same row or column.
fn toward(from: Coord, to: Coord) -> Direction {
    match (to.col.cmp(&from.col), to.row.cmp(&from.row)) {
        (std::cmp::Ordering::Greater, _) => Direction::East,
        (std::cmp::Ordering::Less, _) => Direction::West,
        (_, std::cmp::Ordering::Greater) => Direction::South,
        _ => Direction::North,
    }
}
