//! Points of a pass, and the PEs that mark them: one chain of dependent steps through the pipeline.
//!
//! ```text
//!        c0      cF                  The corner is farthest from both roots: it hears a broadcast last, so what it
//!   r0   .       Y     y root        computes next is what the reduction waits for. The reduction along y ends at Y,
//!   rF   X       C     corner        the one along x at X; the band of C ends at B in row rF, softmax at BY in row r0.
//! ```
//! C computes, Y has the sum, Y computes, C hears of it, C computes, X has the sum, ... each mark depends on the one
//! before, so the times between them sum to the whole, and each is of one kind.
//!
//! Invariant: marks are uncharged. Read by `host`.

use super::{Decode, Seat};
use crate::placement::tree_root;

/// Names in the order of a pass; the time up to a point belongs to its name.
pub const NAMES: [&str; 10] = ["hand-over", "QKV", "shift", "score", "softmax", "AV", "O", "FFN", "head", "embedding"];
pub const ARRIVED: u16 = 0;
pub const QKV: u16 = 1;
pub const SHIFT: u16 = 2;
pub const SCORE: u16 = 3;
pub const SOFTMAX: u16 = 4;
pub const AV: u16 = 5;
pub const O: u16 = 6;
pub const FFN: u16 = 7;
pub const HEAD: u16 = 8;
pub const EMBEDDING: u16 = 9;

/// What the time up to a mark went into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Part {
    /// Charged operations.
    Compute = 1,
    /// Until the root of a tree has the sum.
    Reduce = 2,
    /// From the root until the farthest PE has it; x handed over to the next region.
    Broadcast = 3,
    /// All else: K and V that move up, sends that must end, the host.
    Wait = 4,
}

impl Part {
    /// All, in the order of `name`s.
    pub const ALL: [Self; 4] = [Self::Compute, Self::Reduce, Self::Broadcast, Self::Wait];

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Reduce => "reduce",
            Self::Broadcast => "broadcast",
            Self::Wait => "wait",
        }
    }
}

/// The id of a mark: a point, and a part of the phase that ends there.
pub fn id(point: u16, part: Part) -> u16 {
    point | (part as u16) << 8
}

/// Point and part of an id; no part where a phase is marked as a whole.
pub fn of(id: u16) -> (u16, Option<Part>) {
    (id & 0xff, Part::ALL.into_iter().find(|part| *part as u16 == id >> 8))
}

/// Who marks a place on the chain; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::kernels) enum Marker {
    /// C.
    Corner = 1,
    /// Y.
    YRoot = 2,
    /// X.
    XRoot = 4,
    /// B.
    BandRoot = 8,
    /// BY.
    BandYRoot = 16,
    /// Of the head region: takes commands, finds the id.
    HeadRoot = 32,
}

/// What one PE marks; most mark nothing.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Markers(u8);

impl Markers {
    pub(in crate::kernels) fn has(self, marker: Marker) -> bool {
        self.0 & marker as u8 != 0
    }

    fn of(places: impl IntoIterator<Item = (Marker, bool)>) -> Self {
        Self(places.into_iter().filter(|p| p.1).fold(0, |all, p| all | p.0 as u8))
    }
}

/// The member of a line of `n` that is farthest from `root`.
fn farthest(n: usize, root: usize) -> usize {
    if root >= n - 1 - root { 0 } else { n - 1 }
}

impl Decode {
    /// Columns and rows in a stage of the places of its chain.
    pub(in crate::kernels) fn places(&self) -> [(Marker, (usize, usize)); 5] {
        let (cols, rows) = (self.plan.cols, self.plan.rows);
        let (c0, r0) = (tree_root(cols, &self.plan.groups_x), self.root_row());
        let (far_col, far_row) = (farthest(cols, c0), farthest(rows, r0));
        let band = self.columns().slice(far_col).band;
        let band_root = band.start + band.len() / 2;
        [
            (Marker::Corner, (far_col, far_row)),
            (Marker::YRoot, (far_col, r0)),
            (Marker::XRoot, (c0, far_row)),
            (Marker::BandRoot, (band_root, far_row)),
            (Marker::BandYRoot, (band_root, r0)),
        ]
    }

    /// What a PE of a stage marks.
    pub(in crate::kernels) fn markers(&self, seat: Seat) -> Markers {
        Markers::of(self.places().map(|(marker, at)| (marker, at == (seat.col, seat.row))))
    }

    /// What a PE of the head region marks.
    pub(in crate::kernels) fn head_markers(&self, col: usize, row: usize) -> Markers {
        let (cols, rows) = (self.plan.head_cols, self.plan.rows);
        let (c0, r0) = (tree_root(cols, &self.plan.groups_head), self.root_row());
        let (far_col, far_row) = (farthest(cols, c0), farthest(rows, r0));
        Markers::of([
            (Marker::Corner, (col, row) == (far_col, far_row)),
            (Marker::YRoot, (col, row) == (far_col, r0)),
            (Marker::XRoot, (col, row) == (c0, far_row)),
            (Marker::BandRoot, false),
            (Marker::BandYRoot, false),
            (Marker::HeadRoot, (col, row) == (c0, r0)),
        ])
    }
}
