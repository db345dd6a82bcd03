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
use crate::pe::{After, Fold, Pe, Relay, Role};
use crate::units::{Color, Coord};

/// What a member does, level by level. Inline, for it is read at every hop; a group's root of two sides that is a
/// member of the next level has a third one.
pub type Roles = SmallVec<[Role; 2]>;

/// A member's part of a broadcast: the root sends, everybody else takes; nothing on a line of one.
pub type Ends = Option<Role>;

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
    pub fn roles(&self, pe: Pe<'_>, member: usize) -> Roles {
        let mut roles = Roles::new();
        for (level, seat) in self.seats(member).iter().enumerate() {
            let (d, high) = (seat.distance, seat.high);
            if seat.inward.is_some() {
                let tx = pe.tx(self.color(level, d, high));
                let outward = if high { seat.outward.0 } else { seat.outward.1 };
                roles.push(if outward {
                    Role::Inner(pe.rx(self.color(level, d + 1, high)), tx)
                } else {
                    Role::Leaf(tx)
                });
                continue;
            }
            for (there, high) in [(seat.outward.0, true), (seat.outward.1, false)] {
                if there {
                    roles.push(Role::Root(pe.rx(self.color(level, 1, high))));
                }
            }
        }
        roles
    }

    /// The member's part of the broadcast.
    pub fn broadcast_ends(&self, pe: Pe<'_>, member: usize) -> Ends {
        let color = self.broadcast_color();
        (self.line.len() > 1)
            .then(|| if member == self.root() { Role::Leaf(pe.tx(color)) } else { Role::Root(pe.rx(color)) })
    }
}

/// Runs the reduction at one member: `tile` ends as the result at the root.
#[track_caller]
pub fn reduce<'a>(pe: Pe<'a>, roles: &'a [Role], tile: Tile, fold: Fold) -> Relay<'a> {
    pe.relay(roles, tile, fold, After::Ended)
}

/// Runs the broadcast at one member.
#[track_caller]
pub fn broadcast<'a>(pe: Pe<'a>, ends: &'a Ends, tile: Tile) -> Relay<'a> {
    pe.relay(ends.as_slice(), tile, Fold::Set, After::Ended)
}

/// The answer of a reduction, into `tile`: what everybody but the root waits for.
pub fn answer(ends: &Ends, tile: Tile) -> After {
    match *ends {
        Some(Role::Root(rx)) => After::Back(rx, tile),
        _ => After::Ended,
    }
}

/// The root's part of the broadcast; nothing elsewhere.
#[track_caller]
pub fn give<'a>(pe: Pe<'a>, ends: &'a Ends, tile: Tile) -> Relay<'a> {
    let sends = matches!(ends, Some(Role::Leaf(_)));
    pe.relay(if sends { ends.as_slice() } else { &[] }, tile, Fold::Set, After::Ended)
}
