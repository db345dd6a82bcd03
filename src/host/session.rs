//! A session: from a checkpoint and a chip to tokens.
//!
//! Invariant: one pass per token; between passes the wafer is quiescent. In greedy decoding the host's "go on" takes no
//! modelled time; a sampled id is charged one round trip to the host.

use crate::exec::{Counters, Inject, LaunchError, PassError, RunOptions, TraceOptions, Wafer};
use crate::fabric::{Chip, LayoutError};
use crate::kernels::decode::{Contents, Decode, KvFormat, pass, point, tile};
use crate::kernels::prefill::{PHASES, PrefillRefused};
use crate::link::{Ctrl, Schedule};
use crate::math::Kernels;
use crate::math::checkpoint::Checkpoint;
use crate::pe::Mark;
use crate::pe::Probes;
use crate::placement::PlanError;
use crate::units::Coord;

use super::planning::{apart, plan, summary};
use super::prefill::{Prompt, Start};
use super::recorded::Recorded;
use super::report::{self, PlacementSummary, PrefillReport, Report};
use super::visit::sort_by_visit;

/// Where positions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kv {
    /// Balanced by shift (paper 4.3).
    Shift,
    /// Generated positions pile up in the bottom row: the baseline.
    Concat,
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Chip.
    pub chip: Chip,
    /// Columns and rows of a layer region; `None`: the least estimated host time (see `placement`).
    pub mesh: Option<(u32, u32)>,
    /// Shift or concat.
    pub kv: Kv,
    /// Format of K and V.
    pub kv_type: KvFormat,
    /// Levels of the K-trees.
    pub k_tree: usize,
    /// Positions to provide for.
    pub context: usize,
    /// Positions of the prompt (concat distributes them).
    pub prompt: usize,
    /// Worker threads.
    pub workers: usize,
    /// Back and poison whole arenas.
    pub arena_full: bool,
    /// Poll in seeded random order.
    pub random_schedule: Option<u64>,
    /// Arithmetic level; `None`: the best of this host.
    pub kernels: Option<Kernels>,
}

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
    arena: report::ArenaUse,
    pub(super) options: RunOptions,
    pub(super) positions: usize,
    /// Of this launch.
    pub(super) counters: Counters,
    /// Of the launches before.
    pub(super) before: Counters,
    /// Names of the points of this launch.
    pub(super) points: &'static [&'static str],
    pub(super) by_phase: Vec<(&'static str, u64)>,
    /// Of the prefill, where its head is not decode's.
    pub(super) kept_logits: Option<Vec<f32>>,
    /// In the clock of this launch.
    pub(super) phase_end: u64,
    host_cycles: u64,
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

impl Session {
    /// Plans, lays out, checks, packs the weights and starts the workers.
    ///
    /// # Errors
    /// What does not fit, or why the layout cannot run on this chip.
    pub fn new(model: &dyn Checkpoint, config: SessionConfig) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Decode, (None, None))
    }

    /// `new`, recording what PEs do and which phases pass.
    ///
    /// # Errors
    /// As `new`.
    pub fn traced(
        model: &dyn Checkpoint,
        config: SessionConfig,
        trace: Option<TraceOptions>,
    ) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Decode, (trace, None))
    }

    /// As `new`; copies of probed tiles go to `probes`.
    ///
    /// # Errors
    /// As `new`.
    pub fn probed(model: &dyn Checkpoint, config: SessionConfig, probes: Option<Probes>) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Decode, (None, probes))
    }

    pub(super) fn launch(
        model: &dyn Checkpoint,
        config: SessionConfig,
        start: Start,
        (trace, probes): (Option<TraceOptions>, Option<Probes>),
    ) -> Result<Self, SessionError> {
        let decode = plan(model, &config)?;
        let apart = match start {
            Start::Decode => None,
            Start::Prefill(how) => apart(model, &config, &decode, how.mesh)?,
        };
        let first = apart.as_ref().unwrap_or(&decode);
        let contents = Contents::new(first, model);
        if contents.formats().any(|f| f != decode.format) {
            return Err(SessionError::MixedFormats);
        }
        let mut layout = decode.layout()?;
        let placement = summary(&decode, &layout);
        let mut arena = report::arena_use(&[&layout], &decode.chip);
        let mut options = RunOptions::new(config.workers.max(1));
        options.full_arenas = config.arena_full;
        options.probes = probes;
        options.kernels = config.kernels.unwrap_or(options.kernels);
        if let Some(seed) = config.random_schedule {
            options.schedule = Schedule::Random(seed);
        }
        let fill = |pe, id, words: &mut [u32]| contents.fill(pe, id, words);
        let prompt = match start {
            Start::Decode => None,
            Start::Prefill(how) => Some(Prompt::new(first, &decode, config.prompt, how.chunk)?),
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
            points: if start.is_prefill() { &PHASES } else { &point::NAMES },
            by_phase: Vec::new(),
            phase_end: 0,
            kept_logits: None,
            host_cycles: 0,
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
            colors_max: self
                .past
                .launches
                .iter()
                .map(|l| report::colors_max(&l.layout))
                .fold(self.wafer.colors_max, u32::max),
            energy_joules: c.cycles as f64 / chip.clock_hz * chip.power_watts,
            power_watts: chip.power_watts,
            numerics: report::numerics(&self.decode),
            assumed: report::assumed(chip),
            host_roundtrip_cycles: self.host_cycles,
            prefill: self.prefilled.clone(),
        }
    }
}
