//! WSE-2: formulas that their authors hold against silicon, with the values that they print; and Table 6.
//!
//! Luczynski et al. ("Near-Optimal Wafer-Scale Reduce", HPDC'24) report less than 4 % of error against WSE-2 for
//! reductions, 8 to 21 % for broadcasts; WaferLLM's formulas are those that explain its tables.
//! Invariant: formulas are in floating point and know nothing of the emulator's rules. Called by `measure`.

use super::primitives as run;
use super::{AccuracyError, Evidence, Point, Set};
use crate::fabric::Chip;
use crate::kernels::gemm::Finish;
use crate::math::gemm::Dims;

const HPDC: &str = "Luczynski et al., HPDC'24";
const WAFERLLM: &str = "WaferLLM (OSDI'25), formula";
const CHIP: &str = "wse2";

/// Sizes of lines and messages at which formulas are held, beside those at which values are printed.
const SIZES: [(usize, usize); 4] = [(16, 8), (64, 16), (256, 64), (512, 1024)];

fn formula_set(name: &'static str, source: &'static str, note: &'static str, points: Vec<Point>) -> Set {
    Set { chip: CHIP, name, evidence: Evidence::Formula, source, note, points }
}

/// Points of a primitive on a line: printed values, then the formula at `SIZES`.
fn on_lines(
    printed: &[(usize, usize, f64)],
    formula: fn(f64, f64) -> f64,
    cycles: fn(&Chip, usize, usize) -> Result<u64, AccuracyError>,
) -> Result<Vec<Point>, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let computed = SIZES.map(|(p, b)| (p, b, formula(p as f64, b as f64)));
    let all = printed.iter().copied().chain(computed);
    all.map(|(p, b, published)| Ok(Point::new(format!("P {p}, B {b}"), published, cycles(&chip, p, b)?))).collect()
}

pub(super) fn chain() -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 3082.0), (512, 256, 3322.0), (512, 4096, 7162.0), (64, 256, 634.0)];
    let points = on_lines(&printed, |p, b| b + 6.0 * (p - 1.0), run::chain)?;
    Ok(formula_set("chain reduce", HPDC, "B + 6 (P - 1)", points))
}

pub(super) fn tree() -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 628.0), (512, 256, 2349.0), (512, 4096, 36909.0)];
    let formula = |p: f64, b: f64| {
        let n = p.log2();
        (b * n).max(b * p * n / (2.0 * (p - 1.0)) + p - 1.0) + 5.0 * n
    };
    let note = "the formula takes the larger of contention and distance; executed levels wait for one another, so both \
                add: n (B + 5) + P - 1";
    Ok(formula_set("tree reduce", HPDC, note, on_lines(&printed, formula, run::tree)?))
}

pub(super) fn two_phase() -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 762.0), (512, 256, 1229.0), (512, 4096, 8699.0), (64, 256, 588.0)];
    let chip = run::chip(CHIP)?;
    let point = |(p, b, published): (usize, usize, f64)| {
        Ok(Point::new(format!("P {p}, B {b}"), published, run::two_phase(&chip, p, b)?))
    };
    let points = printed.into_iter().map(point).collect::<Result<_, AccuracyError>>()?;
    let note = "one-sided chains in round(sqrt(P)) groups, then a chain of their last members";
    Ok(formula_set("two-phase reduce", HPDC, note, points))
}

pub(super) fn broadcast() -> Result<Set, AccuracyError> {
    let printed = [(512, 16, 532.0), (512, 256, 772.0), (512, 4096, 4612.0), (64, 256, 324.0)];
    let points = on_lines(&printed, |p, b| b + p + 4.0, run::broadcast)?;
    Ok(formula_set("broadcast", HPDC, "B + P + 4; the authors find 8 to 21 % between it and silicon", points))
}

/// Runs a primitive on columns x rows with so many words.
type OnMesh = fn(&Chip, (u32, u32), usize) -> Result<u64, AccuracyError>;

/// Formula and execution on rectangles.
fn on_meshes(formula: fn(f64, f64, f64) -> f64, cycles: OnMesh) -> Result<Vec<Point>, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let sizes = [(4, 4, 8), (16, 8, 64), (32, 32, 16), (64, 64, 256)];
    let point = |(m, n, b): (u32, u32, usize)| {
        let published = formula(m.into(), n.into(), b as f64);
        Ok(Point::new(format!("{m}x{n}, B {b}"), published, cycles(&chip, (m, n), b)?))
    };
    sizes.into_iter().map(point).collect()
}

pub(super) fn multicast() -> Result<Set, AccuracyError> {
    let points = on_meshes(|m, n, b| b + m + n + 3.0, run::multicast)?;
    Ok(formula_set("2-D multicast", HPDC, "B + M + N + 3, one color over the rectangle", points))
}

