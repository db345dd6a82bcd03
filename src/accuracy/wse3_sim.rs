//! WSE-3 as the vendor's cycle-level simulator has it: third-party runs.
//!
//! Invariant: as in `wse3`. The simulator is known to be 1.4 to 1.7 times faster than silicon on memory-bound vector
//! operations. Called by `measure`.

use super::collectives::{GROUPS, RELAY, formula_set, relay_points};
use super::primitives as run;
use super::wse3::{link_points, vector_points};
use super::{AccuracyError, Evidence, Point, Set, Subject};
use crate::fabric::Chip;
use crate::kernels::gemm::Finish;
use crate::math::gemm::Dims;

const RUNS: &str = "third-party runs of the vendor's simulator";

/// MeshGEMM at P = 3 with Kt = Nt = 8, by Mt from 1: without products, with one product a step, and with two.
const EXCHANGE_ONLY: [u32; 16] = [524, 530, 545, 557, 568, 581, 602, 620, 641, 662, 683, 708, 736, 763, 791, 814];
const ONE_PRODUCT: [u32; 16] =
    [2096, 2105, 2129, 2149, 2167, 2184, 2202, 2212, 2560, 2544, 2680, 2631, 2744, 2760, 2942, 2801];
const TWO_PRODUCTS: [u32; 16] =
    [3716, 3724, 3794, 3814, 3832, 3850, 3867, 3832, 4545, 4488, 4736, 4615, 4820, 4829, 5174, 4824];

fn set(on: &Subject<'_>, name: &'static str, note: &str, points: Vec<Point>) -> Set {
    let (chip, note) = (on.chip.name.clone(), note.to_owned());
    Set { chip, name, evidence: Evidence::Simulator, source: RUNS, note, points }
}

pub(super) fn links(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let mut points = link_points(on.chip, [2.0, 1.0, 33.0])?;
    // That message goes two hops.
    let arrival = run::message(on.chip, 1, false, 8)?.saturating_sub(u64::from(on.chip.alpha));
    points.push(Point::new("8 words over 1 hop, to the receiver's task".to_owned(), 19.0, arrival).fitted(true));
    Ok(set(on, "links", "these are constants of the preset; the points show that messages take them", points))
}

pub(super) fn relay(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let points = relay_points(on, |n, b| 1.001 * n * b + 16.1 * n + 16.5)?;
    let points = points.into_iter().map(|p| p.fitted(true)).collect();
    Ok(set(on, RELAY, "published as a fit, 1.001 N B + 16.1 N + 16.5; its set-up is a vector's", points))
}

/// The tile of a GEMV as the simulator runs it: published as a fit.
fn published_tile(n: f64) -> f64 {
    358.0 + 0.52 * n * n
}

pub(super) fn mesh_gemv(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let mut points = Vec::new();
    for ((p, groups), n) in GROUPS.into_iter().flat_map(|g| [8, 23].map(|n| (g, n))) {
        let published = published_tile(n as f64) + on.published.two_tree(p, groups, n as f64 / 2.0);
        let emulated = run::mesh_gemv(on.chip, p, groups, (n, n))?;
        points.push(Point::new(format!("P {p}, G {groups}, tiles {n}"), published, emulated));
    }
    let note = "tile by the published fit, 358 + 0.52 n n, and the two-tree allreduce by WaferLLM's formula";
    Ok(formula_set(on, "MeshGEMV", RUNS, note, points))
}

pub(super) fn mesh_gemm(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let products = |times: f64| {
        let mut chip = on.chip.clone();
        for rate in [&mut chip.f16.mac, &mut chip.f16.axpy, &mut chip.f16.launch] {
            *rate *= times;
        }
        chip
    };
    let levels = [
        (products(1.0), "one product a step", ONE_PRODUCT, true),
        (products(0.0), "exchange only", EXCHANGE_ONLY, true),
        (products(2.0), "two products a step", TWO_PRODUCTS, false),
    ];
    let mut points = Vec::new();
    for (chip, what, runs, calibration) in levels {
        for (at, published) in runs.into_iter().enumerate() {
            let (shape, case) = ((3, Dims { m: at + 1, k: 8, n: 8 }), format!("{what}, Mt {}", at + 1));
            let point = run::mesh_gemm(&chip, shape, Finish::Home, case, f64::from(published))?;
            points.extend(point.map(|point| point.fitted(calibration)));
        }
    }
    let note = "P 3, Kt = Nt = 8, blocks home again as in the released code. Three constants fitted to exchange only \
                and one product: software of a round, of a word in it, and of an AXPY; the staircase in ceil(Mt / 8) \
                is not modelled";
    Ok(set(on, "MeshGEMM", note, points))
}

/// Cycles of a GEMV tile of side n, called once, by the chip's rates.
fn tile(chip: &Chip, n: usize) -> u64 {
    chip.f16.gemv(n, n).0 + u64::from(chip.overheads.call)
}

pub(super) fn vectors(on: &Subject<'_>) -> Result<Set, AccuracyError> {
    let (chip, rates) = (on.chip, on.chip.f16);
    let mut points = vector_points(chip, [8.0, 4.0, 0.5]);
    let streamed = rates.vector + 4096.0 * rates.mac;
    let looped = 256.0 * (rates.vector + 16.0 * rates.mac);
    points.extend([
        Point::new("f16 FMA of 4096 elements".to_owned(), 1040.0, streamed.round() as u64).fitted(true),
        Point::new("the same, tiles of 16 in a loop".to_owned(), 4617.0, looped.round() as u64),
        Point::new("the same, mapped tiles of 16".to_owned(), 2840.0, rates.gemv(256, 16).0),
    ]);
    for n in [8, 16, 32] {
        points.push(Point::new(format!("GEMV tile {n}x{n}"), published_tile(n as f64), tile(chip, n)).fitted(true));
    }
    let note = "charged rates, not executed kernels; the GEMV tile is published as a fit, 358 + 0.52 a \
                multiply-add, of which the start is fitted";
    points.iter_mut().for_each(|p| p.closed_form = true);
    Ok(set(on, "vector operations", note, points))
}
