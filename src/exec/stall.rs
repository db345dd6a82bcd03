//! What a deadlock looks like: who waits for whom, since when, and the shortest cycle of waits.
//!
//! ```text
//!   blocked PEs --same location, color, port--> kinds --same columns in several rows--> rectangles, one line each
//!               --who waits for whom--> graph --trimmed to what can be on a cycle--> breadth first, shortest wins
//! ```
//! Invariant: built from final states, which do not depend on the schedule; sorted by (row, col); so the text is
//! byte-identical at every worker count, and at most `GROUPS_MAX` + 4 lines long.
//! Called by `waits`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use crate::units::{Color, Coord};

/// Rectangles that a report prints; the largest ones.
const GROUPS_MAX: usize = 16;
/// PEs of a cycle that a report prints.
const CYCLE_MAX: usize = 16;

/// One PE that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Where.
    pub pe: Coord,
    /// Since which cycle.
    pub since: u64,
    /// Waits for the end of a send; otherwise for a burst to receive.
    pub sends: bool,
    /// Color it waits on.
    pub color: Color,
    /// Sides that the color comes from or goes to.
    pub port: String,
    /// File and line in the program.
    pub place: String,
    /// PEs that would have to act.
    pub waits_for: Vec<Coord>,
    /// Bursts and wavelets in the lane (receives), or in flight and queued at the port (sends).
    pub holds: (u32, u32),
}

/// A quiescent wafer with unfinished programs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StallReport {
    /// Sorted by (row, col).
    pub blocked: Vec<Blocked>,
    /// The shortest cycle of waits, if there is one; ties to the smallest (row, col, color).
    pub cycle: Vec<Coord>,
}

impl StallReport {
    /// Sorts, and finds the shortest cycle.
    pub fn new(mut blocked: Vec<Blocked>) -> Self {
        blocked.sort_by_key(|b| (b.pe, b.color));
        let at: HashMap<Coord, usize> = blocked.iter().enumerate().map(|(i, b)| (b.pe, i)).collect();
        let next = blocked
            .iter()
            .map(|b| {
                let mut to: Vec<usize> = b.waits_for.iter().filter_map(|c| at.get(c).copied()).collect();
                to.sort_unstable();
                to.dedup();
                to
            })
            .collect();
        let cycle = shortest_cycle(next).into_iter().map(|i| blocked[i].pe).collect();
        Self { blocked, cycle }
    }
}

/// The waits that can still be on a cycle.
struct Waits {
    next: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
    /// Live successors.
    out: Vec<usize>,
    live: Vec<bool>,
}

impl Waits {
    fn new(next: Vec<Vec<usize>>) -> Self {
        let mut before = vec![Vec::new(); next.len()];
        for (n, to) in next.iter().enumerate() {
            to.iter().for_each(|m| before[*m].push(n));
        }
        let out: Vec<usize> = next.iter().map(Vec::len).collect();
        let mut waits = Self { live: vec![true; next.len()], next, before, out };
        (0..waits.next.len()).for_each(|n| {
            if waits.out[n] == 0 {
                waits.remove(n);
            }
        });
        waits
    }

    /// Takes a node out, and all that lead nowhere without it. Every edge is looked at once in a lifetime.
    fn remove(&mut self, node: usize) {
        let mut gone = vec![node];
        while let Some(n) = gone.pop() {
            if !std::mem::replace(&mut self.live[n], false) {
                continue;
            }
            for i in 0..self.before[n].len() {
                let b = self.before[n][i];
                self.out[b] -= 1;
                if self.live[b] && self.out[b] == 0 {
                    gone.push(b);
                }
            }
        }
    }

    /// The shortest cycle through `start` of fewer than `below` nodes, from `start` on.
    fn cycle_through(&self, start: usize, below: usize) -> Option<Vec<usize>> {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([(start, 1)]);
        while let Some((n, length)) = queue.pop_front() {
            if length >= below {
                return None;
            }
            for &m in self.next[n].iter().filter(|m| self.live[**m]) {
                if m == start {
                    let mut path = vec![n];
                    while let Some(&p) = from.get(&path[path.len() - 1]) {
                        path.push(p);
                    }
                    path.reverse();
                    return Some(path);
                }
                from.entry(m).or_insert_with(|| {
                    queue.push_back((m, length + 1));
                    n
                });
            }
        }
        None
    }
}

/// Breadth first from every node in order; the first of the shortest wins. A node is taken out once its cycles are
/// known, so with one wait a PE (the usual case) all walks together are linear.
fn shortest_cycle(next: Vec<Vec<usize>>) -> Vec<usize> {
    let mut waits = Waits::new(next);
    let mut best: Vec<usize> = Vec::new();
    for start in 0..waits.live.len() {
        if !waits.live[start] {
            continue;
        }
        let below = if best.is_empty() { usize::MAX } else { best.len() };
        if let Some(found) = waits.cycle_through(start, below) {
            best = found;
        }
        waits.remove(start);
    }
    best
}

