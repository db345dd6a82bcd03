//! The floorplan: where the regions of a session lie, and the ways of the vector where it does not go straight on.
//!
//! ```text
//!   band 0   | head | stage 0 | stage 1 |     -> east            every band is `rows` high
//!   band 1   .......| stage 3 | stage 2 |     <- west            dots: PEs that route at most
//!   band 2   .......| stage 4 | stage 5 |     -> east
//! ```
//! A region follows its predecessor in the same band while the chip is wide enough, else it starts the next band, flush
//! with the outer edge of the region above. Columns of a region count from the west in every band.
//!
//! Ways that leave a row (a turn into the next band, the return to the head from a band below it) go along x to a
//! column of the target region, then along y to the target row, where a program relays along x. Of every C rows in
//! turn each takes a column of its own: downward the first rows take the columns farthest from the sender, upward the
//! nearest, so ways of one group never meet. A way takes the lowest *track* (a color of its own kind) that is free on
//! all its PEs: a turn into C columns takes ceil(rows / C) tracks, turns and returns that share no PE share tracks.
//!
//! Invariant: no two ways share a PE and a track; regions are disjoint and inside the chip's columns.
//! Called by `Plan`; kernels lay the routes.

use crate::math::split::part;
use crate::units::Coord;

/// Where a region lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First column on the wafer.
    pub col: usize,
    /// First row on the wafer.
    pub row: usize,
    /// Columns.
    pub cols: usize,
    /// Band of rows, 0 at the top; even bands run east, odd ones west.
    pub band: usize,
}

impl Place {
    /// Does the vector walk west through this region?
    pub fn runs_west(&self) -> bool {
        self.band % 2 == 1
    }

    /// The PE of a column and row of the region.
    pub fn at(&self, col: usize, row: usize) -> Coord {
        Coord::new((self.col + col) as u32, (self.row + row) as u32)
    }
}

/// The way of one row's slice: along x from `from` to the column of `to`, then along y to `to`, which relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The sender.
    pub from: Coord,
    /// The relay.
    pub to: Coord,
    /// Track, from 0.
    pub track: usize,
}

impl Way {
    /// Its PEs in order, both ends included.
    pub fn cells(&self) -> Vec<Coord> {
        let (mut at, mut cells) = (self.from, vec![self.from]);
        while at != self.to {
            if at.col != self.to.col {
                at.col = if at.col < self.to.col { at.col + 1 } else { at.col - 1 };
            } else {
                at.row = if at.row < self.to.row { at.row + 1 } else { at.row - 1 };
            }
            cells.push(at);
        }
        cells
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The head region, then every stage.
    pub regions: Vec<Place>,
    /// Ways into region i, row by row; empty where the vector goes straight on (and for the head).
    pub turns: Vec<Vec<Way>>,
    /// Ways from the last stage to the head, row by row; empty when both are in band 0.
    pub home: Vec<Way>,
    /// Tracks in use.
    pub tracks: usize,
    /// Row of the wafer where band 0 begins.
    pub first_row: usize,
}

/// The regions of a head of `head_cols` columns and `stages` stages of `cols`, on `have_cols` columns.
///
/// `head_cols` and `cols` are at most `have_cols`.
pub(super) fn places(head_cols: usize, cols: usize, stages: usize, rows: usize, have_cols: usize) -> Vec<Place> {
    let mut last = Place { col: 0, row: 0, cols: head_cols, band: 0 };
    let mut regions = vec![last];
    for _ in 0..stages {
        let end = last.col + last.cols;
        let (col, band) = match last.runs_west() {
            false if end + cols <= have_cols => (end, last.band),
            false => (end.max(cols) - cols, last.band + 1),
            true if last.col >= cols => (last.col - cols, last.band),
            true => (last.col, last.band + 1),
        };
        last = Place { col, row: band * rows, cols, band };
        regions.push(last);
    }
    regions
}

/// Root of a reduction tree over a line of `n` members: the middle of the group, level by level.
pub fn tree_root(n: usize, groups: &[usize]) -> usize {
    // The first member of the last level, followed down to the line.
    let Some((&count, above)) = groups.split_first() else { return 0 };
    let count = count.clamp(1, n.max(1));
    let group = part(n, count, tree_root(count.min(n), above));
    group.start + group.len() / 2
}

impl Floor {
    /// Adds the ways to regions from `places`; `roots` are the columns that send, in the head and in a stage.
    pub(super) fn new(regions: Vec<Place>, rows: usize, roots: [usize; 2]) -> Self {
        let root = |i: usize| roots[usize::from(i > 0)];
        let mut tracks = Tracks::new(&regions, rows);
        let mut turns = vec![Vec::new()];
        for i in 1..regions.len() {
            let (from, to) = (regions[i - 1], regions[i]);
            let bends = from.band != to.band;
            turns.push(if bends { tracks.ways(from, root(i - 1), to, rows) } else { Vec::new() });
        }
        let last = regions.len() - 1;
        let mut home = Vec::new();
        if regions[last].band > 0 {
            home = tracks.ways(regions[last], root(last), regions[0], rows);
        }
        Self { regions, turns, home, tracks: tracks.used, first_row: 0 }
    }

