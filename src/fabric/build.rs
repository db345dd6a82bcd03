//! From a layout to the parts of the workers: the check before a launch, where tiles lie, regions, rings between parts;
//! `wire` lays the lanes.
//!
//! Invariant: a layout that the chip cannot run is refused here, before anything is launched. Called by `exec`.

use std::collections::HashMap;
use std::ops::Range;

use smallvec::SmallVec;

use crate::arena::{LedgerError, Owner};
use crate::link::{NetBuilder, Upstream, lines_of, ring};
use crate::units::{Bytes, Coord};

use super::check::TILE_WORDS_MAX;
use super::chip::Chip;
use super::ends::Endpoints;
use super::layout::{Layout, LayoutError, PeDecl, TileDecl, TileId};
use super::route::{Direction, Route};
use super::wire;

/// Where the host keeps tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// In visiting order.
    Packed,
    /// PE by PE over whole arenas.
    Full,
    /// Nowhere: in a dry run nobody reads or writes one. Places are offsets in the PE's own arena.
    Dry,
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
    /// Of its PEs, by local id.
    pub endpoints: Endpoints,
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

/// Checks a layout and builds the parts of `workers` workers.
///
/// # Errors
/// The first reason why this chip cannot run the layout.
pub fn build(layout: &Layout, chip: &Chip, workers: usize, backing: Backing) -> Result<Fleet, LayoutError> {
    let colors_max = check_budgets(layout, chip)?;
    check_tiles(layout)?;
    let mut parts: Vec<Part> = (0..workers).map(|_| Part::default()).collect();
    let worker_of = |pe: &PeDecl| (usize::from(pe.share) * workers) >> 16;
    let sizes = |pe: &PeDecl| {
        let count = |f: fn(&Route) -> bool| pe.routes.iter().filter(|r| f(r)).count();
        let sinks = count(|r| r.rx != Direction::Ramp && r.tx.has(Direction::Ramp));
        [count(|r| r.rx == Direction::Ramp), sinks, pe.tiles.len()]
    };
    let mut totals = vec![(0, [0; 3]); workers];
    for pe in &layout.pes {
        let (pes, all) = &mut totals[worker_of(pe)];
        *pes += 1;
        all.iter_mut().zip(sizes(pe)).for_each(|(all, n)| *all += n);
    }
    parts.iter_mut().zip(totals).for_each(|(part, (pes, all))| part.endpoints.reserve(pes, all));
    let mut homes = Vec::with_capacity(layout.pes.len());
    for pe in &layout.pes {
        let (worker, [ports, lanes, _]) = (worker_of(pe), sizes(pe));
        let endpoints = &mut parts[worker].endpoints;
        homes.push((worker as u16, endpoints.len() as u32));
        endpoints.add(pe.coord, (ports, lanes), pe.tiles.iter().map(|t| (t.id, 0, t.bytes.div_ceil(4))));
    }
    match backing {
        Backing::Packed => pack_tiles(layout, &homes, &mut parts),
        Backing::Full => spread_tiles(&mut parts, (chip.arena_bytes as usize).div_ceil(4), true),
        Backing::Dry => spread_tiles(&mut parts, 0, false),
    }
    let host = wire::connect(layout, chip, &homes, &mut parts)?;
    finish_regions(layout, &homes, &mut parts, backing);
    finish(chip, &mut parts, backing);
    Ok(Fleet { parts, homes, host, colors_max })
}

