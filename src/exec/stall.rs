//! What a deadlock looks like: who waits for whom, since when, and the shortest cycle of waits.
//!
//! Invariant: built from final states, which do not depend on the schedule; sorted by (row, col); so the text is
//! byte-identical at every worker count.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use crate::units::{Color, Coord};

/// One PE that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Where.
    pub pe: Coord,
    /// Since which cycle.
    pub since: u64,
    /// Operation: "receive", "send" or "a posted operation".
    pub what: &'static str,
    /// Color it waits on.
    pub color: Color,
    /// Side that the color comes from or goes to.
    pub side: &'static str,
    /// File and line in the program.
    pub place: String,
    /// PEs that would have to act.
    pub waits_for: Vec<Coord>,
    /// Bursts and wavelets in the lane (receives) or queued behind the port (sends).
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
        let next: Vec<Vec<usize>> = blocked
            .iter()
            .map(|b| {
                let mut to: Vec<usize> = b.waits_for.iter().filter_map(|c| at.get(c).copied()).collect();
                to.sort_unstable();
                to.dedup();
                to
            })
            .collect();
        let cycle = shortest_cycle(&next).into_iter().map(|i| blocked[i].pe).collect();
        Self { blocked, cycle }
    }
}

/// Breadth first from every node in order; the first of the shortest wins. With out-degree one (the usual wait) the walk
/// is linear; nodes known to lead to no cycle are not walked again.
fn shortest_cycle(next: &[Vec<usize>]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::new();
    let mut dead = vec![false; next.len()];
    for start in 0..next.len() {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        let mut closed = None;
        while let Some(n) = queue.pop_front() {
            if next[n].contains(&start) {
                closed = Some(n);
                break;
            }
            for &m in &next[n] {
                if m != start && !dead[m] && !from.contains_key(&m) {
                    from.insert(m, n);
                    queue.push_back(m);
                }
            }
        }
        // Whether or not it closed, no shorter cycle through `start` will be found from a later node.
        dead[start] = true;
        let Some(mut n) = closed else { continue };
        let mut path = vec![n];
        while let Some(&p) = from.get(&n) {
            path.push(p);
            n = p;
        }
        path.reverse();
        if best.is_empty() || path.len() < best.len() {
            best = path;
        }
    }
    best
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stalled: {} PEs cannot go on; nothing is runnable and nothing is under way", self.blocked.len())?;
        let mut groups: BTreeMap<(&str, &str, Color, &str), Vec<&Blocked>> = BTreeMap::new();
        for b in &self.blocked {
            groups.entry((b.place.as_str(), b.what, b.color, b.side)).or_default().push(b);
        }
        for ((place, what, color, side), members) in &groups {
            let cols = members.iter().map(|b| b.pe.col);
            let rows = members.iter().map(|b| b.pe.row);
            let since = members.iter().map(|b| b.since);
            let (c0, c1) = (cols.clone().min().unwrap_or(0), cols.max().unwrap_or(0));
            let (r0, r1) = (rows.clone().min().unwrap_or(0), rows.max().unwrap_or(0));
            let (s0, s1) = (since.clone().min().unwrap_or(0), since.max().unwrap_or(0));
            writeln!(
                f,
                "  {} PEs in columns {c0}..={c1}, rows {r0}..={r1}: {what} on {color} {side} at {place}, since cycle {s0}..={s1}",
                members.len()
            )?;
            let (bursts, wavelets) = members.iter().fold((0, 0), |a, b| (a.0 + b.holds.0, a.1 + b.holds.1));
            writeln!(f, "    holding {bursts} bursts, {wavelets} wavelets")?;
        }
        if self.cycle.is_empty() {
            return writeln!(
                f,
                "  no cycle of waits: someone finished without sending or receiving what is waited for"
            );
        }
        write!(f, "  shortest cycle of waits ({} PEs):", self.cycle.len())?;
        for pe in self.cycle.iter().take(16) {
            write!(f, " {pe} ->")?;
        }
        let more = if self.cycle.len() > 16 { " ... ->" } else { "" };
        writeln!(f, "{more} {}", self.cycle[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_cycle_is_found_and_ties_go_to_the_first() {
        assert_eq!(shortest_cycle(&[vec![1], vec![2], vec![0], vec![4], vec![3]]), [3, 4]);
        assert_eq!(shortest_cycle(&[vec![1], vec![0], vec![3], vec![2]]), [0, 1]);
        assert_eq!(shortest_cycle(&[vec![1], vec![]]), [0usize; 0]);
        assert_eq!(shortest_cycle(&[vec![0]]), [0]);
    }
}
