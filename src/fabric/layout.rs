//! A layout: the PEs in use, their routes and their tiles; and the errors of a layout that the chip cannot run.
//!
//! Invariant: per PE and color there is one route; per PE and tile id one tile.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::arena::{Ledger, LedgerError, Owner};
use crate::units::{Bytes, Color, Coord};

use super::route::{Direction, Route, Tx};

/// A kernel's name of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId(pub u16);

/// A tile that a PE declares.
#[derive(Clone, Copy, Debug)]
pub struct TileDecl {
    /// How programs find it.
    pub id: TileId,
    /// How people read it.
    pub name: &'static str,
    /// Who is charged.
    pub owner: Owner,
    /// Size in bytes.
    pub bytes: u32,
    /// Place in the host's memory: tiles lie in ascending order of this key, ties by PE.
    pub visit: u64,
}

/// Routes of a PE that need no memory of their own: a decode of two levels has 18 colors and a lane from the host.
const ROUTES_INLINE: usize = 19;

/// One PE in use.
#[derive(Clone, Debug)]
pub struct PeDecl {
    /// Where.
    pub coord: Coord,
    /// Worker that runs it, as a share of its region's columns in 0..=65535 (scaled to the number of workers).
    pub share: u16,
    /// Which PEs work at the same time: the host warms their state together. Neighbours in the list of PEs share one.
    pub region: u16,
    /// Routes by color.
    pub routes: SmallVec<[Route; ROUTES_INLINE]>,
    /// Tiles in address order.
    pub tiles: Vec<TileDecl>,
}

impl PeDecl {
    /// The account of its arena.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.tiles.iter().for_each(|t| ledger.charge(t.name, t.owner, u64::from(t.bytes)));
        ledger
    }

    /// Total of its ledger.
    pub fn used(&self) -> Bytes {
        Bytes(self.tiles.iter().map(|t| u64::from(t.bytes).next_multiple_of(16)).sum())
    }

    /// Its route of a color.
    pub fn route(&self, color: Color) -> Option<&Route> {
        self.routes.iter().find(|r| r.color == color)
    }
}

/// Which PE is where: rows of columns, and a map for coordinates that no chip has (refused before a launch).
#[derive(Clone, Debug, Default)]
struct Grid {
    rows: Vec<Vec<u32>>,
    far: HashMap<Coord, u32>,
}

impl Grid {
    /// Columns and rows of the largest chip.
    const SIDE: u32 = 4096;
    const FREE: u32 = u32::MAX;

    fn get(&self, at: Coord) -> Option<u32> {
        if at.col >= Self::SIDE || at.row >= Self::SIDE {
            return self.far.get(&at).copied();
        }
        self.rows.get(at.row as usize)?.get(at.col as usize).copied().filter(|i| *i != Self::FREE)
    }

    /// What is there now: `next` if nothing was.
    fn get_or(&mut self, at: Coord, next: u32) -> u32 {
        if at.col >= Self::SIDE || at.row >= Self::SIDE {
            return *self.far.entry(at).or_insert(next);
        }
        let (col, row) = (at.col as usize, at.row as usize);
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Vec::new());
        }
        let columns = &mut self.rows[row];
        if columns.len() <= col {
            columns.resize(col + 1, Self::FREE);
        }
        if columns[col] == Self::FREE {
            columns[col] = next;
        }
        columns[col]
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// PEs, in the order in which they were named.
    pub pes: Vec<PeDecl>,
    grid: Grid,
}

