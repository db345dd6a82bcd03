//! A session: from a checkpoint and a chip to tokens.
//!
//! Invariant: one pass per token; between passes the wafer is quiescent. In greedy decoding the host's "go on" takes no
//! modelled time; a sampled id is charged one round trip to the host.

use crate::exec::{Counters, Inject, LaunchError, PassError, RunOptions, TraceOptions, Wafer};
use crate::fabric::{LayoutError, TileId};
use crate::kernels::decode::{Contents, Decode, pass, point, tile};
use crate::kernels::prefill::{PHASES, PrefillRefused};
use crate::link::{Ctrl, Schedule};
use crate::math::checkpoint::{Checkpoint, ModelShape, WeightFormat};
use crate::pe::{Mark, Probes};
use crate::placement::PlanError;
use crate::units::Coord;

use super::config::SessionConfig;
use super::kept::NotKept;
use super::planning::{format, plan, summary};
use super::prefill::{PrefillOptions, Prompt, Start};
use super::recorded::Recorded;
use super::report::{self, PlacementSummary, PrefillReport};
use super::usage::Noted;
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
    /// A launch would not find what the one before should have left.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The prompt cannot be prefilled.
    #[error(transparent)]
    Prefill(#[from] PrefillRefused),
    /// No placement on the mesh of its own that a prefill was given.
    #[error("prefill mesh: {0}")]
    PrefillMesh(PlanError),
    /// Prefill and decode on meshes of their own are higher than the wafer.
    #[error("prefill mesh: its regions and those of decode above them take {need} rows, the chip has {have}")]
    PrefillRows {
        /// Rows.
        need: usize,
        /// Rows.
        have: usize,
    },
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
    pub(super) arena: report::ArenaUse,
    pub(super) options: RunOptions,
    pub(super) positions: usize,
    /// Of this launch.
    pub(super) counters: Counters,
    /// Of the launches before.
    pub(super) before: Counters,
    /// Names of the points of this launch.
    pub(super) points: &'static [&'static str],
    pub(super) by_phase: Vec<report::PhaseCycles>,
    /// Of the prefill, where its head is not decode's.
    pub(super) kept_logits: Option<Vec<f32>>,
    /// In the clock of this launch.
    pub(super) phase_end: u64,
    pub(super) host_cycles: u64,
    /// Of this launch.
    pub(super) noted: Noted,
    /// In the clock of the session.
    pub(super) logits_at: u64,
    /// What the session begins with, until it is done.
    pub(super) prompt: Option<Prompt>,
    pub(super) prefilled: Option<PrefillReport>,
    /// Marks of this launch kept for a trace: room for them, what is there, and how many found none.
    pub(super) kept: (usize, Vec<Mark>, u64),
    /// What launches before left for the files of a run.
    pub(super) past: Recorded,
    /// Spans to record in all launches together.
    pub(super) spans_max: usize,
}

/// What is looked at beside the run.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) trace: Option<TraceOptions>,
    pub(super) probes: Option<Probes>,
    pub(super) link_windows: bool,
}

