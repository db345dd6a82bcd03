//! What a collective costs, from the contract's rules alone: clocks of a line's members as sums and maxima.
//!
//! Every message: head = ready + T_R at the sender's router, alpha a hop; a receive begins at max(clock, head + T_R)
//! and ends S + stage later; a combine begins likewise and its own head is stage + T_R later. On a line of its own
//! nothing waits for a lane, so a tail is always a head + S.
//!
//! Invariant: nothing is executed; equal to executed cycles wherever a collective has its colors to itself (tested).
//! Called by kernels' closed forms and by the choice of group counts.

use std::collections::HashMap;
use std::ops::Range;

use crate::link::Timing;
use crate::math::split::{even_groups, part, split};

use super::RingOrder;

/// Cycles between a sender's clock and the start of the receive, hops apart.
fn latency(t: &Timing, hops: usize) -> u64 {
    2 * u64::from(t.ramp) + u64::from(t.alpha) * hops as u64
}

/// End of the broadcast from member `root`, which is ready at `ready`, at the farthest of `n` members.
pub fn broadcast(n: usize, root: usize, ready: u64, words: usize, t: &Timing) -> u64 {
    if n < 2 {
        return ready;
    }
    let hops = root.max(n - 1 - root);
    ready + u64::from(t.issue) + latency(t, hops) + t.ser(words as u32) + u64::from(t.stage)
}

/// Place of a member on its line, and its clock.
type Member = (usize, u64);

/// Start of the receive at `root` of what streams in through `side`, outermost member first; `None` without members.
fn side(side: impl Iterator<Item = Member>, root: usize, t: &Timing) -> Option<u64> {
    let mut from: Option<Member> = None;
    for (at, clock) in side {
        let ready = match from {
            None => clock + u64::from(t.issue),
            Some((before, ready)) => clock.max(ready + latency(t, at.abs_diff(before))) + u64::from(t.stage),
        };
        from = Some((at, ready));
    }
    from.map(|(at, ready)| ready + latency(t, at.abs_diff(root)))
}

/// A group's root and when it has everything; a take ends `take` later than it starts.
fn gather(group: &[Member], take: u64, t: &Timing) -> Member {
    let middle = group.len() / 2;
    let (root, mut clock) = group[middle];
    let high = side(group[middle + 1..].iter().rev().copied(), root, t);
    let low = side(group[..middle].iter().copied(), root, t);
    for start in [high, low].into_iter().flatten() {
        clock = clock.max(start) + take;
    }
    (root, clock)
}

/// The roots of one level.
fn level(members: &[Member], count: usize, take: u64, t: &Timing) -> Vec<Member> {
    split(members.len(), count.min(members.len())).map(|range| gather(&members[range], take, t)).collect()
}

fn take(words: usize, t: &Timing) -> u64 {
    t.ser(words as u32) + u64::from(t.stage)
}

/// K-tree reduction of `words` wavelets: the last root and its clock, when member i begins at `clocks[i]`.
pub fn tree_reduce(clocks: Vec<u64>, groups: &[usize], words: usize, t: &Timing) -> (usize, u64) {
    let members = clocks.into_iter().enumerate().collect();
    groups.iter().fold(members, |members: Vec<Member>, &count| level(&members, count, take(words, t), t))[0]
}

/// `ktree` of one number of wavelets over a line whose members all begin at 0, for many group counts.
struct Level<'a> {
    n: usize,
    words: usize,
    t: &'a Timing,
    /// Root and clock of a group of so many members of the line: groups of a level have two sizes.
    firsts: HashMap<usize, Member>,
}

impl Level<'_> {
    fn cost(&mut self, groups: &[usize]) -> u64 {
        let (n, words, t) = (self.n, self.words, self.t);
        let take = take(words, t);
        let Some((&count, above)) = groups.split_first() else { return broadcast(n, 0, 0, words, t) };
        let mut first = |size: usize| {
            let alike = || gather(&(0..size).map(|at| (at, 0)).collect::<Vec<_>>(), take, t);
            *self.firsts.entry(size).or_insert_with(alike)
        };
        let groups = split(n, count.min(n));
        let short = n / groups.len();
        let sizes = [first(short), first(short + usize::from(!n.is_multiple_of(groups.len())))];
        let root = |range: Range<usize>| {
            let (root, clock) = sizes[range.len() - short];
            (range.start + root, clock)
        };
        let members = groups.map(root).collect();
        let (root, ready) = above.iter().fold(members, |m: Vec<Member>, &count| level(&m, count, take, t))[0];
        broadcast(n, root, ready, words, t)
    }
}

