//! A finalist with its ways laid and its trees chosen, a layer of decode timed, a layer of the prompt executed.
//!
//! Finalists are compared by a layer of decode on their own meshes (`host::dry`: executed, or in lockstep where that
//! takes too long) and by the form of their prompts. The one that is taken is checked: a layer of its prompt is
//! executed on the largest mesh with the same tiles that takes seconds (`smaller`).
//!
//! Two things are kept apart. *Latency* is what one token waits for: all layers, all ways, the head. *Rate* is what a
//! full pipeline gives: a token in as many cycles as the slowest region works on one (a stage: its layers and sending
//! on; the head: embedding, output head, choice, sending on); the ways between regions are latency alone.
//!
//! Invariant: a layer of decode is timed once, whatever is asked of it. Called by `search`.

use std::collections::HashMap;
use std::ops::Range;

use crate::host::dry::{LayerTime, decode_layer};
use crate::host::{Session, SessionConfig, SessionError};
use crate::placement::{Plan, PlanRequest, Sketch, Trees};

use super::ask::Ask;
use super::closed::{Forms, Lines, Mesh, Rest};
use super::prompt::{self, Prompt};
use super::score::{Terms, copies};

/// A layer of decode in the middle of the answer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// On the plan's mesh.
    pub run: LayerTime,
    /// What the closed form says.
    pub closed: u64,
}

/// A plan with its cycles.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Of the first wafer, which has the head and at least as many layers as any other.
    pub plan: Plan,
    /// Levels of the trees.
    pub k_tree: usize,
    /// A layer of decode.
    pub layer: Layer,
    /// Stages of all wafers.
    pub stages: usize,
    /// Cycles of a token outside the layers, by part: closed forms.
    pub rest: Rest,
    /// All of them, the ways between wafers included.
    pub rest_cycles: u64,
    /// Cycles of a token by closed forms alone: with these trees, and with those of the fewest stages.
    pub by_form: [u64; 2],
    /// The prompt.
    pub prompt: Prompt,
    /// Bytes of the fullest stage PE and of the fullest head PE, code included.
    pub arena: [usize; 2],
    /// The mesh before its ways were laid.
    pub(super) sketch: Sketch,
    /// Was it taken, and so its prompt executed as far as that takes seconds?
    pub is_checked: bool,
}

impl Choice {
    /// Cycles of a token of decode in the middle of the answer: the latency.
    pub fn token_cycles(&self, ask: &Ask) -> u64 {
        ask.shape.n_layers as u64 * self.layer.run.cycles + self.rest_cycles
    }

    /// Cycles of prompt, transition and answer.
    pub fn total_cycles(&self, ask: &Ask) -> u64 {
        self.prompt.cycles + self.prompt.transition + self.token_cycles(ask) * ask.steps() as u64
    }

    /// Cycles that a region works on a token, the head first, then every stage of the first wafer.
    pub fn works(&self) -> Vec<u64> {
        works(&self.rest, &self.plan.stages, self.layer.run.cycles)
    }

    /// Cycles of a token in a full pipeline: the slowest region's.
    pub fn stage_cycles(&self) -> u64 {
        self.works().into_iter().max().unwrap_or(0)
    }

    /// PEs of all regions, those of a prefill apart included.
    pub fn pes(&self) -> usize {
        self.plan.pes() + self.prompt.apart.as_ref().map_or(0, Plan::pes)
    }

    /// What objectives count.
    pub fn terms(&self, ask: &Ask) -> Terms {
        // While weights, K and V move nobody else works.
        let slowest = self.prompt.stage_cycles + self.prompt.transition + self.stage_cycles() * ask.steps() as u64;
        let apart = self.prompt.apart.as_ref();
        let rows = |p: &Plan| p.floor.bands() * p.rows;
        let width = apart.map_or(0, |p| p.floor.width()).max(self.plan.floor.width());
        let size = (width, rows(&self.plan) + apart.map_or(0, rows));
        let (kv_bytes, chunk) = (ask.config.kv_type.bytes(), if apart.is_some() { 0 } else { self.prompt.chunk });
        Terms {
            total: self.total_cycles(ask),
            slowest,
            pes: self.pes(),
            requests: self.sketch.requests(&ask.part(), &ask.config.chip, kv_bytes, chunk),
            copies: copies(&ask.config.chip, size),
        }
    }

