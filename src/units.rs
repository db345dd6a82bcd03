//! Newtypes of the machine: cycles, hops, wavelets, bytes, colors and PE coordinates.
//!
//! Invariant: two quantities with different units never meet in one expression without a name for the conversion.
//! Everything in the crate may import this file; it imports nothing.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $repr:ty, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            /// The zero of this unit.
            pub const ZERO: Self = Self(0);
        }
        impl Add for $name {
            type Output = Self;
            #[inline]
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sub for $name {
            type Output = Self;
            #[inline]
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self::ZERO, Add::add)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", self.0, $unit)
            }
        }
    };
}

quantity!(
    /// Modelled time of one compute element or router, in clock cycles of the chip.
    Cycles, u64, " cycles"
);
quantity!(
    /// Link traversals (bursts x links).
    Hops, u64, " hops"
);
quantity!(
    /// 32-bit words that crossed a link.
    Wavelets, u64, " wavelets"
);
quantity!(
    /// Bytes of a PE's arena.
    Bytes, u64, " B"
);

/// A virtual channel id of the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Color(pub u8);

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "color {}", self.0)
    }
}

/// Position of a PE: `(col, row)`, x east, y south, `(0, 0)` north-west.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coord {
    /// Column, counted east from 0.
    pub col: u32,
    /// Row, counted south from 0.
    pub row: u32,
}

impl Coord {
    /// The PE in column `col` of row `row`.
    pub const fn new(col: u32, row: u32) -> Self {
        Self { col, row }
    }
}

/// Row-major order: reports sort by (row, col).
impl Ord for Coord {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.row, self.col).cmp(&(other.row, other.col))
    }
}

impl PartialOrd for Coord {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Coord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.col, self.row)
    }
}
