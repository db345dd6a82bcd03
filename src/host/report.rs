//! What a session reports of the emulated chip, and how its regions lie.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::arena::Owner;
use crate::fabric::{Chip, Direction, Layout};
use crate::kernels::decode::point::{self, Part};
use crate::kernels::decode::{Decode, KvFormat, Region};
use crate::math::checkpoint::WeightFormat;
use crate::pe::Mark;
use crate::units::Coord;

use super::session::Session;
use super::usage::Usage;

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

/// Cycles of the critical path that one phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseCycles {
    /// Which.
    pub name: &'static str,
    /// All of them.
    pub total: u64,
    /// What they went into, in the order of `Part::ALL`; zeros where the phase is marked as a whole.
    pub parts: [u64; Part::ALL.len()],
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
    /// Cycles of the critical path by phase, and behind the last mark of a run that ended in the middle what other
    /// cores took longer; they sum to `cycles_total`.
    pub by_phase: Vec<PhaseCycles>,
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
#[derive(Clone, Debug, PartialEq)]
pub struct PrefillReport {
    /// Positions of the prompt.
    pub positions: usize,
    /// Positions of a chunk.
    pub chunk: usize,
    /// Earlier positions of every row that passed at once.
    pub older: usize,
    /// A smaller chunk that was predicted to take at least a ninth fewer cycles, and its predicted share of this one's.
    pub faster: Option<(usize, f64)>,
    /// Virtual time until the logits of the last position are there.
    pub cycles: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
    /// What its PEs did.
    pub usage: Usage,
    /// The transition to decode.
    pub moved: Moved,
}

/// What a transition took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Columns and rows of the prefill's regions, where they are not decode's: weights, K and V moved over links.
    pub from: Option<(u32, u32)>,
    /// Launches that it took, decode's included.
    pub launches: u32,
    /// Routes of the fullest PE that a launch began with, at most.
    pub routes_written: u32,
    /// From the end of the last prefill program until decode can begin.
    pub cycles: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
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

/// What cores do behind the last mark, where a run ends within a prompt.
const UNFINISHED: &str = "unfinished";
/// Stages of a band that the floorplan names one by one.
const STAGES_SHOWN: usize = 6;

/// Over the PEs of regions, each with the most that it holds in any of the launches; PEs that only route have no tiles.
pub(super) fn arena_use(launches: &[&Layout], chip: &Chip) -> ArenaUse {
    let mut by_pe: HashMap<Coord, u64> = HashMap::new();
    for pe in launches.iter().flat_map(|l| &l.pes).filter(|p| !p.tiles.is_empty()) {
        let most = by_pe.entry(pe.coord).or_default();
        *most = (*most).max(pe.used().0 + chip.reserved_bytes);
    }
    let mut used: Vec<u64> = by_pe.into_values().collect();
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
        let Some(pe) = members.max_by_key(|p| p.used()) else { continue };
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

impl Session {
    /// Totals so far.
    pub fn report(&mut self) -> Report {
        if let Ok(counters) = self.wafer.counters() {
            self.counters = counters;
        }
        let (c, chip) = (self.totals(), &self.decode.chip);
        let mut by_phase = self.by_phase.clone();
        let rest = c.cycles.saturating_sub(by_phase.iter().map(|p| p.total).sum());
        if rest > 0 {
            let mut parts = [0; Part::ALL.len()];
            parts[Part::Wait as usize - 1] = rest;
            by_phase.push(PhaseCycles { name: UNFINISHED, total: rest, parts });
        }
        Report {
            chip: chip.name.clone(),
            clock_hz: chip.clock_hz,
            cycles_total: c.cycles,
            by_phase,
            hops: c.hops,
            wavelets: c.wavelets,
            bursts: c.bursts,
            message_hops: c.hops,
            arena: self.arena,
            colors_max: self.past.launches.iter().map(|l| colors_max(&l.layout)).fold(self.wafer.colors_max, u32::max),
            energy_joules: c.cycles as f64 / chip.clock_hz * chip.power_watts,
            power_watts: chip.power_watts,
            numerics: numerics(&self.decode),
            assumed: assumed(chip),
            host_roundtrip_cycles: self.host_cycles,
            prefill: self.prefilled.clone(),
        }
    }
}

/// Adds up the time between consecutive marks of one pass under the later mark's name (of its point) and part; phases
/// without a name are left out.
pub(super) fn add_phases(by_phase: &mut Vec<PhaseCycles>, names: &[&'static str], marks: &[Mark], since: u64) -> u64 {
    let mut sorted = marks.to_vec();
    sorted.sort_by_key(|m| m.now);
    let mut last = since;
    for mark in sorted.into_iter().filter(|m| m.now > since) {
        let (point, part) = point::of(mark.id);
        let (name, cycles) = (names[usize::from(point)], mark.now - last);
        last = mark.now;
        if name.is_empty() {
            continue;
        }
        let at = by_phase.iter().position(|p| p.name == name).unwrap_or(by_phase.len());
        if at == by_phase.len() {
            by_phase.push(PhaseCycles { name, total: 0, parts: [0; Part::ALL.len()] });
        }
        by_phase[at].total += cycles;
        if let Some(part) = part {
            by_phase[at].parts[part as usize - 1] += cycles;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn phases_and_their_parts_sum_to_the_last_mark() {
        let mark = |point, part, now| Mark { id: point::id(point, part), who: 0, now };
        let (mut phases, [c, r, b, _]) = (Vec::new(), Part::ALL);
        let first = [mark(point::QKV, r, 30), mark(point::QKV, c, 24), mark(point::ARRIVED, b, 10)];
        let end = add_phases(&mut phases, &point::NAMES, &first, 0);
        let end = add_phases(
            &mut phases,
            &point::NAMES,
            &[mark(point::ARRIVED, b, 25), mark(point::HEAD, c, 50), mark(point::QKV, c, 41)],
            end,
        );
        assert_eq!(end, 50);
        let found: Vec<_> = phases.iter().map(|p| (p.name, p.total, p.parts)).collect();
        assert_eq!(found, [("hand-over", 10, [0, 0, 10, 0]), ("QKV", 31, [25, 6, 0, 0]), ("head", 9, [9, 0, 0, 0])],);
    }

    #[test]
    fn a_phase_marked_as_a_whole_has_no_parts() {
        let mut phases = Vec::new();
        add_phases(&mut phases, &point::NAMES, &[Mark { id: point::O, who: 0, now: 7 }], 3);
        assert_eq!(phases, [PhaseCycles { name: "O", total: 4, parts: [0; 4] }]);
    }
}
