//! Probes for reports: wavelets per directed link, and the records of traced PEs.
//!
//! Lanes know their writer, not their color: the host walks the tree of every send port, over workers, and counts each
//! lane once under the directed link that feeds it.
//!
//! Invariant: uncharged; every link is counted once, so the sums are those of `Counters`; sorted, so the order of
//! workers shows in no result. Called between passes by `host` and `app`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::fabric::{Direction, Layout};
use crate::link::{LaneFlags, LinkLoad, NONE, Net, Store};
use crate::pe::{Log, Part};
use crate::units::{Color, Coord};

use super::fleet::{PassError, Wafer};
use super::worker::{Answer, Command};

/// PEs to trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// This many, evenly over the layout in (row, col) order.
    Evenly(usize),
    /// A rectangle.
    Rectangle {
        /// North-west corner.
        first: Coord,
        /// Columns.
        cols: u32,
        /// Rows.
        rows: u32,
    },
}

/// What to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOptions {
    /// Of which PEs.
    pub pes: Chosen,
    /// Spans at most, shared out evenly among them.
    pub spans_max: usize,
}

impl TraceOptions {
    /// The chosen PEs of a layout, and the spans that each may record.
    pub fn choose(&self, layout: &Layout) -> (HashSet<Coord>, usize) {
        let mut all: Vec<Coord> = layout.pes.iter().map(|p| p.coord).collect();
        all.sort_unstable();
        let chosen: HashSet<Coord> = match self.pes {
            Chosen::Evenly(n) => (0..n.min(all.len())).map(|i| all[i * all.len() / n.min(all.len())]).collect(),
            Chosen::Rectangle { first, cols, rows } => {
                let inside = |at: &Coord| {
                    at.col.checked_sub(first.col).is_some_and(|c| c < cols)
                        && at.row.checked_sub(first.row).is_some_and(|r| r < rows)
                };
                all.into_iter().filter(inside).collect()
            }
        };
        let each = self.spans_max / chosen.len().max(1);
        (chosen, each)
    }
}

/// Traffic of one directed link since launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkUse {
    /// Colors with traffic.
    pub colors: u32,
    /// Bursts and wavelets of routes with one sink.
    pub unicast: (u64, u64),
    /// Bursts and wavelets of routes with several.
    pub multicast: (u64, u64),
    /// How busy it was in windows; zeros unless `RunOptions::link_windows` was set.
    pub load: LinkLoad,
}

/// The lanes and ports of one part.
pub(super) struct Lanes {
    lanes: Vec<LaneUse>,
    ports: Vec<(Coord, Color, Vec<u32>)>,
    loads: Vec<((Coord, Coord), LinkLoad)>,
}

struct LaneUse {
    outs: Vec<u32>,
    /// The other worker, and the lane's id there.
    elsewhere: Option<(usize, u32)>,
    is_sink: bool,
    reader: Coord,
    bursts: u64,
    wavelets: u64,
}

/// Reads a part.
pub(super) fn lanes(part: &Part) -> Lanes {
    let mut net = part.net.borrow_mut();
    let loads = link_loads(part, &mut net);
    let lanes = net.lanes.iter().map(|l| {
        let remote = l.flags.has(LaneFlags::REMOTE);
        LaneUse {
            outs: l.outs[..usize::from(l.n_outs)].to_vec(),
            elsewhere: remote.then_some((usize::from(l.peer), l.reader)),
            is_sink: l.flags.has(LaneFlags::RAMP),
            reader: if remote { Coord::new(0, 0) } else { part.coord(l.reader) },
            bursts: u64::from(l.bursts),
            wavelets: l.wavelets,
        }
    });
    let outs = |port: u32| {
        let p = &net.ports[port as usize];
        p.outs[..usize::from(p.n_outs)].to_vec()
    };
    let of_pe = |pe: u32| part.endpoints(pe).tx.iter().map(move |&(color, port)| (part.coord(pe), color, port));
    let mut ports: Vec<_> = (0..part.pes()).flat_map(of_pe).map(|(at, color, port)| (at, color, outs(port))).collect();
    // A lane from the host is no link; what it forwards over links is.
    for port in net.ports.iter().filter(|p| p.pe == NONE) {
        for &first in &port.outs[..usize::from(port.n_outs)] {
            let lane = &net.lanes[first as usize];
            let color = part.endpoints(lane.reader).rx.iter().find(|r| r.1 == first).map_or(Color(u8::MAX), |r| r.0);
            ports.push((part.coord(lane.reader), color, lane.outs[..usize::from(lane.n_outs)].to_vec()));
        }
    }
    Lanes { lanes: lanes.collect(), ports, loads }
}

