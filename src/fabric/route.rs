//! Directions and routes: one receive port to a set of transmit ports, per PE and color.

use crate::units::{Color, Coord};

/// A port of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Toward row 0.
    North,
    /// Toward higher columns.
    East,
    /// Toward higher rows.
    South,
    /// Toward column 0.
    West,
    /// To and from the local compute element.
    Ramp,
    /// From the host (receive only).
    Host,
}

impl Direction {
    /// The four links.
    pub const LINKS: [Self; 4] = [Self::North, Self::East, Self::South, Self::West];

    /// The other end of a link.
    pub fn opposite(self) -> Self {
        match self {
            Self::North => Self::South,
            Self::South => Self::North,
            Self::East => Self::West,
            Self::West => Self::East,
            other => other,
        }
    }

    /// The PE on the other end of a link, if it is on a `width x height` mesh.
    pub fn neighbour(self, c: Coord, width: u32, height: u32) -> Option<Coord> {
        match self {
            Self::North => (c.row > 0).then(|| Coord::new(c.col, c.row - 1)),
            Self::South => (c.row + 1 < height).then(|| Coord::new(c.col, c.row + 1)),
            Self::West => (c.col > 0).then(|| Coord::new(c.col - 1, c.row)),
            Self::East => (c.col + 1 < width).then(|| Coord::new(c.col + 1, c.row)),
            Self::Ramp | Self::Host => None,
        }
    }
}

/// A set of transmit ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tx(u8);

impl Tx {
    /// No port.
    pub const NONE: Self = Self(0);
    /// The compute element alone.
    pub const RAMP: Self = Self(1 << Direction::Ramp as u8);

    /// The set of one port.
    pub fn to(direction: Direction) -> Self {
        Self(1 << direction as u8)
    }

    /// With one port more.
    #[must_use]
    pub fn and(self, direction: Direction) -> Self {
        Self(self.0 | 1 << direction as u8)
    }

    /// Is the port in the set?
    pub fn has(self, direction: Direction) -> bool {
        self.0 & 1 << direction as u8 != 0
    }

    /// The links in the set.
    pub fn links(self) -> impl Iterator<Item = Direction> {
        Direction::LINKS.into_iter().filter(move |d| self.has(*d))
    }
}

/// What one router does with one color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which color.
    pub color: Color,
    /// Where it comes from.
    pub rx: Direction,
    /// Where it goes.
    pub tx: Tx,
}