impl Session {
    /// Plans, lays out, checks, packs the weights and starts the workers.
    ///
    /// # Errors
    /// What does not fit, or why the layout cannot run on this chip.
    pub fn new(model: &dyn Checkpoint, config: SessionConfig) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Decode, Watch::default())
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
        Self::launch(model, config, Start::Decode, Watch { trace, link_windows, probes: None })
    }

    /// As `new`; copies of probed tiles go to `probes`.
    ///
    /// # Errors
    /// As `new`.
    pub fn probed(model: &dyn Checkpoint, config: SessionConfig, probes: Option<Probes>) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Decode, Watch { probes, ..Watch::default() })
    }

    pub(super) fn launch(
        model: &dyn Checkpoint,
        config: SessionConfig,
        start: Start,
        watch: Watch,
    ) -> Result<Self, SessionError> {
        let (shape, format) = (model.shape(), format(model));
        let decode = plan(shape, format, &config)?;
        let apart = start.apart(shape, format, &config, &decode)?;
        let contents = Contents::new(apart.as_ref().unwrap_or(&decode), model);
        if contents.formats().any(|f| f != decode.format) {
            return Err(SessionError::MixedFormats);
        }
        let fill = |pe, id, words: &mut [u32]| contents.fill(pe, id, words);
        Self::begin((decode.clone(), apart.clone()), config, start, false, watch, fill)
    }

    /// As `new`, or `with_prefill`, from a model's sizes alone: bursts carry no payload, and no step has an id.
    ///
    /// # Errors
    /// As `new`.
    pub fn dry(
        shape: &ModelShape,
        format: WeightFormat,
        config: SessionConfig,
        prefill: Option<PrefillOptions>,
    ) -> Result<Self, SessionError> {
        let start = prefill.map_or(Start::Decode, Start::Prefill);
        let decode = plan(shape, format, &config)?;
        let apart = start.apart(shape, format, &config, &decode)?;
        Self::begin((decode, apart), config, start, true, Watch::default(), |_, _, _| {})
    }

    fn begin(
        (decode, apart): (Decode, Option<Decode>),
        config: SessionConfig,
        start: Start,
        dry: bool,
        watch: Watch,
        fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
    ) -> Result<Self, SessionError> {
        let mut layout = decode.layout()?;
        let placement = summary(&decode, &layout);
        let mut arena = report::arena_use(&[&layout], &decode.chip);
        let mut options = RunOptions::new(config.workers.max(1));
        options.dry = dry;
        options.full_arenas = config.arena_full;
        let trace = watch.trace;
        options.probes = watch.probes;
        options.link_windows = watch.link_windows;
        options.kernels = config.kernels.unwrap_or(options.kernels);
        if let Some(seed) = config.random_schedule {
            options.schedule = Schedule::Random(seed);
        }
        let prompt = match start {
            Start::Decode => None,
            Start::Prefill(how) => {
                let first = apart.as_ref().unwrap_or(&decode);
                let prompt = Prompt::new(first, &decode, config.prompt, how.chunk)?;
                prompt.check()?;
                Some(prompt)
            }
        };
        let spans_max = trace.map_or(0, |t| t.spans_max);
        let here = if prompt.is_some() { spans_max.div_ceil(2) } else { spans_max };
        options.trace = trace.map(|t| TraceOptions { spans_max: here, ..t });
        let mut wafer = match &prompt {
            Some(prompt) => {
                let before = prompt.kernel.layout()?;
                arena = report::arena_use(&[&layout, &before], &decode.chip);
                Wafer::launch(prompt.kernel.clone(), before, &decode.chip, &options, fill)?
            }
            None => {
                sort_by_visit(&decode, &mut layout, &options)?;
                Wafer::launch(decode.clone(), layout, &decode.chip, &options, fill)?
            }
        };
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
            points: if start.is_prefill() { &PHASES } else { &point::NAMES },
            by_phase: Vec::new(),
            phase_end: 0,
            kept_logits: None,
            host_cycles: 0,
            noted: Noted::default(),
            logits_at: 0,
            kept: (here, Vec::new(), 0),
            past: Recorded::default(),
            spans_max,
        })
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
        self.note_phases(&marks);
        self.kept_logits = None;
        let cycles = self.before.cycles + marks.iter().map(|m| m.now).max().unwrap_or(0);
        let mut argmax = None;
        if want_logits {
            self.noted.logits += 1;
            self.logits_at = cycles;
            argmax = self.found(self.decode.head_root())?;
        }
        Ok(Step { argmax, cycles })
    }

    /// The id that the head found in the last pass that wanted logits; none in a dry run.
    pub(super) fn found(&self, head: Coord) -> Result<Option<u32>, SessionError> {
        if self.options.dry {
            return Ok(None);
        }
        Ok(self.wafer.read(head, tile::OWN)?.first().copied())
    }

    /// Logits of the last step that wanted them: an uncharged probe.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn logits(&mut self) -> Result<Vec<f32>, SessionError> {
        match &self.kept_logits {
            Some(logits) => Ok(logits.clone()),
            None => self.logits_of(&self.decode),
        }
    }

    /// Logits in the head region of a kernel.
    pub(super) fn logits_of(&self, decode: &Decode) -> Result<Vec<f32>, SessionError> {
        let row = decode.head_root().row;
        let mut all = Vec::with_capacity(decode.shape.vocab);
        for col in 0..decode.plan.head_cols as u32 {
            let words = self.wafer.read(Coord::new(col, row), tile::LOGITS)?;
            all.extend(words[..words.len() - 1].iter().map(|w| f32::from_bits(*w)));
        }
        Ok(all)
    }

    /// Cycles of the critical path by phase so far.
    pub fn by_phase(&self) -> &[report::PhaseCycles] {
        &self.by_phase
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
}
