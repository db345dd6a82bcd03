//! T10 and Ladder: what systems for other machines do on this mesh, where every hop between cores is software.
//!
//! | policy | sees                | product C = A B                                | y = x W                        |
//! |--------|---------------------|------------------------------------------------|--------------------------------|
//! | T10    | a crossbar of cores | compute-shift in core-id order, a global step  | W stays; sums relayed core by  |
//! |        |                     | (BSP): the first core's block crosses the line | core along the ids, and back   |
//! | Ladder | one memory          | every block fetched from its owner, then used; | W fetched from the core before |
//! |        |                     | all wait for all between loads                 | in address order; chained sum  |
//!
//! On a crossbar the step from the last core to the first is one hop like any other. On a mesh it is P - 1 hops, and a
//! core-to-core message of such a system is received, looked at and sent on by every core between: a *relay*, charged
//! with the software cost of its policy. The cores, links, counters and arenas are those of every other kernel.
//!
//! | file   | what                                                                    |
//! |--------|-------------------------------------------------------------------------|
//! | `gemm` | C = A B on P x P cores with both policies                               |
//! | `gemv` | y = x W with both policies                                              |
//! | `cost` | closed forms, equal to executed cycles (`tests/kernels/relays.rs`)      |
//! | `layer`| a layer of the skeleton as the sum of its operations                    |
//!
//! Sources: timing.md (policies, constants' names). Invariant: as for every kernel, cycles follow from shapes alone.

pub mod cost;
pub mod gemm;
pub mod gemv;
pub mod layer;

use crate::arena::Tile;
use crate::collectives::{Allreduce, Seat, Tree, allreduce, cost::best_groups};
use crate::fabric::{Chip, Layout, LayoutError};
use crate::pe::{Fold, Pe, Rx, Tx};
use crate::units::{Color, Coord, Cycles};

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Cores as a crossbar.
    T10,
    /// Memories as one.
    Ladder,
}

/// Software of a relay: cycles a message and cycles a wavelet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelayCost {
    /// A message.
    pub message: f64,
    /// A wavelet of it.
    pub word: f64,
}

impl RelayCost {
    /// Cycles of a message of `words` wavelets.
    pub fn cycles(&self, words: usize) -> Cycles {
        Cycles((self.message + self.word * words as f64).round() as u64)
    }
}

/// Colors of the relays: two ways along each axis, alternating.
const RELAY_COLORS: u8 = 8;

/// Color of the stream from `from` to its neighbour `to`.
fn relay_color(from: Coord, to: Coord) -> Color {
    let (axis, at, up) =
        if from.row == to.row { (0, from.col, to.col < from.col) } else { (4, from.row, to.row < from.row) };
    Color(axis + 2 * u8::from(up) + (at % 2) as u8)
}

/// Routes between all neighbours, both ways.
fn lay_out_relays(layout: &mut Layout, p: usize, axes: [bool; 2]) -> Result<(), LayoutError> {
    let p = p as u32;
    for (a, b) in (0..p).flat_map(|line| (0..p.saturating_sub(1)).map(move |at| (line, at))) {
        let along = [(Coord::new(b, a), Coord::new(b + 1, a)), (Coord::new(a, b), Coord::new(a, b + 1))];
        for (low, high) in along.into_iter().zip(axes).filter(|pair| pair.1).map(|pair| pair.0) {
            layout.line(relay_color(low, high), low, high, false)?;
            layout.line(relay_color(high, low), high, low, false)?;
        }
    }
    Ok(())
}

/// A core's ends along one axis; `None` beyond an edge.
#[derive(Clone, Copy, Debug)]
struct Links {
    at: usize,
    to_lower: Option<Tx>,
    to_higher: Option<Tx>,
    from_lower: Option<Rx>,
    from_higher: Option<Rx>,
}

impl Links {
    /// Along x (a row) or along y.
    fn new(pe: Pe<'_>, p: usize, along_x: bool) -> Self {
        let here = pe.coord();
        let at = if along_x { here.col } else { here.row };
        let place = |to: u32| if along_x { Coord::new(to, here.row) } else { Coord::new(here.col, to) };
        let lower = at.checked_sub(1).map(place);
        let higher = (at as usize + 1 < p).then(|| place(at + 1));
        Self {
            at: at as usize,
            to_lower: lower.map(|to| pe.tx(relay_color(here, to))),
            to_higher: higher.map(|to| pe.tx(relay_color(here, to))),
            from_lower: lower.map(|from| pe.rx(relay_color(from, here))),
            from_higher: higher.map(|from| pe.rx(relay_color(from, here))),
        }
    }
}

/// Group counts of the barrier's trees.
fn barrier_groups(chip: &Chip, p: usize) -> Vec<usize> {
    best_groups(p, 2, 1, &chip.timing())
}

fn barrier_tree(groups: &[usize], p: usize, at: Coord, along_x: bool) -> Allreduce {
    let place = |i: u32| if along_x { Coord::new(i, at.row) } else { Coord::new(at.col, i) };
    let base = RELAY_COLORS + if along_x { 0 } else { Tree::colors(groups.len()) };
    Allreduce::Tree(Tree { line: (0..p as u32).map(place).collect(), groups: groups.to_vec(), base })
}

/// Routes of the barrier: all of a row, then all of a column.
fn lay_out_barrier(layout: &mut Layout, groups: &[usize], p: usize) -> Result<(), LayoutError> {
    for i in 0..p as u32 {
        barrier_tree(groups, p, Coord::new(0, i), true).lay_out(layout)?;
        barrier_tree(groups, p, Coord::new(i, 0), false).lay_out(layout)?;
    }
    Ok(())
}

/// A barrier over the mesh, as one core sees it.
struct Barrier([Seat; 2]);

impl Barrier {
    fn new(pe: Pe<'_>, groups: &[usize], p: usize) -> Self {
        let at = pe.coord();
        let seat = |along_x, member| barrier_tree(groups, p, at, along_x).seat(pe, member);
        Self([seat(true, at.col as usize), seat(false, at.row as usize)])
    }

    /// Waits until every core has come here.
    async fn pass(&self, pe: Pe<'_>) {
        for seat in &self.0 {
            allreduce(pe, seat, Tile::EMPTY, Fold::Max).await;
        }
    }
}
