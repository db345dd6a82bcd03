//! From a layout to the nets of the workers: the check before a launch, lanes and ports with their ids, what crosses.
//!
//! Every lane traces back to exactly one ramp (or the host): routes are walked from each port, lanes that no walk
//! reaches are an error, and a lane reached twice cannot be, because a router has one receive port per color.
//!
//! Invariant: `answers` of a port (and of a lane fed by another worker) = sinks on its worker + crossings out of it,
//! up to the next worker; so every rendezvous gets exactly the answers that it waits for.

use std::collections::HashMap;
use std::ops::Range;

use crate::arena::{LedgerError, Owner};
use crate::link::{Lane, LaneFlags, NONE, NetBuilder, Port, Upstream, ring};
use crate::units::{Bytes, Color, Coord};

use super::chip::Chip;
use super::layout::{Layout, LayoutError, TileId};
use super::route::{Direction, Route, Tx};

/// What one PE's program can reach, by color and tile id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Position.
    pub coord: Option<Coord>,
    /// Send ports by color.
    pub tx: Vec<(Color, u32)>,
    /// Ramp lanes by color.
    pub rx: Vec<(Color, u32)>,
    /// Tiles: id, place and words.
    pub tiles: Vec<(TileId, u32, u32)>,
}

/// A lane from the host: worker, port id there.
#[derive(Clone, Copy, Debug)]
pub struct HostLane {
    /// PE that reads it.
    pub pe: Coord,
    /// Worker.
    pub worker: u16,
    /// Port id on that worker.
    pub port: u32,
}

/// PEs of one worker that work at the same time, and where their state lies: ids of PEs, lanes and ports, words of
/// tiles other than weights. A wafer is larger than any cache, and every region comes up once a pass: the worker
/// reads all of this in order when the first PE of a region wakes, instead of missing line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Local PE ids.
    pub pes: Range<u32>,
    /// Lane ids.
    pub lanes: Range<u32>,
    /// Port ids.
    pub ports: Range<u32>,
    /// Words.
    pub tiles: Range<u32>,
}

/// One worker's part, ready to run.
#[derive(Default)]
pub struct Part {
    /// Lanes, ports, rings.
    pub net: NetBuilder,
    /// By local PE id.
    pub endpoints: Vec<Endpoints>,
    /// In the order of their PEs, with their numbers.
    pub regions: Vec<(u16, Region)>,
    /// Words of tiles.
    pub tile_words: usize,
    /// Most words of short bursts and stand-ins that can be alive.
    pub buffer_words: usize,
}

/// Everything that a launch needs.
pub struct Fleet {
    /// By worker.
    pub parts: Vec<Part>,
    /// By PE of the layout: worker and local id.
    pub homes: Vec<(u16, u32)>,
    /// Lanes from the host.
    pub host: Vec<HostLane>,
    /// Most colors at one PE.
    pub colors_max: u32,
}

/// Links that a lane goes on over: all but the one that it comes from. A lane from the host comes over none.
const OUTS_MAX: usize = 3;

struct Builder<'a> {
    layout: &'a Layout,
    chip: &'a Chip,
    homes: Vec<(u16, u32)>,
    parts: Vec<Part>,
    lanes: HashMap<(u32, u8), u32>,
}

/// Checks a layout and builds the parts of `workers` workers; `full` backs whole arenas.
///
/// # Errors
/// The first reason why this chip cannot run the layout.
pub fn build(layout: &Layout, chip: &Chip, workers: usize, full: bool) -> Result<Fleet, LayoutError> {
    let colors_max = check_budgets(layout, chip)?;
    let mut parts: Vec<Part> = (0..workers).map(|_| Part::default()).collect();
    let mut homes = Vec::with_capacity(layout.pes.len());
    for pe in &layout.pes {
        let worker = (usize::from(pe.share) * workers) >> 16;
        homes.push((worker as u16, parts[worker].endpoints.len() as u32));
        parts[worker].endpoints.push(Endpoints { coord: Some(pe.coord), ..Endpoints::default() });
    }
    place_tiles(layout, chip, &homes, &mut parts, full);
    let mut b = Builder { layout, chip, homes, parts, lanes: HashMap::new() };
    let host = b.connect()?;
    b.check_fed()?;
    b.finish();
    b.finish_regions(full);
    Ok(Fleet { parts: b.parts, homes: b.homes, host, colors_max })
}