    /// More stages or head columns than the arenas ask for?
    pub fn is_spread(&self) -> bool {
        !self.sketch.is_least
    }

    /// The less the better.
    pub(super) fn score(&self, ask: &Ask) -> f64 {
        self.terms(ask).score(ask)
    }
}

/// Work of every region on a token: the head, then stages of so many layers.
pub(super) fn works(rest: &Rest, stages: &[Range<usize>], layer: u64) -> Vec<u64> {
    let stage = |s: &Range<usize>| s.len() as u64 * layer + rest.send;
    std::iter::once(rest.head + rest.send).chain(stages.iter().map(stage)).collect()
}

/// Layers of decode that were timed: mesh, trees and position say all that matters of a model and chip, whatever is
/// reserved. And who is told what is begun.
#[derive(Default)]
pub struct Timed<'w> {
    known: HashMap<(Mesh, Trees, usize), LayerTime>,
    watch: Option<Box<dyn FnMut(Step) + 'w>>,
}

/// What planning begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many meshes are ranked by closed forms.
    Rank(usize),
    /// A layer of decode is timed on a mesh.
    Layer(Mesh),
    /// A layer of the prompt is executed for a mesh.
    Prompt(Mesh),
}

impl<'w> Timed<'w> {
    /// Nothing timed yet; `watch` hears of every step.
    pub fn watched(watch: impl FnMut(Step) + 'w) -> Self {
        Self { known: HashMap::new(), watch: Some(Box::new(watch)) }
    }

    pub(super) fn begins(&mut self, step: Step) {
        if let Some(watch) = &mut self.watch {
            watch(step);
        }
    }
}

/// What a mesh is planned with, and its forms.
pub(super) struct Setting<'a, 'w> {
    pub(super) forms: &'a Forms<'a>,
    pub(super) timed: &'a mut Timed<'w>,
}

impl Ask {
    /// The configuration of a plan.
    fn config_of(&self, mesh: Mesh, trees: &Trees) -> SessionConfig {
        let sides = Some((mesh.0 as u32, mesh.1 as u32));
        SessionConfig { k_tree: trees.y.len(), mesh: sides, trees: Some(trees.clone()), ..self.config.clone() }
    }

    /// A mesh with its ways, to be compared.
    ///
    /// # Errors
    /// Colors that the ways lack; a stall (a defect).
    pub(super) fn finalist(
        &self,
        s: &mut Setting<'_, '_>,
        (sketch, k_tree): (&Sketch, usize),
        apart: Option<&Sketch>,
    ) -> Result<Choice, SessionError> {
        let mesh = (sketch.cols, sketch.rows);
        let trees = s.forms.trees(mesh, sketch.head_cols, k_tree);
        let config = self.config_of(mesh, &trees);
        let (shape, chip) = (self.part(), &self.config.chip);
        let plan = sketch.clone().finish(&shape, chip, &Session::request(&config)?)?;
        let layer = self.layer(s, &plan)?;
        let (lines, stages) = (Lines::from(&trees), plan.stages.len() * self.wafers);
        let size = (plan.floor.width(), plan.floor.bands() * plan.rows);
        let rest = s.forms.rest(mesh, &lines, plan.head_cols, size);
        let crossings = if self.wafers > 1 { self.wafers as u64 * self.wafer_cycles } else { 0 };
        let arena = plan.fullest_bytes(&shape, config.kv_type.bytes()).map(|b| b + chip.reserved_bytes as usize);
        let rest_cycles = rest.cycles(stages) + crossings;
        let by_form = [lines, s.forms.lines(mesh, plan.head_cols, k_tree)].map(|lines| {
            let layer = s.forms.decode_layer(mesh, &lines, self.middle());
            let rest = s.forms.rest(mesh, &lines, plan.head_cols, size).cycles(stages) + crossings;
            self.shape.n_layers as u64 * layer + rest
        });
        let prompt = self.by_token(s.forms, &plan, (&layer, &rest), rest_cycles);
        let (sketch, is_checked) = (sketch.clone(), false);
        let mut choice =
            Choice { plan, k_tree, layer, stages, rest, rest_cycles, by_form, prompt, arena, sketch, is_checked };
        let largest = [self.same(&choice, (None, false))?, apart.map_or(Ok(None), |a| self.apart(a, &choice))?];
        for first in largest.into_iter().flatten() {
            for chunk in prompt::chunks(first.chunk).skip(1) {
                let how = (Some(chunk), false);
                let smaller = match &first.apart {
                    None => self.same(&choice, how)?,
                    Some(own) => self.on(own.clone(), &choice, how)?,
                };
                choice = smaller.map_or(choice.clone(), |prompt| self.better(choice.clone(), prompt));
            }
            choice = self.better(choice, first);
        }
        Ok(choice)
    }

