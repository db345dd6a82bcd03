//! Time without weights: the same programs over bursts that carry no payload, from a model's sizes alone.
//!
//! ```text
//!   whole model   Session::dry: every pass as in a session                        cycles and counters of the wet run
//!   one layer     T(1), T(2): a pass through a stage of one layer, of two layers
//!                 layer = T(2) - T(1)    rest = 2 T(1) - T(2)    a stage of L layers: rest + L layer
//! ```
//! The layer is one in the middle of a stage; a model's uniform layers are timed once and multiplied. Its region stands
//! alone, with a head of one column and one token beside it, on arenas without an end: what it needs of an arena is
//! reported, not enforced, so a model too large for a wafer has its time too.
//!
//! Invariant: positions are shape, so a pass at any position needs none of the passes before it.
//! Called by `app` and `plan`.

use std::time::Instant;

use crate::exec::{Counters, Inject, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout};
use crate::kernels::decode::{Decode, Launch, pass, point};
use crate::kernels::prefill::{PHASES, Prefill};
use crate::link::Ctrl;
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::pe::{Kernel, Mark};

use super::planning::plan;
use super::report;
use super::session::{SessionConfig, SessionError};

/// A layer, timed.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTime {
    /// Columns and rows of its region.
    pub mesh: (usize, usize),
    /// Position of the token; of a prefill: positions of the chunk.
    pub position: usize,
    /// Virtual time of the layer.
    pub cycles: u64,
    /// Of a pass through one layer, what is not the layer: head of one token, hand-over, return.
    pub rest_cycles: u64,
    /// Cycles of the critical path by phase; they sum to `cycles`.
    pub by_phase: Vec<(&'static str, u64)>,
    /// Bursts x links, wavelets x links, bursts, busy cycles of the layer.
    pub counters: Counters,
    /// Busy cycles of the region in a pass through it alone.
    pub busy: RegionBusy,
    /// Most colors at one PE.
    pub colors_max: u32,
    /// Bytes that the fullest PE needs for this one layer, code included.
    pub arena_need: u64,
    /// Host seconds: layouts, launches and passes.
    pub seconds: f64,
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
    let (floor, rows) = (&decode.plan.floor, decode.plan.rows);
    let mut regions = vec![RegionBusy::default(); floor.regions.len()];
    for (at, record) in wafer.records()? {
        let Some((region, col, row)) = floor.find(at, rows) else { continue };
        let of = &mut regions[region];
        (of.pes, of.busy) = (of.pes + 1, of.busy + record.busy);
        if col == 0 || row == 0 || col + 1 == floor.regions[region].cols || row + 1 == rows {
            (of.edge_pes, of.edge_busy) = (of.edge_pes + 1, of.edge_busy + record.busy);
        }
    }
    Ok(regions)
}