/// Mesh, arenas, and colors: a color is one id on the whole wafer, so a launch needs as many as it names.
fn check_budgets(layout: &Layout, chip: &Chip) -> Result<u32, LayoutError> {
    let (mut fullest, mut most) = (Coord::new(0, 0), 0);
    let mut named = std::collections::BTreeSet::new();
    let mut worst: Option<Box<LedgerError>> = None;
    for pe in &layout.pes {
        let (cols, rows) = (chip.cols, chip.rows);
        if pe.coord.col >= cols || pe.coord.row >= rows {
            return Err(LayoutError::OffMesh { pe: pe.coord, cols, rows });
        }
        let colors = || pe.routes.iter().filter(|r| r.rx != Direction::Host).map(|r| r.color);
        named.extend(colors());
        if colors().count() > most {
            (fullest, most) = (pe.coord, colors().count());
        }
        if let Err(error) = pe.ledger().check(pe.coord, chip.arena(), Bytes(chip.reserved_bytes))
            && worst.as_ref().is_none_or(|w| error.need > w.need)
        {
            worst = Some(Box::new(error));
        }
    }
    if let Some(error) = worst {
        return Err(error.into());
    }
    let (need, have) = (named.len() as u32, chip.usable_colors());
    if need > have {
        return Err(LayoutError::Colors { pe: fullest, routed: most as u32, need, have });
    }
    Ok(most as u32)
}

/// Gives every tile its place on the host: in visiting order, or PE by PE over whole arenas.
fn place_tiles(layout: &Layout, chip: &Chip, homes: &[(u16, u32)], parts: &mut [Part], full: bool) {
    let mut order: Vec<(u64, u32, u32)> = Vec::new();
    for (g, pe) in layout.pes.iter().enumerate() {
        parts[usize::from(homes[g].0)].endpoints[homes[g].1 as usize].tiles =
            pe.tiles.iter().map(|t| (t.id, 0, t.bytes.div_ceil(4))).collect();
        for (i, tile) in pe.tiles.iter().enumerate() {
            order.push((if full { 0 } else { tile.visit }, g as u32, i as u32));
        }
    }
    order.sort_unstable();
    let mut last = NONE;
    for (_, g, i) in order {
        let (worker, local) = homes[g as usize];
        let part = &mut parts[usize::from(worker)];
        if full && g != last {
            part.tile_words = local as usize * (chip.arena_bytes as usize).div_ceil(4);
            last = g;
        }
        let tile = &mut part.endpoints[local as usize].tiles[i as usize];
        tile.1 = part.tile_words as u32;
        part.tile_words += (tile.2 as usize).next_multiple_of(if full { 4 } else { 16 });
    }
    if full {
        for part in parts {
            part.tile_words = part.endpoints.len() * (chip.arena_bytes as usize).div_ceil(4);
        }
    }
}

/// Answers of a burst that another output adds to.
fn more(pe: Coord, color: Color, answers: u16, below: u16) -> Result<u16, LayoutError> {
    let most = u16::MAX;
    answers.checked_add(below).ok_or(LayoutError::Sinks { pe, color, most })
}