pub(super) fn reduce_2d() -> Result<Set, AccuracyError> {
    let points = on_meshes(|m, n, b| 2.0 * b + 6.0 * (m - 1.0) + 6.0 * (n - 1.0), run::reduce_2d)?;
    let note = "two of the chains above, rows and then the last column: the 2-D formula itself is not in our sources";
    Ok(formula_set("2-D reduce", HPDC, note, points))
}

pub(super) fn ring() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let point = |(p, b): (usize, usize)| {
        let (n, w) = (p as f64, b as f64);
        let published = 2.0 * (n - 1.0) * w / n + 4.0 * n - 6.0 + 10.0 * (n - 1.0);
        Ok(Point::new(format!("P {p}, B {b}"), published, run::ring(&chip, p, b)?))
    };
    let points = [(16, 64), (64, 256), (128, 512), (256, 1000)].into_iter().map(point);
    let points = points.collect::<Result<_, AccuracyError>>()?;
    Ok(formula_set("ring allreduce", HPDC, "2 (P - 1) B / P + 4 P - 6 + 10 (P - 1)", points))
}

pub(super) fn pipeline() -> Result<Set, AccuracyError> {
    let points = on_lines(&[], |p, w| 7.0 * p + 3.0 * w, run::pipeline)?;
    let note = "P (alpha + beta) + alpha P + 3 w: a third serialisation that the rules do not have";
    Ok(formula_set("pipeline allreduce", WAFERLLM, note, points))
}

/// Group counts of the authors.
const GROUPS: [(usize, usize); 6] = [(240, 15), (360, 18), (420, 20), (540, 20), (660, 22), (720, 24)];

/// Latency of the published two-tree allreduce of p cores in g groups, without the payload.
fn two_tree_latency(p: usize, groups: usize) -> f64 {
    let g = p / groups;
    let (r1, half) = (g / 2, groups / 2);
    let r2 = half * g + r1;
    let (s1, s2) = (r1.max(g - 1 - r1), half.max(groups - 1 - half));
    (s1 + s2 * g + r2.max(p - 1 - r2) + 5 * (s1 + s2)) as f64
}

pub(super) fn two_tree() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let mut points = Vec::new();
    for ((p, groups), w) in GROUPS.into_iter().flat_map(|g| [1, 5, 16].map(|w| (g, w))) {
        let published = two_tree_latency(p, groups) + 5.0 * w as f64;
        let emulated = run::two_tree(&chip, p, groups, w)?;
        points.push(Point::new(format!("P {p}, G {groups}, w {w}"), published, emulated));
    }
    let note = "hops + 5 a stage + 4 to 6 w (5 w taken); executed: hops + 5 a stage + 5 + 3 w + what a root's second \
                side waits for its first";
    Ok(formula_set("two-tree allreduce", WAFERLLM, note, points))
}

pub(super) fn mesh_gemv() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let (rates, call) = (chip.f16, f64::from(chip.overheads.call));
    let mut points = Vec::new();
    for (p, groups) in GROUPS {
        let n = 16384_usize.div_ceil(p);
        let tile = rates.launch + n as f64 * (rates.axpy + n as f64 * rates.mac);
        let published = tile + call + two_tree_latency(p, groups) + 5.0 * n as f64 / 2.0;
        let emulated = run::mesh_gemv(&chip, p, groups, (n, n))?;
        points.push(Point::new(format!("formula, 16K x 16K at {p}, G {groups}"), published, emulated));
    }
    // 0.0012 ms at 1.1 GHz; two digits are published.
    let table_6 = run::mesh_gemv(&chip, 720, 24, (23, 23))?;
    points.push(Point::new("Table 6, 16K x 16K at 720".to_owned(), 1320.0, table_6).fitted(true));
    let note = "c_k + n (c_v + n / 2) + c_AR + allreduce; Table 6 states two digits and no mesh: 720 is taken";
    Ok(formula_set("MeshGEMV", "WaferLLM (OSDI'25), formula and Table 6", note, points))
}

pub(super) fn mesh_gemm() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let (rates, round) = (chip.f16, f64::from(chip.overheads.exchange));
    let mut points = Vec::new();
    for (p, t) in [(8, 8), (16, 16), (32, 8), (32, 32), (64, 4), (64, 16), (360, 8), (720, 6)] {
        let (n, tile) = (p as f64, t as f64);
        let product = tile * (rates.launch + tile * (rates.axpy + tile * rates.mac));
        let step = product.max(2.0 + 4.0 + tile * tile / 2.0);
        let published = n * (step + round) + n / 2.0 * round;
        let (emulated, closed_form) = run::mesh_gemm(&chip, p, Dims { m: t, k: t, n: t }, Finish::Lean)?;
        points.push(Point { closed_form, ..Point::new(format!("P {p}, tiles {t}"), published, emulated) });
    }
    let note = "P (max(product, 2 alpha + latency) + c_s) + P / 2 c_s; executed alignment also pays its own messages";
    Ok(formula_set("MeshGEMM", WAFERLLM, note, points))
}
