//! Pipeline allreduce on one axis: a one-way chain to the last PE, then a broadcast back.    (WaferLLM 6; HPDC'24)
//!
//! 1. The first PE sends its tile; each next one adds its own to what streams in and passes on.
//! 2. The last PE multicasts the result to the whole line.
//!
//! | color         | carries                                   |
//! |---------------|-------------------------------------------|
//! | base, base + 1 | the chain, alternating with the position |
//! | base + 2      | broadcast                                 |
//!
//! Invariant: the order of additions is that of the line: ((v0 + v1) + v2) + ...
//! Cost: S + 6 (P - 1) for the chain, S + 5 + (P - 1) for the broadcast, S = Ser(w), on a chip with alpha 1 and T_R 2.

use crate::fabric::{Layout, LayoutError};
use crate::pe::{Pe, Role};
use crate::units::{Color, Coord};

use super::{Ends, Roles, Seat};

/// The chain of a line.
#[derive(Clone, Debug)]
pub struct Chain {
    /// PEs of the line; the last one is the root.
    pub line: Vec<Coord>,
    /// First color.
    pub base: u8,
}

impl Chain {
    /// Colors of chain and broadcast.
    pub const COLORS: u8 = 3;

    fn color(&self, from: usize) -> Color {
        Color(self.base + (from % 2) as u8)
    }

    fn broadcast_color(&self) -> Color {
        Color(self.base + 2)
    }

    /// Adds the routes.
    ///
    /// # Errors
    /// `TwoWriters` when colors clash with what is there.
    pub fn lay_out(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        for (i, pair) in self.line.windows(2).enumerate() {
            layout.line(self.color(i), pair[0], pair[1], false)?;
        }
        match self.line[..] {
            [first, .., last] => layout.line(self.broadcast_color(), last, first, true),
            _ => Ok(()),
        }
    }

    /// What member `member` does.
    pub fn seat(&self, pe: Pe<'_>, member: usize) -> Seat {
        let last = self.line.len() - 1;
        if last == 0 {
            return Seat::Staged { roles: Roles::new(), ends: Ends::default() };
        }
        let rx = (member > 0).then(|| pe.rx(self.color(member - 1)));
        let tx = (member < last).then(|| pe.tx(self.color(member)));
        let role = match (rx, tx) {
            (None, Some(tx)) => Role::Leaf(tx),
            (Some(rx), Some(tx)) => Role::Inner(rx, tx),
            (Some(rx), None) => Role::Root(rx),
            (None, None) => return Seat::Staged { roles: Roles::new(), ends: Ends::default() },
        };
        let color = self.broadcast_color();
        let ends = if member == last { Role::Leaf(pe.tx(color)) } else { Role::Root(pe.rx(color)) };
        Seat::Staged { roles: Roles::from_slice(&[role]), ends: Some(ends) }
    }
}
