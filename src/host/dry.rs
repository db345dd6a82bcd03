//! Time without weights: the same programs over bursts that carry no payload, from a model's sizes alone.
//!
//! ```text
//!   whole model   Session::dry: every pass as in a session                        cycles and counters of the wet run
//!   one layer     a pass through a stage of two layers: from the end of O in the first to the end of O in the second
//! ```
//! O ends in a reduction along every row, so what came before it is over: that span is the period of a layer in the
//! middle of a stage, exactly, and a stage takes as much longer for every layer more. A model's uniform layers are
//! timed once and multiplied. The region stands alone, with a head of one column and one token beside it, on arenas
//! without an end: what it needs of an arena is reported, not enforced, so a model too large for a wafer has its time
//! too.
//!
//! On large meshes layers are timed in lockstep (`lockstep`), which gives the same cycles and counters: a layer of a
//! prefill is some 10^9 messages there, and the lanes of a decode are laid for two layers.
//!
//! Invariant: positions are shape, so a pass at any position needs none of the passes before it.
//! Called by `app` and `plan`.

use std::time::Instant;

use crate::exec::{Counters, Inject, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout};
use crate::kernels::decode::{Decode, Launch, pass, point};
use crate::kernels::prefill::{PHASES, Prefill};
use crate::link::{Ctrl, Record};
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::pe::{Kernel, Mark};
use crate::placement::{Spread, Trees};
use crate::units::Coord;

use super::config::SessionConfig;
use super::lockstep;
use super::planning::{apart, plan};
use super::prefill::Prompt;
use super::report::{self, PhaseCycles};
use super::session::SessionError;

/// A layer, timed.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTime {
    /// Columns and rows of its region.
    pub mesh: (usize, usize),
    /// Position of the token; of a prefill: positions of the chunk.
    pub position: usize,
    /// Virtual time of the layer.
    pub cycles: u64,
    /// Cycles of the critical path by phase; they sum to `cycles`.
    pub by_phase: Vec<PhaseCycles>,
    /// Layers of the pass that was run to find it.
    pub layers: usize,
    /// Counters of that pass, the way in included; of a decode, the way out too.
    pub counters: Counters,
    /// Busy cycles of the layer's region in that pass.
    pub busy: RegionBusy,
    /// Most colors at one PE.
    pub colors_max: u32,
    /// Bytes that the fullest PE needs for one layer, code included.
    pub arena_need: u64,
    /// Every message of the layer was executed; else its cores were timed in lockstep.
    pub executed: bool,
    /// Host seconds in all, and of the pass alone.
    pub seconds: (f64, f64),
}

/// Busy cycles (compute and issue) of a region's PEs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionBusy {
    /// PEs.
    pub pes: u64,
    /// Sum of their busy cycles.
    pub busy: u64,
    /// PEs on its border: a core there has fewer links and, where sizes do not divide, less to do.
    pub edge_pes: u64,
    /// Sum of their busy cycles.
    pub edge_busy: u64,
}

/// Busy cycles since launch, the head region first, then every stage. An uncharged probe.
///
/// # Errors
/// When a worker is gone.
pub fn busy_by_region(decode: &Decode, wafer: &Wafer) -> Result<Vec<RegionBusy>, PassError> {
    Ok(busy_of(decode, &wafer.survey()?.1))
}

pub(super) fn busy_of(decode: &Decode, records: &[(Coord, Record)]) -> Vec<RegionBusy> {
    let (floor, rows) = (&decode.plan.floor, decode.plan.rows);
    let mut regions = vec![RegionBusy::default(); floor.regions.len()];
    for (at, record) in records {
        let Some((region, col, row)) = floor.find(*at, rows) else { continue };
        let of = &mut regions[region];
        (of.pes, of.busy) = (of.pes + 1, of.busy + record.busy);
        if col == 0 || row == 0 || col + 1 == floor.regions[region].cols || row + 1 == rows {
            (of.edge_pes, of.edge_busy) = (of.edge_pes + 1, of.edge_busy + record.busy);
        }
    }
    regions
}

impl LayerTime {
    /// Busy cycles of one layer: those of the pass, shared out evenly.
    pub fn busy_of_layer(&self) -> RegionBusy {
        let n = self.layers as u64;
        RegionBusy { busy: self.busy.busy / n, edge_busy: self.busy.edge_busy / n, ..self.busy }
    }
}