/// K-tree allreduce of `words` wavelets: the last clock, when member i begins at `clocks[i]`.
pub fn ktree(clocks: Vec<u64>, groups: &[usize], words: usize, t: &Timing) -> u64 {
    let n = clocks.len();
    let (root, ready) = tree_reduce(clocks, groups, words, t);
    broadcast(n, root, ready, words, t)
}

/// Pipeline allreduce: as `ktree`.
pub fn chain(mut clocks: Vec<u64>, words: usize, t: &Timing) -> u64 {
    let last = clocks.len() - 1;
    if let Some(start) = side(clocks[..last].iter().copied().enumerate(), last, t) {
        clocks[last] = clocks[last].max(start) + t.ser(words as u32) + u64::from(t.stage);
    }
    broadcast(last + 1, last, clocks[last], words, t)
}

/// Ring allreduce: as `ktree`. A round at a member ends when both its receive and its send have ended.
pub fn ring(mut clocks: Vec<u64>, order: RingOrder, words: usize, t: &Timing) -> u64 {
    let n = clocks.len();
    let mut by_position = vec![0; n];
    (0..n).for_each(|i| by_position[order.position(i, n)] = i);
    let hops = |p: usize| by_position[p].abs_diff(by_position[(p + 1) % n]);
    clocks = by_position.iter().map(|&i| clocks[i]).collect();
    for round in 0..2 * n.saturating_sub(1) {
        let length = |p: usize| part(words, n, (p + 2 * n - round) % n).len() as u32;
        let ready: Vec<u64> = clocks.iter().map(|c| c + u64::from(t.issue)).collect();
        let arrival = |p: usize| ready[p] + latency(t, hops(p));
        let start = |p: usize| ready[p].max(arrival((p + n - 1) % n));
        let end = |p: usize| {
            let received = start(p) + t.ser(length((p + n - 1) % n)) + u64::from(t.stage);
            let next = (p + 1) % n;
            let waits = if length(p) > t.queue_wavelets { start(next) - arrival(p) } else { 0 };
            received.max(ready[p] + t.ser(length(p)) + waits)
        };
        clocks = (0..n).map(end).collect();
    }
    clocks.into_iter().max().unwrap_or(0)
}

/// Group counts of a K-level tree over `n` members with the least cost for `words` wavelets; the smallest on ties.
pub fn best_groups(n: usize, levels: usize, words: usize, t: &Timing) -> Vec<usize> {
    best_groups_for(n, levels, &[(1, words)], t)
}