    /// The same floor, so many rows further down.
    pub fn moved_down(mut self, rows: usize) -> Self {
        self.first_row += rows;
        self.regions.iter_mut().for_each(|place| place.row += rows);
        for way in self.turns.iter_mut().flatten().chain(&mut self.home) {
            way.from.row += rows as u32;
            way.to.row += rows as u32;
        }
        self
    }

    /// Bands in use.
    pub fn bands(&self) -> usize {
        self.regions.last().map_or(0, |r| r.band + 1)
    }

    /// Columns in use by regions.
    pub fn width(&self) -> usize {
        self.regions.iter().map(|r| r.col + r.cols).max().unwrap_or(0)
    }

    /// Region and its column and row at a PE; `None` where a PE only routes.
    pub fn find(&self, pe: Coord, rows: usize) -> Option<(usize, usize, usize)> {
        let (col, row) = (pe.col as usize, (pe.row as usize).checked_sub(self.first_row)?);
        let (band, row) = (row / rows, row % rows);
        let first = self.regions.partition_point(|r| r.band < band);
        let members = self.regions[first..].iter().take_while(|r| r.band == band);
        let (i, place) = members.enumerate().find(|(_, r)| (r.col..r.col + r.cols).contains(&col))?;
        Some((first + i, col - place.col, row))
    }
}

/// Tracks of one `sheet`, each a bit.
const SHEET: usize = u64::BITS as usize;

/// Which tracks are taken at which PE.
struct Tracks {
    /// Tracks 64 i .. 64 (i + 1) of every PE up to the last region, row by row.
    sheets: Vec<Vec<u64>>,
    cols: usize,
    rows: usize,
    used: usize,
}

impl Tracks {
    /// None taken by ways between these regions.
    fn new(regions: &[Place], rows: usize) -> Self {
        let cols = regions.iter().map(|r| r.col + r.cols).max().unwrap_or(0);
        let rows = regions.iter().map(|r| r.row + rows).max().unwrap_or(0);
        Self { sheets: Vec::new(), cols, rows, used: 0 }
    }

    /// The ways of all rows from column `root` of a region to another region.
    fn ways(&mut self, from: Place, root: usize, to: Place, rows: usize) -> Vec<Way> {
        let sender = from.col + root;
        let mut columns: Vec<usize> = (to.col..to.col + to.cols).collect();
        columns.sort_by_key(|c| c.abs_diff(sender));
        if to.row > from.row {
            columns.reverse();
        }
        let way = |row: usize| {
            let to = Coord::new(columns[row % columns.len()] as u32, (to.row + row) as u32);
            self.lay(from.at(root, row), to)
        };
        (0..rows).map(way).collect()
    }

