//! K-tree allreduce on one axis.                                              (WaferLLM section 6; waferllm.md 2.2)
//!
//! 1. Level 1 splits the line into G1 contiguous groups; both ends of a group stream to its middle, each member adds
//!    its own tile to what comes in; the root adds the higher side, then the lower.
//! 2. Level k + 1 does the same with the roots of level k; only routers lie between them.
//! 3. The last root multicasts to the whole line.
//!
//! | color            | carries                                                        |
//! |------------------|----------------------------------------------------------------|
//! | base + 2 k, + 1  | level k, alternating with the distance from the root, offset by one between the sides |
//! | base + 2 K       | broadcast                                                      |
//!
//! Cost of a level: (w + 5 + hops) per dependent stage as in `chip-facts.md`; executed, not assumed.

use smallvec::SmallVec;

use crate::arena::Tile;
use crate::fabric::{Layout, LayoutError};
use crate::math::split::{part, part_of};
use crate::pe::{Fold, Pe, Rx, Ticket, Tx};
use crate::units::{Color, Coord};

/// What a member does at one level.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Sends its tile inward.
    Leaf(Tx),
    /// Adds to what comes in, passes on.
    Inner(Rx, Tx),
    /// Takes one side in.
    Root(Rx),
}

/// The tree of a line: members in order and their group counts.
#[derive(Clone, Debug)]
pub struct Tree {
    /// PEs of the line, in ascending coordinate.
    pub line: Vec<Coord>,
    /// Group counts from the leaves; the last is 1.
    pub groups: Vec<usize>,
    /// First color.
    pub base: u8,
}

/// One member's place at one level: neighbours in its group toward both ends, and its distance from the root.
struct Seat {
    /// Index in the line of the member toward the root (`None` at the root).
    inward: Option<usize>,
    /// Distance from the root, 0 at the root.
    distance: usize,
    /// On the higher side of the root?
    high: bool,
    /// Is there a member further out on its side (at the root: higher, lower)?
    outward: (bool, bool),
}

impl Tree {
    /// Levels (K).
    pub fn levels(&self) -> usize {
        self.groups.len()
    }

    /// Colors of a K-level tree with broadcast.
    pub fn colors(levels: usize) -> u8 {
        2 * levels as u8 + 1
    }

    fn color(&self, level: usize, distance: usize, high: bool) -> Color {
        Color(self.base + 2 * level as u8 + ((distance + usize::from(!high)) % 2) as u8)
    }

    fn broadcast_color(&self) -> Color {
        Color(self.base + 2 * self.levels() as u8)
    }

    /// Members of level `level` (0: the whole line; k: the roots of level k - 1), and its groups.
    fn sizes(&self, level: usize) -> (usize, usize) {
        let members = self.groups[..level].iter().fold(self.line.len(), |n, g| n.min(*g));
        (members, self.groups.get(level).map_or(members, |g| members.min(*g)))
    }

    /// Index in the line of member `at` of a level: the middle of its group below, level by level.
    fn place(&self, level: usize, at: usize) -> usize {
        (0..level).rev().fold(at, |at, below| {
            let (members, groups) = self.sizes(below);
            let group = part(members, groups, at);
            group.start + group.len() / 2
        })
    }

    /// Index in the line of the last root.
    pub fn root(&self) -> usize {
        self.place(self.levels(), 0)
    }

    fn seats(&self, member: usize) -> SmallVec<[Seat; 2]> {
        let (mut seats, mut index) = (SmallVec::new(), member);
        for level in 0..self.levels() {
            let (members, groups) = self.sizes(level);
            let number = part_of(members, groups, index);
            let group = part(members, groups, number);
            let (root, at, len) = (group.len() / 2, index - group.start, group.len());
            let inward = match at.cmp(&root) {
                std::cmp::Ordering::Less => Some(self.place(level, index + 1)),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(self.place(level, index - 1)),
            };
            let outward = (at + 1 < len && at >= root, at > 0 && at <= root);
            seats.push(Seat { inward, distance: at.abs_diff(root), high: at > root, outward });
            if inward.is_some() {
                break;
            }
            index = number;
        }
        seats
    }

