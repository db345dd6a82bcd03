//! What a session reports of the emulated chip, and how its regions lie.

use std::fmt::Write as _;

use crate::arena::Owner;
use crate::fabric::{Chip, Layout};
use crate::kernels::decode::{Decode, point};
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
    /// Round trips to the host that sampling added.
    pub host_roundtrip_cycles: u64,
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
    /// Ledger of the fullest stage PE and of the fullest head PE.
    pub ledger: String,
    /// Regions, west to east.
    pub floorplan: String,
}

pub(super) fn arena_use(layout: &Layout, chip: &Chip) -> ArenaUse {
    let mut used: Vec<u64> = layout.pes.iter().map(|p| p.ledger().total().0 + chip.reserved_bytes).collect();
    used.sort_unstable();
    let at = |i: usize| used.get(i).copied().unwrap_or(0);
    ArenaUse { min: at(0), median: at(used.len() / 2), max: at(used.len().max(1) - 1), budget: chip.arena_bytes }
}

/// Ledgers of the fullest PE of both kinds.
pub(super) fn ledger_text(layout: &Layout, decode: &Decode) -> String {
    let mut text = String::new();
    let head = decode.plan.head_cols as u32;
    for (name, stage) in [("stage", true), ("head", false)] {
        let members = layout.pes.iter().filter(|p| (p.coord.col >= head) == stage);
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

pub(super) fn floorplan(decode: &Decode) -> String {
    let plan = &decode.plan;
    let mut text = format!("| head {}x{} ", plan.head_cols, plan.rows);
    for (s, layers) in plan.stages.iter().enumerate().take(6) {
        let _ = write!(text, "| stage {s}: layers {}..{} ", layers.start, layers.end);
    }
    if plan.stages.len() > 6 {
        let _ = write!(text, "| ... {} stages ", plan.stages.len());
    }
    let _ = write!(text, "| columns 0..{} of {}", plan.width(), decode.chip.cols);
    text
}

/// Adds up the time between consecutive probe marks of one pass under the later mark's name.
pub(super) fn add_phases(by_phase: &mut Vec<(&'static str, u64)>, marks: &[Mark], since: u64) -> u64 {
    if by_phase.is_empty() {
        by_phase.extend(point::NAMES.iter().map(|n| (*n, 0)));
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
