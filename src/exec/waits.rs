//! Who waits for whom when nothing moves any more: from the final states of all parts to a stall report.
//!
//! A lane delivers in order and a multicast is all or nothing, so counts tell who is late. Burst k of a tree is held up
//! by the sinks that have taken fewer bursts than the one that asks:
//! ```text
//!   send, posted or not:  waits for the sinks that have taken fewer bursts than were emitted
//!   receive of burst k:   burst k exists (emitted or queued) -> waits for the sinks that have taken fewer than k - 1
//!                         otherwise                          -> waits for the PE that owns the port
//! ```
//! Invariant: reads final states alone, which are the same at every worker count and schedule.
//! Called by `fleet`, after a pass that ended with unfinished programs.

use std::collections::HashMap;

use crate::fabric::{Direction, Ends, Layout, Route};
use crate::link::{NONE, Status, TicketKind, wavelets};
use crate::pe::Part;
use crate::units::{Color, Coord};

use super::stall::{Blocked, StallReport};

/// Most PEs that one blocked receive is said to wait for: of a late multicast the first ones in (row, col) order.
const LATE_MAX: usize = 16;

/// What one worker's part looks like at the end.
pub(super) struct Remains {
    blocked: Vec<Blocked>,
    /// Bursts taken from every ramp lane.
    taken: Vec<(Coord, Color, u64)>,
    /// Bursts emitted by every port, and whether more are queued behind.
    sent: Vec<(Coord, Color, u64, bool)>,
}

/// Reads a part.
pub(super) fn remains(part: &Part) -> Remains {
    let net = part.net.borrow();
    let mut out = Remains { blocked: Vec::new(), taken: Vec::new(), sent: Vec::new() };
    for pe in 0..part.pes() {
        let (coord, ends) = (part.coord(pe), part.endpoints(pe));
        for &(color, lane) in ends.rx {
            let l = &net.lanes[lane as usize];
            out.taken.push((coord, color, u64::from(l.bursts) - u64::from(l.held())));
        }
        for &(color, port) in ends.tx {
            let p = &net.ports[port as usize];
            out.sent.push((coord, color, u64::from(p.emitted), p.is_queued()));
        }
        let r = &net.records[pe as usize];
        let (status, on, since) = net.waits(pe);
        let (sends, color, holds) = match status {
            Status::OnLane => receive(&net, ends, on),
            Status::OnSend => send(&net, ends, on),
            Status::OnTicket => {
                let t = net.tickets[on];
                if t.kind == TicketKind::Receive { receive(&net, ends, t.at) } else { send(&net, ends, t.at) }
            }
            _ => continue,
        };
        let place = r.place.map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        let (port, waits_for) = (String::new(), Vec::new());
        out.blocked.push(Blocked { pe: coord, since, sends, color, port, place, waits_for, holds });
    }
    out
}

type Net = crate::link::Net<crate::arena::Memory>;

/// A wait on a lane: what it holds (bursts that cannot be forwarded to all outputs yet).
fn receive(net: &Net, ends: Ends<'_>, lane: u32) -> (bool, Color, (u32, u32)) {
    let held = net.held(lane).fold((0, 0), |sum, b| (sum.0 + 1, sum.1 + b.wavelets()));
    (false, color_of(ends.rx, lane), held)
}

/// A wait on a send: the burst in flight and those queued behind it.
fn send(net: &Net, ends: Ends<'_>, port: u32) -> (bool, Color, (u32, u32)) {
    let p = &net.ports[port as usize];
    let mut held = (0, 0);
    let mut add = |id: u32| {
        let t = &net.tickets[id];
        held = (held.0 + 1, held.1 + wavelets(t.words, t.has_ctrl));
        t.next
    };
    if let Some(words) = p.direct() {
        return (true, color_of(ends.tx, port), (1, wavelets(words, false)));
    }
    if p.current != NONE {
        add(p.current);
    }
    let mut at = p.queued();
    while let Some(id) = at {
        at = Some(add(id)).filter(|next| *next != NONE);
    }
    (true, color_of(ends.tx, port), held)
}

fn color_of(list: &[(Color, u32)], id: u32) -> Color {
    list.iter().find(|e| e.1 == id).map_or(Color(u8::MAX), |e| e.0)
}

