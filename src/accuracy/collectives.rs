//! Primitives on each chip: executed, beside values that are printed for WSE-2 and beside the published formulas.
//!
//! HPDC'24 reports less than 4 % of error of its formulas against WSE-2 for reductions, 8 to 21 % for broadcasts.
//! Invariant: published numbers come from `formulas` or are printed; where a chip has no run of its own the note of the
//! set says so. Called by `measure`.

use super::formulas::{Published, WSE2};
use super::primitives as run;
use super::{AccuracyError, Evidence, Point, Set, Subject};
use crate::fabric::Chip;

const HPDC: &str = "Luczynski et al., HPDC'24";
pub(super) const WAFERLLM: &str = "WaferLLM (OSDI'25), formula";

/// Sizes of lines and messages at which formulas are held, beside those at which values are printed.
const SIZES: [(usize, usize); 4] = [(16, 8), (64, 16), (256, 64), (512, 1024)];
/// Lines whose length is a square.
const SQUARES: [(usize, usize); 4] = [(16, 8), (64, 16), (64, 256), (256, 64)];
/// Group counts of WaferLLM's authors, by side.
pub(super) const GROUPS: [(usize, usize); 6] = [(240, 15), (360, 18), (420, 20), (540, 20), (660, 22), (720, 24)];

/// A set of points of formulas.
pub(super) fn formula_set(
    on: &Subject<'_>,
    name: &'static str,
    source: &'static str,
    note: &str,
    points: Vec<Point>,
) -> Set {
    let note = format!("{note}{}", on.published.said);
    Set { chip: on.chip.name.clone(), name, evidence: Evidence::Formula, source, note, points }
}

/// Values printed for WSE-2.
type Printed<'a> = &'a [(usize, usize, f64)];

/// Points of a primitive on a line: printed values on WSE-2, then the formula at `sizes`.
fn on_lines(
    on: &Subject<'_>,
    printed: Printed<'_>,
    sizes: &[(usize, usize)],
    formula: fn(&Published, f64, f64) -> f64,
    cycles: fn(&Chip, usize, usize) -> Result<u64, AccuracyError>,
) -> Result<Vec<Point>, AccuracyError> {
    let printed = if *on.published == WSE2 { printed } else { &[] };
    let computed = sizes.iter().map(|&(p, b)| (p, b, formula(on.published, p as f64, b as f64)));
    let all = printed.iter().copied().chain(computed);
    all.map(|(p, b, published)| Ok(Point::new(format!("P {p}, B {b}"), published, cycles(on.chip, p, b)?))).collect()
}

pub(super) fn chain(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 3082.0), (512, 256, 3322.0), (512, 4096, 7162.0), (64, 256, 634.0)];
    let points = on_lines(on, &printed, &SIZES, Published::chain, run::chain)?;
    Ok(formula_set(on, "chain reduce", HPDC, "B + 6 (P - 1)", points))
}

pub(super) fn tree(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 628.0), (512, 256, 2349.0), (512, 4096, 36909.0)];
    let points = on_lines(on, &printed, &SIZES, Published::tree, run::tree)?;
    let note = "the formula takes the larger of contention and distance; executed levels wait for one another, so both \
                add: n (B + 5) + P - 1";
    Ok(formula_set(on, "tree reduce", HPDC, note, points))
}

pub(super) fn two_phase(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 762.0), (512, 256, 1229.0), (512, 4096, 8699.0), (64, 256, 588.0)];
    let sizes: &[(usize, usize)] = if *on.published == WSE2 { &[] } else { &SQUARES };
    let points = on_lines(on, &printed, sizes, Published::two_phase, run::two_phase)?;
    let note = "one-sided chains in round(sqrt(P)) groups, then a chain of their last members";
    Ok(formula_set(on, "two-phase reduce", HPDC, note, points))
}

