//! The programs that are run, each giving its cycles on a chip.
//!
//! Collectives that kernels use are run as they are (`kernels::line`); the rest are scripts. A MeshGEMV is run on one
//! column of its mesh: columns hold tiles of the same shape and do not speak to each other, so one takes what all take.
//! Invariant: nothing here knows a published number. Called by the sets.

use crate::collectives::{Allreduce, Chain, Ring, RingOrder, Tree};
use crate::exec::RunOptions;
use crate::fabric::{Chip, Direction, Tx};
use crate::host::{bench, gemm};
use crate::kernels::gemm::{Algo, Finish, Gemm, Load, Matrices, Spec};
use crate::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};
use crate::kernels::line::{Line, LineOp, row_of};
use crate::kernels::{Numerics, Row};
use crate::math::gemm::Dims;
use crate::math::split::split;
use crate::units::{Color, Coord};

use super::script::{Op, Script, run};
use super::{AccuracyError, Point};

/// Largest mesh side on which a GEMM is executed.
const GEMM_SIDE_EXECUTED: usize = 80;

fn line(collective: Allreduce, op: LineOp, words: usize, chip: &Chip) -> Result<u64, AccuracyError> {
    let line = Line { collective, op, words, passes: 1 };
    let (layout, formula) = (line.layout()?, line.closed_form_cycles(chip));
    let executed = run(line, layout, chip)?;
    same("collective", format!("{words} words"), executed, formula)
}

fn same(kernel: &'static str, case: String, executed: u64, formula: u64) -> Result<u64, AccuracyError> {
    if executed == formula {
        return Ok(executed);
    }
    Err(AccuracyError::Differs { kernel, case, executed, formula })
}

/// Chain of p cores to the last.
pub(super) fn chain(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    line(Allreduce::Chain(Chain { line: row_of(p), base: 0 }), LineOp::Reduce, words, chip)
}

/// Broadcast from the last of p cores.
pub(super) fn broadcast(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    line(Allreduce::Chain(Chain { line: row_of(p), base: 0 }), LineOp::Broadcast, words, chip)
}

/// Chain, then broadcast back.
pub(super) fn pipeline(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    line(Allreduce::Chain(Chain { line: row_of(p), base: 0 }), LineOp::Allreduce, words, chip)
}

/// Reduce-scatter and allgather round a ring that crosses the line.
pub(super) fn ring(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    line(
        Allreduce::Ring(Ring { line: row_of(p), order: RingOrder::WrapAround, base: 0 }),
        LineOp::Allreduce,
        words,
        chip,
    )
}

/// Binary tree over p cores, p a power of two.
pub(super) fn tree(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    let groups = (0..p.ilog2()).rev().map(|level| 1 << level).collect();
    line(Allreduce::Tree(Tree { line: row_of(p), groups, base: 0 }), LineOp::Reduce, words, chip)
}

/// Two-level tree of two-sided chains, then broadcast: the wafer's own allreduce.
pub(super) fn two_tree(chip: &Chip, p: usize, groups: usize, words: usize) -> Result<u64, AccuracyError> {
    let tree = Tree { line: row_of(p), groups: vec![groups, 1], base: 0 };
    line(Allreduce::Tree(tree), LineOp::Allreduce, words, chip)
}

/// One-sided chains in groups of about the root of p, then a chain of their last members.
pub(super) fn two_phase(chip: &Chip, p: usize, words: usize) -> Result<u64, AccuracyError> {
    let (all, groups) = (row_of(p), (p as f64).sqrt().round() as usize);
    let mut script = Script::new(words);
    let mut roots = Vec::new();
    for group in split(p, groups) {
        script.chain(&all[group.clone()], 0)?;
        roots.push(all[group.end - 1]);
    }
    script.chain(&roots, 2)?;
    script.cycles(chip)
}

/// Chains along m columns in every one of n rows, then a chain down the last column.
pub(super) fn reduce_2d(chip: &Chip, (m, n): (u32, u32), words: usize) -> Result<u64, AccuracyError> {
    let mut script = Script::new(words);
    for row in 0..n {
        script.chain(&(0..m).map(|col| Coord::new(col, row)).collect::<Vec<_>>(), 0)?;
    }
    script.chain(&(0..n).map(|row| Coord::new(m - 1, row)).collect::<Vec<_>>(), 2)?;
    script.cycles(chip)
}

/// One multicast from the corner over m columns and n rows.
pub(super) fn multicast(chip: &Chip, (m, n): (u32, u32), words: usize) -> Result<u64, AccuracyError> {
    let (mut script, color) = (Script::new(words), Color(0));
    for at in (0..n).flat_map(|row| (0..m).map(move |col| Coord::new(col, row))) {
        let (rx, own) = match (at.col, at.row) {
            (0, 0) => (Direction::Ramp, Tx::NONE),
            (_, 0) => (Direction::West, Tx::RAMP),
            _ => (Direction::North, Tx::RAMP),
        };
        let east = if at.row == 0 && at.col + 1 < m { own.and(Direction::East) } else { own };
        let tx = if at.row + 1 < n { east.and(Direction::South) } else { east };
        script.layout.route(at, color, rx, tx)?;
        script.op(at, if at == Coord::new(0, 0) { Op::Send(color) } else { Op::Recv(color) });
    }
    script.cycles(chip)
}

