//! What a launch has counted so far, read between passes: totals, clocks of PEs, traffic into them.
//!
//! Invariant: every link of the wafer is counted once, by the worker that reads it; lanes from the host are no links.
//! Called by `fleet`.

use crate::link::{Lane, LaneFlags, NONE, Record, Upstream};
use crate::pe::Part;
use crate::units::Coord;

/// Totals since launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Largest clock of any PE.
    pub cycles: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
    /// Bursts that ramps sent.
    pub bursts: u64,
    /// Longest chain of dependent messages.
    pub depth: u32,
    /// Compute and issue cycles, all PEs.
    pub busy: u64,
}

/// One worker's part of them.
pub(super) struct Harvest {
    pub(super) records: Vec<(Coord, Record)>,
    pub(super) counters: Counters,
    /// Bursts and wavelets into every PE over links.
    pub(super) links: Vec<(Coord, u64, u64)>,
}

/// Reads a part.
pub(super) fn harvest(part: &Part) -> Harvest {
    let net = part.net.borrow();
    let records: Vec<(Coord, Record)> =
        (0..part.pes()).map(|pe| (part.coord(pe), net.records[pe as usize].clone())).collect();
    let mut counters = Counters::default();
    for (_, r) in &records {
        counters.cycles = counters.cycles.max(r.now);
        counters.depth = counters.depth.max(r.depth);
        counters.busy += r.busy;
    }
    let mut links: Vec<(Coord, u64, u64)> = records.iter().map(|r| (r.0, 0, 0)).collect();
    let is_host = |l: &Lane| l.upstream_kind == Upstream::Port && net.ports[l.upstream as usize].pe == NONE;
    for lane in net.lanes.iter().filter(|l| !l.flags.has(LaneFlags::REMOTE) && !is_host(l)) {
        counters.hops += u64::from(lane.bursts);
        counters.wavelets += lane.wavelets;
        let link = &mut links[lane.reader as usize];
        link.1 += u64::from(lane.bursts);
        link.2 += lane.wavelets;
    }
    counters.bursts = net.ports.iter().filter(|p| p.pe != NONE).map(|p| p.emitted).sum();
    Harvest { counters, links, records }
}
