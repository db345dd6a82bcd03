//! Benchmarks of one kernel on one mesh: what its layout needs, what a run took, and whether the result is right.
//!
//! Invariant: a chip that cannot run the layout gives a row with the reason, not an error; a run that stalls or faults
//! is an error. Called by `app::bench`, benches, examples and tests.

use crate::exec::{LaunchError, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout, LayoutError, Survey, TileId};
use crate::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands, tile};
use crate::kernels::{Numerics, Row};
use crate::pe::Kernel;
use crate::units::Coord;

use super::trial::{Trial, TrialError};

/// What a kernel is called in its row.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Algorithm.
    pub algo: String,
    /// Columns, rows.
    pub mesh: (usize, usize),
    /// As in `Row::size`.
    pub size: String,
    /// Number formats.
    pub numerics: Numerics,
    /// From the kernel's own formula.
    pub closed_form_cycles: Option<u64>,
}

/// Lays out, launches, runs once and takes the row; the wafer is there unless the chip refused.
///
/// # Errors
/// A deadlock or a stopped PE.
pub fn measure<K: Kernel>(
    labels: Labels,
    kernel: K,
    layout: Result<Layout, LayoutError>,
    chip: &Chip,
    options: &RunOptions,
    fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
) -> Result<(Row, Option<Wafer>), PassError> {
    let survey = layout.as_ref().map(Survey::of).unwrap_or_default();
    let mut row = blank(labels, &survey);
    let trial = layout
        .map_err(|error| TrialError::from(LaunchError::from(error)))
        .and_then(|layout| Trial::surveyed(survey, kernel, layout, chip, options, fill));
    let Trial { facts, wafer, host_seconds, .. } = match trial {
        Ok(trial) => trial,
        Err(TrialError::Launch(error)) => {
            row.refused = Some(error.to_string());
            return Ok((row, None));
        }
        Err(TrialError::Pass(error)) => return Err(error),
    };
    let (counters, compute) = (facts.counters, facts.compute_cycles);
    row.host_seconds = Some(host_seconds);
    row.depth = Some(counters.depth);
    row.wavelets = Some(counters.wavelets);
    row.cycles = Some(counters.cycles);
    row.compute_cycles = Some(compute);
    row.comm_cycles = Some(counters.cycles - compute);
    Ok((row, Some(wafer)))
}

/// The row of what has not run.
fn blank(labels: Labels, survey: &Survey) -> Row {
    Row {
        algo: labels.algo,
        mesh: format!("{}x{}", labels.mesh.0, labels.mesh.1),
        size: labels.size,
        numerics: labels.numerics,
        colors_per_core: survey.colors_per_core,
        longest_hop: survey.longest_hop,
        depth: None,
        arena_peak: survey.arena_peak.0,
        wavelets: None,
        cycles: None,
        compute_cycles: None,
        comm_cycles: None,
        closed_form_cycles: labels.closed_form_cycles,
        host_seconds: None,
        refused: None,
    }
}

/// Is the mesh inside the chip? Asked before a layout of millions of PEs is made in vain.
///
/// # Errors
/// `OffMesh` for the far corner.
pub(super) fn on_mesh(chip: &Chip, (cols, rows): (usize, usize)) -> Result<(), LayoutError> {
    if cols <= chip.cols as usize && rows <= chip.rows as usize {
        return Ok(());
    }
    let pe = Coord::new(cols.saturating_sub(1) as u32, rows.saturating_sub(1) as u32);
    Err(LayoutError::OffMesh { pe, cols: chip.cols, rows: chip.rows })
}

/// The name of a GEMV algorithm in flags and rows.
pub fn gemv_name(algo: &GemvAlgo) -> String {
    match algo {
        GemvAlgo::KTree(groups) => format!("ktree{}", groups.len()),
        GemvAlgo::Pipeline => "pipeline".to_owned(),
        GemvAlgo::Ring(crate::collectives::RingOrder::WrapAround) => "ring".to_owned(),
        GemvAlgo::Ring(crate::collectives::RingOrder::Interleaved) => "ring-interleaved".to_owned(),
    }
}

/// Runs a GEMV once. `Operands` may be empty in a dry run.
///
/// # Errors
/// As `measure`.
pub fn gemv(kernel: &Gemv, options: &RunOptions, operands: &Operands<'_>) -> Result<(Row, Option<Wafer>), PassError> {
    let GemvShape { cols, rows, .. } = kernel.shape;
    let labels = Labels { closed_form_cycles: Some(kernel.closed_form_cycles()), ..gemv_labels(kernel) };
    let fill = |at: Coord, id, words: &mut [u32]| kernel.fill(operands, at, id, words);
    let layout = on_mesh(&kernel.chip, (cols, rows)).and_then(|()| kernel.layout());
    measure(labels, kernel.clone(), layout, &kernel.chip, options, fill)
}

fn gemv_labels(kernel: &Gemv) -> Labels {
    let GemvShape { cols, rows, m, n } = kernel.shape;
    let (algo, size) = (gemv_name(&kernel.algo), format!("{m}x{n}"));
    Labels { algo, mesh: (cols, rows), size, numerics: kernel.numerics, closed_form_cycles: None }
}

/// The row of a GEMV that the mesh has no lines for.
pub fn gemv_refused(kernel: &Gemv, why: String) -> Row {
    Row { refused: Some(why), ..blank(gemv_labels(kernel), &Survey::default()) }
}

/// r as row `row` of the mesh holds it after a run: an uncharged probe.
///
/// # Errors
/// When a worker is gone.
pub fn gemv_result(kernel: &Gemv, wafer: &Wafer, row: usize) -> Result<Vec<f32>, PassError> {
    let mut all = Vec::with_capacity(kernel.shape.n);
    for col in 0..kernel.shape.cols {
        let words = wafer.read(Coord::new(col as u32, row as u32), tile::Y)?;
        all.extend(kernel.values(col, &words));
    }
    Ok(all)
}