pub(super) fn broadcast(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 532.0), (512, 256, 772.0), (512, 4096, 4612.0), (64, 256, 324.0)];
    let points = on_lines(on, &printed, &SIZES, Published::broadcast, run::broadcast)?;
    let note = "B + P + 4; the authors find 8 to 21 % between it and WSE-2";
    Ok(formula_set(on, "broadcast", HPDC, note, points))
}

/// Runs a primitive on columns x rows with so many words.
type OnMesh = fn(&Chip, (u32, u32), usize) -> Result<u64, AccuracyError>;

/// Formula and execution on rectangles.
fn on_meshes(
    on: &Subject<'_>,
    formula: fn(&Published, f64, f64, f64) -> f64,
    cycles: OnMesh,
) -> Result<Vec<Point>, AccuracyError> {
    let sizes = [(4, 4, 8), (16, 8, 64), (32, 32, 16), (64, 64, 256)];
    let point = |(m, n, b): (u32, u32, usize)| {
        let published = formula(on.published, m.into(), n.into(), b as f64);
        Ok(Point::new(format!("{m}x{n}, B {b}"), published, cycles(on.chip, (m, n), b)?))
    };
    sizes.into_iter().map(point).collect()
}

pub(super) fn multicast(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let points = on_meshes(on, Published::multicast, run::multicast)?;
    Ok(formula_set(on, "2-D multicast", HPDC, "B + M + N + 3, one color over the rectangle", points))
}

pub(super) fn reduce_2d(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let points = on_meshes(on, Published::reduce_2d, run::reduce_2d)?;
    let note = "two of the chains above, rows and then the last column: the 2-D formula itself is not in our sources";
    Ok(formula_set(on, "2-D reduce", HPDC, note, points))
}

pub(super) fn ring(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let sizes = [(16, 64), (64, 256), (128, 512), (256, 1000)];
    let points = on_lines(on, &[], &sizes, Published::ring, run::ring)?;
    Ok(formula_set(on, "ring allreduce", HPDC, "2 (P - 1) B / P + 4 P - 6 + 10 (P - 1)", points))
}

pub(super) fn pipeline(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let points = on_lines(on, &[], &SIZES, Published::pipeline, run::pipeline)?;
    let note = "P (alpha + beta) + alpha P + 3 w: a third serialisation that the rules do not have";
    Ok(formula_set(on, "pipeline allreduce", WAFERLLM, note, points))
}

pub(super) fn two_tree(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let words: &[usize] = if *on.published == WSE2 { &[1, 5, 16] } else { &[1, 16] };
    let mut points = Vec::new();
    for ((p, groups), w) in GROUPS.into_iter().flat_map(|g| words.iter().map(move |w| (g, *w))) {
        let published = on.published.two_tree(p, groups, w as f64);
        let emulated = run::two_tree(on.chip, p, groups, w)?;
        points.push(Point::new(format!("P {p}, G {groups}, w {w}"), published, emulated));
    }
    let note = "hops + 5 a stage + 4 to 6 w (5 w taken); executed: hops + 5 a stage + 5 + 3 w + what a root's second \
                side waits for its first";
    Ok(formula_set(on, "two-tree allreduce", WAFERLLM, note, points))
}

/// Name of the relay's set, on every chip.
pub(super) const RELAY: &str = "store-and-forward relay";

/// Stages and words of the relays that are held to a formula.
pub(super) fn relays() -> impl Iterator<Item = (usize, usize)> {
    [2, 8, 32].into_iter().flat_map(|n| [8, 64, 256].map(|b| (n, b)))
}

/// Points of `relays`.
pub(super) fn relay_points(on: &Subject<'_>, formula: impl Fn(f64, f64) -> f64) -> Result<Vec<Point>, AccuracyError> {
    let point = |(n, b): (usize, usize)| {
        let emulated = run::relay(on.chip, n, b)?;
        Ok(Point::new(format!("{b} words over {n} stages"), formula(n as f64, b as f64), emulated))
    };
    relays().map(point).collect()
}