/// (from, to) and windows of every link with traffic into this part.
pub(super) fn link_loads<S: Store>(part: &Part, net: &mut Net<S>) -> Vec<((Coord, Coord), LinkLoad)> {
    let Some(loads) = net.loads() else { return Vec::new() };
    let named = loads.links().filter_map(|(pe, side, load)| {
        let to = part.coord(pe);
        let from = Direction::LINKS[usize::from(side)].neighbour(to, u32::MAX, u32::MAX)?;
        Some(((from, to), load))
    });
    named.collect()
}

impl Wafer {
    /// Traffic of every directed link with a route, by (from, to), each in (row, col) order.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn link_use(&self) -> Result<BTreeMap<(Coord, Coord), LinkUse>, PassError> {
        let mut parts = Vec::new();
        for hand in &self.hands {
            hand.commands.send(Command::Lanes).map_err(|_| PassError::Lost)?;
            match hand.answers.recv() {
                Ok(Answer::Lanes(lanes)) => parts.push(*lanes),
                _ => return Err(PassError::Lost),
            }
        }
        let mut links: BTreeMap<(Coord, Coord), LinkUse> = BTreeMap::new();
        for (worker, part) in parts.iter().enumerate() {
            for (link, load) in &part.loads {
                links.entry(*link).or_default().load = *load;
            }
            for (at, color, outs) in &part.ports {
                let tree = walk(&parts, worker, outs);
                let sinks = tree.iter().filter(|l| l.is_sink).count();
                for lane in tree {
                    let from = self.upstream(lane.reader, *color).unwrap_or(*at);
                    let link = links.entry((from, lane.reader)).or_default();
                    link.colors += u32::from(lane.bursts > 0);
                    let sum = if sinks > 1 { &mut link.multicast } else { &mut link.unicast };
                    *sum = (sum.0 + lane.bursts, sum.1 + lane.wavelets);
                }
            }
        }
        Ok(links)
    }

    /// The PE on the link that feeds a color at a router.
    fn upstream(&self, at: Coord, color: Color) -> Option<Coord> {
        let pe = &self.layout.pes[self.layout.find(at)? as usize];
        let route = pe.route(color)?;
        Direction::neighbour(route.rx, at, u32::MAX, u32::MAX)
    }

    /// The records of the traced PEs, by (row, col).
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn trace(&self) -> Result<Vec<Log>, PassError> {
        let mut all = Vec::new();
        for hand in &self.hands {
            hand.commands.send(Command::Logs).map_err(|_| PassError::Lost)?;
            match hand.answers.recv() {
                Ok(Answer::Logs(logs)) => all.extend(logs),
                _ => return Err(PassError::Lost),
            }
        }
        all.sort_by_key(|log| log.pe);
        Ok(all)
    }

    /// The layout in operation.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The same, to be kept when the launch is over.
    pub fn shared_layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }
}

/// All lanes of a tree.
fn walk<'a>(parts: &'a [Lanes], worker: usize, outs: &[u32]) -> Vec<&'a LaneUse> {
    let mut open: Vec<(usize, u32)> = outs.iter().map(|lane| (worker, *lane)).collect();
    let mut tree = Vec::new();
    while let Some((worker, id)) = open.pop() {
        let lane = &parts[worker].lanes[id as usize];
        if let Some(there) = lane.elsewhere {
            open.push(there);
            continue;
        }
        tree.push(lane);
        open.extend(lane.outs.iter().map(|next| (worker, *next)));
    }
    tree
}
