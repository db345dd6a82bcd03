//! What a cell measures, and its value on a chip. Layers that several cells share are timed once.
//!
//! | what        | value                                                                              |
//! |-------------|------------------------------------------------------------------------------------|
//! | prefill     | positions / (layers x layer)                                                       |
//! | decode      | 1 / (layers x layer)                                                               |
//! | end to end  | out / (prefill(in) + sum of decode(in + t) + re-layout), each on its best mesh     |
//! | capacity    | (regions P^2 (arena - reserve) - weights) / bytes of K and V a position; concat: one row of it |
//! | energy      | chip power x time; its ratio to GPUs needs their time, which the user quotes       |
//! | utilisation | multiply-adds of a layer / (cycles x cores x the chip's f16 rate); see `shares`    |
//!
//! Invariant: a value depends on chip and constants alone. Called by `app::paper`, one cell at a time.

use std::collections::HashMap;

use crate::fabric::Chip;
use crate::workloads::decode::VARIANTS;
use crate::workloads::line::{Timed, TimedError};
use crate::workloads::relay::Policy;
use crate::workloads::relay::layer::RelayLayer;
use crate::workloads::scaling::{GemmKind, GemvKind, gemm_cycles, gemv_cycles};
use crate::workloads::shape::{PaperModel, Tiles};
use crate::workloads::skeleton::Layer;

use super::shares::{Share, ledger_capacity};

/// Whose way of doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The paper's own.
    WaferLlm,
    /// Compute-shift on a crossbar.
    T10,
    /// One memory.
    Ladder,
    /// GPUs: quoted figures alone.
    Gpu,
}

impl Method {
    /// As in the paper.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaferLlm => "WaferLLM",
            Self::T10 => "T10",
            Self::Ladder => "Ladder",
            Self::Gpu => "SGLang A100",
        }
    }
}

/// Part of an inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Of a prompt.
    Prefill,
    /// Of one token.
    Decode,
}

/// What a cell measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Tokens a second and request, with so many positions.
    Speed(PaperModel, Method, Phase, usize, usize),
    /// Tokens a second of a prompt and an output.
    EndToEnd(PaperModel, Method, usize, usize),
    /// Positions that fit; by shift, or by concat.
    Capacity(PaperModel, usize, bool),
    /// The same by the ledgers of the model as it is, not of the skeleton.
    LedgerCapacity(PaperModel, usize, bool),
    /// Milliseconds of a MeshGEMV of this side.
    GemvMs(usize, usize),
    /// Millijoules of it.
    GemvMj(usize, usize),
    /// Joules a token.
    Energy(PaperModel, Phase, usize),
    /// Joules of GPUs over joules of the chip, a token: of the cell before it, and of a GPU speed that a user quotes.
    EnergyRatio(PaperModel, Phase),
    /// Multiply-adds that a layer needs, over those that all cores could do meanwhile, in percent.
    Utilisation(PaperModel, Method, Phase, usize),
    /// Where the rest of it goes, of WaferLLM, in percent.
    Share(PaperModel, Share, Phase, usize),
    /// Utilisation by WaferLLM over that by this method.
    UtilisationOver(PaperModel, Method, Phase, usize),
    /// Cycles of a product of square matrices; none where the arenas refuse it.
    GemmCycles(GemmKind, usize, usize),
    /// Cycles of a product with a vector.
    GemvCycles(GemvKind, usize, usize),
    /// Cycles of a decode layer with a graph, by index.
    GraphCycles(PaperModel, usize, usize),
    /// Tokens a second with it.
    GraphSpeed(PaperModel, usize, usize),
    /// The same over the tokens a second that the paper states for this mesh.
    GraphOverPublished(PaperModel, usize, usize, f64),
    /// Its gain over the measured graph.
    GraphGain(PaperModel, usize, usize),
    /// Colors of it.
    GraphColors(PaperModel, usize, usize),
}

/// Positions of the paper's prompts and contexts.
pub const POSITIONS: usize = 4096;
/// Meshes of Table 3.
pub const PREFILL_SIDES: [usize; 3] = [480, 600, 720];
/// Meshes of Table 4.
pub const DECODE_SIDES: [usize; 3] = [420, 540, 660];