/// What PEs of one line of the report have in common.
type Kind<'a> = (&'a str, bool, Color, &'a str);

/// PEs of one kind in the same columns of some rows.
struct Group<'a> {
    kind: Kind<'a>,
    cols: Vec<u32>,
    rows: Vec<u32>,
    since: (u64, u64),
    holds: (u64, u64),
}

/// All blocked PEs (sorted by row and column) as rectangles: the largest first, ties in (row, col, color) order.
fn groups(blocked: &[Blocked]) -> Vec<Group<'_>> {
    let mut rows: BTreeMap<(Kind<'_>, u32), Vec<&Blocked>> = BTreeMap::new();
    for b in blocked {
        rows.entry(((&b.place, b.sends, b.color, &b.port), b.pe.row)).or_default().push(b);
    }
    let mut found: Vec<Group<'_>> = Vec::new();
    let mut same: HashMap<(Kind<'_>, Vec<u32>), usize> = HashMap::new();
    for ((kind, row), members) in rows {
        let cols: Vec<u32> = members.iter().map(|b| b.pe.col).collect();
        let at = *same.entry((kind, cols.clone())).or_insert(found.len());
        if at == found.len() {
            found.push(Group { kind, cols, rows: Vec::new(), since: (u64::MAX, 0), holds: (0, 0) });
        }
        let group = &mut found[at];
        group.rows.push(row);
        for b in members {
            group.since = (group.since.0.min(b.since), group.since.1.max(b.since));
            group.holds = (group.holds.0 + u64::from(b.holds.0), group.holds.1 + u64::from(b.holds.1));
        }
    }
    let size = |g: &Group<'_>| g.cols.len() * g.rows.len();
    found.sort_by_key(|g| (std::cmp::Reverse(size(g)), g.rows[0], g.cols[0], g.kind.2));
    found
}

/// Ascending numbers as runs of equal steps: `3`, `0..=99`, `0..=98 step 2`; at most three of them.
fn runs(numbers: &[u32]) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut rest = numbers;
    while let [first, tail @ ..] = rest {
        if out.len() == 3 {
            out.push(format!("... {}", numbers[numbers.len() - 1]));
            break;
        }
        let step = tail.first().map_or(0, |second| second - first);
        let mut n = 1;
        while n < rest.len() && rest[n] - rest[n - 1] == step {
            n += 1;
        }
        out.push(match (n, step) {
            (1, _) => first.to_string(),
            (_, 1) => format!("{first}..={}", rest[n - 1]),
            _ => format!("{first}..={} step {step}", rest[n - 1]),
        });
        rest = &rest[n..];
    }
    out.join(", ")
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, sends, color, port) = self.kind;
        let (what, has) = if sends { ("send", "at the port") } else { ("receive", "in the lane") };
        let (n, (first, last)) = (self.cols.len() * self.rows.len(), self.since);
        write!(f, "  {n} PE{} in columns {}, rows ", if n == 1 { "" } else { "s" }, runs(&self.cols))?;
        write!(f, "{}: {what} on {color} {port} at {place}, since cycle {first}", runs(&self.rows))?;
        if last > first {
            write!(f, "..={last}")?;
        }
        writeln!(f, "; {} bursts of {} wavelets {has}", self.holds.0, self.holds.1)
    }
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stalled: {} PEs cannot go on; nothing is runnable and nothing is under way", self.blocked.len())?;
        let groups = groups(&self.blocked);
        let (shown, more) = groups.split_at(groups.len().min(GROUPS_MAX));
        shown.iter().try_for_each(|g| write!(f, "{g}"))?;
        if !more.is_empty() {
            let pes: usize = more.iter().map(|g| g.cols.len() * g.rows.len()).sum();
            writeln!(f, "  and {pes} PEs in {} smaller groups", more.len())?;
        }
        if self.cycle.is_empty() {
            let why = "someone finished without sending or receiving what is waited for";
            return writeln!(f, "  no cycle of waits: {why}");
        }
        write!(f, "  shortest cycle of waits ({} PEs):", self.cycle.len())?;
        for pe in self.cycle.iter().take(CYCLE_MAX) {
            write!(f, " {pe} ->")?;
        }
        let more = if self.cycle.len() > CYCLE_MAX { " ... ->" } else { "" };
        writeln!(f, "{more} {}", self.cycle[0])
    }
}

#[cfg(test)]
#[path = "stall_tests.rs"]
mod tests;
