//! The choice of meshes and trees for a model: closed forms rank every mesh, dry runs confirm the finalists.
//!
//! ```text
//!   placement::sketches (meshes that fit) --decode: closed forms--> by the least that they can score
//!     --prompt: on the same mesh, apart, by token--> ranked --finalists: a layer of decode timed-->
//!     --the best: a layer of its prompt executed, again if that makes another one the best--> the plan
//! ```
//! A mesh that cannot beat the best even if its prompt took no longer than its products is not looked at further.
//!
//! Invariant: the choice depends on the question alone, never on the host's clock. Called by `app`.

use crate::host::{Session, SessionConfig, SessionError};
use crate::placement::{Plan, PlanError, Sketch};

use super::ask::Ask;
use super::closed::Forms;
use super::confirm::{Choice, Executed, Setting, score, works};
use super::prompt::{Form, least, moved_bytes, moving};

/// What a prompt's layer on a smaller mesh leaves open of a larger one's cycles.
const TELLS: f64 = 0.03;
/// Meshes whose prompts are predicted before the ranking is taken as it is.
const LOOKED_AT: usize = 400;

/// A mesh and what the closed forms say of it.
struct Ranked {
    sketch: usize,
    k_tree: usize,
    /// Cycles of an answer, and of the slowest region in it.
    answer: (u64, u64),
    /// Of the answer and of the products of a prompt.
    least: f64,
    /// With the best prompt.
    score: f64,
    /// Mesh of that prompt, where it is another one.
    apart: Option<usize>,
}

/// Cycles of a prompt on every mesh that was looked at.
struct Prompts<'a> {
    ask: &'a Ask,
    sketches: &'a [Sketch],
    form: Form,
    /// Cycles of all, and of one stage's work; `Some(None)`: the arenas hold no chunk.
    known: Vec<Option<Option<(u64, u64)>>>,
}

impl Prompts<'_> {
    fn of(&mut self, at: usize) -> Option<(u64, u64)> {
        let (ask, s) = (self.ask, &self.sketches[at]);
        let form = &mut self.form;
        *self.known[at].get_or_insert_with(|| {
            let (shape, config) = (ask.part(), &ask.config);
            let room = s.chunk_room(&shape, &config.chip, config.kv_type.bytes(), ask.prompt);
            let stages = s.stages * ask.wafers;
            (room > 0).then(|| {
                let form = form.at((s.cols, s.rows), ask.layers().div_ceil(s.stages));
                let (chunk, _) = form.best(stages, room);
                form.cycles(stages, chunk, chunk.div_ceil(s.rows))
            })
        })
    }
}

impl Ask {
    /// Every mesh that holds the model, by the closed forms, and what it can score at best.
    fn answers(&self, forms: &Forms<'_>, sketches: &[Sketch]) -> Vec<Ranked> {
        let (shape, chip) = (self.part(), &self.config.chip);
        let mut ranked = Vec::new();
        for (at, s) in sketches.iter().enumerate() {
            let mesh = (s.cols, s.rows);
            let prompt = least(&shape, chip, s, self.prompt);
            for k_tree in self.levels() {
                let lines = forms.lines(mesh, s.head_cols, k_tree);
                let layer = forms.decode_layer(mesh, &lines, self.middle());
                let rest = forms.rest(mesh, &lines, s.head_cols, (chip.cols as usize, s.bands * s.rows));
                let token = self.shape.n_layers as u64 * layer + rest.cycles(s.stages * self.wafers);
                let fullest = 0..self.layers().div_ceil(s.stages);
                let slowest = works(&rest, &[fullest], layer).into_iter().max().unwrap_or(0);
                let output = self.output as u64;
                let answer = (token * output, slowest * output);
                let least = score(self, answer.0 + prompt, answer.1 + prompt, s.pes());
                ranked.push(Ranked { sketch: at, k_tree, answer, least, score: f64::INFINITY, apart: None });
            }
        }
        ranked.sort_by(|a, b| a.least.total_cmp(&b.least));
        ranked
    }

    /// The meshes that were worth a look, the best first; the first `held` hold the whole context.
    fn rank(&self, forms: &Forms<'_>, sketches: &[Sketch], held: usize) -> Vec<Ranked> {
        let (shape, chip, config) = (self.part(), &self.config.chip, &self.config);
        let model = (&shape, self.format, config.kv_type);
        let form = Form::new(model, chip, self.prompt, (1, 1), 1);
        let mut prompts = Prompts { ask: self, sketches, form, known: vec![None; sketches.len()] };
        let mut ranked = self.answers(forms, &sketches[..held]);
        let (apart, bytes) = (self.prompts_apart(&mut prompts), moved_bytes(&shape, config, self.prompt));
        let (mut best, mut looked) = (f64::INFINITY, 0);
        for r in &mut ranked {
            if looked >= LOOKED_AT || r.least > best * 1.1 {
                break;
            }
            looked += 1;
            let s = &sketches[r.sketch];
            let scored = |prompt: u64, one: u64, pes| score(self, r.answer.0 + prompt, r.answer.1 + one, pes);
            // By token: one each time that the slowest region is free.
            let (token, slowest) = (r.answer.0 / self.output as u64, r.answer.1 / self.output as u64);
            let n = self.prompt as u64;
            r.score = scored(token + (n - 1) * slowest, n * slowest, s.pes());
            if let Some((all, one)) = prompts.of(r.sketch) {
                r.score = r.score.min(scored(all, one, s.pes()));
            }
            let free = (chip.rows as usize).saturating_sub(s.bands * s.rows);
            for &(_, (all, one), at) in apart.iter().filter(|a| a.0 <= free && a.2 != r.sketch) {
                let moved = moving(chip, bytes, s.pes().min(sketches[at].pes()));
                let with = scored(all + moved, one, s.pes() + sketches[at].pes());
                if with < r.score || self.prefill_mesh.is_some() {
                    (r.score, r.apart) = (with, Some(at));
                }
            }
            let mesh = (s.cols as u32, s.rows as u32);
            if r.apart.is_none() && self.prefill_mesh.is_some_and(|m| m != mesh) {
                r.score = f64::INFINITY;
            }
            best = best.min(r.score);
        }
        ranked.truncate(looked);
        ranked.sort_by(|a, b| a.score.total_cmp(&b.score));
        ranked
    }