/// One tile an id at every PE. PEs with the ids of the PE before need no look of their own.
fn check_tiles(layout: &Layout) -> Result<(), LayoutError> {
    let (mut before, mut seen): (&[TileDecl], HashMap<TileId, &'static str>) = (&[], HashMap::new());
    for pe in &layout.pes {
        if pe.tiles.iter().map(|t| t.id).eq(before.iter().map(|t| t.id)) {
            continue;
        }
        seen.clear();
        for tile in &pe.tiles {
            if let Some(first) = seen.insert(tile.id, tile.name) {
                return Err(LayoutError::TwoTiles { pe: pe.coord, id: tile.id, first, second: tile.name });
            }
        }
        before = &pe.tiles;
    }
    Ok(())
}

/// Mesh, arenas, and colors: a color is one id on the whole wafer, so a launch needs as many as it names.
fn check_budgets(layout: &Layout, chip: &Chip) -> Result<u32, LayoutError> {
    let (mut fullest, mut most) = (Coord::new(0, 0), 0);
    let mut named = [false; 256];
    let (mut worst, mut long): (Option<Box<LedgerError>>, Option<LayoutError>) = (None, None);
    for pe in &layout.pes {
        let (cols, rows) = (chip.cols, chip.rows);
        if pe.coord.col >= cols || pe.coord.row >= rows {
            return Err(LayoutError::OffMesh { pe: pe.coord, cols, rows });
        }
        let mut colors = 0;
        for route in pe.routes.iter().filter(|r| r.rx != Direction::Host) {
            named[usize::from(route.color.0)] = true;
            colors += 1;
        }
        if colors > most {
            (fullest, most) = (pe.coord, colors);
        }
        if pe.used() + Bytes(chip.reserved_bytes) > chip.arena()
            && let Err(error) = pe.ledger().check(pe.coord, chip.arena(), Bytes(chip.reserved_bytes))
            && worst.as_ref().is_none_or(|w| error.need > w.need)
        {
            worst = Some(Box::new(error));
        }
        let words = |t: &TileDecl| u64::from(t.bytes).div_ceil(4);
        // Weights, keys and values stay where they are; any other tile may be a message or take one.
        let stays = |t: &&TileDecl| matches!(t.owner, Owner::Weights | Owner::Kv);
        if let Some(tile) = pe.tiles.iter().filter(|t| !stays(t)).find(|t| words(t) > TILE_WORDS_MAX) {
            let (found, most) = (words(tile), TILE_WORDS_MAX);
            long.get_or_insert(LayoutError::LongTile { pe: pe.coord, tile: tile.name, found, most });
        }
    }
    if let Some(error) = worst {
        return Err(error.into());
    }
    if let Some(error) = long {
        return Err(error);
    }
    let (need, have) = (named.iter().filter(|n| **n).count() as u32, chip.usable_colors());
    if need > have {
        return Err(LayoutError::Colors { pe: fullest, routed: most, need, have });
    }
    Ok(most)
}

/// Gives every tile its place on the host in visiting order, ties by PE.
fn pack_tiles(layout: &Layout, homes: &[(u16, u32)], parts: &mut [Part]) {
    let tiles = |(g, pe): (usize, &PeDecl)| {
        let of = move |(i, t): (usize, &TileDecl)| (t.visit, g as u32, i as u16);
        pe.tiles.iter().enumerate().map(of).collect::<SmallVec<[_; 32]>>()
    };
    let mut order: Vec<(u64, u32, u16)> = layout.pes.iter().enumerate().flat_map(tiles).collect();
    // Stable, and few keys: what lies in order by PE stays so.
    order.sort_by_key(|o| o.0);
    for (_, g, i) in order {
        let (worker, local) = homes[g as usize];
        let part = &mut parts[usize::from(worker)];
        let tile = &mut part.endpoints.tiles_mut(local)[usize::from(i)];
        tile.1 = part.tile_words as u32;
        part.tile_words += (tile.2 as usize).next_multiple_of(16);
    }
}

/// Places the tiles of every PE one behind the other, from `stride` words after those of the PE before; `backed` by
/// memory or not.
fn spread_tiles(parts: &mut [Part], stride: usize, backed: bool) {
    for part in parts {
        for pe in 0..part.endpoints.len() {
            let mut at = pe * stride;
            for tile in part.endpoints.tiles_mut(pe as u32) {
                tile.1 = at as u32;
                at += (tile.2 as usize).next_multiple_of(4);
            }
        }
        part.tile_words = if backed { part.endpoints.len() * stride } else { 0 };
    }
}

/// Ends the last regions, and finds the words of every region's tiles other than weights. Only packed tiles of a
/// region lie together.
fn finish_regions(layout: &Layout, homes: &[(u16, u32)], parts: &mut [Part], backing: Backing) {
    for part in &mut *parts {
        let (pes, lanes) = (part.endpoints.len() as u32, part.net.lanes.len() as u32);
        if let Some((_, last)) = part.regions.last_mut() {
            (last.pes.end, last.lanes.end, last.ports.end) = (pes, lanes, part.net.ports.len() as u32);
        }
    }
    if backing != Backing::Packed {
        return;
    }
    let mut at = vec![0; parts.len()];
    for (pe, &(worker, local)) in layout.pes.iter().zip(homes) {
        let (part, at) = (&mut parts[usize::from(worker)], &mut at[usize::from(worker)]);
        while part.regions[*at].1.pes.end <= local {
            *at += 1;
        }
        let range = &mut part.regions[*at].1.tiles;
        for (&(_, place, words), decl) in part.endpoints.of(local).tiles.iter().zip(&pe.tiles) {
            if decl.owner != Owner::Weights && words > 0 {
                let start = if range.end == 0 { place } else { range.start.min(place) };
                *range = start..range.end.max(place + words);
            }
        }
    }
}

/// Lines of a ring, unless the longest message needs more: they hold that of a 48 KB arena, 820 lines, twice over.
const RING_LINES: usize = 2048;

/// Rings between all workers, sizes of buffers (a dry run has none).
fn finish(chip: &Chip, parts: &mut [Part], backing: Backing) {
    let n = parts.len();
    // Buffers come in sizes of powers of two, and every size may have been in use by all: the sum over the sizes.
    let sizes = |words: usize| 2 * words.max(4).next_power_of_two() + 4 * 20;
    let (slot, tile) = (sizes(chip.queue_wavelets as usize), sizes(chip.arena_bytes as usize / 4));
    for part in &mut *parts {
        part.net.pes = part.endpoints.len();
        part.net.producers = (0..n).map(|_| None).collect();
        part.net.consumers = (0..n).map(|_| None).collect();
        if backing != Backing::Dry {
            let depth = usize::from(chip.lane_depth);
            let crossings = part.net.lanes.iter().filter(|l| l.writer().0 == Upstream::Worker).count();
            part.buffer_words = (part.net.lanes.len() + 1) * (depth + 1) * slot + crossings * (depth + 1) * tile;
        }
    }
    // The longest message, a whole arena of 48 KB or what a burst can have, with room for others.
    let longest = if backing == Backing::Dry { 0 } else { (chip.arena_bytes / 4).min(TILE_WORDS_MAX) };
    let lines = RING_LINES.max(2 * lines_of(longest as usize) as usize);
    for from in 0..n {
        for to in (0..n).filter(|to| *to != from) {
            let (producer, consumer) = ring(lines);
            parts[from].net.producers[to] = Some(producer);
            parts[to].net.consumers[from] = Some(consumer);
        }
    }
}
