//! The choice of meshes and trees for a model: closed forms rank every mesh, dry runs confirm the finalists.
//!
//! ```text
//!   placement::candidates (what fits) --decode: closed forms--> by the least that they can score
//!     --prompt: on the same mesh, apart, by token--> ranked --finalists: a layer of decode timed-->
//!     --the best: a layer of its prompt executed, again if that makes another one the best--> the plan
//! ```
//! A mesh that cannot beat the best even if its prompt took no longer than its products is not looked at further.
//!
//! Invariant: the choice depends on the question alone, never on the host's clock. Called by `app`.

use std::collections::HashSet;

use crate::host::{Session, SessionConfig, SessionError};
use crate::kernels::decode::Decode;
use crate::placement::{Plan, PlanError, PlanRequest, Sketch, Spread};

use super::ask::Ask;
use super::closed::Forms;
use super::confirm::{Choice, Setting, Step, Timed, works};
use super::prompt::{Form, kernel, least, moved_bytes, moving};
use super::score::{Terms, copies};

/// Closed forms are this near to executed layers (`tests/plan/plan_forms.rs`), so nothing beyond can be the best.
const NEAR: f64 = 1.25;
/// Meshes whose prompts are predicted before the ranking is taken as it is.
const LOOKED_AT: usize = 2_000;
/// Meshes for a prompt apart that are predicted.
const APART: usize = 400;
/// Cores of all meshes that are timed besides: small ones are so quickly executed that closed forms need not choose.
const TIMED_CORES: usize = 16_000;
/// The form of a prompt is this near to its executed layer, but for few.
const ALIKE: f64 = 1.06;
/// Cores of a mesh whose prompt is executed as well where its form is that near to the best.
const CHECKED_CORES: usize = 500;
/// Meshes whose ways turn out to take too many colors before there are finalists enough.
const REFUSED: usize = 64;

/// A mesh and what the closed forms say of it.
struct Ranked {
    sketch: usize,
    k_tree: usize,
    /// Cycles of a token, and of the slowest region on it.
    token: (u64, u64),
    /// Of an answer.
    answer: (u64, u64),
    /// With a prompt that takes no longer than its products, or with the best apart.
    least: f64,
    /// With the best prompt.
    score: f64,
    /// Mesh of that prompt, where it is another one.
    apart: Option<usize>,
}

/// A prompt on a mesh of its own: rows of all its regions, cycles, mesh.
struct Apart {
    rows: usize,
    cycles: (u64, u64),
    at: usize,
}

/// Cycles of a prompt on every mesh that was looked at.
struct Prompts<'a> {
    ask: &'a Ask,
    sketches: &'a [Sketch],
    form: Form,
    /// By chunk: cycles of all, and of one stage's work; none where the arenas hold no chunk.
    known: Vec<Option<Vec<InChunks>>>,
}

/// A chunk; cycles of all, and of one stage's work.
type InChunks = (usize, (u64, u64));

impl Prompts<'_> {
    fn of(&mut self, at: usize) -> &[InChunks] {
        let (ask, s) = (self.ask, &self.sketches[at]);
        let form = &mut self.form;
        self.known[at].get_or_insert_with(|| {
            let (shape, config) = (ask.part(), &ask.config);
            let room = s.chunk_room(&shape, &config.chip, config.kv_type.bytes(), ask.prompt);
            let stages = s.stages * ask.wafers;
            match room {
                0 => Vec::new(),
                _ => form.at((s.cols, s.rows), ask.layers().div_ceil(s.stages)).each(stages, room),
            }
        })
    }
}

fn rows(s: &Sketch) -> usize {
    s.bands * s.rows
}

