//! What stops a PE: a defect of its program, or a number that is none.
//!
//! Invariant: a fault stops its PE alone; the run goes on to quiescence and reports the smallest (cycle, row, col).

use std::fmt;

use crate::arena::Tile;
use crate::fabric::Layout;
use crate::units::Coord;

/// Words of a tile as an error names them: by tile and offset, which no worker count changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Name of the tile.
    pub name: &'static str,
    /// Index of the tile among those of its PE; `u32::MAX`: it is none of them (`collectives::moving`).
    pub index: u32,
    /// First word in the tile (before it was resolved: in the worker's memory).
    pub from: u32,
    /// Words.
    pub words: u32,
}

impl Span {
    pub(super) fn unresolved(tile: Tile) -> Self {
        Self { name: "tile", index: u32::MAX, from: tile.place, words: tile.words }
    }

    /// From a place in the worker's memory to a tile of `tiles` (id, place, words).
    fn resolve(&mut self, tiles: &[(crate::fabric::TileId, u32, u32)]) {
        if let Some(i) = tiles.iter().position(|t| t.1 <= self.from && self.from < t.1 + t.2.max(1)) {
            (self.index, self.from) = (i as u32, self.from - tiles[i].1);
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.index == u32::MAX {
            return write!(f, "{} words of a tile that was traded", self.words);
        }
        write!(f, "`{}` words {}..{}", self.name, self.from, self.from + self.words)
    }
}

/// Why a PE was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A tile with an open ticket was touched.
    Touched { tile: Span, ticket: Span },
    /// A burst of another length than the tile.
    Length { need: u32, found: u32 },
    /// More than eight open tickets.
    Tickets,
    /// A NaN (or a value that overflows its storage) in the named phase.
    Numeric { phase: &'static str },
    /// No slot for one more position.
    Capacity { position: u32 },
}

/// A stopped PE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its clock.
    pub now: u64,
    /// Where.
    pub pe: Coord,
    /// Why.
    pub kind: FaultKind,
}

impl Fault {
    /// Order in which faults are reported.
    pub fn key(&self) -> (u64, u32, u32) {
        (self.now, self.pe.row, self.pe.col)
    }

    pub(super) fn resolve(&mut self, tiles: &[(crate::fabric::TileId, u32, u32)]) {
        if let FaultKind::Touched { tile, ticket } = &mut self.kind {
            [tile, ticket].into_iter().for_each(|span| span.resolve(tiles));
        }
    }

    /// Gives tiles the names of the layout.
    pub fn name_tiles(&mut self, layout: &Layout) {
        let Some(at) = layout.find(self.pe) else { return };
        let tiles = &layout.pes[at as usize].tiles;
        if let FaultKind::Touched { tile, ticket } = &mut self.kind {
            for span in [tile, ticket] {
                span.name = tiles.get(span.index as usize).map_or(span.name, |t| t.name);
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PE {} at cycle {}: ", self.pe, self.now)?;
        match &self.kind {
            FaultKind::Touched { tile, ticket } => {
                write!(f, "{tile} was touched while a ticket on {ticket} is open")
            }
            FaultKind::Length { need, found } => {
                write!(f, "a receive of {need} words met a burst of {found} words")
            }
            FaultKind::Tickets => write!(f, "more than 8 tickets are open"),
            FaultKind::Numeric { phase } => write!(f, "NumericError: not a finite number in phase {phase}"),
            FaultKind::Capacity { position } => write!(f, "no room for position {position} in the KV tiles"),
        }
    }
}