    /// One way on the lowest track that is free all along.
    fn lay(&mut self, from: Coord, to: Coord) -> Way {
        let mut way = Way { from, to, track: 0 };
        let at = |c: Coord| c.row as usize * self.cols + c.col as usize;
        let cells: Vec<usize> = way.cells().into_iter().map(at).collect();
        let free = |sheet: &Vec<u64>| cells.iter().fold(0, |taken, c| taken | sheet[*c]).trailing_ones() as usize;
        let found = self.sheets.iter().map(free).enumerate().find(|(_, bit)| *bit < SHEET);
        let (sheet, bit) = found.unwrap_or((self.sheets.len(), 0));
        if sheet == self.sheets.len() {
            self.sheets.push(vec![0; self.cols * self.rows]);
        }
        cells.iter().for_each(|c| self.sheets[sheet][*c] |= 1 << bit);
        way.track = sheet * SHEET + bit;
        self.used = self.used.max(way.track + 1);
        way
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every small floor: head width, columns, stages, rows, chip columns, roots.
    fn floors(mut check: impl FnMut(&Floor, [usize; 5])) {
        for have in 1..=7 {
            for head in 1..=have {
                for cols in 1..=have.min(4) {
                    for stages in 1..=8 {
                        for rows in 1..=5 {
                            let floor = Floor::new(places(head, cols, stages, rows, have), rows, [head / 2, cols / 2]);
                            check(&floor, [have, head, cols, stages, rows]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn regions_are_disjoint_on_the_chip_and_found_again() {
        floors(|floor, [have, head, cols, stages, rows]| {
            assert_eq!(floor.regions.len(), stages + 1);
            let mut seen = HashSet::new();
            for (i, place) in floor.regions.iter().enumerate() {
                assert_eq!(place.cols, if i == 0 { head } else { cols });
                assert!(place.col + place.cols <= have && place.row == place.band * rows);
                for (col, row) in (0..place.cols).flat_map(|c| (0..rows).map(move |r| (c, r))) {
                    let pe = place.at(col, row);
                    assert!(seen.insert(pe), "{pe} twice");
                    assert_eq!(floor.find(pe, rows), Some((i, col, row)));
                    let (below, moved) = (Coord::new(pe.col, pe.row + 3), floor.clone().moved_down(3));
                    assert_eq!((moved.regions[i].at(col, row), moved.find(below, rows)), (below, Some((i, col, row))));
                }
            }
        });
    }

    #[test]
    fn ways_join_the_same_row_of_both_regions_and_never_share_a_pe_and_a_track() {
        floors(|floor, what| {
            let rows = what[4];
            let mut taken = HashSet::new();
            let bends = |i: usize| floor.regions[i].band != floor.regions[i - 1].band;
            for i in 1..floor.regions.len() {
                assert_eq!(floor.turns[i].len(), if bends(i) { rows } else { 0 }, "{what:?}");
            }
            let last = floor.regions.len() - 1;
            assert_eq!(floor.home.len(), if floor.regions[last].band > 0 { rows } else { 0 });
            let turns = floor.turns.iter().enumerate().map(|(i, ways)| (i.max(1) - 1, i, ways));
            for (from, to, ways) in turns.chain([(last, 0, &floor.home)]) {
                for (row, way) in ways.iter().enumerate() {
                    let ends = [way.from, way.to].map(|pe| floor.find(pe, rows).map(|at| (at.0, at.2)));
                    assert_eq!(ends, [Some((from, row)), Some((to, row))], "{what:?}");
                    assert!(way.track < floor.tracks);
                    for cell in way.cells() {
                        assert!(taken.insert((cell, way.track)), "{what:?}: {cell} twice on track {}", way.track);
                    }
                }
            }
        });
    }

    #[test]
    fn one_turn_takes_a_track_for_every_c_rows() {
        for cols in 1..=6 {
            for rows in (1..=20).chain([150]) {
                for root in 0..cols {
                    let regions = places(cols, cols, 1, rows, cols);
                    let mut tracks = Tracks::new(&regions, rows);
                    tracks.ways(regions[0], root, regions[1], rows);
                    assert_eq!(tracks.used, rows.div_ceil(cols), "{cols}x{rows}, root {root}");
                    let mut tracks = Tracks::new(&regions, rows);
                    tracks.ways(regions[1], root, regions[0], rows);
                    assert_eq!(tracks.used, rows.div_ceil(cols), "{cols}x{rows} home, root {root}");
                }
            }
        }
    }

    #[test]
    fn bands_run_east_then_west_and_are_flush_at_the_turn() {
        let at =
            |head, stages, have| places(head, 2, stages, 3, have).iter().map(|p| (p.col, p.band)).collect::<Vec<_>>();
        assert_eq!(at(3, 2, 7), [(0, 0), (3, 0), (5, 0)]);
        assert_eq!(at(3, 6, 7), [(0, 0), (3, 0), (5, 0), (5, 1), (3, 1), (1, 1), (1, 2)]);
        assert_eq!(at(1, 2, 2), [(0, 0), (0, 1), (0, 2)], "a stage wider than the head");
    }
}
