//! What a prompt takes: token by token, in chunks on decode's regions, or in chunks on regions of its own below them.
//!
//! ```text
//!   in chunks   cycles = rest + sum of t over the chunks + (stages - 1) x the longest t      (`Prefill::predict_over`)
//!   by token    cycles = token + (n - 1) x the slowest stage                             (tokens fill the stages too)
//!   apart       + the transition: weights, K and V move to decode's regions
//! ```
//! A layer of the whole prompt is executed without payloads on a mesh small enough for that: the plan's own, or one
//! that is so many times smaller with the same tiles (columns, rows, hidden, feed-forward, head and prompt all so many
//! times less). What it took over what the form says of it corrects the form.
//!
//! Invariant: a prediction follows from sizes alone. Called by `search` and `confirm`.

use crate::fabric::Chip;
use crate::host::dry::{LayerTime, prefill_layer_as, transition};
use crate::host::{SessionConfig, SessionError};
use crate::kernels::decode::{Decode, KvFormat, Launch};
use crate::kernels::prefill::{Prefill, PrefillRefused};
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::math::work;
use crate::placement::{Floor, Plan, Sketch};

use super::closed::Mesh;
use super::smaller::Smaller;

/// Rounds of rings that cores execute in a layer of a prefill at most, cores x (columns + rows) x chunks: a second.
const ROUNDS_MAX: usize = 300_000;
/// Cores of both placements up to which a transition is executed.
const MOVED_MAX: usize = 3_000;

/// What a prompt takes.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Regions of its own; `None`: decode's.
    pub apart: Option<Plan>,
    /// Positions at once; 0: token by token.
    pub chunk: usize,
    /// Cycles until the logits of its last position.
    pub cycles: u64,
    /// Cycles from there to decode.
    pub transition: u64,
    /// Was the transition executed?
    pub moved: bool,
    /// Cycles that the slowest stage works.
    pub stage_cycles: u64,
    /// Share of the time in which stages wait for the pipeline to fill and to drain.
    pub bubbles: f64,
    /// The execution that the form was held against; none token by token.
    pub check: Option<Check>,
    /// Was it executed as far as that takes seconds? Token by token it is as good as decode's layer.
    pub is_checked: bool,
}

/// A layer of the prompt, executed and predicted.
#[derive(Clone, Debug)]
pub struct Check {
    /// As executed.
    pub layer: LayerTime,
    /// Positions at once there.
    pub chunk: usize,
    /// What the form says of it.
    pub predicted: u64,
    /// So many times smaller than the plan in both directions; 1: the plan's own mesh.
    pub smaller: usize,
}

impl Check {
    /// Executed over predicted.
    pub fn ratio(&self) -> f64 {
        self.layer.cycles as f64 / self.predicted.max(1) as f64
    }
}

/// A prefill by its numbers alone: no floorplan, nothing to lay out.
pub struct Form {
    kernel: Prefill,
}

impl Form {
    /// Of stages of `layers` layers on `mesh`, rows of `cap` positions.
    pub fn new(
        (shape, format, kv): (&ModelShape, WeightFormat, KvFormat),
        chip: &Chip,
        prompt: usize,
        mesh: Mesh,
        layers: usize,
    ) -> Self {
        let floor = Floor { regions: Vec::new(), turns: Vec::new(), home: Vec::new(), tracks: 0, first_row: 0 };
        let plan = Plan {
            cols: mesh.0,
            rows: mesh.1,
            stages: std::iter::once(0..layers).collect(),
            head_cols: 1,
            cap: prompt.div_ceil(mesh.1),
            capacity: prompt.next_multiple_of(mesh.1),
            groups_y: vec![1],
            groups_x: vec![1],
            groups_head: vec![1],
            floor,
        };
        let (shape, chip, launch) = (shape.clone(), chip.clone(), Launch::default());
        let decode = Decode { shape, plan, format, kv, concat_prompt: None, chip, launch };
        Self { kernel: Prefill { decode, apart: None, prompt, chunk: 1, older: 1 } }
    }