impl Ask {
    /// Every mesh that holds the model, and its answer by the closed forms.
    fn answers(&self, forms: &Forms<'_>, sketches: &[Sketch]) -> Vec<Ranked> {
        let (chip, steps) = (&self.config.chip, self.steps() as u64);
        let mut ranked = Vec::new();
        for (sketch, s) in sketches.iter().enumerate() {
            let mesh = (s.cols, s.rows);
            for k_tree in self.levels() {
                let lines = forms.lines(mesh, s.head_cols, k_tree);
                let layer = forms.decode_layer(mesh, &lines, self.middle());
                let rest = forms.rest(mesh, &lines, s.head_cols, (chip.cols as usize, rows(s)));
                let token = self.shape.n_layers as u64 * layer + rest.cycles(s.stages * self.wafers);
                let fullest = 0..self.layers().div_ceil(s.stages);
                let slowest = works(&rest, &[fullest], layer).into_iter().max().unwrap_or(0);
                let (answer, score) = ((token * steps, slowest * steps), f64::INFINITY);
                let token = (token, slowest);
                ranked.push(Ranked { sketch, k_tree, token, answer, least: 0.0, score, apart: None });
            }
        }
        // Turns take a color for every so many rows, whatever the trees.
        let have = chip.usable_colors() as usize;
        let turns = |r: &Ranked| match sketches[r.sketch].tracks_least() {
            0 => true,
            tracks => Decode::straight_colors(r.k_tree) as usize + tracks <= have,
        };
        if ranked.iter().any(turns) {
            ranked.retain(turns);
        } else {
            ranked.truncate(1);
        }
        ranked
    }

    /// Score of so many cycles on one mesh, or on two.
    fn scored(&self, (total, slowest): (u64, u64), requests: usize, (s, apart): (&Sketch, Option<&Sketch>)) -> f64 {
        let chip = &self.config.chip;
        let size = (s.width.max(apart.map_or(0, |a| a.width)), rows(s) + apart.map_or(0, rows));
        let pes = s.pes() + apart.map_or(0, Sketch::pes);
        Terms { total, slowest, pes, requests, copies: copies(chip, size) }.score(self)
    }

    /// The meshes that were worth a look, the best first; the first `held` hold the whole context.
    fn rank(&self, forms: &Forms<'_>, sketches: &[Sketch], held: usize) -> Vec<Ranked> {
        let (shape, chip, config) = (self.part(), &self.config.chip, &self.config);
        let form = Form::new((&shape, self.format, config.kv_type), chip, self.prompt, (1, 1), 1);
        let mut prompts = Prompts { ask: self, sketches, form, known: vec![None; sketches.len()] };
        let mut ranked = self.answers(forms, &sketches[..held]);
        let held_of = |s: &Sketch, chunk: usize| s.requests(&shape, chip, config.kv_type.bytes(), chunk);
        let requests: Vec<usize> = sketches.iter().map(|s| held_of(s, 0)).collect();
        let (apart, bytes) = (self.prompts_apart(&mut prompts), moved_bytes(&shape, config, self.prompt));
        let beside = |r: &Ranked| self.beside((r, requests[r.sketch]), sketches, &apart, bytes);
        for r in &mut ranked {
            let s = &sketches[r.sketch];
            let products = least(&shape, chip, s, self.prompt);
            // The last of its tokens goes through all stages, whatever its products.
            let cycles = (r.answer.0 + products.max(r.token.0), r.answer.1 + products.max(r.token.1));
            let here = self.scored(cycles, requests[r.sketch], (s, None));
            r.least = beside(r).map_or(here, |b| here.min(b.0));
        }
        ranked.sort_by(|a, b| a.least.total_cmp(&b.least));
        let (mut best, mut looked) = (f64::INFINITY, 0);
        for r in &mut ranked {
            if looked >= LOOKED_AT || r.least > best * NEAR {
                break;
            }
            looked += 1;
            let s = &sketches[r.sketch];
            if self.prefill_mesh.is_none_or(|m| m == (s.cols as u32, s.rows as u32)) {
                let answer = r.answer;
                let here = |(prompt, one), held| self.scored((answer.0 + prompt, answer.1 + one), held, (s, None));
                // By token: one each time that the slowest region is free.
                let (token, slowest) = r.token;
                let n = self.prompt as u64;
                r.score = here((token + (n - 1) * slowest, n * slowest), requests[r.sketch]);
                for &(chunk, cycles) in prompts.of(r.sketch) {
                    r.score = r.score.min(here(cycles, held_of(s, chunk)));
                }
            }
            if let Some((with, at)) = beside(r).filter(|b| b.0 < r.score) {
                (r.score, r.apart) = (with, Some(at));
            }
            best = best.min(r.score);
        }
        ranked.truncate(looked);
        ranked.retain(|r| r.score < f64::INFINITY);
        ranked.sort_by(|a, b| a.score.total_cmp(&b.score));
        ranked
    }