/// Why a layout cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Two routes for one color at one PE.
    #[error("two writers on one lane: PE {pe} routes {color} from {first:?} and from {second:?}")]
    TwoWriters { pe: Coord, color: Color, first: Direction, second: Direction },
    /// A transmit port that leads to a router without a matching receive.
    #[error("undeliverable burst: PE {pe} sends {color} {to:?}, but {found}")]
    Undeliverable { pe: Coord, color: Color, to: Direction, found: &'static str },
    /// A route that no ramp feeds: a cycle of routers, or a receive that nobody sends to.
    #[error("{color} at PE {pe} is not fed by any ramp: a cycle of routes, or nobody sends there")]
    Unfed { pe: Coord, color: Color },
    /// A route without outputs.
    #[error("{color} at PE {pe} goes nowhere: the route has no transmit port")]
    Nowhere { pe: Coord, color: Color },
    /// A lane from the host that goes on over every link.
    #[error("{color} at PE {pe} comes from the host and goes on over four links, a lane goes on over three at most")]
    HostFan { pe: Coord, color: Color },
    /// More colors than the chip has.
    #[error(
        "routing resource exhaustion: the launch needs {need} colors ({routed} of them at PE {pe}), \
         the chip has {have} usable"
    )]
    Colors { pe: Coord, routed: u32, need: u32, have: u32 },
    /// A way whose length no clock holds.
    #[error("{color} from PE {pe} is too long: need at most 2^32 - 1 cycles from end to end")]
    TooLong { pe: Coord, color: Color },
    /// A tile that no message could carry.
    #[error("tile `{tile}` of PE {pe} has {found} 32-bit words: a tile that travels has at most {most}")]
    LongTile { pe: Coord, tile: &'static str, found: u64, most: u64 },
    /// Two tiles that programs could not tell apart.
    #[error("two tiles with one id: PE {pe} declares `{first}` and `{second}` both as tile {}", id.0)]
    TwoTiles { pe: Coord, id: TileId, first: &'static str, second: &'static str },
    /// A PE outside the mesh.
    #[error("PE {pe} is outside the chip's mesh of {cols}x{rows}")]
    OffMesh { pe: Coord, cols: u32, rows: u32 },
    /// Over budget.
    #[error(transparent)]
    Arena(#[from] Box<LedgerError>),
}

impl Layout {
    /// The PE at `coord`, made known if it is new.
    pub fn pe(&mut self, coord: Coord) -> &mut PeDecl {
        let next = self.pes.len();
        let at = self.grid.get_or(coord, next as u32) as usize;
        if at == next {
            self.pes.push(PeDecl { coord, share: 0, region: 0, routes: SmallVec::new(), tiles: Vec::new() });
        }
        &mut self.pes[at]
    }

    /// Makes room for so many PEs more.
    pub fn reserve(&mut self, pes: usize) {
        self.pes.reserve(pes);
    }

    /// Index of the PE at `coord`.
    pub fn find(&self, coord: Coord) -> Option<u32> {
        self.grid.get(coord)
    }

    /// Adds a route. Routes of the same color and receive port at one PE unite.
    ///
    /// # Errors
    /// `TwoWriters` where the color already has another receive port.
    pub fn route(&mut self, coord: Coord, color: Color, rx: Direction, tx: Tx) -> Result<(), LayoutError> {
        let pe = self.pe(coord);
        let Some(old) = pe.routes.iter_mut().find(|r| r.color == color) else {
            pe.routes.push(Route { color, rx, tx });
            return Ok(());
        };
        if old.rx != rx {
            return Err(LayoutError::TwoWriters { pe: coord, color, first: old.rx, second: rx });
        }
        for d in [Direction::North, Direction::East, Direction::South, Direction::West, Direction::Ramp] {
            if tx.has(d) {
                old.tx = old.tx.and(d);
            }
        }
        Ok(())
    }

    /// Routes a color along a straight line from PE `from` (its ramp) to PE `to`, which takes it; the PEs between only
    /// route. With `takers`, the PEs between take it too.
    ///
    /// # Errors
    /// `TwoWriters` as in `route`.
    pub fn line(&mut self, color: Color, from: Coord, to: Coord, takers: bool) -> Result<(), LayoutError> {
        let direction = match (to.col.cmp(&from.col), to.row.cmp(&from.row)) {
            (std::cmp::Ordering::Greater, std::cmp::Ordering::Equal) => Direction::East,
            (std::cmp::Ordering::Less, std::cmp::Ordering::Equal) => Direction::West,
            (std::cmp::Ordering::Equal, std::cmp::Ordering::Greater) => Direction::South,
            _ => Direction::North,
        };
        self.route(from, color, Direction::Ramp, Tx::to(direction))?;
        let mut at = from;
        loop {
            at = direction.neighbour(at, u32::MAX, u32::MAX).unwrap_or(to);
            let rx = direction.opposite();
            if at == to {
                return self.route(at, color, rx, Tx::RAMP);
            }
            let tx = if takers { Tx::RAMP.and(direction) } else { Tx::to(direction) };
            self.route(at, color, rx, tx)?;
        }
    }

    /// Makes a rectangle of PEs known, from (0, 0) on, row by row; workers share it by columns. The PEs.
    pub fn rectangle(&mut self, cols: u32, rows: u32) -> Vec<Coord> {
        let pes = (0..rows).flat_map(|row| (0..cols).map(move |col| Coord::new(col, row)));
        pes.inspect(|at| self.pe(*at).share = (u64::from(at.col) * 65536 / u64::from(cols)) as u16).collect()
    }

    /// Declares a tile of `words` 32-bit words at every PE of `pes`.
    pub fn words(&mut self, pes: &[Coord], id: TileId, name: &'static str, owner: Owner, words: usize) {
        let bytes = 4 * words as u32;
        pes.iter().for_each(|at| self.tile(*at, TileDecl { id, name, owner, bytes, visit: 0 }));
    }

    /// Declares a tile.
    pub fn tile(&mut self, coord: Coord, tile: TileDecl) {
        self.pe(coord).tiles.push(tile);
    }
}
