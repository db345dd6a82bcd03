//! A list of operations as programs: on a whole mesh, or on the one row and the one column that stand for it.
//!
//! ```text
//!   mesh C x R       every PE runs the list; x-operations in its row, y-operations in its column
//!   row  C x 1       the same list: y-operations are nothing on a line of one
//!   column 1 x R     likewise; the clock of PE (c, r) of the mesh is the sum of row PE c's and column PE r's
//! ```
//! Why: all PEs have equal tiles. An allreduce along y lifts the clocks of every column alike, by a function of the
//! row, and one along x by a function of the column; so clocks stay a sum of both, and compute adds to either.
//! A shift of blocks whose product outlasts every move waits for no neighbour, so its y moves are seen nowhere.
//! `tests/kernels/workloads.rs` holds both against executed meshes; `Program::timed` refuses a shift that is not of
//! this kind.
//!
//! | color        | carries                            |   | tile         | words                        |
//! |--------------|------------------------------------|---|--------------|------------------------------|
//! | 0 .. 2 K + 1 | allreduce along y (`ktree`)        |   | sum          | longest allreduce            |
//! | next 2 K + 1 | allreduce along x                  |   | x, x next    | longest block moved along x  |
//! | next 3, 3    | interleaved rings along x, along y |   | y, y next    | longest block moved along y  |
//!
//! Invariant: payloads are never looked at: the skeleton of the paper has random weights and reads nothing back.

use crate::arena::{Owner, Tile};
use crate::collectives::{Allreduce, CYCLE_COLORS, Cycle, Exchange, RingEnds, Seat, Tree, Way, allreduce};
use crate::exec::{LaunchError, RunOptions};
use crate::fabric::{Chip, Layout, LayoutError, Survey, TileDecl, TileId};
use crate::host::trial::{Facts, Trial, TrialError};
use crate::pe::{Fold, Kernel, Pe};
use crate::units::{Coord, Cycles};

/// Direction of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// A row.
    X,
    /// A column.
    Y,
}

/// What every PE does at the same place of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Computes for so long.
    Compute(Cycles),
    /// Sums `words` wavelets over every line of an axis.
    Allreduce {
        /// Which lines.
        axis: Axis,
        /// Wavelets.
        words: u32,
    },
    /// Moves blocks one place along their rings, `rounds` times, and multiplies meanwhile.
    Shift {
        /// How often.
        rounds: u32,
        /// Wavelets of the block moved along x and of the one along y; 0: none moves there.
        words: [u32; 2],
        /// The product, while the blocks are under way.
        product: Cycles,
        /// Software of a round, after both have arrived.
        round: Cycles,
    },
}

/// One program list on a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Columns.
    pub cols: usize,
    /// Rows.
    pub rows: usize,
    /// Group counts of the trees along x and along y, the last of each 1.
    pub groups: [Vec<usize>; 2],
    /// What is done.
    pub ops: Vec<Op>,
}

/// A program by its row and its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Cycles of the mesh: sum of both lines.
    pub cycles: u64,
    /// Of them computed, software included.
    pub compute: u64,
    /// Colors at the PE that routes most, both axes.
    pub colors: u32,
    /// Cycles in which PEs of the mesh computed or issued, summed; to issue moves along y, which hide, is left out.
    pub busy: u64,
    /// The same of the PEs on its border.
    pub edge_busy: u64,
}

/// Why a program cannot be timed by its lines.
#[derive(Debug, thiserror::Error)]
pub enum TimedError {
    /// A line does not run.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Row and column alone fit the chip, the mesh does not.
    #[error("routing resource exhaustion: the mesh needs {need} colors at one core, the chip has {have} usable")]
    Colors { need: u32, have: u32 },
    /// One row stands for the mesh only where products hide moves along y.
    #[error("a product takes {product} cycles, the move of its blocks {needed}: one row does not stand for this mesh")]
    Exposed { product: u64, needed: u64 },
}

const SUM: TileId = TileId(0);
const MOVED: [[TileId; 2]; 2] = [[TileId(1), TileId(2)], [TileId(3), TileId(4)]];