    /// Adds the routes of the reduction, and of the broadcast if `with_broadcast`.
    ///
    /// # Errors
    /// `TwoWriters` when colors clash with what is there.
    pub fn lay_out(&self, layout: &mut Layout, with_broadcast: bool) -> Result<(), LayoutError> {
        for (m, &from) in self.line.iter().enumerate() {
            for (level, seat) in self.seats(m).iter().enumerate() {
                if let Some(to) = seat.inward {
                    let color = self.color(level, seat.distance, seat.high);
                    layout.line(color, from, self.line[to], false)?;
                }
            }
        }
        if with_broadcast && self.line.len() > 1 {
            self.lay_out_broadcast(layout)?;
        }
        Ok(())
    }

    fn lay_out_broadcast(&self, layout: &mut Layout) -> Result<(), LayoutError> {
        let (root, color) = (self.line[self.root()], self.broadcast_color());
        for end in [self.line[0], self.line[self.line.len() - 1]] {
            if end != root {
                layout.line(color, root, end, true)?;
            }
        }
        Ok(())
    }

    /// What member `member` does, level by level; `pe` looks the ports up.
    pub fn steps(&self, pe: Pe<'_>, member: usize) -> Box<[Step]> {
        let mut steps = Vec::new();
        for (level, seat) in self.seats(member).iter().enumerate() {
            let (d, high) = (seat.distance, seat.high);
            if seat.inward.is_some() {
                let tx = pe.tx(self.color(level, d, high));
                let outward = if high { seat.outward.0 } else { seat.outward.1 };
                steps.push(if outward {
                    Step::Inner(pe.rx(self.color(level, d + 1, high)), tx)
                } else {
                    Step::Leaf(tx)
                });
                continue;
            }
            for (there, high) in [(seat.outward.0, true), (seat.outward.1, false)] {
                if there {
                    steps.push(Step::Root(pe.rx(self.color(level, 1, high))));
                }
            }
        }
        steps.into_boxed_slice()
    }

    /// The broadcast port of the root, or the receive of everybody else; neither on a line of one.
    pub fn broadcast_ends(&self, pe: Pe<'_>, member: usize) -> (Option<Tx>, Option<Rx>) {
        if self.line.len() < 2 {
            return (None, None);
        }
        let color = self.broadcast_color();
        if member == self.root() { (Some(pe.tx(color)), None) } else { (None, Some(pe.rx(color))) }
    }
}

/// Runs the reduction at one member: `tile` ends as the result at the root.
pub async fn reduce(pe: Pe<'_>, steps: &[Step], tile: Tile, fold: Fold) {
    for step in steps {
        match *step {
            Step::Leaf(tx) => pe.send(tx, tile).await,
            Step::Inner(rx, tx) => {
                pe.combine(rx, tx, tile, fold).await;
            }
            Step::Root(rx) => {
                pe.recv_fold(rx, tile, fold).await;
            }
        }
    }
}

/// What a member other than the root does: its part of the reduction of `tile`, then the result into `back`. At the
/// root, the reduction alone.
pub async fn contribute(pe: Pe<'_>, steps: &[Step], tile: Tile, fold: Fold, back: (Option<Rx>, Tile)) {
    let (last, before) = match steps {
        [before @ .., Step::Leaf(tx)] => ((None, *tx), before),
        [before @ .., Step::Inner(rx, tx)] => ((Some(*rx), *tx), before),
        _ => return reduce(pe, steps, tile, fold).await,
    };
    let (Some(rx), into) = back else { return reduce(pe, steps, tile, fold).await };
    reduce(pe, before, tile, fold).await;
    pe.send_recv(last, tile, fold, (rx, into)).await;
}

/// As `reduce`, but the last send of a leaf is only posted: where the result comes back to another tile, the leaf waits
/// for that alone and joins the ticket before it needs `tile` again.
pub async fn reduce_posted(pe: Pe<'_>, steps: &[Step], tile: Tile, fold: Fold) -> Option<Ticket> {
    match *steps {
        [ref before @ .., Step::Leaf(tx)] => {
            reduce(pe, before, tile, fold).await;
            Some(pe.post_send(tx, tile))
        }
        _ => {
            reduce(pe, steps, tile, fold).await;
            None
        }
    }
}

/// Runs the broadcast at one member.
pub async fn broadcast(pe: Pe<'_>, ends: (Option<Tx>, Option<Rx>), tile: Tile) {
    match ends {
        (Some(tx), _) => pe.send(tx, tile).await,
        (None, Some(rx)) => {
            pe.recv(rx, tile).await;
        }
        (None, None) => {}
    }
}
