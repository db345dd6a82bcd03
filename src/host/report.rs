//! What a session reports of the emulated chip, and how its regions lie.

use std::fmt::Write as _;

use crate::arena::Owner;
use crate::fabric::{Chip, Direction, Layout};
use crate::kernels::decode::{Decode, KvFormat, Region};
use crate::math::checkpoint::WeightFormat;
use crate::pe::Mark;

/// Bytes of arenas in use over all PEs, with the reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaUse {
    /// Smallest.
    pub min: u64,
    /// Median.
    pub median: u64,
    /// Largest.
    pub max: u64,
    /// The arena.
    pub budget: u64,
}

/// Totals of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Chip.
    pub chip: String,
    /// Its clock.
    pub clock_hz: f64,
    /// Virtual time since launch.
    pub cycles_total: u64,
    /// Cycles of the critical path by phase; they sum to the time of the last probe mark.
    pub by_phase: Vec<(&'static str, u64)>,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
    /// Bursts sent.
    pub bursts: u64,
    /// Bursts x links, as the host moved them.
    pub message_hops: u64,
    /// Arenas.
    pub arena: ArenaUse,
    /// Most colors at one PE.
    pub colors_max: u32,
    /// Chip power x time.
    pub energy_joules: f64,
    /// Chip power.
    pub power_watts: f64,
    /// Number formats of weights, sums, transport and KV, and whose rates are charged.
    pub numerics: String,
    /// Names of the chip's constants that nobody has published.
    pub assumed: Vec<String>,
    /// Round trips to the host that sampling added.
    pub host_roundtrip_cycles: u64,
    /// The prefill and the transition to decode, where there was one.
    pub prefill: Option<PrefillReport>,
}

/// What a prefill took; all of it is in the totals too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefillReport {
    /// Positions of the prompt.
    pub positions: usize,
    /// Positions of a chunk.
    pub chunk: usize,
    /// Virtual time until the logits of the last position are there.
    pub cycles: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
    /// Routes of the fullest PE, written before decode.
    pub routes_written: u32,
    /// Cycles that takes.
    pub transition_cycles: u64,
}

/// How a model lies on the wafer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementSummary {
    /// Columns of a layer region.
    pub cols: u32,
    /// Rows.
    pub rows: u32,
    /// Pipeline stages.
    pub stages: u32,
    /// PEs in use.
    pub pes: u64,
    /// Layers of each stage.
    pub layers_per_stage: Vec<u32>,
    /// Columns of the head region.
    pub head_cols: u32,
    /// Positions that the KV tiles hold.
    pub capacity: usize,
    /// Arenas.
    pub arena: ArenaUse,
    /// Most colors at one PE.
    pub colors_max: u32,
    /// Ledger of the fullest stage PE and of the fullest head PE.
    pub ledger: String,
    /// Bands of regions, one a line.
    pub floorplan: String,
}

/// Stages of a band that the floorplan names one by one.
const STAGES_SHOWN: usize = 6;

/// Over the PEs of regions; PEs that only route have no tiles.
pub(super) fn arena_use(layout: &Layout, chip: &Chip) -> ArenaUse {
    let regions = layout.pes.iter().filter(|p| !p.tiles.is_empty());
    let mut used: Vec<u64> = regions.map(|p| p.ledger().total().0 + chip.reserved_bytes).collect();
    used.sort_unstable();
    let at = |i: usize| used.get(i).copied().unwrap_or(0);
    ArenaUse { min: at(0), median: at(used.len() / 2), max: at(used.len().max(1) - 1), budget: chip.arena_bytes }
}

/// Most colors that one router knows (host lanes are none).
pub(super) fn colors_max(layout: &Layout) -> u32 {
    let colors = |routes: &[crate::fabric::Route]| routes.iter().filter(|r| r.rx != Direction::Host).count();
    layout.pes.iter().map(|p| colors(&p.routes)).max().unwrap_or(0) as u32
}

/// The numerics mode in words.
pub(super) fn numerics(decode: &Decode) -> String {
    let weights = match decode.format {
        WeightFormat::F16 => "f16",
        WeightFormat::Bf16 => "bf16",
    };
    let kv = match decode.kv {
        KvFormat::F16 => "f16",
        KvFormat::F32 => "f32",
    };
    let source = decode.chip.provenance("f32");
    format!("{weights} weights, f32 sums and transport, {kv} KV; charged at the chip's f32 rates ({source})")
}

/// Names of the constants that nobody has published.
pub(super) fn assumed(chip: &Chip) -> Vec<String> {
    if chip.sources.is_empty() {
        return vec!["everything (the chip gives no sources)".to_owned()];
    }
    chip.assumed().into_iter().map(str::to_owned).collect()
}