    /// The same for another mesh.
    pub fn at(&mut self, mesh: Mesh, layers: usize) -> &Self {
        let plan = &mut self.kernel.decode.plan;
        (plan.cols, plan.rows, plan.cap) = (mesh.0, mesh.1, self.kernel.prompt.div_ceil(mesh.1));
        plan.stages = std::iter::once(0..layers).collect();
        self
    }

    /// Cycles through `stages` of them, and of the work of one.
    pub fn cycles(&self, stages: usize, chunk: usize, older: usize) -> (u64, u64) {
        let (one, longest) = self.kernel.predict_stage(chunk, older);
        (one + (stages as u64 - 1) * longest, one)
    }

    /// `cycles` with each of the `chunks` of up to `room` positions, and the chunk.
    pub fn each(&self, stages: usize, room: usize) -> Vec<(usize, (u64, u64))> {
        let older = |chunk: usize| chunk.div_ceil(self.kernel.decode.plan.rows).max(1);
        chunks(room).map(|chunk| (chunk, self.cycles(stages, chunk, older(chunk)))).collect()
    }
}

/// Chunks that are compared: of `room` positions, half of it, a quarter, ..: the fewer, the less stages wait.
pub fn chunks(room: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(room), |n| Some(n / 2).filter(|n| *n > 0)).take(4)
}

/// Cycles below which no prefill of the model stays on the mesh of a sketch: its products alone.
pub fn least(shape: &ModelShape, chip: &Chip, s: &Sketch, prompt: usize) -> u64 {
    let macs = work::prefill_layer_macs(shape, prompt) as f64;
    let layers = shape.n_layers.div_ceil(s.stages) as f64;
    (layers * macs * chip.f32.mac / (s.cols * s.rows) as f64) as u64
}

/// Words of a message of the transition.
const MESSAGE: usize = 64;

/// Cycles of the transition of a model's weights, K and V (`bytes`) between two placements, for ranking: messages of 64
/// words are gathered, sent and scattered one after another along chains of pairs that share a core, of which about as
/// many run at once as the smaller placement of `pes` PEs has rows; both ends wait for each other. Good for its order
/// of magnitude.
pub fn moving(chip: &Chip, bytes: u64, pes: usize) -> u64 {
    let (t, side) = (chip.timing(), pes.isqrt() as u64);
    let stage = u64::from(2 * t.ramp + t.stage + t.issue) + u64::from(t.alpha) * side;
    let message = t.ser(MESSAGE as u32) + 2 * chip.elementwise(MESSAGE).0 + stage;
    bytes / (4 * MESSAGE as u64) * 2 * message / side.max(1)
}

/// Bytes that a transition moves.
pub fn moved_bytes(shape: &ModelShape, config: &SessionConfig, prompt: usize) -> u64 {
    work::weight_bytes(shape) + work::kv_bytes(shape, config.kv_type.bytes()) * prompt as u64
}

/// A plan's prefill kernel and how its form does against an execution.
pub struct Confirmed {
    /// Positions at once, and earlier ones in passing.
    pub chunk: (usize, usize),
    /// Cycles of all stages, and of the work of one.
    pub cycles: (u64, u64),
    /// The execution.
    pub check: Option<Check>,
}

/// The kernel of a prefill of `prompt` positions on the regions of `plan`.
///
/// # Errors
/// What its arenas or colors lack.
pub fn kernel(
    (shape, format): (&ModelShape, WeightFormat),
    config: &SessionConfig,
    plan: &Plan,
    prompt: usize,
    chunk: Option<usize>,
) -> Result<Prefill, PrefillRefused> {
    let (chip, launch, kv) = (config.chip.clone(), Launch::default(), config.kv_type);
    let (shape, plan) = (shape.clone(), plan.clone());
    Prefill::new(&Decode { shape, plan, format, kv, concat_prompt: None, chip, launch }, prompt, chunk)
}

