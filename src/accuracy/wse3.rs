//! WSE-3 silicon: third-party runs of the released MeshGEMV and MeshGEMM on CS-3 (November 2025), and their link rates.
//!
//! Invariant: the points marked as calibration are those that the preset was fitted to. Called by `measure`.

use super::primitives as run;
use super::{AccuracyError, Evidence, Point, Set};
use crate::kernels::gemm::Finish;
use crate::math::gemm::Dims;

const CHIP: &str = "wse3";
const RUNS: &str = "third-party runs on CS-3, mean cycles";

/// P, groups, side of a tile, cycles, calibration.
const GEMV: [(usize, usize, usize, f64, bool); 20] = [
    (16, 4, 1, 238.0, true),
    (80, 8, 1, 417.0, true),
    (144, 8, 1, 602.0, true),
    (272, 8, 1, 971.0, true),
    (400, 8, 1, 1372.0, true),
    (528, 8, 1, 1742.0, true),
    (656, 8, 1, 2143.0, true),
    (16, 2, 1, 247.0, false),
    (16, 8, 1, 241.0, false),
    (80, 2, 1, 597.0, false),
    (80, 4, 1, 469.0, false),
    (208, 8, 1, 785.0, false),
    (336, 8, 1, 1188.0, false),
    (464, 8, 1, 1556.0, false),
    (592, 8, 1, 1924.0, false),
    (720, 8, 1, 2327.0, false),
    (16, 4, 8, 268.0, false),
    (80, 8, 8, 448.0, false),
    (272, 8, 8, 999.0, false),
    (720, 8, 8, 2358.0, false),
];

/// P, side of a tile, cycles, calibration.
const GEMM: [(usize, usize, f64, bool); 19] = [
    (16, 1, 2637.0, true),
    (16, 8, 10818.0, true),
    (80, 1, 12828.0, true),
    (80, 2, 17051.0, true),
    (80, 8, 53526.0, true),
    (336, 1, 53596.0, true),
    (80, 3, 21818.0, false),
    (144, 1, 23319.0, false),
    (144, 2, 30196.0, false),
    (144, 3, 38466.0, false),
    (144, 8, 93940.0, false),
    (336, 8, 224_392.0, false),
    (400, 1, 63788.0, false),
    (400, 2, 84964.0, false),
    (400, 3, 108_632.0, false),
    (400, 8, 267_135.0, false),
    (720, 1, 114_748.0, false),
    (720, 3, 195_490.0, false),
    (720, 8, 480_748.0, false),
];

/// What one hop, one wavelet and one turn add to a message.
pub(super) fn link_points(name: &'static str, [hop, wavelet, turn]: [f64; 3]) -> Result<Vec<Point>, AccuracyError> {
    let chip = run::chip(name)?;
    let near = run::message(&chip, 10, false, 8)?;
    let far = run::message(&chip, 60, false, 8)?;
    let long = run::message(&chip, 10, false, 8008)?;
    let bent = run::message(&chip, 10, true, 8)?;
    let point = |case: &str, published: f64, cycles: u64| Point::new(case.to_owned(), published, cycles).fitted(true);
    Ok(vec![
        point("100 hops more", 100.0 * hop, far - near),
        point("8000 wavelets more", 8000.0 * wavelet, long - near),
        point("a turn", turn, bent - near),
    ])
}

pub(super) fn links() -> Result<Set, AccuracyError> {
    Ok(Set {
        chip: CHIP,
        name: "links",
        evidence: Evidence::Silicon,
        source: "third-party silicon studies",
        note: "these are constants of the preset; the points show that messages take them",
        points: link_points(CHIP, [2.0, 1.125, 20.0])?,
    })
}

pub(super) fn mesh_gemv() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let mut points = Vec::new();
    for (p, groups, tile, published, calibration) in GEMV {
        let emulated = run::mesh_gemv(&chip, p, groups, (tile, tile))?;
        points.push(Point::new(format!("P {p}, G {groups}, tiles {tile}"), published, emulated).fitted(calibration));
    }
    let note = "two constants fitted: what a dependent stage takes, and the software of a call";
    Ok(Set { chip: CHIP, name: "MeshGEMV", evidence: Evidence::Silicon, source: RUNS, note, points })
}

/// Decode of one layer with tiles d = s = 9, f = 30: cycles of its communication.
const DECODE: [(usize, f64); 2] = [(240, 12_000.0), (360, 14_500.0)];

pub(super) fn decode_allreduces() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let call = u64::from(chip.overheads.call);
    let (d, s, f) = (9, 9, 30);
    // The ten allreduces of the released graph, in f16 elements.
    let elements: [usize; 10] = [1, 3 * d, s, 1, 1, d, d, 1, 2 * f, d];
    let mut points = Vec::new();
    for (p, published) in DECODE {
        let mut cycles = 0;
        for n in elements {
            cycles += run::two_tree(&chip, p, 24, n.div_ceil(2))? + call;
        }
        points.push(Point::new(format!("one layer at {p}, G 24"), published, cycles));
    }
    let note = "ten allreduces, each with the software of a call, back to back; published with profiling timers on, to \
                three digits, as the part of a layer that is communication";
    Ok(Set { chip: CHIP, name: "decode allreduces", evidence: Evidence::Silicon, source: RUNS, note, points })
}

pub(super) fn mesh_gemm() -> Result<Set, AccuracyError> {
    let chip = run::chip(CHIP)?;
    let mut points = Vec::new();
    for (p, t, published, calibration) in GEMM {
        let (emulated, closed_form) = run::mesh_gemm(&chip, p, Dims { m: t, k: t, n: t }, Finish::Lean)?;
        let point = Point::new(format!("P {p}, tiles {t}"), published, emulated);
        points.push(Point { closed_form, ..point.fitted(calibration) });
    }
    let note = "two constants fitted: a multiply-add, and the software of a round of exchange; loop and AXPY \
                starts are those of a published fit (38.65 and 2.19), which had these runs among its own";
    Ok(Set { chip: CHIP, name: "MeshGEMM", evidence: Evidence::Silicon, source: RUNS, note, points })
}