    /// The best score with a prompt on a mesh of its own, and which; such a prompt leaves the room for requests alone.
    fn beside(
        &self,
        (r, requests): (&Ranked, usize),
        sketches: &[Sketch],
        apart: &[Apart],
        bytes: u64,
    ) -> Option<(f64, usize)> {
        let (s, chip) = (&sketches[r.sketch], &self.config.chip);
        let free = (chip.rows as usize).saturating_sub(rows(s));
        let fitting = apart.iter().filter(|a| a.rows <= free && a.at != r.sketch);
        let with = fitting.map(|a| {
            let own = &sketches[a.at];
            let moved = moving(chip, bytes, s.pes().min(own.pes()));
            let cycles = (r.answer.0 + a.cycles.0 + moved, r.answer.1 + a.cycles.1 + moved);
            (self.scored(cycles, requests, (s, Some(own))), a.at)
        });
        with.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Prompts on meshes beside which another placement of the model has room: all that are not beaten in rows, cores
    /// and cycles by another one.
    fn prompts_apart(&self, prompts: &mut Prompts<'_>) -> Vec<Apart> {
        let sketches = prompts.sketches;
        let least_rows = sketches.iter().map(rows).min().unwrap_or(0);
        let most = (self.config.chip.rows as usize).saturating_sub(least_rows);
        if self.wafers > 1 {
            return Vec::new();
        }
        let wanted = |s: &Sketch| {
            let mesh = (s.cols as u32, s.rows as u32);
            s.is_least && rows(s) <= most && self.prefill_mesh.is_none_or(|m| m == mesh)
        };
        let (shape, chip) = (self.part(), &self.config.chip);
        let mut all: Vec<usize> = (0..sketches.len()).filter(|i| wanted(&sketches[*i])).collect();
        all.sort_by_key(|i| least(&shape, chip, &sketches[*i], self.prompt));
        all.truncate(APART);
        all.sort_by_key(|i| (rows(&sketches[*i]), sketches[*i].pes()));
        let mut kept: Vec<Apart> = Vec::new();
        for at in all {
            let Some(cycles) = prompts.of(at).iter().map(|p| p.1).min() else { continue };
            let s = &sketches[at];
            let beats = |k: &Apart| k.cycles.0 <= cycles.0 && k.cycles.1 <= cycles.1 && sketches[k.at].pes() <= s.pes();
            if !kept.iter().any(beats) {
                kept.push(Apart { rows: rows(s), cycles, at });
            }
        }
        kept
    }

    /// The best plan, and the finalists in order.
    ///
    /// # Errors
    /// What does not fit.
    pub fn choose(&self, timed: &mut Timed<'_>) -> Result<Vec<Choice>, SessionError> {
        let (shape, chip) = (self.part(), &self.config.chip);
        if self.levels().next().is_none() {
            let (need, have) = (Decode::straight_colors(1) as usize, chip.usable_colors() as usize);
            return Err(PlanError::FewColors { need, have }.into());
        }
        let spread = Spread::default();
        let request = Session::request(&SessionConfig { trees: None, spread, ..self.config.clone() })?;
        let mut sketches = Plan::candidates(&shape, chip, &request)?;
        let held = sketches.len();
        if let Some(mesh) = self.prefill_mesh {
            // It need not be a mesh that anyone would take.
            let wanted = PlanRequest { mesh: Some(mesh), context: self.prompt, ..request.clone() };
            let found = Plan::sketches(&shape, chip, &wanted).map_err(SessionError::PrefillMesh)?;
            sketches.extend(found);
        }
        timed.begins(Step::Rank(held));
        let forms = Forms::new(&self.shape, chip);
        let mut choices = self.finalists(&mut Setting { forms: &forms, timed: &mut *timed }, (&sketches, held))?;
        choices = self.on_prefill_mesh(choices, &sketches)?;
        loop {
            choices.sort_by(|a, b| a.score(self).total_cmp(&b.score(self)));
            let alike = choices.first().map_or(0.0, |best| best.score(self) * ALIKE);
            let is_small = |c: &Choice| c.plan.cols * c.plan.rows <= CHECKED_CORES && c.score(self) <= alike;
            let next = choices.iter().enumerate().position(|(i, c)| !c.is_checked && (i == 0 || is_small(c)));
            let Some(next) = next else {
                choices.truncate(self.finalists.max(1));
                return Ok(choices);
            };
            choices[next] = self.checked(&mut Setting { forms: &forms, timed: &mut *timed }, choices[next].clone())?;
        }
    }

    /// The best by the closed forms, their layers timed.
    ///
    /// # Errors
    /// Colors that the ways of all lack.
    fn finalists(
        &self,
        setting: &mut Setting<'_, '_>,
        (sketches, held): (&[Sketch], usize),
    ) -> Result<Vec<Choice>, SessionError> {
        let (mut choices, mut refused): (Vec<Choice>, Vec<SessionError>) = (Vec::new(), Vec::new());
        let ranked = self.rank(setting.forms, sketches, held);
        let most = ranked.first().map_or(0.0, |first| first.score * NEAR);
        let (mut apart, mut cores, mut timed) = (Vec::new(), 0, HashSet::new());
        for next in &ranked {
            let s = &sketches[next.sketch];
            // Neighbours differ little: every finalist has a number of stages or of levels of its own.
            let kind = (s.stages, next.k_tree);
            let is_finalist = apart.len() < self.finalists
                && (choices.is_empty() || refused.len() < REFUSED)
                && !apart.contains(&kind);
            // A layer is timed once a mesh, whatever stages and head. (With a prefill mesh that was asked for, each
            // would have its transition executed too.)
            let mesh = (s.cols, s.rows, next.k_tree);
            let more = if timed.contains(&mesh) { 0 } else { s.cols * s.rows };
            let is_free = self.prefill_mesh.is_none() && cores + more <= TIMED_CORES;
            let is_small = is_free && next.score <= most;
            if !is_finalist && !is_small {
                continue;
            }
            match self.finalist(setting, (s, next.k_tree), next.apart.map(|at| &sketches[at])) {
                Ok(choice) => {
                    choices.push(choice);
                    cores += more;
                    timed.insert(mesh);
                    apart.extend(is_finalist.then_some(kind));
                }
                Err(error @ SessionError::Plan(PlanError::Colors { .. })) => refused.push(error),
                Err(error) => return Err(error),
            }
        }
        match refused.pop() {
            Some(error) if choices.is_empty() => Err(error),
            _ => Ok(choices),
        }
    }

    /// The choices with the prefill mesh that was asked for, the last of `sketches`.
    fn on_prefill_mesh(&self, mut choices: Vec<Choice>, sketches: &[Sketch]) -> Result<Vec<Choice>, SessionError> {
        let Some(mesh) = self.prefill_mesh else { return Ok(choices) };
        let sides = |p: &Plan| (p.cols as u32, p.rows as u32);
        choices.retain(|c| sides(c.prompt.apart.as_ref().unwrap_or(&c.plan)) == mesh);
        if !choices.is_empty() {
            return Ok(choices);
        }
        let (shape, chip) = (self.part(), &self.config.chip);
        let trees = None;
        let request = PlanRequest { mesh: Some(mesh), context: self.prompt, trees, ..Session::request(&self.config)? };
        let own = Plan::new(&shape, chip, &request).map_err(SessionError::PrefillMesh)?;
        kernel((&shape, self.format), &self.config, &own, self.prompt, None)?;
        let decode = sketches[..sketches.len() - 1].iter().map(rows).min().unwrap_or(0);
        Err(SessionError::PrefillRows { need: own.floor.bands() * own.rows + decode, have: chip.rows as usize })
    }
}
