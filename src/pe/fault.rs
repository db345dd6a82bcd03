//! What stops a PE: a defect of its program, or a number that is none.
//!
//! Invariant: a fault stops its PE alone; the run goes on to quiescence and reports the smallest (cycle, row, col).

use std::fmt;

use crate::units::Coord;

/// Why a PE was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A tile with an open ticket was touched.
    Touched { tile: (u32, u32), ticket: (u32, u32) },
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
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PE {} at cycle {}: ", self.pe, self.now)?;
        match &self.kind {
            FaultKind::Touched { tile, ticket } => write!(
                f,
                "tile at word {} ({} words) was touched while a ticket on words {} ({} words) is open",
                tile.0, tile.1, ticket.0, ticket.1
            ),
            FaultKind::Length { need, found } => {
                write!(f, "a receive of {need} words met a burst of {found} words")
            }
            FaultKind::Tickets => write!(f, "more than 8 tickets are open"),
            FaultKind::Numeric { phase } => write!(f, "NumericError: not a finite number in phase {phase}"),
            FaultKind::Capacity { position } => write!(f, "no room for position {position} in the KV tiles"),
        }
    }
}
