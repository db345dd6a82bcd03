//! From a configuration to a kernel, and the placement in numbers and pictures.
//!
//! Invariant: nothing here touches weights or workers. Called by `session` and `prefill`.

use crate::fabric::Layout;
use crate::kernels::decode::{Decode, Launch};
use crate::math::checkpoint::{Checkpoint, WeightFormat};
use crate::placement::{Plan, PlanRequest};

use super::config::{Kv, SessionConfig};
use super::report::{self, PlacementSummary};
use super::session::SessionError;

/// What a configuration asks of a plan.
///
/// # Errors
/// `Levels`.
pub(super) fn request(config: &SessionConfig) -> Result<PlanRequest, SessionError> {
    if !(1..=8).contains(&config.k_tree) {
        return Err(SessionError::Levels { found: config.k_tree });
    }
    Ok(PlanRequest {
        mesh: config.mesh,
        context: config.context.max(1),
        kv_bytes: config.kv_type.bytes(),
        concat_prompt: (config.kv == Kv::Concat).then_some(config.prompt),
        k_tree: config.k_tree,
        straight_colors: Decode::straight_colors(config.k_tree),
    })
}

/// The kernel for a model under a configuration.
///
/// # Errors
/// What does not fit.
pub(super) fn plan(model: &dyn Checkpoint, config: &SessionConfig) -> Result<Decode, SessionError> {
    let (shape, request) = (model.shape().clone(), request(config)?);
    let concat_prompt = request.concat_prompt;
    let plan = Plan::new(&shape, &config.chip, &request)?;
    let format: WeightFormat = model.matrix(crate::math::checkpoint::MatrixId::Q(0)).format;
    Ok(Decode {
        shape,
        plan,
        format,
        kv: config.kv_type,
        concat_prompt,
        chip: config.chip.clone(),
        launch: Launch::default(),
    })
}

pub(super) fn summary(decode: &Decode, layout: &Layout) -> PlacementSummary {
    let plan = &decode.plan;
    PlacementSummary {
        cols: plan.cols as u32,
        rows: plan.rows as u32,
        stages: plan.stages.len() as u32,
        pes: plan.pes() as u64,
        layers_per_stage: plan.stages.iter().map(|s| s.len() as u32).collect(),
        head_cols: plan.head_cols as u32,
        capacity: plan.capacity,
        arena: report::arena_use(layout, &decode.chip),
        colors_max: report::colors_max(layout),
        ledger: report::ledger_text(layout, decode),
        floorplan: report::floorplan(decode),
    }
}