/// `best_groups` for several sums over the same line: how often each is made, and its wavelets.
pub fn best_groups_for(n: usize, levels: usize, sums: &[(u64, usize)], t: &Timing) -> Vec<usize> {
    let mut groups: Vec<usize> = (1..=levels).map(|level| even_groups(n, level, levels)).collect();
    let lines = |words: usize| Level { n, words, t, firsts: HashMap::new() };
    let mut lines: Vec<_> = sums.iter().map(|(times, words)| (*times, lines(*words))).collect();
    let mut cost = |groups: &[usize]| -> u64 { lines.iter_mut().map(|(times, line)| *times * line.cost(groups)).sum() };
    // One level at a time until nothing improves: exact for K <= 2, and in steps of n costs for more.
    loop {
        let before = cost(&groups);
        for level in 0..levels - 1 {
            let with = |count: usize| {
                let mut groups = groups.clone();
                groups[level] = count;
                groups
            };
            let best = (1..=n).min_by_key(|&count| cost(&with(count))).unwrap_or(1);
            groups = with(best);
        }
        if cost(&groups) >= before {
            return groups;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Chip;

    /// The two-tree allreduce for equal groups: the published latency part, a serialisation a level and one for the
    /// broadcast, and at a root with two sides what the second take waits for the first (alpha 1, T_R 2).
    fn two_tree(p: usize, g_count: usize, w: u64) -> u64 {
        let g = p / g_count;
        let r2 = (g_count / 2) * g + g / 2;
        let (s1, s2) = (g / 2, g_count / 2);
        let mut cycles = (s1 + s2 * g + r2.max(p - 1 - r2) + 5 * (s1 + s2)) as u64 + 5 + w;
        for (size, hops) in [(g, 1), (g_count, g as u64)] {
            cycles += match size {
                1 => 0,
                2 => w,
                _ if size % 2 == 1 => 2 * w + 1,
                _ => w + (w + 1).saturating_sub(hops + 5), // the lower side is one stage longer
            };
        }
        cycles
    }

    #[test]
    fn equal_groups_cost_the_published_latency_and_what_the_second_side_adds() {
        let t = Chip::preset("wse2").unwrap().timing();
        for p in 2..=64 {
            for g in (1..=p).filter(|g| p % g == 0) {
                for w in [1, 2, 7, 8, 30, 64] {
                    assert_eq!(ktree(vec![0; p], &[g, 1], w, &t), two_tree(p, g, w as u64), "{p} {g} {w}");
                }
            }
        }
    }

    #[test]
    fn the_golden_trees_cost_what_the_contract_s_interpreter_found() {
        let t = Chip::preset("wse2").unwrap().timing();
        for (p, groups, w, cycles) in [
            (16, vec![4, 1], 16, 112),
            (17, vec![4, 1], 16, 113),
            (27, vec![9, 3, 1], 8, 105),
            (256, vec![16, 1], 8, 384),
            (420, vec![20, 1], 10, 586),
            (511, vec![60, 12, 1], 12, 721),
        ] {
            assert_eq!(ktree(vec![0; p], &groups, w, &t), cycles, "{p} {groups:?} {w}");
        }
    }

    #[test]
    fn chain_broadcast_and_ring_are_the_published_formulas() {
        let t = Chip::preset("wse2").unwrap().timing();
        for p in (2..40).chain([64, 512]) {
            for w in [1u64, 16, 256] {
                let (last, words) = (p as u64 - 1, w as usize);
                assert_eq!(broadcast(p, 0, 0, words, &t), w + 5 + last, "broadcast {p} {w}");
                let reduce = chain(vec![0; p], words, &t) - broadcast(p, p - 1, 0, words, &t);
                assert_eq!(reduce, w + 6 * last, "chain {p} {w}");
                let segments = words * p; // so that every segment has w wavelets
                let cost = ring(vec![0; p], RingOrder::WrapAround, segments, &t);
                assert_eq!(cost, 2 * last * w + 4 * p as u64 - 6 + 10 * last, "ring {p} {w}");
            }
        }
    }

    #[test]
    fn no_two_level_tree_is_cheaper_than_the_chosen_one() {
        let t = Chip::preset("wse2").unwrap().timing();
        for n in 1..40 {
            for words in [1, 20] {
                let cost = |g: &[usize]| ktree(vec![0; n], g, words, &t);
                let chosen = best_groups(n, 2, words, &t);
                let best = (1..=n).map(|g| cost(&[g, 1])).min();
                assert_eq!(Some(cost(&chosen)), best, "{n} {words} {chosen:?}");
                for groups in [vec![1], vec![3, 1], vec![n / 3 + 1, 4, 2, 1]] {
                    let mut line = Level { n, words, t: &t, firsts: HashMap::new() };
                    assert_eq!(line.cost(&groups), cost(&groups), "{n} {words} {groups:?}");
                }
                assert_eq!(best_groups(n, 1, words, &t), [1]);
                let both = |g: &[usize]| 3 * cost(g) + 5 * ktree(vec![0; n], g, 7, &t);
                let best = (1..=n).map(|g| both(&[g, 1])).min();
                let chosen = best_groups_for(n, 2, &[(3, words), (5, 7)], &t);
                assert_eq!(Some(both(&chosen)), best, "{n} {words} {chosen:?}");
            }
        }
    }
}
