//! WSE-2: kernels beside WaferLLM's formulas, Table 6, and the relays that Table 4 holds.
//!
//! Invariant: as in `formulas`; software constants in a formula are the chip's own. Called by `measure`.

use super::collectives::{GROUPS, RELAY, WAFERLLM, formula_set, relay_points};
use super::primitives as run;
use super::{AccuracyError, Point, Set, Subject};
use crate::kernels::gemm::Finish;
use crate::math::gemm::Dims;

pub(super) fn mesh_gemv(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let (rates, call) = (on.chip.f16, f64::from(on.chip.overheads.call));
    let mut points = Vec::new();
    for (p, groups) in GROUPS {
        let n = 16384_usize.div_ceil(p);
        let tile = rates.launch + n as f64 * (rates.axpy + n as f64 * rates.mac);
        let published = tile + call + on.published.two_tree(p, groups, n as f64 / 2.0);
        let emulated = run::mesh_gemv(on.chip, p, groups, (n, n))?;
        points.push(Point::new(format!("formula, 16K x 16K at {p}, G {groups}"), published, emulated));
    }
    // 0.0012 ms at 1.1 GHz; two digits are published.
    let table_6 = run::mesh_gemv(on.chip, 720, 24, (23, 23))?;
    points.push(Point::new("Table 6, 16K x 16K at 720".to_owned(), 1320.0, table_6).fitted(true));
    let note = "c_k + n (c_v + n / 2) + c_AR + allreduce; Table 6 states two digits and no mesh: 720 is taken";
    Ok(formula_set(on, "MeshGEMV", "WaferLLM (OSDI'25), formula and Table 6", note, points))
}

pub(super) fn mesh_gemm(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let (rates, round) = (on.chip.f16, f64::from(on.chip.overheads.exchange));
    let mut points = Vec::new();
    for (p, t) in [(8, 8), (16, 16), (32, 8), (32, 32), (64, 4), (64, 16), (360, 8), (720, 6)] {
        let (n, tile) = (p as f64, t as f64);
        let product = tile * (rates.launch + tile * (rates.axpy + tile * rates.mac));
        let step = product.max(2.0 + 4.0 + tile * tile / 2.0);
        let published = n * (step + round) + n / 2.0 * round;
        let (shape, case) = ((p, Dims { m: t, k: t, n: t }), format!("P {p}, tiles {t}"));
        points.extend(run::mesh_gemm(on.chip, shape, Finish::Lean, case, published)?);
    }
    let note = "P (max(product, 2 alpha + latency) + c_s) + P / 2 c_s; executed alignment also pays its own messages";
    Ok(formula_set(on, "MeshGEMM", WAFERLLM, note, points))
}

/// Table 4, T10, LLaMA3-8B: side and tokens a second. A layer is 13 sums, relayed core by core.
const T10_DECODE: [(usize, f64); 3] = [(420, 418.3), (540, 339.4), (660, 265.1)];

pub(super) fn relay(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let mut points = Vec::new();
    for (p, tokens) in T10_DECODE {
        let a_sum = 1.1e9 / (32.0 * tokens) / 13.0;
        let case = format!("Table 4, T10 at {p}: one of its 13 sums, a word over {p} stages");
        points.push(Point::new(case, a_sum, run::relay(on.chip, p, 1)?).fitted(true));
    }
    // A message of one word takes 7; the rest of a stage is software.
    let software = on.chip.overheads.t10_stage - 7.0;
    points.extend(relay_points(on, |n, b| n * (b + 6.0 + software))?);
    let note = "no relay alone is published for WSE-2: T10's decode is 13 of them a layer and nothing else by the \
                formula that explains its table, b_T = 14.65 a stage; more words: N messages of HPDC'24, B + 6, each \
                with the software of such a stage";
    Ok(formula_set(on, RELAY, "WaferLLM (OSDI'25), Table 4, and HPDC'24", note, points))
}