impl Program {
    /// Executes the list on all PEs of the mesh, without payloads.
    ///
    /// # Errors
    /// What the chip refuses; a deadlock (a defect).
    pub fn executed(&self, chip: &Chip) -> Result<Facts, TrialError> {
        Ok(self.trial(chip)?.facts)
    }

    /// `executed`, with the wafer as it was left.
    ///
    /// # Errors
    /// As `executed`.
    pub fn trial(&self, chip: &Chip) -> Result<Trial, TrialError> {
        let options = RunOptions { dry: true, ..RunOptions::new(1) };
        let layout = self.layout().map_err(LaunchError::from)?;
        Trial::run(self.clone(), layout, chip, &options, |_, _, _| {})
    }

    /// Executes one row and one column, which stand for the mesh.
    ///
    /// # Errors
    /// As `executed`; a product that is shorter than a move, where one line does not stand for all.
    pub fn timed(&self, chip: &Chip) -> Result<Timed, TimedError> {
        if let Some(exposed) = self.exposed(chip) {
            return Err(exposed);
        }
        let row = Self { rows: 1, ..self.clone() }.trial(chip)?;
        let moves = |op: &Op| matches!(op, Op::Allreduce { axis: Axis::Y, .. });
        let ops = self.ops.iter().copied().filter(moves).collect();
        let column = Self { cols: 1, ..self.clone() };
        let routed = Survey::of(&column.layout().map_err(|e| TrialError::from(LaunchError::from(e)))?).colors_per_core;
        let (colors, have) = (row.facts.survey.colors_per_core + routed, chip.usable_colors());
        if colors > have {
            return Err(TimedError::Colors { need: colors, have });
        }
        let column = Self { ops, ..column }.trial(chip)?;
        let cycles = row.facts.counters.cycles + column.facts.counters.cycles;
        let (busy, edge_busy) = of_mesh(&busy_of(&row)?, &busy_of(&column)?);
        Ok(Timed { cycles, compute: row.facts.compute_cycles, colors, busy, edge_busy })
    }

    /// The first product that does not outlast the move of its blocks along y.
    fn exposed(&self, chip: &Chip) -> Option<TimedError> {
        let t = chip.timing();
        self.ops.iter().find_map(|op| match *op {
            Op::Shift { words, product, .. } if words[1] > 0 => {
                let needed = t.ser(words[1]) + u64::from(2 * t.ramp + t.issue + t.stage) + 2 * u64::from(t.alpha);
                (product.0 < needed).then_some(TimedError::Exposed { product: product.0, needed })
            }
            _ => None,
        })
    }

    fn longest(&self, of: impl Fn(&Op) -> u32) -> usize {
        self.ops.iter().map(of).max().unwrap_or(0) as usize
    }

    fn moved(&self, axis: usize) -> usize {
        self.longest(|op| if let Op::Shift { words, .. } = op { words[axis] } else { 0 })
    }

    fn reduces(&self, along: Axis) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Allreduce { axis, .. } if *axis == along))
    }

    fn line(&self, at: Coord, axis: Axis) -> Vec<Coord> {
        match axis {
            Axis::X => (0..self.cols as u32).map(|col| Coord::new(col, at.row)).collect(),
            Axis::Y => (0..self.rows as u32).map(|row| Coord::new(at.col, row)).collect(),
        }
    }

    fn tree(&self, at: Coord, axis: Axis) -> Allreduce {
        let [x, y] = &self.groups;
        let (groups, base) = if axis == Axis::X { (x, Tree::colors(y.len())) } else { (y, 0) };
        Allreduce::Tree(Tree { line: self.line(at, axis), groups: groups.clone(), base })
    }

    fn ring_base(&self, axis: Axis) -> u8 {
        let trees: u8 = self.groups.iter().map(|groups| Tree::colors(groups.len())).sum();
        trees + if axis == Axis::X { 0 } else { CYCLE_COLORS }
    }

    fn layout(&self) -> Result<Layout, LayoutError> {
        let mut layout = Layout::default();
        let pes = layout.rectangle(self.cols as u32, self.rows as u32);
        let mut declare = |id, name, owner, words: usize| {
            for &at in &pes {
                layout.tile(at, TileDecl { id, name, owner, bytes: 4 * words as u32, visit: 0 });
            }
        };
        let sum = self.longest(|op| if let Op::Allreduce { words, .. } = op { *words } else { 0 });
        declare(SUM, "sum", Owner::Activations, sum);
        for (axis, [here, next]) in MOVED.into_iter().enumerate() {
            declare(here, "block", Owner::Activations, self.moved(axis));
            declare(next, "next block", Owner::Receive, self.moved(axis));
        }
        let firsts = [(Axis::X, self.line(Coord::new(0, 0), Axis::Y)), (Axis::Y, self.line(Coord::new(0, 0), Axis::X))];
        for (index, (axis, starts)) in firsts.into_iter().enumerate() {
            for at in starts {
                if self.reduces(axis) {
                    self.tree(at, axis).lay_out(&mut layout)?;
                }
                if self.moved(index) > 0 {
                    let line = self.line(at, axis);
                    Cycle::Interleave.lay_out(&mut layout, &line, self.ring_base(axis), Way::Forward)?;
                }
            }
        }
        Ok(layout)
    }
}

