//! Benchmarks of GEMM: one run, one row.
//!
//! Invariant: as `bench`: what the chip refuses is a row, what stalls is an error. Called by `app`, benches and tests.

use crate::exec::{PassError, RunOptions, Wafer};
use crate::fabric::{Chip, TileId};
use crate::kernels::Row;
use crate::kernels::gemm::{Gemm, Matrices, Spec, point, tile};
use crate::pe::Mark;
use crate::units::Coord;

use super::bench::{Labels, measure, on_mesh};
use super::trace::{Phase, kernel_phases};

/// A run of a GEMM.
pub struct GemmRun {
    /// The row of the table.
    pub row: Row,
    /// The latest clock at which a PE was aligned (or had gathered); 0 if the chip refused.
    pub aligned_cycles: u64,
    /// What programs marked.
    pub marks: Vec<Mark>,
    /// The wafer afterwards; none if the chip refused.
    pub wafer: Option<Wafer>,
    /// What was run.
    pub kernel: Gemm,
}

impl GemmRun {
    /// Alignment (or gathering) and product, for a trace.
    pub fn phases(&self) -> Vec<Phase> {
        kernel_phases(&self.marks, &[(point::ALIGNED, "alignment"), (point::DONE, "product")])
    }

    /// C, row-major, after a wet run: an uncharged probe. Empty if the chip refused.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn result(&self) -> Result<Vec<f32>, PassError> {
        match &self.wafer {
            Some(wafer) => self.kernel.gather(|at| wafer.read(at, tile::C)),
            None => Ok(Vec::new()),
        }
    }
}

/// Runs a GEMM once on `chip`; `matrices` are not asked in a dry run.
///
/// # Errors
/// A deadlock or a stopped PE.
pub fn run(spec: Spec, chip: &Chip, options: &RunOptions, matrices: Matrices<'_>) -> Result<GemmRun, PassError> {
    let kernel = Gemm::new(spec, chip);
    let size = spec.size;
    let labels = Labels {
        algo: spec.algo.name().to_owned(),
        mesh: (spec.cols, spec.rows),
        size: format!("{}x{}x{}", size.m, size.k, size.n),
        numerics: spec.numerics,
        closed_form_cycles: kernel.formula(),
    };
    let fill = |at: Coord, id: TileId, words: &mut [u32]| kernel.fill(matrices, at, id, words);
    let layout = on_mesh(chip, (spec.cols, spec.rows)).and_then(|()| kernel.layout());
    let (mut row, mut wafer) = measure(labels, kernel.clone(), layout, chip, options, fill)?;
    // What is refused may be too large to look at PE by PE.
    row.closed_form_cycles = row.cycles.map(|_| kernel.closed_form()).or(row.closed_form_cycles);
    let marks = wafer.as_mut().map(Wafer::take_marks).unwrap_or_default();
    let aligned = marks.iter().filter(|m| m.id == point::ALIGNED).map(|m| m.now).max().unwrap_or(0);
    Ok(GemmRun { row, aligned_cycles: aligned, marks, wafer, kernel })
}