/// What a pass without payloads gave.
pub(super) struct Pass {
    pub(super) counters: Counters,
    pub(super) marks: Vec<Mark>,
    /// In no order.
    pub(super) records: Vec<(Coord, Record)>,
    pub(super) colors_max: u32,
    pub(super) arena_need: u64,
    pub(super) executed: bool,
    pub(super) seconds: f64,
}

/// Times a layer of decode at `position` on the mesh of `config`.
///
/// # Errors
/// A mesh outside the chip, colors that it lacks; a stall.
pub fn decode_layer(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    position: usize,
) -> Result<LayerTime, SessionError> {
    let begin = Instant::now();
    let decode = alone(shape, format, config, 2, position)?;
    let executed = || {
        let ctrl = Ctrl { kind_slot: pass::WANT_LOGITS, position: position as u32 };
        run(decode.clone(), decode.layout()?, &decode, &[ctrl])
    };
    let mut pass = lockstep::decode_pass(&decode, position).unwrap_or_else(executed)?;
    let one = ModelShape { n_layers: 1, ..decode.shape.clone() };
    pass.arena_need =
        alone(&one, format, config, 1, position)?.plan.fullest_bytes(&one, config.kv_type.bytes())[0] as u64;
    let times = phases_of(&pass.marks);
    Ok(pass.time(2, &decode, config, position, times, begin))
}

/// Times a layer of a prefill of `positions` on the mesh of `config`: from the first chunk's arrival, its positions in
/// place, to the end of the last one's layer.
///
/// # Errors
/// As `decode_layer`.
pub fn prefill_layer(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    positions: usize,
) -> Result<LayerTime, SessionError> {
    prefill_layer_as(shape, format, config, positions, None)
}

/// `prefill_layer` in chunks of so many positions, with so many earlier ones of a row in passing; `None`: as arenas
/// without an end would have it.
///
/// # Errors
/// As `decode_layer`.
pub fn prefill_layer_as(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    positions: usize,
    how: Option<(usize, usize)>,
) -> Result<LayerTime, SessionError> {
    let begin = Instant::now();
    let decode = alone(shape, format, config, 1, 0)?;
    let mut kernel = Prefill::new(&decode, positions, how.map(|(chunk, _)| chunk))?;
    if let Some((_, older)) = how {
        kernel.older = older.max(kernel.chunk.div_ceil(decode.plan.rows));
    }
    let pass = lockstep::prefill_pass(&kernel).unwrap_or_else(|| prefill_pass(&kernel))?;
    let mut marks: Vec<Mark> = pass.marks.iter().filter(|m| m.who == 0).copied().collect();
    // Chunks follow each other, each with all positions before it.
    let of = |id: u16| marks.iter().filter(move |m| point::of(m.id).0 == id).map(|m| m.now);
    let begun = of(point::QKV).min().unwrap_or(0);
    let arrived = of(point::ARRIVED).filter(|now| *now <= begun).max().unwrap_or(0);
    marks.retain(|m| m.now >= arrived);
    let mut by_phase = Vec::new();
    let end = report::add_phases(&mut by_phase, &PHASES, &marks, arrived);
    by_phase.retain(|p| p.total > 0);
    Ok(pass.time(1, &decode, config, positions, (by_phase, end - arrived), begin))
}

/// Cycles from a prefill of `config.prompt` positions on regions of `mesh` to decode on those of `config`: every launch
/// of the transition and the routes that are written before it and before decode.
///
/// # Errors
/// What does not fit; a stall.
pub fn transition(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    mesh: (u32, u32),
) -> Result<u64, SessionError> {
    let decode = plan(shape, format, config)?;
    let Some(first) = apart(shape, format, config, &decode, Some(mesh))? else { return Ok(0) };
    let prompt = Prompt::new(&first, &decode, config.prompt, None)?;
    let writing = |layout: &Layout| {
        let routes = layout.pes.iter().map(|pe| pe.routes.len()).max().unwrap_or(0) as u64;
        routes * u64::from(config.chip.route_write_cycles)
    };
    let mut cycles = writing(&prompt.kernel.then().layout()?);
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    for launch in prompt.launches {
        let layout = launch.layout()?;
        cycles += writing(&layout);
        let mut wafer = Wafer::launch(launch, layout, &config.chip, &options, |_, _, _| {})?;
        wafer.run(&[])?;
        cycles += wafer.counters()?.cycles;
    }
    Ok(cycles)
}