impl Builder<'_> {
    /// The lane of a color that PE `g` receives from a link or the host. Lanes get their ids when a walk first reaches
    /// them, so those of a circuit lie one after the other, as its bursts visit them.
    fn lane(&mut self, g: u32, route: &Route) -> u32 {
        let (worker, local) = self.homes[g as usize];
        let part = &mut self.parts[usize::from(worker)];
        *self.lanes.entry((g, route.color.0)).or_insert_with(|| {
            let id = part.net.lanes.len() as u32;
            let mut lane = Lane::new();
            lane.reader = local;
            lane.flags.0 = LaneFlags::SIDE0 * (route.rx as u8 % 4);
            if route.tx.has(Direction::Ramp) {
                lane.flags.0 |= LaneFlags::RAMP;
                part.endpoints[local as usize].rx.push((route.color, id));
            }
            part.net.lanes.push(lane);
            id
        })
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

    /// One port per ramp route (and host lane); walks its tree.
    fn connect(&mut self) -> Result<Vec<HostLane>, LayoutError> {
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
                if route.rx == Direction::Ramp && route.tx.has(Direction::Ramp) {
                    let (to, found) = (Direction::Ramp, "no burst comes back over the ramp that sends it");
                    return Err(LayoutError::Undeliverable { pe: pe.coord, color: route.color, to, found });
                }
                let id = self.parts[usize::from(worker)].net.ports.len() as u32;
                let mut port = match route.rx {
                    Direction::Ramp => Port::new(local),
                    Direction::Host => Port::new(NONE),
                    _ => continue,
                };
                let mut answers = 0;
                if route.rx == Direction::Host {
                    let lane = self.lane(g, route);
                    answers = self.walk(g, route.color, lane, 0)?;
                    self.feed(worker, lane, Upstream::Port, id, 0);
                    port.add_out(lane);
                    host.push(HostLane { pe: pe.coord, worker, port: id });
                } else {
                    for d in route.tx.links() {
                        let (lane, below) = self.step(g, route.color, d, Upstream::Port, id, self.chip.alpha)?;
                        answers = more(pe.coord, route.color, answers, below)?;
                        port.add_out(lane);
                    }
                    self.parts[usize::from(worker)].endpoints[local as usize].tx.push((route.color, id));
                }
                port.answers = answers;
                self.parts[usize::from(worker)].net.ports.push(port);
            }
        }
        Ok(host)
    }

    fn feed(&mut self, worker: u16, lane: u32, kind: Upstream, upstream: u32, peer: u16) {
        let l = &mut self.parts[usize::from(worker)].net.lanes[lane as usize];
        (l.upstream_kind, l.upstream, l.peer) = (kind, upstream, peer);
    }

    /// From PE `g` over link `d`: the lane to write into on this worker (a remote one where the link crosses), and
    /// the answers to expect from it.
    fn step(
        &mut self,
        g: u32,
        color: Color,
        d: Direction,
        kind: Upstream,
        upstream: u32,
        path: u32,
    ) -> Result<(u32, u16), LayoutError> {
        let pe = &self.layout.pes[g as usize];
        let fail = |found| LayoutError::Undeliverable { pe: pe.coord, color, to: d, found };
        let to = d.neighbour(pe.coord, self.chip.cols, self.chip.rows).ok_or_else(|| fail("the mesh ends there"))?;
        let next = self.layout.find(to).ok_or_else(|| fail("the PE there is not in use"))?;
        let route = self.layout.pes[next as usize].routes.iter().find(|r| r.color == color);
        let route = route.ok_or_else(|| fail("the router there has no route for the color"))?;
        if route.rx != d.opposite() {
            return Err(fail("the router there receives the color from another side"));
        }
        let lane = self.lane(next, route);
        let (here, there) = (self.homes[g as usize].0, self.homes[next as usize].0);
        if here == there {
            self.feed(here, lane, kind, upstream, 0);
            let below = self.walk(next, color, lane, path)?;
            return Ok((lane, below));
        }
        let mut remote = Lane::new();
        remote.flags.0 |= LaneFlags::REMOTE;
        (remote.peer, remote.reader) = (there, lane);
        (remote.upstream_kind, remote.upstream) = (kind, upstream);
        let id = self.parts[usize::from(here)].net.lanes.len() as u32;
        self.parts[usize::from(here)].net.lanes.push(remote);
        self.feed(there, lane, Upstream::Worker, id, here);
        let below = self.walk(next, color, lane, path)?;
        self.parts[usize::from(there)].net.lanes[lane as usize].answers = below;
        Ok((id, 1))
    }

    /// Walks on from a lane; its answers on this worker.
    fn walk(&mut self, g: u32, color: Color, lane: u32, path: u32) -> Result<u16, LayoutError> {
        let worker = usize::from(self.homes[g as usize].0);
        let pe = &self.layout.pes[g as usize];
        let Some(route) = pe.routes.iter().find(|r| r.color == color).copied() else { return Ok(0) };
        self.parts[worker].net.lanes[lane as usize].path = path;
        let mut answers = u16::from(route.tx.has(Direction::Ramp));
        for d in route.tx.links() {
            let turns = route.rx != Direction::Host && d != route.rx.opposite();
            let cost = self.chip.alpha + if turns { self.chip.turn_cycles } else { 0 };
            let (next, below) = self.step(g, color, d, Upstream::Lane, lane, path + cost)?;
            self.parts[worker].net.lanes[lane as usize].add_out(next, turns);
            answers = more(pe.coord, color, answers, below)?;
        }
        Ok(answers)
    }

    fn check_fed(&self) -> Result<(), LayoutError> {
        for (g, pe) in self.layout.pes.iter().enumerate() {
            for route in pe.routes.iter().filter(|r| r.rx != Direction::Ramp) {
                if !self.lanes.contains_key(&(g as u32, route.color.0)) {
                    return Err(LayoutError::Unfed { pe: pe.coord, color: route.color });
                }
            }
        }
        Ok(())
    }

    /// Ends the last regions, and finds the words of every region's tiles other than weights. Whole arenas lie PE by
    /// PE, so there is no such range.
    fn finish_regions(&mut self, full: bool) {
        for part in &mut self.parts {
            let (pes, lanes) = (part.endpoints.len() as u32, part.net.lanes.len() as u32);
            if let Some((_, last)) = part.regions.last_mut() {
                (last.pes.end, last.lanes.end, last.ports.end) = (pes, lanes, part.net.ports.len() as u32);
            }
        }
        let mut at = vec![0; self.parts.len()];
        for (pe, &(worker, local)) in self.layout.pes.iter().zip(&self.homes).filter(|_| !full) {
            let (part, at) = (&mut self.parts[usize::from(worker)], &mut at[usize::from(worker)]);
            while part.regions[*at].1.pes.end <= local {
                *at += 1;
            }
            let range = &mut part.regions[*at].1.tiles;
            for (&(_, place, words), decl) in part.endpoints[local as usize].tiles.iter().zip(&pe.tiles) {
                if decl.owner != Owner::Weights && words > 0 {
                    let start = if range.end == 0 { place } else { range.start.min(place) };
                    *range = start..range.end.max(place + words);
                }
            }
        }
    }

    /// Rings between all workers, sizes of buffers.
    fn finish(&mut self) {
        let n = self.parts.len();
        // Buffers come in sizes of powers of two, and every size may have been in use by all: the sum over the sizes.
        let sizes = |words: usize| 2 * words.max(4).next_power_of_two() + 4 * 20;
        let (slot, tile) = (sizes(self.chip.queue_wavelets as usize), sizes(self.chip.arena_bytes as usize / 4));
        for part in &mut self.parts {
            part.net.pes = part.endpoints.len();
            part.net.producers = (0..n).map(|_| None).collect();
            part.net.consumers = (0..n).map(|_| None).collect();
            let depth = usize::from(self.chip.lane_depth);
            let crossings = part.net.lanes.iter().filter(|l| l.upstream_kind == Upstream::Worker).count();
            part.buffer_words = (part.net.lanes.len() + 1) * (depth + 1) * slot + crossings * (depth + 1) * tile;
        }
        // 2,048 lines hold the longest message (a whole arena: 820 lines) with room for others.
        for from in 0..n {
            for to in (0..n).filter(|to| *to != from) {
                let (producer, consumer) = ring(2048);
                self.parts[from].net.producers[to] = Some(producer);
                self.parts[to].net.consumers[from] = Some(consumer);
            }
        }
    }
}