/// Times layers on one chip.
pub struct Evaluator<'a> {
    pub(super) chip: &'a Chip,
    /// WaferLLM's layers.
    own: HashMap<(Phase, usize, Tiles), Timed>,
    /// Those of the others.
    relayed: HashMap<(Method, Phase, usize, Tiles), u64>,
}

impl<'a> Evaluator<'a> {
    /// Nothing timed yet.
    pub fn new(chip: &'a Chip) -> Self {
        Self { chip, own: HashMap::new(), relayed: HashMap::new() }
    }

    /// The value of a cell.
    ///
    /// # Errors
    /// What the chip refuses (colors, arena, a mesh that it does not have).
    pub fn value(&mut self, what: &What) -> Result<Option<f64>, TimedError> {
        let chip = self.chip;
        let layer = |p, tiles| Layer { chip, p, tiles };
        let bare = |p| layer(p, Tiles { d: 0, f: 0, s: 0 });
        let gemv = |n, p| gemv_cycles(&bare(p), GemvKind::Mesh, n);
        let graph =
            |model: PaperModel, p, at: usize| VARIANTS[at].program(&layer(p, model.tiles(p, POSITIONS))).timed(chip);
        let a_second = |model: &PaperModel, layer: u64| chip.clock_hz / (model.layers as u64 * layer) as f64;
        Ok(Some(match *what {
            What::Speed(_, method, ..)
            | What::EndToEnd(_, method, ..)
            | What::Utilisation(_, method, ..)
            | What::UtilisationOver(_, method, ..)
                if !self.emulates(method) =>
            {
                return Ok(None);
            }
            What::EnergyRatio(..) => return Ok(None),
            What::Speed(model, method, phase, p, positions) => {
                let tokens = if phase == Phase::Prefill { positions } else { 1 };
                tokens as f64 / self.seconds(&model, method, phase, p, positions)?
            }
            What::EndToEnd(model, method, prompt, output) => {
                output as f64 / self.end_to_end_seconds(&model, method, prompt, output)?
            }
            What::Utilisation(model, method, phase, p) => {
                let cycles = self.layer(method, phase, p, model.tiles(p, POSITIONS))?;
                let possible = cycles as f64 * (p * p) as f64 / chip.f16.mac;
                100.0 * model.layer_macs(POSITIONS, phase == Phase::Prefill) / possible
            }
            What::UtilisationOver(model, method, phase, p) => {
                let tiles = model.tiles(p, POSITIONS);
                let [own, theirs] = [Method::WaferLlm, method].map(|m| self.layer(m, phase, p, tiles));
                theirs? as f64 / own? as f64
            }
            What::Share(model, share, phase, p) => 100.0 * self.share(&model, share, phase, p)?,
            What::Capacity(model, p, shift) => self.capacity(&model, p, shift),
            What::LedgerCapacity(model, p, shift) => return Ok(ledger_capacity(chip, &model, p, shift)),
            What::GemvMs(n, p) => gemv(n, p)? as f64 / chip.clock_hz * 1e3,
            What::GemvMj(n, p) => gemv(n, p)? as f64 / chip.clock_hz * chip.power_watts * 1e3,
            What::Energy(model, phase, p) => {
                let tokens = if phase == Phase::Prefill { POSITIONS } else { 1 };
                let seconds = self.seconds(&model, Method::WaferLlm, phase, p, POSITIONS)?;
                seconds * chip.power_watts / tokens as f64
            }
            What::GemmCycles(kind, n, p) => return Ok(gemm_cycles(&bare(p), kind, n)?.map(|cycles| cycles as f64)),
            What::GemvCycles(kind, n, p) => gemv_cycles(&bare(p), kind, n)? as f64,
            What::GraphCycles(model, p, at) => graph(model, p, at)?.cycles as f64,
            What::GraphSpeed(model, p, at) => a_second(&model, graph(model, p, at)?.cycles),
            What::GraphOverPublished(model, p, at, published) => {
                a_second(&model, graph(model, p, at)?.cycles) / published
            }
            What::GraphGain(model, p, at) => graph(model, p, 0)?.cycles as f64 / graph(model, p, at)?.cycles as f64,
            What::GraphColors(model, p, at) => f64::from(graph(model, p, at)?.colors),
        }))
    }

