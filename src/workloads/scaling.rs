//! What Figures 6 and 8 compare: products of matrices and of a vector, by algorithm, on growing meshes.
//!
//! | algorithm | cycles                                                                                      |
//! |-----------|---------------------------------------------------------------------------------------------|
//! | MeshGEMM  | executed (`line`)                                                                           |
//! | Cannon    | P (max(comp, P alpha + lat) + c_s) + P/2 c_s       a step waits for the edge across the line |
//! | SUMMA     | P (comp + P alpha + lat + c_s)                     multicast, not overlapped                 |
//! | Allgather | P (alpha + beta + 2 w) + P (comp + c_s)            P times the memory                        |
//! | MeshGEMV  | executed (`line`)                                                                           |
//! | pipeline, ring | the collectives' closed forms (`collectives::cost`, equal to execution)                |
//!
//! Formulas of timing.md; the programs themselves run at any size in `plummer bench plmr`.
//! Called by `report`.

use crate::collectives::RingOrder;
use crate::collectives::cost::{chain, ring};
use crate::kernels::Numerics;
use crate::kernels::gemm::product_cycles;
use crate::math::gemm::Dims;

use super::line::TimedError;
use super::skeleton::Layer;

/// A product of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GemmKind {
    /// Interleaved rings.
    Mesh,
    /// Rings across the line.
    Cannon,
    /// Multicast.
    Summa,
    /// Gather first.
    Allgather,
}

/// A product of a vector and a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GemvKind {
    /// Two-level tree.
    Mesh,
    /// Chain and broadcast.
    Pipeline,
    /// Reduce-scatter and allgather.
    Ring,
}

/// Cycles of `n x n` times `n x n` on the layer's mesh.
///
/// # Errors
/// What the chip refuses.
pub fn gemm_cycles(layer: &Layer<'_>, kind: GemmKind, n: usize) -> Result<u64, TimedError> {
    let (p, side) = (layer.p as u64, n.div_ceil(layer.p));
    let size = Dims { m: side, k: side, n: side };
    let (chip, round) = (layer.chip, u64::from(layer.chip.overheads.exchange));
    let (alpha, beta) = (u64::from(chip.alpha), u64::from(2 * chip.ramp + chip.stage_cycles));
    let words = Numerics::Paper.travel_words(chip, side * side) as u64;
    let comp = product_cycles(&chip.f16, size).0;
    let (cross, latency) = (p * alpha, u64::from(2 * chip.ramp) + words);
    Ok(match kind {
        GemmKind::Mesh => layer.mesh_gemm(size).timed(chip)?.cycles,
        GemmKind::Cannon => p * (comp.max(cross + latency) + round) + p / 2 * round,
        GemmKind::Summa => p * (comp + cross + latency + round),
        GemmKind::Allgather => p * (alpha + beta + 2 * words) + p * (comp + round),
    })
}

/// Cycles of a vector of `n` times `n x n` on the layer's mesh.
///
/// # Errors
/// What the chip refuses.
pub fn gemv_cycles(layer: &Layer<'_>, kind: GemvKind, n: usize) -> Result<u64, TimedError> {
    let (chip, side) = (layer.chip, n.div_ceil(layer.p));
    let words = Numerics::Paper.travel_words(chip, side);
    let (timing, clocks) = (chip.timing(), vec![0; layer.p]);
    let call = u64::from(chip.overheads.call) + chip.f16.gemv(side, side).0;
    Ok(match kind {
        GemvKind::Mesh => layer.mesh_gemv(side).timed(chip)?.cycles,
        GemvKind::Pipeline => call + chain(clocks, words, &timing),
        GemvKind::Ring => call + ring(clocks, RingOrder::WrapAround, words, &timing),
    })
}
