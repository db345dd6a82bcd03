//! A session: from a checkpoint and a chip to tokens.
//!
//! Invariant: one pass per token; between passes the wafer is quiescent. In greedy decoding the host's "go on" takes no
//! modelled time; a sampled id is charged one round trip to the host.

use crate::exec::{Counters, Inject, LaunchError, PassError, RunOptions, TraceOptions, Wafer};
use crate::fabric::{Layout, LayoutError};
use crate::kernels::decode::{Contents, Decode, pass, point, tile};
use crate::kernels::prefill::PrefillRefused;
use crate::link::{Ctrl, Schedule};
use crate::math::checkpoint::Checkpoint;
use crate::pe::Mark;
use crate::pe::Probes;
use crate::placement::{Plan, PlanError};
use crate::units::Coord;

use super::config::SessionConfig;
use super::planning::{plan, request, summary};
use super::prefill::Prompt;
use super::report::{self, PlacementSummary, PrefillReport, Report};
use super::trace;
use super::visit::sort_by_visit;

/// Why a session cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No placement.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The chip cannot run the layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The chip cannot run the layout, or the host cannot run the wafer.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Stopped on the wafer.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// Mixed weight formats.
    #[error("weight matrices mix f16 and bf16; one format per model is needed")]
    MixedFormats,
    /// More tokens than the arenas hold.
    #[error("the KV tiles are full: {fits} tokens fit in the arenas")]
    Full {
        /// Positions.
        fits: usize,
    },
    /// The prompt cannot be prefilled.
    #[error(transparent)]
    Prefill(#[from] PrefillRefused),
    /// Another prompt than the session was made for, or not at its start.
    #[error("prefill: the session was made for a prompt of {need} positions at its start, found {found} at {at}")]
    Prompt {
        /// Positions.
        need: usize,
        /// Positions.
        found: usize,
        /// Positions before.
        at: usize,
    },
    /// A K of zero levels or beyond sense.
    #[error("k-tree: need 1 to 8 levels, found {found}")]
    Levels {
        /// As asked.
        found: usize,
    },
}

/// Where the next id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// From the prompt.
    Given(u32),
    /// What the wafer itself found.
    Own,
    /// Chosen by the host.
    Sampled(u32),
}

/// What one pass gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Best id, where logits were wanted.
    pub argmax: Option<u32>,
    /// Virtual time since launch.
    pub cycles: u64,
}

/// A model on a wafer.
pub struct Session {
    pub(super) wafer: Wafer,
    pub(super) decode: Decode,
    placement: PlacementSummary,
    arena: report::ArenaUse,
    pub(super) options: RunOptions,
    pub(super) positions: usize,
    /// Of this launch.
    pub(super) counters: Counters,
    /// Of the launches before.
    pub(super) before: Counters,
    pub(super) by_phase: Vec<report::PhaseCycles>,
    /// In the clock of this launch.
    pub(super) phase_end: u64,
    host_cycles: u64,
    /// In the clock of the session.
    pub(super) logits_at: u64,
    /// What the session begins with, until it is done.
    pub(super) prompt: Option<Prompt>,
    pub(super) prefilled: Option<PrefillReport>,
    /// Marks kept for a trace: room for them, what is there, and how many found none.
    kept: (usize, Vec<Mark>, u64),
}

/// What is looked at beside the run.
#[derive(Default)]
struct Watch {
    trace: Option<TraceOptions>,
    probes: Option<Probes>,
    link_windows: bool,
}

impl Session {
    /// Plans, lays out, checks, packs the weights and starts the workers.
    ///
    /// # Errors
    /// What does not fit, or why the layout cannot run on this chip.
    pub fn new(model: &dyn Checkpoint, config: SessionConfig) -> Result<Self, SessionError> {
        Self::launch(model, config, false, Watch::default())
    }

    /// `new`, recording what PEs do and which phases pass, and how busy links are in windows.
    ///
    /// # Errors
    /// As `new`.
    pub fn traced(
        model: &dyn Checkpoint,
        config: SessionConfig,
        trace: Option<TraceOptions>,
        link_windows: bool,
    ) -> Result<Self, SessionError> {
        Self::launch(model, config, false, Watch { trace, link_windows, probes: None })
    }

    /// As `new`; copies of probed tiles go to `probes`.
    ///
    /// # Errors
    /// As `new`.
    pub fn probed(model: &dyn Checkpoint, config: SessionConfig, probes: Option<Probes>) -> Result<Self, SessionError> {
        Self::launch(model, config, false, Watch { probes, ..Watch::default() })
    }

    /// As `new`, to begin with `prefill` of a prompt of `config.prompt` positions.
    ///
    /// # Errors
    /// As `new`; `Prefill` when the arenas hold no chunk.
    pub fn with_prefill(model: &dyn Checkpoint, config: SessionConfig) -> Result<Self, SessionError> {
        Self::launch(model, config, true, Watch::default())
    }

