//! A session: from a checkpoint and a chip to tokens.
//!
//! Invariant: one pass per token; between passes the wafer is quiescent. In greedy decoding the host's "go on" takes no
//! modelled time; a sampled id is charged one round trip to the host.

use crate::exec::{Counters, Inject, LaunchError, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout, LayoutError};
use crate::kernels::decode::{Contents, Decode, KvFormat, pass, tile};
use crate::link::{Ctrl, Schedule};
use crate::math::Kernels;
use crate::math::checkpoint::{Checkpoint, WeightFormat};
use crate::pe::Probes;
use crate::placement::{Plan, PlanError, PlanRequest};
use crate::units::Coord;

use super::report::{self, PlacementSummary, Report};

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
    wafer: Wafer,
    decode: Decode,
    placement: PlacementSummary,
    arena: report::ArenaUse,
    positions: usize,
    counters: Counters,
    by_phase: Vec<(&'static str, u64)>,
    phase_end: u64,
    host_cycles: u64,
    logits_at: u64,
}

impl Session {
    /// Plans, lays out, checks, packs the weights and starts the workers.
    ///
    /// # Errors
    /// What does not fit, or why the layout cannot run on this chip.
    pub fn new(model: &dyn Checkpoint, config: SessionConfig) -> Result<Self, SessionError> {
        Self::probed(model, config, None)
    }

    /// As `new`; copies of probed tiles go to `probes`.
    ///
    /// # Errors
    /// As `new`.
    pub fn probed(model: &dyn Checkpoint, config: SessionConfig, probes: Option<Probes>) -> Result<Self, SessionError> {
        let decode = plan(model, &config)?;
        let contents = Contents::new(&decode, model);
        if contents.formats().any(|f| f != decode.format) {
            return Err(SessionError::MixedFormats);
        }
        let layout = decode.layout()?;
        let placement = summary(&decode, &layout);
        let arena = report::arena_use(&layout, &decode.chip);
        let mut options = RunOptions::new(config.workers.max(1));
        options.full_arenas = config.arena_full;
        options.probes = probes;
        options.kernels = config.kernels.unwrap_or(options.kernels);
        if let Some(seed) = config.random_schedule {
            options.schedule = Schedule::Random(seed);
        }
        let fill = |pe, id, words: &mut [u32]| contents.fill(pe, id, words);
        let mut wafer = Wafer::launch(decode.clone(), layout, &decode.chip, &options, fill)?;
        drop(contents);
        wafer.run(&[])?;
        Ok(Self {
            wafer,
            decode,
            placement,
            arena,
            positions: 0,
            counters: Counters::default(),
            by_phase: Vec::new(),
            phase_end: 0,
            host_cycles: 0,
            logits_at: 0,
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
                (id, self.logits_at + trip)
            }
        };
        let ctrl = Ctrl { kind_slot: kind, position: self.positions as u32 };
        self.wafer.run(&[Inject { lane: 0, ctrl, word, ready }])?;
        self.positions += 1;
        let marks = self.wafer.take_marks();
        self.phase_end = report::add_phases(&mut self.by_phase, &marks, self.phase_end);
        let cycles = marks.iter().map(|m| m.now).max().unwrap_or(0);
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

    /// Totals so far.
    pub fn report(&mut self) -> Report {
        if let Ok(counters) = self.wafer.counters() {
            self.counters = counters;
        }
        let (c, chip) = (self.counters, &self.decode.chip);
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
        }
    }
}

/// What a configuration asks of a plan.
///
/// # Errors
/// `Levels`.
fn request(config: &SessionConfig) -> Result<PlanRequest, SessionError> {
    if !(1..=8).contains(&config.k_tree) {
        return Err(SessionError::Levels { found: config.k_tree });
    }
    Ok(PlanRequest {
        mesh: config.mesh,
        context: config.context.max(1),
        kv_bytes: config.kv_type.bytes(),
        concat_prompt: (config.kv == Kv::Concat).then_some(config.prompt),
        k_tree: config.k_tree,
        straight_colors: Decode::straight_colors(config.k_tree),
    })
}

/// The kernel for a model under a configuration.
///
/// # Errors
/// What does not fit.
fn plan(model: &dyn Checkpoint, config: &SessionConfig) -> Result<Decode, SessionError> {
    let (shape, request) = (model.shape().clone(), request(config)?);
    let concat_prompt = request.concat_prompt;
    let plan = Plan::new(&shape, &config.chip, &request)?;
    let format: WeightFormat = model.matrix(crate::math::checkpoint::MatrixId::Q(0)).format;
    Ok(Decode { shape, plan, format, kv: config.kv_type, concat_prompt, chip: config.chip.clone() })
}

fn summary(decode: &Decode, layout: &Layout) -> PlacementSummary {
    let plan = &decode.plan;
    PlacementSummary {
        cols: plan.cols as u32,
        rows: plan.rows as u32,
        stages: plan.stages.len() as u32,
        pes: plan.pes() as u64,
        layers_per_stage: plan.stages.iter().map(|s| s.len() as u32).collect(),
        head_cols: plan.head_cols as u32,
        capacity: plan.capacity,
        arena: report::arena_use(layout, &decode.chip),
        colors_max: report::colors_max(layout),
        ledger: report::ledger_text(layout, decode),
        floorplan: report::floorplan(decode),
    }
}