/// The pass of a prefill's layers, with the way in and without the way out.
pub(super) fn prefill_pass(kernel: &Prefill) -> Result<Pass, SessionError> {
    // One burst a chunk: what is timed is the layer, not the way of its positions from the head.
    let ctrl = |base: usize| Ctrl { kind_slot: pass::RESIDENT, position: base as u32 };
    let ctrls: Vec<Ctrl> = (0..kernel.prompt).step_by(kernel.chunk).map(ctrl).collect();
    run(kernel.clone(), kernel.layout()?, &kernel.decode, &ctrls)
}

/// The kernel of `layers` layers alone: one stage, a head of one column, arenas without an end.
pub(super) fn alone(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    layers: usize,
    position: usize,
) -> Result<Decode, SessionError> {
    let shape = ModelShape { n_layers: layers, vocab: 1, tied: true, ..shape.clone() };
    let cols = config.mesh.map_or(0, |m| m.0).saturating_add(1).max(config.chip.cols);
    let chip = Chip { arena_bytes: 1 << 40, cols, ..config.chip.clone() };
    let context = config.context.max(position + 1);
    let config = SessionConfig { chip, context, ..config.clone() };
    let launch = Launch { positions: position, ways_from: 0 };
    // Of a head of one column.
    let trees = config.trees.as_ref().map(|t| Trees { head: vec![1; t.y.len()], ..t.clone() });
    let config = SessionConfig { trees, spread: Spread::default(), ..config };
    Ok(Decode { launch, ..plan(&shape, format, &config)? })
}

/// One pass a control word, one behind the other in virtual time as in a session.
pub(super) fn run<K: Kernel>(kernel: K, layout: Layout, decode: &Decode, ctrls: &[Ctrl]) -> Result<Pass, SessionError> {
    let arena_need = layout.pes.iter().map(|pe| pe.used().0).max().unwrap_or(0);
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let mut wafer = Wafer::launch(kernel, layout, &decode.chip, &options, |_, _, _| {})?;
    wafer.run(&[])?;
    let injects: Vec<Inject> = ctrls.iter().map(|&ctrl| Inject { lane: 0, ctrl, word: 0, ready: 0 }).collect();
    let begin = Instant::now();
    wafer.run(&injects)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (marks, (counters, records)) = (wafer.take_marks(), wafer.survey()?);
    Ok(Pass { counters, marks, records, colors_max: wafer.colors_max, arena_need, executed: true, seconds })
}

/// Phases of a layer in the middle of a stage, and their sum.
pub(super) fn phases_of(marks: &[Mark]) -> (Vec<PhaseCycles>, u64) {
    phases_between(marks, point::id(point::O, point::Part::Wait), &point::NAMES)
}

/// Phases of stage 0 between its first two marks of a point, and their sum.
fn phases_between(marks: &[Mark], id: u16, names: &[&'static str]) -> (Vec<PhaseCycles>, u64) {
    let mut stage: Vec<Mark> = marks.iter().filter(|m| m.who == 0).copied().collect();
    stage.sort_by_key(|m| m.now);
    let ends: Vec<usize> = (0..stage.len()).filter(|&i| stage[i].id == id).collect();
    let [first, second] = ends[..] else { return (Vec::new(), 0) };
    let mut by_phase = Vec::new();
    report::add_phases(&mut by_phase, names, &stage[first + 1..=second], stage[first].now);
    by_phase.retain(|p| p.total > 0);
    (by_phase, stage[second].now - stage[first].now)
}

impl Pass {
    fn time(
        self,
        layers: usize,
        decode: &Decode,
        config: &SessionConfig,
        position: usize,
        (by_phase, cycles): (Vec<PhaseCycles>, u64),
        begin: Instant,
    ) -> LayerTime {
        LayerTime {
            mesh: (decode.plan.cols, decode.plan.rows),
            position,
            cycles,
            by_phase,
            layers,
            counters: self.counters,
            busy: busy_of(decode, &self.records)[1],
            executed: self.executed,
            colors_max: self.colors_max,
            arena_need: self.arena_need + config.chip.reserved_bytes,
            seconds: (begin.elapsed().as_secs_f64(), self.seconds),
        }
    }
}