/// One message from (0, 0) to a core `hops` to the east, and as many to the south of that if it `turns`.
pub(super) fn message(chip: &Chip, hops: u32, turns: bool, words: usize) -> Result<u64, AccuracyError> {
    let (mut script, color) = (Script::new(words), Color(0));
    let (from, corner) = (Coord::new(0, 0), Coord::new(hops, 0));
    let to = if turns { Coord::new(hops, hops) } else { Coord::new(2 * hops, 0) };
    if turns {
        let way = [(0, Direction::East, Direction::West), (1, Direction::South, Direction::North)];
        script.layout.route(from, color, Direction::Ramp, Tx::to(way[0].1))?;
        for k in 1..hops {
            script.layout.route(Coord::new(k, 0), color, way[0].2, Tx::to(way[0].1))?;
            script.layout.route(Coord::new(hops, k), color, way[1].2, Tx::to(way[1].1))?;
        }
        script.layout.route(corner, color, Direction::West, Tx::to(Direction::South))?;
        script.layout.route(to, color, Direction::North, Tx::RAMP)?;
    } else {
        script.layout.line(color, from, to, false)?;
    }
    script.op(from, Op::Send(color));
    script.op(to, Op::Recv(color));
    script.cycles(chip)
}

/// A message that the software of every core on its way takes and sends on: `stages` links, set up once.
pub(super) fn relay(chip: &Chip, stages: usize, words: usize) -> Result<u64, AccuracyError> {
    let (mut script, cores) = (Script::new(words), row_of(stages + 1));
    let color = |from: usize| Color((from % 2) as u8);
    script.op(cores[0], Op::Compute(chip.f16.vector.ceil() as u64));
    for (i, pair) in cores.windows(2).enumerate() {
        script.layout.line(color(i), pair[0], pair[1], false)?;
        script.op(pair[0], Op::Send(color(i)));
        script.op(pair[1], Op::Recv(color(i)));
        script.op(pair[1], Op::Compute(chip.overheads.relay.into()));
    }
    script.cycles(chip)
}

fn cycles_of(kernel: &'static str, row: &Row) -> Result<u64, AccuracyError> {
    row.cycles.ok_or_else(|| AccuracyError::Refused { kernel, reason: row.refused.clone().unwrap_or_default() })
}

/// MeshGEMV of tiles `mt x nt` in f16 on p x p cores with two-level trees: one column of it.
pub(super) fn mesh_gemv(chip: &Chip, p: usize, groups: usize, (mt, nt): (usize, usize)) -> Result<u64, AccuracyError> {
    let kernel = Gemv {
        shape: GemvShape { cols: 1, rows: p, m: p * mt, n: nt },
        algo: GemvAlgo::KTree(vec![groups, 1]),
        numerics: Numerics::Paper,
        chip: chip.clone(),
        passes: 1,
    };
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let row = bench::gemv(&kernel, &options, &Operands { x: &[], w: &|_, _| 0 })?.0;
    same("MeshGEMV", format!("P {p}, G {groups}"), cycles_of("MeshGEMV", &row)?, kernel.closed_form_cycles())
}

/// MeshGEMM of tiles `m x k x n` in f16 on p x p cores, B aligned by the host as in the released code: a point of a
/// set, from the closed form beyond `GEMM_SIDE_EXECUTED`; none there on a chip for which the kernel has no closed form.
pub(super) fn mesh_gemm(
    chip: &Chip,
    (p, tile): (usize, Dims),
    finish: Finish,
    case: String,
    published: f64,
) -> Result<Option<Point>, AccuracyError> {
    let size = Dims { m: p * tile.m, k: p * tile.k, n: p * tile.n };
    let spec = Spec { load: Load::Aligned, finish, ..Spec::new(Algo::Mesh, (p, p), size, Numerics::Paper) };
    let formula = Gemm::new(spec, chip).formula();
    if p > GEMM_SIDE_EXECUTED {
        let point = |cycles| Point { closed_form: true, ..Point::new(case, published, cycles) };
        return Ok(formula.map(point));
    }
    let (zero, options) = (|_: usize, _: usize| 0.0, RunOptions { dry: true, ..RunOptions::new(1) });
    let run = gemm::run(spec, chip, &options, Matrices { a: &zero, b: &zero })?;
    let executed = cycles_of("MeshGEMM", &run.row)?;
    if let Some(formula) = formula {
        same("MeshGEMM", format!("P {p}"), executed, formula)?;
    }
    Ok(Some(Point::new(case, published, executed)))
}
