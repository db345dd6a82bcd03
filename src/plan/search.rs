//! The choice of mesh, levels and wafers for a model: closed forms rank every mesh, dry runs confirm the finalists.
//!
//! ```text
//!   placement::sketches (all meshes that fit) --closed forms--> ranked --finish, dry run of a layer--> the best
//! ```
//! Prefill runs on decode's regions, because its weights stay where decode wants them: one mesh serves both. Its cycles
//! are closed forms (a dry run of it takes minutes), and say so.
//!
//! Invariant: the choice depends on the question alone, never on the host's clock. Called by `app`.

use serde::Serialize;

use crate::fabric::Chip;
use crate::host::dry::{LayerTime, decode_layer};
use crate::host::{Session, SessionConfig, SessionError};
use crate::kernels::decode::{Decode, Launch};
use crate::kernels::prefill::Prefill;
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::math::split::{largest, part};
use crate::placement::{Plan, PlanError, Sketch};

use super::closed;

/// What the best is the best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Cycles of the prompt and of the answer.
    Latency,
    /// Those cycles times the PEs in use: the chip's power, shared out evenly.
    Energy,
    /// Tokens a second when every stage works on a request of its own.
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
    /// Meshes that are executed before one is chosen.
    pub finalists: usize,
}

/// A plan with its cycles.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Of the first wafer, which has the head and at least as many layers as any other.
    pub plan: Plan,
    /// Levels of the trees.
    pub k_tree: usize,
    /// The layer, executed.
    pub layer: LayerTime,
    /// What the closed form said of it.
    pub layer_closed: u64,
    /// Stages of all wafers.
    pub stages: usize,
    /// Cycles of a token outside the layers: closed form.
    pub rest_cycles: u64,
    /// Cycles of a token of decode in the middle of the answer.
    pub token_cycles: u64,
    /// Cycles of the slowest stage: what a full pipeline gives a token in.
    pub stage_cycles: u64,
    /// Positions of the prompt that go at once; 0: token by token.
    pub chunk: usize,
    /// Cycles of the prompt: closed form.
    pub prefill_cycles: u64,
    /// Bytes of the fullest stage PE and of the fullest head PE, code included.
    pub arena: [usize; 2],
}

impl Choice {
    /// Cycles of prompt and answer.
    pub fn total_cycles(&self, ask: &Ask) -> u64 {
        self.prefill_cycles + self.token_cycles * ask.output as u64
    }

    fn score(&self, ask: &Ask) -> f64 {
        match ask.objective {
            Objective::Latency => self.total_cycles(ask) as f64,
            Objective::Energy => self.total_cycles(ask) as f64 * self.plan.pes() as f64,
            Objective::Tokens => self.stage_cycles as f64,
        }
    }
}

/// A mesh and what the closed forms say of it.
struct Ranked {
    sketch: Sketch,
    k_tree: usize,
    score: f64,
}

impl Ask {
    /// Layers of the fullest wafer.
    pub fn layers(&self) -> usize {
        part(self.shape.n_layers, self.wafers, 0).len()
    }

    /// The model's part on the first wafer.
    fn part(&self) -> ModelShape {
        ModelShape { n_layers: self.layers(), ..self.shape.clone() }
    }

    /// Position in the middle of the answer.
    fn middle(&self) -> usize {
        self.prompt + self.output / 2
    }

