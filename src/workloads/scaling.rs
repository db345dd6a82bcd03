//! What Figures 6 and 8 compare: products of matrices and of a vector, by algorithm, on growing meshes.
//!
//! | algorithm | cycles                                                                                      |
//! |-----------|---------------------------------------------------------------------------------------------|
//! | MeshGEMM  | executed (`line`)                                                                           |
//! | Cannon (lockstep), Allgather | the programs' closed forms (`Gemm::closed_form`, equal to execution)     |
//! | SUMMA     | that of one row, and the way down the farthest column (equal to execution: a test)          |
//! | SUMMA in step | the same clocks, where every step waits for the whole mesh, as the published formula has it |
//! | MeshGEMV  | executed (`line`)                                                                           |
//! | pipeline, ring | the collectives' closed forms (`collectives::cost`, equal to execution)                |
//!
//! Tiles are padded to equal sides and in f16; rings start with B aligned by the host and bring both operands home, as
//! `line` has them. What the arenas do not hold has no cycles: `plummer bench gemm` says why.
//! Called by `report`.

use crate::collectives::RingOrder;
use crate::collectives::cost::{chain, ring};
use crate::kernels::Numerics;
use crate::kernels::gemm::{Algo, Finish, Gemm, Load, Spec};
use crate::math::gemm::Dims;
use crate::units::{Bytes, Coord};

use super::line::TimedError;
use super::skeleton::Layer;

/// A product of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GemmKind {
    /// By one of the kernels.
    Program(Algo),
    /// SUMMA with an ideal barrier after every step, which is not executed.
    SummaInStep,
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

/// Cycles of `n x n` times `n x n` on the layer's mesh; `None` where tiles do not fit the arenas.
///
/// # Errors
/// What the chip refuses otherwise.
pub fn gemm_cycles(layer: &Layer<'_>, kind: GemmKind, n: usize) -> Result<Option<u64>, TimedError> {
    let (algo, in_step) = match kind {
        GemmKind::Program(algo) => (algo, false),
        GemmKind::SummaInStep => (Algo::Summa, true),
    };
    let (chip, p, side) = (layer.chip, layer.p, n.div_ceil(layer.p));
    if algo == Algo::Mesh {
        let size = Dims { m: side, k: side, n: side };
        return Ok(Some(layer.mesh_gemm(size).timed(chip)?.cycles));
    }
    let size = Dims { m: p * side, k: p * side, n: p * side };
    let (load, finish) = (Load::Aligned, Finish::Home);
    let kernel = |mesh, size| Gemm::new(Spec { load, finish, ..Spec::new(algo, mesh, size, Numerics::Paper) }, chip);
    let whole = kernel((p, p), size);
    if whole.arena_of(Coord::new(0, 0)) + Bytes(chip.reserved_bytes) > chip.arena() {
        return Ok(None);
    }
    // Where sends take time to issue, a core of one row issues half of what it does in the mesh.
    if algo != Algo::Summa || chip.issue_cycles > 0 {
        return Ok(Some(if in_step { whole.summa_in_step() } else { whole.closed_form() }));
    }
    let row = kernel((p, 1), Dims { m: side, ..size });
    if in_step {
        // Both axes begin at once, and the far ends of both are equally far.
        return Ok(Some(row.summa_in_step()));
    }
    // One row stands for the mesh: the other axis adds its way to the far end, once.
    let far = u64::from(2 * chip.ramp) + u64::from(chip.alpha) * (p as u64 - 1);
    Ok(Some(row.closed_form() + far))
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