impl Kernel for Program {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let at = pe.coord();
        let seat = |axis, member| if self.reduces(axis) { self.tree(at, axis).seat(pe, member) } else { Seat::Alone };
        let seats = Box::new([seat(Axis::X, at.col as usize), seat(Axis::Y, at.row as usize)]);
        let ring = |axis: usize, n, member, base| match self.moved(axis) {
            0 => None,
            _ => Cycle::Interleave.ends(pe, n, member, base, Way::Forward),
        };
        let rings = [
            ring(0, self.cols, at.col as usize, self.ring_base(Axis::X)),
            ring(1, self.rows, at.row as usize, self.ring_base(Axis::Y)),
        ];
        let mut tiles = MOVED.map(|pair| pair.map(|id| pe.tile(id)));
        let sum = pe.tile(SUM);
        for op in &self.ops {
            match *op {
                Op::Compute(cycles) => pe.compute(cycles, |_| {}),
                Op::Allreduce { axis, words } => {
                    let seat = &seats[usize::from(axis == Axis::Y)];
                    allreduce(pe, seat, sum.slice(0, words as usize), Fold::AddF16).await;
                }
                Op::Shift { rounds, words, product, round } => {
                    for _ in 0..rounds {
                        let x = start(pe, rings[0], &mut tiles[0], words[0]);
                        let y = start(pe, rings[1], &mut tiles[1], words[1]);
                        pe.compute(product, |_| {});
                        for exchange in [x, y].into_iter().flatten() {
                            exchange.join(pe).await;
                        }
                        pe.compute(round, |_| {});
                    }
                }
            }
        }
    }
}

/// Busy cycles of the PEs of a line, in order.
fn busy_of(line: &Trial) -> Result<Vec<u64>, TrialError> {
    Ok(line.wafer.records()?.iter().map(|r| r.1.busy).collect())
}

/// Busy cycles of a mesh, in all and on its border, where PE (c, r) is busy for `row[c]` + `column[r]`.
fn of_mesh(row: &[u64], column: &[u64]) -> (u64, u64) {
    let sum = |row: &[u64], column: &[u64]| {
        row.iter().sum::<u64>() * column.len() as u64 + column.iter().sum::<u64>() * row.len() as u64
    };
    let inner = |line: &[u64]| line.get(1..line.len().saturating_sub(1)).unwrap_or_default().to_vec();
    let all = sum(row, column);
    (all, all - sum(&inner(row), &inner(column)))
}

/// Starts to pass a block of `words` on, and names the buffer that fills the one that is here.
fn start(pe: Pe<'_>, ring: Option<RingEnds>, tiles: &mut [Tile; 2], words: u32) -> Option<Exchange> {
    let ring = ring.filter(|_| words > 0)?;
    let [out, into] = tiles.map(|tile| tile.slice(0, words as usize));
    tiles.swap(0, 1);
    Some(ring.exchange(pe, out, into))
}
