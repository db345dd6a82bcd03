//! How close to silicon: primitives and kernels, executed on the wafer presets, beside published formulas and points.
//!
//! | file          | what                                                                               |
//! |---------------|------------------------------------------------------------------------------------|
//! | `script`      | a kernel whose cores run short lists of operations, for primitives                 |
//! | `primitives`  | the programs that are run, each giving its cycles                                  |
//! | `formulas`    | published formulas, and the constants of each chip in them                         |
//! | `collectives` | primitives on every chip beside these formulas                                     |
//! | `wse2`        | kernels beside WaferLLM's formulas, Tables 4 and 6                                 |
//! | `wse3`        | public silicon runs of MeshGEMV, MeshGEMM, decode, links and vector operations     |
//! | `wse3_sim`    | public runs of the vendor's simulator                                              |
//! | `page`        | all of it as Markdown, HTML and JSON                                               |
//!
//! Invariant: an emulated number is executed virtual time, or a kernel's closed form where the point says so; a closed
//! form is used only beyond meshes on which this very run found it equal to execution. Constants were fitted to points
//! marked as calibration and to no other.
//! Called by `app`.

mod collectives;
mod formulas;
mod page;
mod primitives;
mod script;
mod wse2;
mod wse3;
mod wse3_sim;

use serde::Serialize;

use crate::exec::{LaunchError, PassError};
use crate::fabric::Chip;

use formulas::{Published, WSE2, WSE3, WSE3_SIM};

pub use page::{Page, html, json, markdown};

/// What the published numbers of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// A formula that its authors hold against silicon.
    Formula,
    /// Runs on silicon.
    Silicon,
    /// Runs of the vendor's simulator.
    Simulator,
}

impl Evidence {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Formula => "formula",
            Self::Silicon => "silicon",
            Self::Simulator => "simulator",
        }
    }
}

/// One number beside another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Which mesh and sizes.
    pub case: String,
    /// As published, cycles.
    pub published: f64,
    /// As emulated, cycles.
    pub emulated: f64,
    /// A constant of the chip was fitted to this point (or is it): no test of the model.
    pub calibration: bool,
    /// From the kernel's closed form, not executed.
    pub closed_form: bool,
}

impl Point {
    /// A point of validation, executed.
    fn new(case: String, published: f64, emulated: u64) -> Self {
        Self { case, published, emulated: emulated as f64, calibration: false, closed_form: false }
    }

    fn fitted(self, calibration: bool) -> Self {
        Self { calibration, ..self }
    }

    /// emulated / published - 1.
    pub fn error(&self) -> f64 {
        self.emulated / self.published - 1.0
    }
}

/// Points of one primitive or kernel on one chip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Set {
    /// Name of the chip that ran.
    pub chip: String,
    /// The primitive or kernel.
    pub name: &'static str,
    /// What the published numbers are.
    pub evidence: Evidence,
    /// Where they are published.
    pub source: &'static str,
    /// What is to be known when reading the errors.
    pub note: String,
    /// The points.
    pub points: Vec<Point>,
}

/// Size of the errors of some points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Points.
    pub n: usize,
    /// Mean of the absolute errors.
    pub mean: f64,
    /// The largest of them.
    pub max: f64,
}

impl Set {
    /// Errors of the calibration points, or of the others.
    pub fn errors(&self, calibration: bool) -> Errors {
        let all: Vec<f64> =
            self.points.iter().filter(|p| p.calibration == calibration).map(|p| p.error().abs()).collect();
        let n = all.len();
        Errors { n, mean: all.iter().sum::<f64>() / n.max(1) as f64, max: all.into_iter().fold(0.0, f64::max) }
    }
}

/// Why a point could not be made; on a preset each is a defect of the emulator.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// The chip refused the program.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The program stalled or a core was stopped.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A kernel was refused.
    #[error("{kernel}: {reason}")]
    Refused { kernel: &'static str, reason: String },
    /// Executed cycles are not those of the closed form.
    #[error("{kernel}, {case}: executed {executed} cycles, closed form {formula}")]
    Differs { kernel: &'static str, case: String, executed: u64, formula: u64 },
}

/// A chip that is run, and what is published of the one that it stands for.
#[derive(Clone, Copy)]
struct Subject<'a> {
    chip: &'a Chip,
    published: &'static Published,
}

type Measure = fn(&Subject<'_>) -> Result<Set, AccuracyError>;

/// What is run on every chip.
const PRIMITIVES: [Measure; 9] = [
    collectives::chain,
    collectives::tree,
    collectives::two_phase,
    collectives::broadcast,
    collectives::multicast,
    collectives::reduce_2d,
    collectives::ring,
    collectives::pipeline,
    collectives::two_tree,
];

/// Chips of which something is published, each with what is run on it beside `PRIMITIVES`.
const CHIPS: [(&Published, &[Measure]); 3] = [
    (&WSE2, &[wse2::relay, wse2::mesh_gemv, wse2::mesh_gemm]),
    (
        &WSE3,
        &[
            wse3::relay,
            wse3::mesh_gemv,
            wse3::mesh_gemm,
            wse3::decode_profiled,
            wse3::decode_by_gemv,
            wse3::links,
            wse3::vectors,
        ],
    ),
    (&WSE3_SIM, &[wse3_sim::relay, wse3_sim::mesh_gemv, wse3_sim::mesh_gemm, wse3_sim::links, wse3_sim::vectors]),
];

/// Presets of which something is published, in the order of the page.
pub const PRESETS: [&str; 3] = [WSE2.preset, WSE3.preset, WSE3_SIM.preset];

/// Runs everything on each chip beside what is published of the preset that is named with it; `begins` is told which of
/// how many sets is next.
///
/// # Errors
/// The first point that could not be made.
pub fn measure(chips: Vec<(&str, Chip)>, mut begins: impl FnMut(usize, usize)) -> Result<Page, AccuracyError> {
    let mut jobs: Vec<(Subject<'_>, Measure)> = Vec::new();
    for (against, chip) in &chips {
        for (published, own) in CHIPS.into_iter().filter(|c| c.0.preset == *against) {
            let all = PRIMITIVES.iter().chain(own);
            jobs.extend(all.map(|measure| (Subject { chip, published }, *measure)));
        }
    }
    let mut sets = Vec::with_capacity(jobs.len());
    for (at, (on, measure)) in jobs.iter().enumerate() {
        begins(at, jobs.len());
        sets.push(measure(on)?);
    }
    Ok(Page { sets, chips: chips.into_iter().map(|c| c.1).collect() })
}
