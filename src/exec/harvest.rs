//! What the host reads of a quiescent wafer: clocks, counters, link traffic, and what is left of a stall.
//!
//! Invariant: uncharged probes; nothing here changes a PE, and the order of workers shows in no result.
//! Invariant: every link of the wafer is counted once, by the worker that reads it; lanes from the host are no links.
//! Called between passes by `fleet` and `host`.

use crate::link::{Lane, LaneFlags, NONE, Record, Upstream};
use crate::pe::Part;
use crate::units::Coord;

use super::fleet::{Hand, PassError, Wafer};
use super::stall::StallReport;
use super::waits;
use super::worker::{Answer, Command};

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

/// One part, as it stands.
pub(super) struct Harvest {
    records: Vec<(Coord, Record)>,
    counters: Counters,
    links: Vec<(Coord, u64, u64)>,
}

impl Wafer {
    fn harvest(&self) -> Result<Vec<Harvest>, PassError> {
        for hand in &self.hands {
            hand.commands.send(Command::Clocks).map_err(|_| PassError::Lost)?;
        }
        let take = |hand: &Hand| match hand.answers.recv() {
            Ok(Answer::Clocks(h)) => Ok(*h),
            _ => Err(PassError::Lost),
        };
        self.hands.iter().map(take).collect()
    }

    /// Who waits for whom.
    pub(super) fn stalls(&self) -> Result<StallReport, PassError> {
        for hand in &self.hands {
            hand.commands.send(Command::Remains).map_err(|_| PassError::Lost)?;
        }
        let take = |hand: &Hand| match hand.answers.recv() {
            Ok(Answer::Remains(r)) => Ok(*r),
            _ => Err(PassError::Lost),
        };
        let parts = self.hands.iter().map(take).collect::<Result<Vec<_>, _>>()?;
        Ok(waits::report(&self.layout, parts))
    }

    /// Totals since launch.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn counters(&self) -> Result<Counters, PassError> {
        Ok(self.survey()?.0)
    }

    /// As `counters`, and clock, busy cycles and depth of every PE in no order.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn survey(&self) -> Result<(Counters, Vec<(Coord, Record)>), PassError> {
        let (mut sum, mut records) = (Counters::default(), Vec::new());
        for h in self.harvest()? {
            let c = h.counters;
            sum.cycles = sum.cycles.max(c.cycles);
            sum.depth = sum.depth.max(c.depth);
            sum.hops += c.hops;
            sum.wavelets += c.wavelets;
            sum.bursts += c.bursts;
            sum.busy += c.busy;
            records.extend(h.records);
        }
        Ok((sum, records))
    }

    /// Clock, busy cycles and depth of every PE, sorted by (row, col).
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn records(&self) -> Result<Vec<(Coord, Record)>, PassError> {
        let mut all: Vec<(Coord, Record)> = self.harvest()?.into_iter().flat_map(|h| h.records).collect();
        all.sort_by_key(|r| r.0);
        Ok(all)
    }

    /// Bursts and wavelets into every PE over links, sorted by (row, col).
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn link_traffic(&self) -> Result<Vec<(Coord, u64, u64)>, PassError> {
        let mut all: Vec<(Coord, u64, u64)> = self.harvest()?.into_iter().flat_map(|h| h.links).collect();
        all.sort_by_key(|l| l.0);
        Ok(all)
    }
}

/// Reads one part.
pub(super) fn harvest(part: &Part) -> Harvest {
    let net = part.net.borrow();
    let records: Vec<(Coord, Record)> = (0..part.pes())
        .map(|pe| {
            let record = net.records[pe as usize].clone();
            (part.coord(pe), Record { now: net.waits(pe).2, depth: net.depth(pe), ..record })
        })
        .collect();
    let mut counters = Counters::default();
    for (_, r) in &records {
        counters.cycles = counters.cycles.max(r.now);
        counters.depth = counters.depth.max(r.depth);
        counters.busy += r.busy;
    }
    let mut links: Vec<(Coord, u64, u64)> = records.iter().map(|r| (r.0, 0, 0)).collect();
    let is_host = |l: &Lane| matches!(l.writer(), (Upstream::Port, port) if net.ports[port as usize].pe == NONE);
    for lane in net.lanes.iter().filter(|l| !l.flags.has(LaneFlags::REMOTE) && !is_host(l)) {
        counters.hops += u64::from(lane.bursts);
        counters.wavelets += lane.wavelets;
        let link = &mut links[lane.reader as usize];
        link.1 += u64::from(lane.bursts);
        link.2 += lane.wavelets;
    }
    counters.bursts = net.ports.iter().filter(|p| p.pe != NONE).map(|p| u64::from(p.emitted)).sum();
    Harvest { counters, links, records }
}
