//! Lanes and ports with their ids, and what crosses between workers: routes are walked from every ramp.
//!
//! Every lane traces back to exactly one ramp (or the host): lanes that no walk reaches are an error, and a lane
//! reached twice cannot be, because a router has one receive port per color. Walks are loops: a route may pass every
//! router.
//!
//! Invariant: the answers of a port (and of a burst that comes in through a crossing) = sinks on its worker + crossings
//! out of it, up to the next worker; so every rendezvous gets exactly the answers that it waits for.
//! Called by `build`.

use crate::link::{Lane, LaneFlags, NONE, Port, Upstream, vec_on_large_pages};
use crate::units::Color;

use super::build::{HostLane, Part, Region};
use super::chip::Chip;
use super::layout::{Layout, LayoutError};
use super::route::{Direction, Route, Tx};

/// One port per ramp route and host lane, and all lanes.
///
/// # Errors
/// What keeps a burst from its sinks.
pub(super) fn connect(
    layout: &Layout,
    chip: &Chip,
    homes: &[(u16, u32)],
    parts: &mut [Part],
) -> Result<Vec<HostLane>, LayoutError> {
    let mut total = 0;
    let start = |pe: &super::layout::PeDecl| {
        total += pe.routes.len() as u32;
        total - pe.routes.len() as u32
    };
    let starts: Vec<u32> = layout.pes.iter().map(start).collect();
    for (worker, part) in parts.iter_mut().enumerate() {
        let own = || layout.pes.iter().zip(homes).filter(|(_, home)| usize::from(home.0) == worker);
        let count = |is_port: bool| {
            let of = |r: &&Route| matches!(r.rx, Direction::Ramp | Direction::Host) == is_port;
            own().map(|(pe, _)| pe.routes.iter().filter(of).count()).sum()
        };
        part.net.ports = vec_on_large_pages(count(true));
        part.net.lanes = vec_on_large_pages(count(false));
    }
    let mut wiring = Wiring { layout, chip, homes, parts, reached: vec![false; total as usize], starts };
    let host = wiring.ports()?;
    wiring.check_fed()?;
    Ok(host)
}

struct Wiring<'a> {
    layout: &'a Layout,
    chip: &'a Chip,
    homes: &'a [(u16, u32)],
    parts: &'a mut [Part],
    /// Where the routes of each PE begin in `reached`.
    starts: Vec<u32>,
    reached: Vec<bool>,
}

/// A link that a walk goes over next.
struct Hop {
    /// From this PE of the layout.
    from: u32,
    over: Direction,
    /// Writer: a port, or a lane, of `from`'s worker.
    kind: Upstream,
    upstream: u32,
    /// Cycles from the sender's router to the router behind the link.
    path: u32,
    turns: bool,
    /// Whose answers count what is found.
    counter: Counter,
}

/// Links that a lane goes on over: all but the one that it comes from. A lane from the host comes over none.
const OUTS_MAX: usize = 3;

/// One port's way to its sinks.
struct Walk {
    /// Worker and id.
    port: (u16, u32),
    color: Color,
    /// Links still to go over; the next one is the last.
    open: Vec<Hop>,
}

/// A lane that a walk has reached.
struct Arrival<'a> {
    g: u32,
    route: &'a Route,
    lane: u32,
    path: u32,
}

/// Where answers are counted.
#[derive(Clone, Copy)]
enum Counter {
    /// At the port where the walk began.
    Port,
    /// At the stand-in of a lane of another worker: worker, id.
    StandIn(u16, u32),
}