    /// Closed forms of the baselines are for chips that state what their software costs and issue sends in no time.
    fn emulates(&self, method: Method) -> bool {
        let o = &self.chip.overheads;
        let stated = [o.t10_shift, o.t10_word, o.t10_stage, o.ladder_get, o.ladder_word].iter().all(|c| *c > 0.0);
        match method {
            Method::WaferLlm => true,
            Method::T10 | Method::Ladder => stated && self.chip.issue_cycles == 0,
            Method::Gpu => false,
        }
    }

    /// Cycles of one layer.
    fn layer(&mut self, method: Method, phase: Phase, p: usize, tiles: Tiles) -> Result<u64, TimedError> {
        let policy = match method {
            Method::WaferLlm => return Ok(self.own(phase, p, tiles)?.cycles),
            Method::T10 => Policy::T10,
            Method::Ladder | Method::Gpu => Policy::Ladder,
        };
        let relays = RelayLayer { chip: self.chip, policy, p, tiles };
        let cycles = || if phase == Phase::Prefill { relays.prefill_cycles() } else { relays.decode_cycles() };
        Ok(*self.relayed.entry((method, phase, p, tiles)).or_insert_with(cycles))
    }

    /// WaferLLM's layer, timed once.
    pub(super) fn own(&mut self, phase: Phase, p: usize, tiles: Tiles) -> Result<Timed, TimedError> {
        if let Some(timed) = self.own.get(&(phase, p, tiles)) {
            return Ok(*timed);
        }
        let layer = Layer { chip: self.chip, p, tiles };
        let program = if phase == Phase::Prefill { layer.prefill() } else { VARIANTS[0].program(&layer) };
        let timed = program.timed(self.chip)?;
        self.own.insert((phase, p, tiles), timed);
        Ok(timed)
    }

    fn seconds(
        &mut self,
        model: &PaperModel,
        method: Method,
        phase: Phase,
        p: usize,
        positions: usize,
    ) -> Result<f64, TimedError> {
        let cycles = self.layer(method, phase, p, model.tiles(p, positions))?;
        Ok((model.layers as u64 * cycles) as f64 / self.chip.clock_hz)
    }

    /// The mesh on which a method is fastest at the paper's length.
    fn best(&mut self, model: &PaperModel, method: Method, phase: Phase) -> Result<usize, TimedError> {
        let sides = if phase == Phase::Prefill { PREFILL_SIDES } else { DECODE_SIDES };
        let mut best = (f64::INFINITY, sides[0]);
        for p in sides {
            let seconds = self.seconds(model, method, phase, p, POSITIONS)?;
            best = if seconds < best.0 { (seconds, p) } else { best };
        }
        Ok(best.1)
    }

    fn end_to_end_seconds(
        &mut self,
        model: &PaperModel,
        method: Method,
        prompt: usize,
        output: usize,
    ) -> Result<f64, TimedError> {
        let from = self.best(model, method, Phase::Prefill)?;
        let to = self.best(model, method, Phase::Decode)?;
        let mut seconds = self.seconds(model, method, Phase::Prefill, from, prompt)?;
        let mut t = 0;
        while t < output {
            // Contexts of equal tiles take equally long.
            let same = (to - 1 - (prompt + t + to - 1) % to + 1).min(output - t);
            seconds += same as f64 * self.seconds(model, method, Phase::Decode, to, prompt + t)?;
            t += same;
        }
        // Every word of weights and KV crosses the middle of the prefill mesh once, all rows at work.
        let bytes = model.weight_bytes() + prompt as u64 * model.kv_bytes();
        let relayout = if method == Method::WaferLlm { bytes as f64 / (4 * from) as f64 } else { 0.0 };
        Ok(seconds + relayout / self.chip.clock_hz)
    }

    /// Positions whose K and V fit beside the weights, core by core: what a core has left is the cap of its row, for
    /// the part of a position that it keeps; by shift all rows fill it, by concat one.
    fn capacity(&self, model: &PaperModel, p: usize, shift: bool) -> f64 {
        let (chip, p) = (self.chip, p as u64);
        let regions = u64::from(chip.cols) / p * (u64::from(chip.rows) / p);
        let weights = model.weight_bytes().div_ceil((regions * p * p).max(1));
        let left = (chip.arena_bytes - chip.reserved_bytes).saturating_sub(weights);
        let cap = left * regions * p / model.kv_bytes();
        (if shift { cap * p } else { cap }) as f64
    }
}