    /// The same, its prompt executed as far as that takes seconds.
    ///
    /// # Errors
    /// A stall (a defect).
    pub(super) fn checked(&self, s: &mut Setting<'_, '_>, choice: Choice) -> Result<Choice, SessionError> {
        let mut choice = Choice { is_checked: true, ..choice };
        s.timed.begins(Step::Prompt((choice.plan.cols, choice.plan.rows)));
        let by_token = self.by_token(s.forms, &choice.plan, (&choice.layer, &choice.rest), choice.rest_cycles);
        match (choice.prompt.apart.clone(), choice.prompt.chunk) {
            (_, 0) => choice.prompt = by_token,
            (None, chunk) => {
                choice.prompt = self.same(&choice, (Some(chunk), true))?.unwrap_or_else(|| by_token.clone());
                choice = self.better(choice, by_token);
            }
            (Some(own), chunk) => {
                let here = self.same(&choice, (None, false))?;
                choice.prompt = self.on(own, &choice, (Some(chunk), true))?.unwrap_or_else(|| by_token.clone());
                // An executed transition may take longer than it saves.
                for prompt in here.into_iter().chain([by_token]).filter(|_| self.prefill_mesh.is_none()) {
                    choice = self.better(choice, prompt);
                }
            }
        }
        choice.is_checked = choice.prompt.is_checked;
        Ok(choice)
    }

    /// A layer of decode on the plan's mesh.
    fn layer(&self, s: &mut Setting<'_, '_>, plan: &Plan) -> Result<Layer, SessionError> {
        let (mesh, trees, position) = ((plan.cols, plan.rows), plan.trees(), self.middle());
        let closed = s.forms.decode_layer(mesh, &Lines::from(&trees), position);
        let key = (mesh, Trees { head: vec![1; trees.y.len()], ..trees }, position);
        if let Some(run) = s.timed.known.get(&key) {
            return Ok(Layer { run: run.clone(), closed });
        }
        let context = self.config.context.max(position + 1);
        let config = SessionConfig { context, ..self.config_of(mesh, &key.1) };
        s.timed.begins(Step::Layer(mesh));
        let run = decode_layer(&self.shape, self.format, &config, position)?;
        s.timed.known.insert(key, run.clone());
        Ok(Layer { run, closed })
    }

    /// A choice with the prompt with which it scores better, or that was asked for.
    fn better(&self, choice: Choice, prompt: Prompt) -> Choice {
        let mesh = |p: &Prompt| p.apart.as_ref().map(|p| (p.cols as u32, p.rows as u32));
        let is_asked_for = |p: &Prompt| self.prefill_mesh.is_some() && mesh(p) == self.prefill_mesh;
        let other = Choice { prompt, ..choice.clone() };
        match (is_asked_for(&choice.prompt), is_asked_for(&other.prompt)) {
            (true, false) => choice,
            (false, true) => other,
            _ if other.score(self) < choice.score(self) => other,
            _ => choice,
        }
    }