/// Ledgers of the fullest PE of both kinds.
pub(super) fn ledger_text(layout: &Layout, decode: &Decode) -> String {
    let mut text = String::new();
    for (name, stage) in [("stage", true), ("head", false)] {
        let is_member = |p: &&crate::fabric::PeDecl| match decode.region(p.coord) {
            Region::Stage(_) => stage,
            Region::Head { .. } => !stage,
            Region::Transit => false,
        };
        let members = layout.pes.iter().filter(is_member);
        let Some(pe) = members.max_by_key(|p| p.ledger().total()) else { continue };
        let ledger = pe.ledger();
        let _ = writeln!(text, "fullest {name} PE {}:", pe.coord);
        for owner in Owner::ALL {
            let _ = writeln!(text, "  {:<16} {:>7} B", owner.name(), ledger.of(owner).0);
        }
        let reserved = decode.chip.reserved_bytes;
        let _ = writeln!(text, "  {:<16} {reserved:>7} B", "code and stack");
        let total = ledger.total().0 + reserved;
        let _ = writeln!(text, "  {:<16} {total:>7} B of {}", "total", decode.chip.arena_bytes);
    }
    text
}

/// Bands from the top, regions from the west, runs of stages in the order of the vector.
pub(super) fn floorplan(decode: &Decode) -> String {
    let (plan, floor) = (&decode.plan, &decode.plan.floor);
    let mut text = String::new();
    for band in 0..floor.bands() {
        let stages = || floor.regions.iter().enumerate().skip(1).filter(|(_, p)| p.band == band).map(|(i, _)| i - 1);
        let _ =
            write!(text, "{}rows {}..{} |", if band > 0 { "\n" } else { "" }, band * plan.rows, (band + 1) * plan.rows);
        if band == 0 {
            let _ = write!(text, " head {}x{} |", plan.head_cols, plan.rows);
        }
        for s in stages().take(STAGES_SHOWN) {
            let _ = write!(text, " stage {s}: layers {}..{} |", plan.stages[s].start, plan.stages[s].end);
        }
        if let Some(last) = stages().skip(STAGES_SHOWN).last() {
            let _ = write!(text, " ... stage {last} |");
        }
        let members = || floor.regions.iter().filter(|p| p.band == band);
        let west = members().map(|p| p.col).min().unwrap_or(0);
        let east = members().map(|p| p.col + p.cols).max().unwrap_or(0);
        let runs = if band % 2 == 0 { "east" } else { "west" };
        let _ = write!(text, " running {runs}, columns {west}..{east} of {}", decode.chip.cols);
    }
    if floor.bands() > 1 {
        let _ = write!(text, "\nturns and return: {} colors of their own, {} in all", floor.tracks, decode.colors());
    }
    text
}

/// Adds up the time between consecutive probe marks of one pass under the later mark's name, by the id of its point.
pub(super) fn add_phases(
    by_phase: &mut Vec<(&'static str, u64)>,
    names: &[&'static str],
    marks: &[Mark],
    since: u64,
) -> u64 {
    if by_phase.is_empty() {
        by_phase.extend(names.iter().map(|n| (*n, 0)));
    }
    let mut sorted = marks.to_vec();
    sorted.sort_by_key(|m| m.now);
    let mut last = since;
    for mark in sorted {
        if mark.now > last {
            by_phase[usize::from(mark.id)].1 += mark.now - last;
            last = mark.now;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::decode::point;

    #[test]
    fn assumed_constants_are_named_and_a_chip_without_sources_is_all_assumed() {
        let mut chip = Chip::preset("wse3").expect("a preset");
        chip.sources.clear();
        assert_eq!(assumed(&chip), ["everything (the chip gives no sources)"]);
        for name in Chip::PRESETS {
            let chip = Chip::preset(name).expect("a preset");
            assert!(!assumed(&chip).is_empty(), "{name} has constants that nobody has published");
        }
    }

    #[test]
    fn phases_sum_to_the_last_mark() {
        let mark = |id, now| Mark { id, who: 0, now };
        let mut phases = Vec::new();
        let end = add_phases(&mut phases, &point::NAMES, &[mark(point::QKV, 30), mark(point::ARRIVED, 10)], 0);
        let end = add_phases(&mut phases, &point::NAMES, &[mark(point::ARRIVED, 25), mark(point::HEAD, 50)], end);
        assert_eq!(end, 50);
        assert_eq!(phases.iter().map(|p| p.1).sum::<u64>(), 50);
        assert_eq!(phases[usize::from(point::QKV)].1, 20);
        assert_eq!(phases[usize::from(point::HEAD)].1, 20);
    }
}
