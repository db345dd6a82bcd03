//! One face for the allreduces of a line, so that a kernel can be run with each.
//!
//! Invariant: after `allreduce` every member's tile holds the same bits. Called by kernels.

use crate::arena::Tile;
use crate::fabric::{Layout, LayoutError};
use crate::link::Timing;
use crate::pe::{Fold, Pe};
use crate::units::Coord;

use super::ring::{self, RingSeat};
use super::{Chain, Ends, Ring, Roles, Tree, answer, cost, give};

/// An allreduce on a line.
#[derive(Clone, Debug)]
pub enum Allreduce {
    /// K-tree, then broadcast.
    Tree(Tree),
    /// One-way chain, then broadcast.
    Chain(Chain),
    /// Reduce-scatter and allgather.
    Ring(Ring),
}

/// What one member does; ports are looked up once.
#[derive(Clone, Debug)]
pub enum Seat {
    /// A line of one.
    Alone,
    /// Roles in a reduction, then a broadcast.
    Staged {
        /// In order.
        roles: Roles,
        /// Of the broadcast.
        ends: Ends,
    },
    /// Rounds of a ring.
    Ring(RingSeat),
}

impl Allreduce {
    /// PEs of the line.
    pub fn line(&self) -> &[Coord] {
        match self {
            Self::Tree(t) => &t.line,
            Self::Chain(c) => &c.line,
            Self::Ring(r) => &r.line,
        }
    }

    /// Colors that it takes from its base on.
    pub fn colors(&self) -> u8 {
        match self {
            Self::Tree(t) => Tree::colors(t.levels()),
            Self::Chain(_) => Chain::COLORS,
            Self::Ring(_) => Ring::COLORS,
        }
    }

    /// Index in the line (which has members) of the one where the sum ends; a ring has none, and says the last one.
    pub fn root(&self) -> usize {
        match self {
            Self::Tree(t) => t.root(),
            Self::Chain(_) | Self::Ring(_) => self.line().len() - 1,
        }
    }

    /// Adds the routes.
    ///
    /// # Errors
    /// `TwoWriters` when colors clash with what is there.
    pub fn lay_out(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        match self {
            Self::Tree(t) => t.lay_out(layout, true),
            Self::Chain(c) => c.lay_out(layout),
            Self::Ring(r) => r.lay_out(layout),
        }
    }

    /// The part of member `member`.
    pub fn seat(&self, pe: Pe<'_>, member: usize) -> Seat {
        match self {
            _ if self.line().len() < 2 => Seat::Alone,
            Self::Tree(t) => Seat::Staged { roles: t.roles(pe, member), ends: t.broadcast_ends(pe, member) },
            Self::Chain(c) => c.seat(pe, member),
            Self::Ring(r) => r.seat(pe, member),
        }
    }

    /// The last clock when member i begins at `clocks[i]` with a tile of `words` wavelets.
    pub fn cycles(&self, clocks: Vec<u64>, words: usize, timing: &Timing) -> u64 {
        match self {
            Self::Tree(t) => cost::ktree(clocks, &t.groups, words, timing),
            Self::Chain(_) => cost::chain(clocks, words, timing),
            Self::Ring(r) => cost::ring(clocks, r.order, words, timing),
        }
    }
}

/// Runs the allreduce at one member: `tile` ends as the result.
pub async fn allreduce(pe: Pe<'_>, seat: &Seat, tile: Tile, fold: Fold) {
    match seat {
        Seat::Alone => {}
        Seat::Staged { roles, ends } => {
            pe.relay(roles, tile, fold, answer(ends, tile)).await;
            give(pe, ends, tile).await;
        }
        Seat::Ring(seat) => ring::run(pe, *seat, tile, fold).await,
    }
}
