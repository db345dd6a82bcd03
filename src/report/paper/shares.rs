//! What a request leaves unused beside multiply-adds, and how much room it has: shares of WaferLLM, and ledgers.
//!
//! | share      | value                                                                                            |
//! |------------|--------------------------------------------------------------------------------------------------|
//! | busy       | cycles in which cores computed or issued / (cycles of a layer x cores)                            |
//! | edge cores | cores on the border of the mesh / cores                                                           |
//! | edges busy | the first of those on the border                                                                  |
//! | bubbles    | 1 - 1 / regions: one request in as many regions of the mesh's size as hold the weights in 16 bits |
//!
//! Invariant: busy cycles are counted in the layers that `measure` times; nothing else is executed here.
//! Called by `measure`.

use crate::fabric::Chip;
use crate::kernels::decode::{Decode, KvFormat};
use crate::model::sizes::Sizes;
use crate::placement::capacity::Capacity;
use crate::placement::{InChunks, PlanRequest, Spread};
use crate::workloads::line::TimedError;
use crate::workloads::shape::PaperModel;

use super::measure::{Evaluator, POSITIONS, Phase};

/// Which share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Of all cores.
    Busy,
    /// Cores on the border.
    EdgeCores,
    /// Of the cores on the border.
    EdgesBusy,
    /// Of all regions in the time of a request.
    Bubbles,
}

impl Share {
    /// All, with the units of their cells.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Busy, "% cores busy"),
        (Self::EdgeCores, "% cores on edges"),
        (Self::EdgesBusy, "% edges busy"),
        (Self::Bubbles, "% bubbles"),
    ];
}

impl Evaluator<'_> {
    /// A share of 1, of WaferLLM on a mesh of side `p`.
    pub(super) fn share(
        &mut self,
        model: &PaperModel,
        share: Share,
        phase: Phase,
        p: usize,
    ) -> Result<f64, TimedError> {
        let cores = p * p;
        let edges = cores - p.saturating_sub(2) * p.saturating_sub(2);
        let chip = self.chip;
        let mut timed = || self.own(phase, p, model.tiles(p, POSITIONS));
        Ok(match share {
            Share::Busy => timed()?.busy as f64 / (timed()?.cycles as f64 * cores as f64),
            Share::EdgeCores => edges as f64 / cores as f64,
            Share::EdgesBusy => timed()?.edge_busy as f64 / (timed()?.cycles as f64 * edges as f64),
            Share::Bubbles => {
                let region = cores as u64 * (chip.arena_bytes - chip.reserved_bytes);
                1.0 - 1.0 / model.weight_bytes().div_ceil(region).max(1) as f64
            }
        })
    }
}

/// Positions by the ledgers of the model's own decode (grouped heads, head region, activations, whole layers in
/// stages) on as many regions of `p x p` as the wafer has; 0 where they do not hold the weights.
pub(super) fn ledger_capacity(chip: &Chip, model: &PaperModel, p: usize, shift: bool) -> Option<f64> {
    let shape = Sizes::preset(&model.name.to_lowercase())?.config.shape;
    let k_tree = 2;
    let request = PlanRequest {
        mesh: None,
        context: 1,
        kv_bytes: KvFormat::F16.bytes(),
        concat_prompt: None,
        k_tree,
        trees: None,
        straight_colors: Decode::straight_colors(k_tree),
        spread: Spread::default(),
        in_chunks: InChunks::default(),
    };
    let capacity = Capacity::of(&shape, chip, &request, (p, p), usize::MAX);
    Some(if shift { capacity.shift } else { capacity.concat } as f64)
}