impl<'a> Wiring<'a> {
    fn ports(&mut self) -> Result<Vec<HostLane>, LayoutError> {
        let mut host = Vec::new();
        for g in 0..self.layout.pes.len() as u32 {
            let pe = &self.layout.pes[g as usize];
            let (worker, local) = self.homes[g as usize];
            self.enter_region(worker, local, pe.region);
            for route in &pe.routes {
                if route.tx == Tx::NONE {
                    return Err(LayoutError::Nowhere { pe: pe.coord, color: route.color });
                }
                if route.rx == Direction::Host && route.tx.links().count() > OUTS_MAX {
                    return Err(LayoutError::HostFan { pe: pe.coord, color: route.color });
                }
                let part = &mut self.parts[usize::from(worker)];
                let id = part.net.ports.len() as u32;
                if route.rx == Direction::Ramp && route.tx.has(Direction::Ramp) {
                    let (to, found) = (Direction::Ramp, "no burst comes back over the ramp that sends it");
                    return Err(LayoutError::Undeliverable { pe: pe.coord, color: route.color, to, found });
                }
                match route.rx {
                    Direction::Ramp => {
                        part.net.ports.push(Port::new(local));
                        part.endpoints.name_tx(local, route.color, id);
                        let alpha = self.chip.alpha;
                        let hop = |over| Hop {
                            from: g,
                            over,
                            kind: Upstream::Port,
                            upstream: id,
                            path: alpha,
                            turns: false,
                            counter: Counter::Port,
                        };
                        let mut open: Vec<Hop> = route.tx.links().map(hop).collect();
                        open.reverse();
                        self.walk(Walk { port: (worker, id), color: route.color, open })?;
                    }
                    Direction::Host => {
                        part.net.ports.push(Port::new(NONE));
                        host.push(HostLane { pe: pe.coord, worker, port: id });
                        let lane = self.lane(g, route, 0);
                        self.feed(worker, lane, Upstream::Port, id, 0);
                        self.parts[usize::from(worker)].net.ports[id as usize].add_out(lane);
                        let mut walk = Walk { port: (worker, id), color: route.color, open: Vec::new() };
                        self.arrive(&mut walk, Arrival { g, route, lane, path: 0 }, Counter::Port)?;
                        self.walk(walk)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(host)
    }

    /// Goes over the open links and on to all sinks, depth first, in the order of the links. A new lane gets its
    /// id when it is reached, so those of a circuit lie one after the other, as its bursts visit them.
    fn walk(&mut self, mut walk: Walk) -> Result<(), LayoutError> {
        while let Some(hop) = walk.open.pop() {
            let (next, route) = self.target(&hop, walk.color)?;
            let (here, there) = (self.homes[hop.from as usize].0, self.homes[next as usize].0);
            let lane = self.lane(next, route, hop.path);
            let mut counter = hop.counter;
            let entered = if here == there {
                self.feed(here, lane, hop.kind, hop.upstream, 0);
                lane
            } else {
                let mut remote = Lane::new();
                remote.flags.0 |= LaneFlags::REMOTE;
                remote.reader = lane;
                remote.feed(hop.kind, hop.upstream, there as u8);
                let lanes = &mut self.parts[usize::from(here)].net.lanes;
                let id = lanes.len() as u32;
                lanes.push(remote);
                self.feed(there, lane, Upstream::Worker, id, here);
                self.count(counter, walk.port);
                counter = Counter::StandIn(here, id);
                id
            };
            let net = &mut self.parts[usize::from(here)].net;
            match hop.kind {
                Upstream::Port => net.ports[hop.upstream as usize].add_out(entered),
                _ => net.lanes[hop.upstream as usize].add_out(entered, hop.turns),
            }
            self.arrive(&mut walk, Arrival { g: next, route, lane, path: hop.path }, counter)?;
        }
        Ok(())
    }

    /// Counts the sink at a lane, and opens the links that go on from it.
    fn arrive(&mut self, walk: &mut Walk, at: Arrival<'_>, counter: Counter) -> Result<(), LayoutError> {
        let Arrival { g, route, lane, path } = at;
        if route.tx.has(Direction::Ramp) {
            self.count(counter, walk.port);
        }
        let first = walk.open.len();
        for over in route.tx.links() {
            let turns = route.rx != Direction::Host && over != route.rx.opposite();
            let cost = self.chip.alpha + if turns { self.chip.turn_cycles } else { 0 };
            let too_long = || LayoutError::TooLong { pe: self.layout.pes[g as usize].coord, color: route.color };
            let path = path.checked_add(cost).ok_or_else(too_long)?;
            walk.open.push(Hop { from: g, over, kind: Upstream::Lane, upstream: lane, path, turns, counter });
        }
        walk.open[first..].reverse();
        Ok(())
    }

    fn count(&mut self, counter: Counter, port: (u16, u32)) {
        match counter {
            Counter::Port => self.parts[usize::from(port.0)].net.ports[port.1 as usize].answers += 1,
            Counter::StandIn(worker, lane) => {
                self.parts[usize::from(worker)].net.lanes[lane as usize].path += 1;
            }
        }
    }

    /// The PE behind a link, if its router takes the color from there.
    fn target(&self, hop: &Hop, color: Color) -> Result<(u32, &'a Route), LayoutError> {
        let (pe, d) = (self.layout.pes[hop.from as usize].coord, hop.over);
        let fail = |found| LayoutError::Undeliverable { pe, color, to: d, found };
        let to = d.neighbour(pe, self.chip.cols, self.chip.rows).ok_or_else(|| fail("the mesh ends there"))?;
        let next = self.layout.find(to).ok_or_else(|| fail("the PE there is not in use"))?;
        let route = self.layout.pes[next as usize].route(color);
        let route = route.ok_or_else(|| fail("the router there has no route for the color"))?;
        if route.rx != d.opposite() {
            return Err(fail("the router there receives the color from another side"));
        }
        Ok((next, route))
    }

    /// A new lane, of a color that PE `g` receives from a link or the host.
    fn lane(&mut self, g: u32, route: &Route, path: u32) -> u32 {
        let (worker, local) = self.homes[g as usize];
        let at = self.layout.pes[g as usize].routes.iter().position(|r| r.color == route.color).unwrap_or(0);
        self.reached[self.starts[g as usize] as usize + at] = true;
        let part = &mut self.parts[usize::from(worker)];
        let id = part.net.lanes.len() as u32;
        let mut lane = Lane::new();
        lane.flags.0 = LaneFlags::SIDE0 * (route.rx as u16 % 4);
        (lane.reader, lane.path) = (local, path);
        if route.tx.has(Direction::Ramp) {
            lane.flags.0 |= LaneFlags::RAMP;
            part.endpoints.name_rx(local, route.color, id);
        }
        part.net.lanes.push(lane);
        id
    }

    fn feed(&mut self, worker: u16, lane: u32, kind: Upstream, upstream: u32, peer: u16) {
        self.parts[usize::from(worker)].net.lanes[lane as usize].feed(kind, upstream, peer as u8);
    }

    /// Closes the region of a part before its PE `local` when that one is in another, and opens the next.
    fn enter_region(&mut self, worker: u16, local: u32, region: u16) {
        let part = &mut self.parts[usize::from(worker)];
        let (lanes, ports) = (part.net.lanes.len() as u32, part.net.ports.len() as u32);
        if let Some((number, last)) = part.regions.last_mut() {
            (last.pes.end, last.lanes.end, last.ports.end) = (local, lanes, ports);
            if *number == region {
                return;
            }
        }
        let fresh = Region { pes: local..local, lanes: lanes..lanes, ports: ports..ports, tiles: 0..0 };
        part.regions.push((region, fresh));
    }

    fn check_fed(&self) -> Result<(), LayoutError> {
        for (pe, start) in self.layout.pes.iter().zip(&self.starts) {
            for (i, route) in pe.routes.iter().enumerate() {
                if route.rx != Direction::Ramp && !self.reached[*start as usize + i] {
                    return Err(LayoutError::Unfed { pe: pe.coord, color: route.color });
                }
            }
        }
        Ok(())
    }
}