    /// Token by token: behind the first, one each time that the slowest stage is free; at the middle of the prompt.
    fn by_token(&self, forms: &Forms<'_>, plan: &Plan, (layer, rest): (&Layer, &Rest), rest_cycles: u64) -> Prompt {
        let at = forms.decode_layer((plan.cols, plan.rows), &Lines::from(&plan.trees()), self.prompt / 2);
        let cycles = (at as f64 * layer.run.cycles as f64 / layer.closed.max(1) as f64) as u64;
        // No position but the last goes through the output head.
        let slowest = works(rest, &plan.stages, cycles)[1..].iter().copied().max().unwrap_or(0);
        let n = self.prompt as u64;
        let all = self.shape.n_layers as u64 * cycles + rest_cycles + (n - 1) * slowest;
        let stage_cycles = n * slowest;
        let bubbles = 1.0 - stage_cycles as f64 / all.max(stage_cycles).max(1) as f64;
        let (apart, check, chunk, transition) = (None, None, 0, 0);
        let (moved, is_checked, cycles) = (false, true, all);
        Prompt { apart, chunk, cycles, transition, moved, stage_cycles, bubbles, check, is_checked }
    }

    /// In chunks on decode's regions; `None` where their arenas hold no chunk.
    fn same(&self, choice: &Choice, how: (Option<usize>, bool)) -> Result<Option<Prompt>, SessionError> {
        let (shape, chip) = (self.part(), &self.config.chip);
        let (model, size) = ((&shape, self.format), (self.prompt, choice.stages));
        let found = prompt::confirm(model, &self.config, &choice.plan, size, how)?;
        let writing = u64::from(chip.usable_colors()) * u64::from(chip.route_write_cycles);
        Ok(found.map(|c| in_chunks(c, choice.rest_cycles, None, (writing, false))))
    }

    /// In chunks on regions of their own, if they have room below decode's.
    fn apart(&self, sketch: &Sketch, choice: &Choice) -> Result<Option<Prompt>, SessionError> {
        let (shape, chip) = (self.part(), &self.config.chip);
        let request = PlanRequest {
            mesh: Some((sketch.cols as u32, sketch.rows as u32)),
            context: self.prompt,
            trees: None,
            ..Session::request(&self.config)?
        };
        let Ok(mut plan) = Plan::new(&shape, chip, &request) else { return Ok(None) };
        let rows = |p: &Plan| p.floor.bands() * p.rows;
        if rows(&plan) + rows(&choice.plan) > chip.rows as usize {
            return Ok(None);
        }
        plan.floor = plan.floor.moved_down(rows(&choice.plan));
        self.on(plan, choice, (None, false))
    }

    /// In chunks on the regions of `plan`, apart from those of a choice.
    fn on(&self, plan: Plan, choice: &Choice, how: (Option<usize>, bool)) -> Result<Option<Prompt>, SessionError> {
        let shape = self.part();
        let (model, size) = ((&shape, self.format), (self.prompt, plan.stages.len()));
        let Some(own) = prompt::confirm(model, &self.config, &plan, size, how)? else { return Ok(None) };
        let mesh = (choice.plan.cols, choice.plan.rows);
        let config = SessionConfig { prompt: self.prompt, ..self.config_of(mesh, &choice.plan.trees()) };
        let moved = prompt::move_to(model, &config, (&plan, &choice.plan), how.1)?;
        Ok(Some(in_chunks(own, choice.rest_cycles, Some(plan), moved)))
    }
}

/// A prompt in chunks, with the ways and the head that a token has too.
fn in_chunks(c: prompt::Confirmed, rest: u64, apart: Option<Plan>, (transition, moved): (u64, bool)) -> Prompt {
    let (through, one) = c.cycles;
    let bubbles = 1.0 - one as f64 / (through + rest).max(1) as f64;
    let (chunk, cycles) = (c.chunk.0, through + rest);
    let is_checked = c.check.is_some();
    Prompt { apart, chunk, cycles, transition, moved, stage_cycles: one, bubbles, check: c.check, is_checked }
}