/// The report of all parts together.
pub(super) fn report(layout: &Layout, parts: Vec<Remains>) -> StallReport {
    let mut blocked = Vec::new();
    let mut map =
        Map { layout, taken: HashMap::new(), sent: HashMap::new(), trees: HashMap::new(), up: HashMap::new() };
    for part in parts {
        blocked.extend(part.blocked);
        map.taken.extend(part.taken.into_iter().map(|t| ((t.0, t.1), t.2)));
        map.sent.extend(part.sent.into_iter().map(|s| ((s.0, s.1), (s.2, s.3))));
    }
    for b in &mut blocked {
        (b.port, b.waits_for) = map.explain(b);
    }
    StallReport::new(blocked)
}

/// Routes and counts of the whole wafer.
struct Map<'a> {
    layout: &'a Layout,
    taken: HashMap<(Coord, Color), u64>,
    sent: HashMap<(Coord, Color), (u64, bool)>,
    /// Sinks of a tree by its source: (bursts taken, where), ascending.
    trees: HashMap<(Coord, Color), Vec<(u64, Coord)>>,
    /// Source of the tree that a router is in.
    up: HashMap<(Coord, Color), Option<Coord>>,
}

impl Map<'_> {
    fn route(&self, pe: Coord, color: Color) -> Option<Route> {
        let at = self.layout.find(pe)?;
        self.layout.pes[at as usize].route(color).copied()
    }

    /// The port in words, and the PEs that would have to act.
    fn explain(&mut self, b: &Blocked) -> (String, Vec<Coord>) {
        let route = self.route(b.pe, b.color);
        if b.sends {
            let sides: Vec<String> = route.iter().flat_map(|r| r.tx.links()).map(|d| format!("{d:?}")).collect();
            let emitted = self.sent.get(&(b.pe, b.color)).map_or(0, |s| s.0);
            let late = self.late(b.pe, b.color, emitted, usize::MAX);
            return (format!("to {}", sides.join(" and ")), late);
        }
        let from = route.map_or_else(String::new, |r| format!("from {:?}", r.rx));
        let Some(source) = self.source(b.pe, b.color) else { return (from, Vec::new()) };
        let taken = self.taken.get(&(b.pe, b.color)).copied().unwrap_or(0);
        let (emitted, queued) = self.sent.get(&(source, b.color)).copied().unwrap_or((0, false));
        let late = if emitted > taken || queued { self.late(source, b.color, taken, LATE_MAX) } else { Vec::new() };
        (from, if late.is_empty() { vec![source] } else { late })
    }

    /// Sinks of a tree that have taken fewer than `than` bursts, in (row, col) order.
    fn late(&mut self, source: Coord, color: Color, than: u64, most: usize) -> Vec<Coord> {
        if !self.trees.contains_key(&(source, color)) {
            let tree = self.walk(source, color);
            self.trees.insert((source, color), tree);
        }
        let tree = &self.trees[&(source, color)];
        let n = tree.partition_point(|s| s.0 < than);
        let mut late: Vec<Coord> = tree[..n.min(most)].iter().map(|s| s.1).collect();
        late.sort_unstable();
        late
    }

    fn walk(&self, source: Coord, color: Color) -> Vec<(u64, Coord)> {
        let mut sinks = Vec::new();
        let mut open = vec![source];
        while let Some(at) = open.pop() {
            let Some(r) = self.route(at, color) else { continue };
            if r.tx.has(Direction::Ramp) {
                sinks.push((self.taken.get(&(at, color)).copied().unwrap_or(0), at));
            }
            open.extend(r.tx.links().filter_map(|d| d.neighbour(at, u32::MAX, u32::MAX)));
        }
        sinks.sort_unstable();
        sinks
    }

    /// The PE whose ramp feeds a router; `None` for the host. Every router is walked once.
    fn source(&mut self, pe: Coord, color: Color) -> Option<Coord> {
        let (mut at, mut seen) = (pe, Vec::new());
        let found = loop {
            if let Some(known) = self.up.get(&(at, color)) {
                break *known;
            }
            seen.push(at);
            match self.route(at, color).map(|r| r.rx) {
                Some(Direction::Ramp) => break Some(at),
                Some(d) => match d.neighbour(at, u32::MAX, u32::MAX) {
                    Some(next) => at = next,
                    None => break None,
                },
                None => break None,
            }
        };
        self.up.extend(seen.into_iter().map(|at| ((at, color), found)));
        found
    }
}