    fn launch(
        model: &dyn Checkpoint,
        config: SessionConfig,
        prefill: bool,
        watch: Watch,
    ) -> Result<Self, SessionError> {
        let decode = plan(model, &config)?;
        let contents = Contents::new(&decode, model);
        if contents.formats().any(|f| f != decode.format) {
            return Err(SessionError::MixedFormats);
        }
        let mut layout = decode.layout()?;
        let placement = summary(&decode, &layout);
        let arena = report::arena_use(&layout, &decode.chip);
        let mut options = RunOptions::new(config.workers.max(1));
        options.full_arenas = config.arena_full;
        let trace = watch.trace;
        options.trace = trace;
        options.probes = watch.probes;
        options.link_windows = watch.link_windows;
        options.kernels = config.kernels.unwrap_or(options.kernels);
        if let Some(seed) = config.random_schedule {
            options.schedule = Schedule::Random(seed);
        }
        let fill = |pe, id, words: &mut [u32]| contents.fill(pe, id, words);
        let prompt = prefill.then(|| Prompt::new(&decode, config.prompt)).transpose()?;
        let mut wafer = match &prompt {
            Some(prompt) => {
                Wafer::launch(prompt.kernel.clone(), prompt.kernel.layout()?, &decode.chip, &options, fill)?
            }
            None => {
                sort_by_visit(&decode, &mut layout, &options)?;
                Wafer::launch(decode.clone(), layout, &decode.chip, &options, fill)?
            }
        };
        drop(contents);
        wafer.run(&[])?;
        Ok(Self {
            wafer,
            decode,
            placement,
            arena,
            options,
            positions: 0,
            counters: Counters::default(),
            before: Counters::default(),
            prompt,
            prefilled: None,
            by_phase: Vec::new(),
            phase_end: 0,
            host_cycles: 0,
            logits_at: 0,
            kept: (trace.map_or(0, |t| t.spans_max), Vec::new(), 0),
        })
    }

    /// Plans and lays out without weights or workers.
    ///
    /// # Errors
    /// As `new`.
    pub fn plan_only(model: &dyn Checkpoint, config: &SessionConfig) -> Result<(Decode, Layout), SessionError> {
        let decode = plan(model, config)?;
        let layout = decode.layout()?;
        crate::fabric::build(&layout, &decode.chip, 1, false)?;
        Ok((decode, layout))
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
        let fits = |context| plan(model, &SessionConfig { context, ..config.clone() }).is_ok();
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

    /// Runs one token through the wafer.
    ///
    /// # Errors
    /// `Full` when no row has room; a stall or a number that is none.
    pub fn step(&mut self, token: Token, want_logits: bool) -> Result<Step, SessionError> {
        if let Some(prompt) = &self.prompt {
            let need = prompt.kernel.prompt;
            return Err(SessionError::Prompt { need, found: 1, at: self.positions });
        }
        if self.positions >= self.capacity() {
            return Err(SessionError::Full { fits: self.capacity() });
        }
        let mut kind = if want_logits { pass::WANT_LOGITS } else { 0 };
        let (word, ready) = match token {
            Token::Given(id) => (id, 0),
            Token::Own => {
                kind |= pass::OWN_ID;
                (0, 0)
            }
            Token::Sampled(id) => {
                let trip = self.decode.chip.host_roundtrip_cycles;
                self.host_cycles += trip;
                (id, (self.logits_at + trip).saturating_sub(self.before.cycles))
            }
        };
        let ctrl = Ctrl { kind_slot: kind, position: self.positions as u32 };
        self.wafer.run(&[Inject { lane: 0, ctrl, word, ready }])?;
        self.positions += 1;
        let marks = self.wafer.take_marks();
        let room = marks.len().min(self.kept.0 - self.kept.1.len());
        if self.kept.0 > 0 {
            self.kept.1.extend(&marks[..room]);
            self.kept.2 += (marks.len() - room) as u64;
        }
        self.note_phases(&point::NAMES, &marks);
        let cycles = self.before.cycles + marks.iter().map(|m| m.now).max().unwrap_or(0);
        let mut argmax = None;
        if want_logits {
            self.logits_at = cycles;
            argmax = self.wafer.read(self.decode.head_root(), tile::OWN)?.first().copied();
        }
        Ok(Step { argmax, cycles })
    }

    /// Logits of the last step that wanted them: an uncharged probe.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn logits(&mut self) -> Result<Vec<f32>, SessionError> {
        let row = self.decode.head_root().row;
        let mut all = Vec::with_capacity(self.decode.shape.vocab);
        for col in 0..self.decode.plan.head_cols as u32 {
            let words = self.wafer.read(Coord::new(col, row), tile::LOGITS)?;
            all.extend(words[..words.len() - 1].iter().map(|w| f32::from_bits(*w)));
        }
        Ok(all)
    }

    /// Positions that the arenas hold.
    pub fn capacity(&self) -> usize {
        self.decode.plan.capacity
    }

    /// The placement in numbers and pictures.
    pub fn placement(&self) -> PlacementSummary {
        self.placement.clone()
    }

    /// The kernel's numbers.
    pub fn decode(&self) -> &Decode {
        &self.decode
    }

    /// The wafer, for reports and tests.
    pub fn wafer(&self) -> &Wafer {
        &self.wafer
    }

    /// Phases of every stage so far, if the session is traced, and how many found no room.
    pub fn phases(&self) -> (Vec<trace::Phase>, u64) {
        (trace::stage_phases(&self.kept.1), self.kept.2)
    }

    /// Totals so far.
    pub fn report(&mut self) -> Report {
        if let Ok(counters) = self.wafer.counters() {
            self.counters = counters;
        }
        let (c, chip) = (self.totals(), &self.decode.chip);
        Report {
            chip: chip.name.clone(),
            clock_hz: chip.clock_hz,
            cycles_total: c.cycles,
            by_phase: self.by_phase.clone(),
            hops: c.hops,
            wavelets: c.wavelets,
            bursts: c.bursts,
            message_hops: c.hops,
            arena: self.arena,
            colors_max: self.wafer.colors_max,
            energy_joules: c.cycles as f64 / chip.clock_hz * chip.power_watts,
            power_watts: chip.power_watts,
            numerics: report::numerics(&self.decode),
            assumed: report::assumed(chip),
            host_roundtrip_cycles: self.host_cycles,
            prefill: self.prefilled.clone(),
        }
    }
}
