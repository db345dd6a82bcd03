//! WSE-3 as the vendor's cycle-level simulator has it: third-party runs.
//!
//! Invariant: as in `wse3`. The simulator is known to be 1.4 to 1.7 times faster than silicon on memory-bound vector
//! operations. Called by `measure`.

use super::primitives as run;
use super::wse3::link_points;
use super::{AccuracyError, Evidence, Point, Set};
use crate::fabric::Chip;
use crate::kernels::gemm::Finish;
use crate::math::gemm::Dims;

const CHIP: &str = "wse3-sim";
const RUNS: &str = "third-party runs of the vendor's simulator";

/// MeshGEMM at P = 3 with Kt = Nt = 8, by Mt from 1: without products, and with one product a step.
const EXCHANGE_ONLY: [u32; 16] = [524, 530, 545, 557, 568, 581, 602, 620, 641, 662, 683, 708, 736, 763, 791, 814];
const ONE_PRODUCT: [u32; 16] =
    [2096, 2105, 2129, 2149, 2167, 2184, 2202, 2212, 2560, 2544, 2680, 2631, 2744, 2760, 2942, 2801];

fn set(name: &'static str, note: &'static str, points: Vec<Point>) -> Set {
    Set { chip: CHIP, name, evidence: Evidence::Simulator, source: RUNS, note, points }
}

pub(super) fn links() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let mut points = link_points(CHIP, [2.0, 1.0, 33.0])?;
    let arrival = run::message(&chip, 1, false, 8)? - u64::from(chip.alpha); // that message goes two hops
    points.push(Point::new("8 words over 1 hop, to the receiver's task".to_owned(), 19.0, arrival).fitted(true));
    for (n, b) in [2, 8, 32].into_iter().flat_map(|n| [8, 64, 256].map(|b| (n, b))) {
        let (stages, words) = (n as f64, b as f64);
        let published = 1.001 * stages * words + 16.1 * stages + 16.5;
        let point = Point::new(format!("relay of {b} words over {n} stages"), published, run::relay(&chip, n, b)?);
        points.push(point.fitted(true));
    }
    let note = "the store-and-forward relay is published as a fit, 1.001 N B + 16.1 N + 16.5; its set-up is a vector's";
    Ok(set("links and relay", note, points))
}

pub(super) fn mesh_gemm() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let mut idle = chip.clone();
    (idle.f16.mac, idle.f16.axpy, idle.f16.launch) = (0.0, 0.0, 0.0);
    let mut points = Vec::new();
    for (chip, what, runs) in [(&chip, "one product a step", ONE_PRODUCT), (&idle, "exchange only", EXCHANGE_ONLY)] {
        for (at, published) in runs.into_iter().enumerate() {
            let (emulated, _) = run::mesh_gemm(chip, 3, Dims { m: at + 1, k: 8, n: 8 }, Finish::Home)?;
            let case = format!("{what}, Mt {}", at + 1);
            points.push(Point::new(case, f64::from(published), emulated).fitted(true));
        }
    }
    let note = "P 3, Kt = Nt = 8, blocks home again as in the released code. Three constants fitted: software of a \
                round, of a word in it, and of an AXPY; the staircase in ceil(Mt / 8) is not modelled";
    Ok(set("MeshGEMM", note, points))
}

/// Cycles of a GEMV tile of side n, called once, by the chip's rates.
fn tile(chip: &Chip, n: usize) -> u64 {
    chip.f16.gemv(n, n).0 + u64::from(chip.overheads.call)
}

pub(super) fn vectors() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let streamed = chip.f16.vector + 4096.0 * chip.f16.mac;
    let mut points = vec![
        Point::new("FMA of 4096 elements, one operation".to_owned(), 1040.0, streamed.round() as u64).fitted(true),
        Point::new("FMA of 4096 elements, mapped tiles of 16".to_owned(), 2840.0, chip.f16.gemv(256, 16).0),
    ];
    for n in [8, 16, 32] {
        let published = 358.0 + 0.52 * (n * n) as f64;
        points.push(Point::new(format!("GEMV tile {n}x{n}"), published, tile(&chip, n)).fitted(true));
    }
    let note = "charged rates, not executed kernels; the GEMV tile is published as a fit, 358 + 0.52 a \
                multiply-add, of which the start is fitted";
    points.iter_mut().for_each(|p| p.closed_form = true);
    Ok(set("vector operations, f16", note, points))
}