/// What a pass without payloads gave.
struct Pass {
    counters: Counters,
    /// When the last PE that marks was done.
    end: u64,
    marks: Vec<Mark>,
    busy: RegionBusy,
    colors_max: u32,
    arena_need: u64,
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
    let run = |layers: usize| -> Result<(Decode, Pass), SessionError> {
        let decode = alone(shape, format, config, layers, position)?;
        let layout = decode.layout()?;
        let ctrl = Ctrl { kind_slot: pass::WANT_LOGITS, position: position as u32 };
        let pass = run(decode.clone(), layout, &decode, &[ctrl])?;
        Ok((decode, pass))
    };
    let (_, two) = run(2)?;
    let (decode, one) = run(1)?;
    let mut by_phase = Vec::new();
    phases_of_layer(&mut by_phase, &two.marks);
    Ok(LayerTime {
        mesh: (decode.plan.cols, decode.plan.rows),
        position,
        cycles: two.end - one.end,
        rest_cycles: 2 * one.end - two.end,
        by_phase,
        counters: less(two.counters, one.counters),
        busy: one.busy,
        colors_max: one.colors_max,
        arena_need: one.arena_need + config.chip.reserved_bytes,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Times a layer of a prefill of `positions` on the mesh of `config`: from the chunk's arrival to the end of its layer.
///
/// # Errors
/// As `decode_layer`.
pub fn prefill_layer(
    shape: &ModelShape,
    format: WeightFormat,
    config: &SessionConfig,
    positions: usize,
) -> Result<LayerTime, SessionError> {
    let begin = Instant::now();
    let decode = alone(shape, format, config, 1, 0)?;
    let kernel = Prefill::new(&decode, positions)?;
    let layout = kernel.layout()?;
    let ctrls = (0..positions as u32).map(|position| Ctrl { kind_slot: 0, position });
    let pass = run(kernel.clone(), layout, &decode, &ctrls.collect::<Vec<_>>())?;
    let marks: Vec<Mark> = pass.marks.iter().filter(|m| m.who == 0).copied().collect();
    let arrived = marks.iter().filter(|m| m.id == point::ARRIVED).map(|m| m.now).max().unwrap_or(0);
    let mut by_phase = Vec::new();
    let inside: Vec<Mark> = marks.into_iter().filter(|m| m.now > arrived).collect();
    let end = report::add_phases(&mut by_phase, &PHASES, &inside, arrived);
    by_phase.retain(|p| p.1 > 0);
    Ok(LayerTime {
        mesh: (decode.plan.cols, decode.plan.rows),
        position: positions,
        cycles: end - arrived,
        rest_cycles: arrived,
        by_phase,
        counters: pass.counters,
        busy: pass.busy,
        colors_max: pass.colors_max,
        arena_need: pass.arena_need + config.chip.reserved_bytes,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// The kernel of `layers` layers alone: one stage, a head of one column, arenas without an end.
fn alone(
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
    Ok(Decode { launch, ..plan(&shape, format, &config)? })
}

/// One pass a control word, one behind the other in virtual time as in a session.
fn run<K: Kernel>(kernel: K, layout: Layout, decode: &Decode, ctrls: &[Ctrl]) -> Result<Pass, SessionError> {
    let arena_need = layout.pes.iter().map(|pe| pe.used().0).max().unwrap_or(0);
    let options = RunOptions { dry: true, ..RunOptions::new(1) };
    let mut wafer = Wafer::launch(kernel, layout, &decode.chip, &options, |_, _, _| {})?;
    wafer.run(&[])?;
    let injects: Vec<Inject> = ctrls.iter().map(|&ctrl| Inject { lane: 0, ctrl, word: 0, ready: 0 }).collect();
    wafer.run(&injects)?;
    let marks = wafer.take_marks();
    let end = marks.iter().map(|m| m.now).max().unwrap_or(0);
    let busy = busy_by_region(decode, &wafer)?[1];
    Ok(Pass { counters: wafer.counters()?, end, marks, busy, colors_max: wafer.colors_max, arena_need })
}

/// Phases of the second of two layers: between its marks and those of the layer before.
fn phases_of_layer(by_phase: &mut Vec<(&'static str, u64)>, marks: &[Mark]) {
    let mut stage: Vec<Mark> = marks.iter().filter(|m| m.who == 0).copied().collect();
    stage.sort_by_key(|m| m.now);
    let Some(first) = stage.iter().position(|m| m.id == point::FFN) else { return };
    report::add_phases(by_phase, &point::NAMES, &stage[first + 1..], stage[first].now);
    by_phase.retain(|p| p.1 > 0);
}

fn less(a: Counters, b: Counters) -> Counters {
    Counters {
        cycles: a.cycles - b.cycles,
        hops: a.hops - b.hops,
        wavelets: a.wavelets - b.wavelets,
        bursts: a.bursts - b.bursts,
        depth: a.depth - b.depth,
        busy: a.busy - b.busy,
    }
}