    fn levels(&self) -> impl Iterator<Item = usize> + '_ {
        let have = self.config.chip.usable_colors();
        (1..=3).filter(move |k| Decode::straight_colors(*k) <= have)
    }

    /// Every mesh that holds the model, by the closed forms, the best first.
    fn rank(&self) -> Result<Vec<Ranked>, SessionError> {
        let (shape, chip) = (self.part(), &self.config.chip);
        let mut ranked: Vec<Ranked> = Vec::new();
        let mut last = None;
        for k_tree in self.levels() {
            let request = Session::request(&SessionConfig { k_tree, ..self.config.clone() })?;
            match Plan::sketches(&shape, chip, &request) {
                Ok(sketches) => ranked.extend(sketches.into_iter().map(|sketch| {
                    let score = self.score(&sketch, k_tree);
                    Ranked { sketch, k_tree, score }
                })),
                Err(error) => last = Some(error),
            }
        }
        if let (true, Some(error)) = (ranked.is_empty(), last) {
            return Err(error.into());
        }
        ranked.sort_by(|a, b| a.score.total_cmp(&b.score));
        Ok(ranked)
    }

    fn score(&self, s: &Sketch, k_tree: usize) -> f64 {
        let (shape, chip, mesh) = (&self.shape, &self.config.chip, (s.cols, s.rows));
        let layer = closed::decode_layer(shape, chip, mesh, k_tree, self.middle());
        let stages = s.stages * self.wafers;
        let size = (chip.cols as usize, s.bands * s.rows);
        let rest = closed::token_rest(shape, chip, mesh, (stages, s.head_cols), size, k_tree);
        let layers = shape.n_layers as u64;
        let total = layers * layer * self.output as u64
            + rest * self.output as u64
            + layers * closed::prefill_layer(shape, chip, mesh, self.prompt);
        match self.objective {
            Objective::Latency => total as f64,
            Objective::Energy => total as f64 * s.pes() as f64,
            Objective::Tokens => (self.layers().div_ceil(s.stages) as u64 * layer) as f64,
        }
    }

    /// A ranked mesh with its ways, and a layer executed on it.
    fn confirm(&self, ranked: Ranked) -> Result<Choice, SessionError> {
        let Ranked { sketch, k_tree, .. } = ranked;
        let mesh = (sketch.cols, sketch.rows);
        let config = SessionConfig { k_tree, mesh: Some((mesh.0 as u32, mesh.1 as u32)), ..self.config.clone() };
        let (shape, chip) = (self.part(), &self.config.chip);
        let plan = sketch.finish(&shape, chip, &Session::request(&config)?)?;
        let layer = decode_layer(&self.shape, self.format, &config, self.middle())?;
        let stages = plan.stages.len() * self.wafers;
        let size = (plan.floor.width(), plan.floor.bands() * plan.rows);
        let mut rest = closed::token_rest(&self.shape, chip, mesh, (stages, plan.head_cols), size, k_tree);
        if self.wafers > 1 {
            rest += self.wafers as u64 * self.wafer_cycles;
        }
        let most = plan.stages.iter().map(std::ops::Range::len).max().unwrap_or(0) as u64;
        let (chunk, prefill_cycles) = self.prefill(&plan, &config, most * layer.cycles, rest);
        let arena = plan.fullest_bytes(&shape, config.kv_type.bytes()).map(|b| b + chip.reserved_bytes as usize);
        Ok(Choice {
            k_tree,
            layer_closed: closed::decode_layer(&self.shape, chip, mesh, k_tree, self.middle()),
            stages,
            rest_cycles: rest,
            token_cycles: self.shape.n_layers as u64 * layer.cycles + rest,
            stage_cycles: most * layer.cycles + rest / stages as u64,
            chunk,
            prefill_cycles,
            arena,
            layer,
            plan,
        })
    }

    /// Chunk and cycles of the prompt. Chunks follow each other through the stages; where none fits beside the weights,
    /// tokens do.
    fn prefill(&self, plan: &Plan, config: &SessionConfig, stage_cycles: u64, rest: u64) -> (usize, u64) {
        let (n, stages) = (self.prompt, plan.stages.len() * self.wafers);
        let decode = Decode {
            shape: self.part(),
            plan: plan.clone(),
            format: self.format,
            kv: config.kv_type,
            concat_prompt: None,
            chip: config.chip.clone(),
            launch: Launch::default(),
        };
        match Prefill::new(&decode, n, None) {
            Ok(kernel) => (kernel.chunk, rest + kernel.predict_over(stages, kernel.chunk, kernel.older)),
            Err(_) => (0, rest + stage_cycles * (stages + n - 1) as u64),
        }
    }

    /// The best plan, and the finalists in order.
    ///
    /// # Errors
    /// What does not fit.
    pub fn choose(&self) -> Result<Vec<Choice>, SessionError> {
        let mut ranked = self.rank()?.into_iter();
        let (mut choices, mut refused): (Vec<Choice>, Option<SessionError>) = (Vec::new(), None);
        while choices.len() < self.finalists {
            let Some(next) = ranked.next() else { break };
            // Neighbours differ little: every finalist has a number of stages of its own.
            let stages = (next.sketch.stages * self.wafers, next.k_tree);
            if choices.iter().any(|c| (c.stages, c.k_tree) == stages) {
                continue;
            }
            match self.confirm(next) {
                Ok(choice) => choices.push(choice),
                Err(error @ SessionError::Plan(PlanError::Colors { .. })) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        choices.sort_by(|a, b| a.score(self).total_cmp(&b.score(self)));
        match refused {
            Some(error) if choices.is_empty() => Err(error),
            _ => Ok(choices),
        }
    }
}

/// The fewest wafers that hold a model.
pub fn wafers_needed(ask: &Ask) -> Option<usize> {
    (1..=ask.shape.n_layers).find(|&wafers| fits(&Ask { wafers, ..ask.clone() }))
}

/// The most layers of a model that one wafer holds, its head included.
pub fn layers_that_fit(ask: &Ask) -> usize {
    let fit = |n_layers| fits(&Ask { wafers: 1, shape: ModelShape { n_layers, ..ask.shape.clone() }, ..ask.clone() });
    largest(0, ask.shape.n_layers, fit)
}

fn fits(ask: &Ask) -> bool {
    let request = Session::request(&ask.config);
    request.is_ok_and(|r| Plan::sketches(&ask.part(), &ask.config.chip, &r).is_ok())
}

/// A chip with another reserve for code and stack.
pub fn with_reserve(chip: &Chip, reserved_bytes: u64) -> Chip {
    Chip { reserved_bytes, ..chip.clone() }
}
