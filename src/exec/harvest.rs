//! What the host reads of a quiescent wafer: clocks, counters, link traffic, and who is stuck.
//!
//! Invariant: uncharged probes; nothing here changes a PE, and the order of workers shows in no result.
//! Called between passes by `fleet` and `host`.

use crate::arena::Memory;
use crate::fabric::Direction;
use crate::link::{Lane, LaneFlags, NONE, Net, Record, Status, TicketKind, Upstream};
use crate::pe::Part;
use crate::units::{Color, Coord};

use super::fleet::{Hand, PassError, Wafer};
use super::stall::{Blocked, StallReport};
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
    blocked: Vec<Blocked>,
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
        let mut blocked: Vec<Blocked> = self.harvest()?.into_iter().flat_map(|h| h.blocked).collect();
        for b in &mut blocked {
            b.waits_for = self.other_ends(b);
        }
        Ok(StallReport::new(blocked))
    }

    /// Senders of a lane that is waited on, or sinks of a send.
    fn other_ends(&self, b: &Blocked) -> Vec<Coord> {
        let route = |c: Coord| {
            let at = self.layout.find(c)?;
            self.layout.pes[at as usize].routes.iter().find(|r| r.color == b.color).copied()
        };
        let step = |d: Direction, c: Coord| d.neighbour(c, u32::MAX, u32::MAX);
        if b.what == "receive" {
            let mut at = b.pe;
            while let Some(r) = route(at).filter(|r| !matches!(r.rx, Direction::Ramp | Direction::Host)) {
                let Some(next) = step(r.rx, at) else { break };
                at = next;
            }
            return vec![at];
        }
        let mut sinks = Vec::new();
        let mut open: Vec<Coord> =
            route(b.pe).iter().flat_map(|r| r.tx.links()).filter_map(|d| step(d, b.pe)).collect();
        while let Some(at) = open.pop() {
            let Some(r) = route(at) else { continue };
            if r.tx.has(Direction::Ramp) {
                sinks.push(at);
            }
            open.extend(r.tx.links().filter_map(|d| step(d, at)));
        }
        sinks.sort();
        sinks
    }

    /// Totals since launch.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn counters(&self) -> Result<Counters, PassError> {
        let mut sum = Counters::default();
        for h in self.harvest()? {
            let c = h.counters;
            sum.cycles = sum.cycles.max(c.cycles);
            sum.depth = sum.depth.max(c.depth);
            sum.hops += c.hops;
            sum.wavelets += c.wavelets;
            sum.bursts += c.bursts;
            sum.busy += c.busy;
        }
        Ok(sum)
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
    Harvest { counters, links, blocked: blocked(part, &net, &records), records }
}

fn blocked(part: &Part, net: &Net<Memory>, records: &[(Coord, Record)]) -> Vec<Blocked> {
    let mut out = Vec::new();
    for (pe, (coord, r)) in records.iter().enumerate() {
        let ends = part.endpoints(pe as u32);
        let color_of = |list: &[(Color, u32)], id: u32| list.iter().find(|e| e.1 == id).map_or(Color(u8::MAX), |e| e.0);
        let (what, side, color, holds) = match r.status {
            Status::OnLane => {
                let held: Vec<_> = net.held(r.wait_on).map(|b| b.wavelets()).collect();
                (
                    "receive",
                    "from the ramp's lane",
                    color_of(&ends.rx, r.wait_on),
                    (held.len() as u32, held.iter().sum()),
                )
            }
            Status::OnTicket => {
                let t = net.tickets[r.wait_on];
                if t.kind == TicketKind::Receive {
                    ("receive", "from the ramp's lane", color_of(&ends.rx, t.at), (0, 0))
                } else {
                    ("send", "to its sinks", color_of(&ends.tx, t.at), (1, u32::from(t.words)))
                }
            }
            _ => continue,
        };
        let place = r.place.map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        out.push(Blocked { pe: *coord, since: r.now, what, color, side, place, waits_for: Vec::new(), holds });
    }
    out
}
