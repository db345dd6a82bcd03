//! From a configuration to a kernel, and the placement in numbers and pictures.
//!
//! Invariant: nothing here touches weights or workers. Called by `session` and `prefill`.

use crate::fabric::{Backing, Layout, build};
use crate::kernels::decode::{Decode, Launch};
use crate::math::checkpoint::{Checkpoint, MatrixId, ModelShape, WeightFormat};
use crate::placement::{Plan, PlanRequest, Spread};

use super::config::{Kv, SessionConfig};
use super::report::{self, PlacementSummary};
use super::session::{Session, SessionError};

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
        trees: config.trees.clone(),
        straight_colors: Decode::straight_colors(config.k_tree),
        spread: config.spread,
        in_chunks: config.in_chunks,
    })
}

/// Format of a model's matrices.
pub(super) fn format(model: &dyn Checkpoint) -> WeightFormat {
    model.matrix(MatrixId::Q(0)).format
}

/// The kernel for a model under a configuration.
///
/// # Errors
/// What does not fit.
pub(super) fn plan(shape: &ModelShape, format: WeightFormat, config: &SessionConfig) -> Result<Decode, SessionError> {
    let (shape, request) = (shape.clone(), request(config)?);
    let concat_prompt = request.concat_prompt;
    let plan = Plan::new(&shape, &config.chip, &request)?;
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

/// The kernel from which a prefill on a mesh of its own takes its regions, below those of `decode`; `None` where the
/// mesh is decode's: then one placement serves both.
///
/// # Errors
/// `PrefillMesh`, `PrefillRows`.
pub(super) fn apart(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    decode: &Decode,
    mesh: Option<(u32, u32)>,
) -> Result<Option<Decode>, SessionError> {
    let Some(mesh) = mesh.filter(|m| (m.0 as usize, m.1 as usize) != (decode.plan.cols, decode.plan.rows)) else {
        return Ok(None);
    };
    let (trees, spread) = (None, Spread::default());
    let own = SessionConfig { mesh: Some(mesh), trees, spread, context: config.prompt, ..config.clone() };
    let mut other = plan(shape, format, &own).map_err(|error| match error {
        SessionError::Plan(error) => SessionError::PrefillMesh(error),
        other => other,
    })?;
    let rows = |d: &Decode| d.plan.floor.bands() * d.plan.rows;
    let (above, need, have) = (rows(decode), rows(decode) + rows(&other), config.chip.rows as usize);
    if need > have {
        return Err(SessionError::PrefillRows { need, have });
    }
    other.plan.floor = other.plan.floor.moved_down(above);
    Ok(Some(other))
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
        arena: report::arena_use(&[layout], &decode.chip),
        colors_max: report::colors_max(layout),
        ledger: report::ledger_text(layout, decode),
        floorplan: report::floorplan(decode),
    }
}

impl Session {
    /// Plans and lays out without weights or workers.
    ///
    /// # Errors
    /// As `new`.
    pub fn plan_only(model: &dyn Checkpoint, config: &SessionConfig) -> Result<(Decode, Layout), SessionError> {
        Self::plan_sizes((model.shape(), format(model)), config)
    }

    /// As `plan_only`, of sizes alone.
    ///
    /// # Errors
    /// As `new`.
    pub fn plan_sizes(
        (shape, format): (&ModelShape, WeightFormat),
        config: &SessionConfig,
    ) -> Result<(Decode, Layout), SessionError> {
        let decode = plan(shape, format, config)?;
        let layout = decode.layout()?;
        build(&layout, &decode.chip, 1, Backing::Dry)?;
        Ok((decode, layout))
    }

    /// What a configuration asks of a plan.
    ///
    /// # Errors
    /// `Levels`.
    pub fn request(config: &SessionConfig) -> Result<PlanRequest, SessionError> {
        request(config)
    }

    /// Is there a plan for these sizes under this configuration?
    ///
    /// # Errors
    /// What does not fit.
    pub fn fits(shape: &ModelShape, format: WeightFormat, config: &SessionConfig) -> Result<Plan, SessionError> {
        Ok(plan(shape, format, config)?.plan)
    }

    /// The mesh with the fewest PEs under this configuration (its own mesh does not count).
    ///
    /// # Errors
    /// As `new`.
    pub fn smallest(model: &dyn Checkpoint, config: &SessionConfig) -> Result<Plan, SessionError> {
        Ok(Plan::smallest(model.shape(), &config.chip, &request(config)?)?)
    }

    /// The most positions, up to `config.context`, for which there is a plan; 0 if none.
    pub fn context_max(model: &dyn Checkpoint, config: &SessionConfig) -> usize {
        let (shape, format) = (model.shape(), format(model));
        let fits = |context| plan(shape, format, &SessionConfig { context, ..config.clone() }).is_ok();
        let (mut good, mut bad) = (0, config.context.saturating_add(1));
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// A layout in numbers and pictures.
    pub fn summarise(decode: &Decode, layout: &Layout) -> PlacementSummary {
        summary(decode, layout)
    }
}
