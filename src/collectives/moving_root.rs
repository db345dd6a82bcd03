//! Chain reduction of a line toward a root that may change from one reduction to the next.      (waferllm.md 4.3)
//!
//! 1. Both ends send; everybody between an end and the root adds its own tile to what comes in and passes it on.
//! 2. The root adds the higher side, then the lower.
//!
//! | color              | carries                                        |
//! |--------------------|------------------------------------------------|
//! | base + i mod 2     | from PE i to PE i + 1 (toward higher roots)    |
//! | base + 2 + i mod 2 | from PE i to PE i - 1                          |
//!
//! Invariant: routes serve every root, so a sequence of roots needs no other routes and no barrier in between.
//! Cost: (alpha + 2 T_R + 1) per stage, at most max(root, n - 1 - root) stages, and the serialisation once.

use std::ops::Range;

use crate::arena::Tile;
use crate::fabric::{Layout, LayoutError};
use crate::pe::{Fold, Pe, Rx, Tx};
use crate::units::{Color, Coord};

/// Colors of a chain in both directions.
pub const ROOT_COLORS: u8 = 4;

/// What a member of a line can reach; `None` beyond an end.
#[derive(Clone, Copy, Debug)]
pub struct MovingRoot {
    member: u32,
    n: u32,
    to_higher: Option<Tx>,
    to_lower: Option<Tx>,
    from_higher: Option<Rx>,
    from_lower: Option<Rx>,
}

fn color(base: u8, from: usize, to: usize) -> Color {
    Color(base + 2 * u8::from(to < from) + (from % 2) as u8)
}

impl MovingRoot {
    /// Routes both directions through `line` on colors `base .. base + 4`.
    ///
    /// # Errors
    /// `TwoWriters` when the colors clash with what is there.
    pub fn lay_out(layout: &mut Layout, line: &[Coord], base: u8) -> Result<(), LayoutError> {
        for (i, pair) in line.windows(2).enumerate() {
            layout.line(color(base, i, i + 1), pair[0], pair[1], false)?;
            layout.line(color(base, i + 1, i), pair[1], pair[0], false)?;
        }
        Ok(())
    }

    /// The ends at member `member` of a line of `n`.
    pub fn new(pe: Pe<'_>, n: usize, member: usize, base: u8) -> Self {
        Self::within(pe, 0..n, member, base)
    }

    /// The ends at member `member` of the part `line` of a longer line: the same routes; the chain ends with the part.
    pub fn within(pe: Pe<'_>, line: Range<usize>, member: usize, base: u8) -> Self {
        let (higher, lower) = (member + 1 < line.end, member > line.start);
        Self {
            member: member as u32,
            n: line.len() as u32,
            to_higher: higher.then(|| pe.tx(color(base, member, member + 1))),
            to_lower: lower.then(|| pe.tx(color(base, member, member - 1))),
            from_higher: higher.then(|| pe.rx(color(base, member + 1, member))),
            from_lower: lower.then(|| pe.rx(color(base, member - 1, member))),
        }
    }

    /// Reduces `tile` over the line; it ends as the result at `root`.
    pub async fn reduce(&self, pe: Pe<'_>, root: usize, tile: Tile, fold: Fold) {
        let (member, root) = (self.member as usize, root);
        if member == root {
            for rx in [self.from_higher, self.from_lower].into_iter().flatten() {
                pe.recv_fold(rx, tile, fold).await;
            }
            return;
        }
        let (from, to) =
            if member < root { (self.from_lower, self.to_higher) } else { (self.from_higher, self.to_lower) };
        match (from, to) {
            (Some(rx), Some(tx)) => {
                pe.combine(rx, tx, tile, fold).await;
            }
            (None, Some(tx)) => pe.send(tx, tile).await,
            _ => debug_assert!(self.n < 2, "a root inside the line"),
        }
    }

    /// Sends a tile one member nearer to `root`.
    pub async fn send_inward(&self, pe: Pe<'_>, root: usize, tile: Tile) {
        let tx = if (self.member as usize) < root { self.to_higher } else { self.to_lower };
        if let Some(tx) = tx {
            pe.send(tx, tile).await;
        }
    }

    /// Takes what the neighbour on one side sent inward.
    pub async fn recv_outer(&self, pe: Pe<'_>, higher: bool, tile: Tile) {
        if let Some(rx) = if higher { self.from_higher } else { self.from_lower } {
            pe.recv(rx, tile).await;
        }
    }
}