    /// Prompts on meshes beside which another placement of the model has room: rows, cycles, mesh; for every number of
    /// rows those that fewer rows do not beat.
    fn prompts_apart(&self, prompts: &mut Prompts<'_>) -> Vec<(usize, (u64, u64), usize)> {
        let sketches = prompts.sketches;
        let rows = |s: &Sketch| s.bands * s.rows;
        let least_rows = sketches.iter().map(rows).min().unwrap_or(0);
        let most = (self.config.chip.rows as usize).saturating_sub(least_rows);
        if self.wafers > 1 {
            return Vec::new();
        }
        let wanted = |s: &Sketch| {
            let mesh = (s.cols as u32, s.rows as u32);
            rows(s) <= most && self.prefill_mesh.is_none_or(|m| m == mesh)
        };
        let (shape, chip) = (self.part(), &self.config.chip);
        let mut all: Vec<usize> = (0..sketches.len()).filter(|i| wanted(&sketches[*i])).collect();
        all.sort_by_key(|i| least(&shape, chip, &sketches[*i], self.prompt));
        all.truncate(LOOKED_AT);
        all.sort_by_key(|i| rows(&sketches[*i]));
        let mut kept: Vec<(usize, (u64, u64), usize)> = Vec::new();
        for at in all {
            let Some(cycles) = prompts.of(at) else { continue };
            if kept.last().is_none_or(|k| cycles.0 < k.1.0) {
                kept.push((rows(&sketches[at]), cycles, at));
            }
        }
        kept
    }

    /// The best plan, and the finalists in order.
    ///
    /// # Errors
    /// What does not fit.
    pub fn choose(&self, executed: &mut Executed) -> Result<Vec<Choice>, SessionError> {
        let (shape, chip) = (self.part(), &self.config.chip);
        let request = Session::request(&SessionConfig { trees: None, ..self.config.clone() })?;
        let mut sketches = Plan::sketches(&shape, chip, &request)?;
        let held = sketches.len();
        if let Some(mesh) = self.prefill_mesh {
            // It need not be a mesh that anyone would take.
            let wanted = crate::placement::PlanRequest { mesh: Some(mesh), context: self.prompt, ..request.clone() };
            let found = Plan::sketches(&shape, chip, &wanted).map_err(SessionError::PrefillMesh)?;
            sketches.extend(found);
        }
        let forms = Forms::new(&self.shape, chip);
        let mut ranked = self.rank(&forms, &sketches, held).into_iter();
        let (mut choices, mut refused): (Vec<Choice>, Option<SessionError>) = (Vec::new(), None);
        let mut setting = Setting { forms: &forms, executed };
        while choices.len() < self.finalists {
            let Some(next) = ranked.next() else { break };
            let s = &sketches[next.sketch];
            // Neighbours differ little: every finalist has a number of stages or of levels of its own.
            let stages = (s.stages * self.wafers, next.k_tree);
            if choices.iter().any(|c| (c.stages, c.k_tree) == stages) {
                continue;
            }
            match self.finalist(&mut setting, (s, next.k_tree), next.apart.map(|at| &sketches[at])) {
                Ok(choice) => choices.push(choice),
                Err(error @ SessionError::Plan(PlanError::Colors { .. })) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(error)) = (choices.is_empty(), refused) {
            return Err(error);
        }
        let mut choices = self.on_prefill_mesh(choices)?;
        loop {
            // What was checked stays the best where others are no better than a smaller mesh can tell.
            let cost = |c: &Choice| c.score(self) * if c.is_checked { 1.0 - TELLS } else { 1.0 };
            choices.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
            if choices.first().is_none_or(|best| best.is_checked) {
                return Ok(choices);
            }
            choices[0] = self.checked(&setting, choices[0].clone())?;
        }
    }

    /// The choices with the prefill mesh that was asked for.
    fn on_prefill_mesh(&self, mut choices: Vec<Choice>) -> Result<Vec<Choice>, SessionError> {
        let Some(mesh) = self.prefill_mesh else { return Ok(choices) };
        let sides = |p: &Plan| (p.cols as u32, p.rows as u32);
        let rows = |c: &Choice| c.plan.floor.bands() * c.plan.rows + mesh.1 as usize;
        let need = choices.iter().map(rows).min().unwrap_or(0);
        choices.retain(|c| sides(c.prompt.apart.as_ref().unwrap_or(&c.plan)) == mesh);
        let have = self.config.chip.rows as usize;
        if choices.is_empty() { Err(SessionError::PrefillRows { need, have }) } else { Ok(choices) }
    }
}
