//! The question of a plan, and what to say where nothing fits.
//!
//! Invariant: answers here follow from budgets alone (arenas, colors, floorplan); no cycle is counted. Called by `app`;
//! `search` answers the question itself.

use serde::Serialize;

use crate::fabric::Chip;
use crate::host::{Session, SessionConfig};
use crate::kernels::decode::Decode;
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::math::split::{largest, part};
use crate::placement::Plan;

use super::closed::Mesh;

/// What the best is the best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Cycles of the prompt, of the way to decode and of the answer.
    Latency,
    /// Those cycles times the PEs in use: the chip's power, shared out evenly.
    Energy,
    /// Requests a second when every stage works on a request of its own: cycles of the slowest stage for one request.
    Tokens,
}

/// The question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Sizes of the model.
    pub shape: ModelShape,
    /// Format of its matrices.
    pub format: WeightFormat,
    /// Chip, K and V, context; a mesh here is the only one that is looked at.
    pub config: SessionConfig,
    /// The only prefill mesh that is looked at.
    pub prefill_mesh: Option<(u32, u32)>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer.
    pub output: usize,
    /// Wafers, each with a run of consecutive layers.
    pub wafers: usize,
    /// Cycles from one wafer to the next.
    pub wafer_cycles: u64,
    /// What counts.
    pub objective: Objective,
    /// Choices that are executed before one is taken.
    pub finalists: usize,
}

impl Ask {
    /// Layers of the fullest wafer.
    pub fn layers(&self) -> usize {
        part(self.shape.n_layers, self.wafers, 0).len()
    }

    /// The model's part on the first wafer.
    pub fn part(&self) -> ModelShape {
        ModelShape { n_layers: self.layers(), ..self.shape.clone() }
    }

    /// Position in the middle of the answer.
    pub fn middle(&self) -> usize {
        self.prompt + self.output / 2
    }

    /// Tree levels that the chip has colors for.
    pub fn levels(&self) -> impl Iterator<Item = usize> + '_ {
        let have = self.config.chip.usable_colors();
        (1..=3).filter(move |k| Decode::straight_colors(*k) <= have)
    }

    fn fits(&self) -> bool {
        let request = Session::request(&self.config);
        request.is_ok_and(|r| Plan::sketches(&self.part(), &self.config.chip, &r).is_ok())
    }

    /// The same question on any mesh.
    fn on_any_mesh(&self) -> Self {
        Self { config: SessionConfig { mesh: None, ..self.config.clone() }, ..self.clone() }
    }

    /// The fewest wafers that hold the model on some mesh.
    pub fn wafers_needed(&self) -> Option<usize> {
        let any = self.on_any_mesh();
        (1..=self.shape.n_layers).find(|&wafers| Self { wafers, ..any.clone() }.fits())
    }

    /// The most layers of the model that one wafer holds on some mesh, its head included.
    pub fn layers_that_fit(&self) -> usize {
        let any = self.on_any_mesh();
        let shape = |n_layers| ModelShape { n_layers, ..self.shape.clone() };
        largest(0, self.shape.n_layers, |n| Self { wafers: 1, shape: shape(n), ..any.clone() }.fits())
    }

    /// Where a mesh was asked for that does not hold the model: the one nearest to it (fewest columns and rows more or
    /// less) that does, with the same wafers.
    pub fn nearest_mesh(&self) -> Option<Mesh> {
        let (cols, rows) = self.config.mesh?;
        let any = self.on_any_mesh();
        let request = Session::request(&any.config).ok()?;
        let sketches = Plan::sketches(&any.part(), &any.config.chip, &request).ok()?;
        let far = |s: &Mesh| s.0.abs_diff(cols as usize) + s.1.abs_diff(rows as usize);
        let lies = |s: Mesh| {
            let request = crate::placement::PlanRequest { mesh: Some((s.0 as u32, s.1 as u32)), ..request.clone() };
            Plan::new(&any.part(), &any.config.chip, &request).is_ok()
        };
        let mut meshes: Vec<Mesh> = sketches.iter().map(|s| (s.cols, s.rows)).collect();
        meshes.sort_by_key(|s| (far(s), *s));
        meshes.into_iter().find(|s| lies(*s))
    }
}

/// A chip with another reserve for code and stack.
pub fn with_reserve(chip: &Chip, reserved_bytes: u64) -> Chip {
    Chip { reserved_bytes, ..chip.clone() }
}