/// The prefill of `prompt` positions on the regions of `plan` (in a pipeline of `stages` such stages), in chunks of
/// `chunk` or of what the arenas hold, its form held against an execution if it is to be checked; `None` where the
/// arenas hold no chunk.
///
/// # Errors
/// A stall (a defect).
pub fn confirm(
    (shape, format): (&ModelShape, WeightFormat),
    config: &SessionConfig,
    plan: &Plan,
    (prompt, stages): (usize, usize),
    (chunk, is_checked): (Option<usize>, bool),
) -> Result<Option<Confirmed>, SessionError> {
    let Ok(kernel) = kernel((shape, format), config, plan, prompt, chunk) else { return Ok(None) };
    let chunk = (kernel.chunk, kernel.older);
    let check = is_checked.then(|| check((shape, format), config, plan, prompt, chunk)).transpose()?;
    let ratio = check.as_ref().map_or(1.0, Check::ratio);
    let [through, one] = [stages, 1].map(|n| (kernel.predict_over(n, chunk.0, chunk.1) as f64 * ratio) as u64);
    Ok(Some(Confirmed { chunk, cycles: (through, one), check }))
}

/// A layer of the whole prompt, on the largest mesh that is executed in about a second.
fn check(
    (shape, format): (&ModelShape, WeightFormat),
    config: &SessionConfig,
    plan: &Plan,
    prompt: usize,
    (chunk, older): (usize, usize),
) -> Result<Check, SessionError> {
    let mesh = (plan.cols, plan.rows);
    let less = |s: &Smaller| (s.less(prompt), s.less(chunk).min(s.less(prompt)));
    let smaller = Smaller::fitting(shape, mesh, |s| {
        let (prompt, chunk) = less(s);
        s.mesh.0 * s.mesh.1 * (s.mesh.0 + s.mesh.1) * prompt.div_ceil(chunk) <= ROUNDS_MAX
    });
    let (prompt, chunk) = less(&smaller);
    let one = SessionConfig { mesh: smaller.sides(), trees: None, context: prompt, ..config.clone() };
    let layer = prefill_layer_as(&smaller.shape, format, &one, prompt, Some((chunk, older)))?;
    let form = |layers: usize| {
        let form = Form::new((&smaller.shape, format, config.kv_type), &config.chip, prompt, smaller.mesh, layers);
        form.cycles(1, chunk, older).0
    };
    Ok(Check { layer, chunk, predicted: form(2) - form(1), smaller: smaller.times }) // the hand-over apart
}

/// Cycles from a prefill on a mesh of its own to decode, executed if it is to be checked and that takes seconds.
///
/// # Errors
/// What does not fit.
pub fn move_to(
    (shape, format): (&ModelShape, WeightFormat),
    config: &SessionConfig,
    (from, to): (&Plan, &Plan),
    is_checked: bool,
) -> Result<(u64, bool), SessionError> {
    if is_checked && from.pes() + to.pes() <= MOVED_MAX {
        let mesh = (from.cols as u32, from.rows as u32);
        return Ok((transition(shape, format, config, mesh)?, true));
    }
    let bytes = moved_bytes(shape, config, config.prompt);
    Ok((moving(&config.chip, bytes, from.pes().min(to.pes())), false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sizes::Sizes;

    #[test]
    fn a_pipeline_of_more_stages_takes_longer_and_its_stages_work_no_longer() {
        let sizes = Sizes::preset("llama3-8b").expect("a preset");
        let chip = Chip::preset("wse2").expect("a preset");
        let mut form = Form::new((&sizes.config.shape, sizes.format, KvFormat::F16), &chip, 512, (128, 96), 1);
        for (mesh, layers) in [((64, 64), 3), ((128, 96), 1)] {
            let form = form.at(mesh, layers);
            let (four, one) = form.cycles(4, 128, 2);
            assert!(four > one && form.cycles(1, 128, 2) == (one, one) && form.cycles(9, 128, 2).1 == one);
        }
    }
}
