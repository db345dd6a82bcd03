//! The order of a K-tree reduction over a line of P members.
//!
//! Level 1 cuts the line into G1 contiguous groups, each of which reduces to its middle member, the root; level k + 1
//! does the same with the roots of level k. Inside a group both sides are chains toward the root: an inner member adds
//! its own tile to what comes in; the root adds the higher side to its own, then the lower.
//!
//! ```text
//! group of 5:   v0 -> v1 -> [v2] <- v3 <- v4        (v2 + (v4 + v3)) + (v0 + v1)
//! ```
//!
//! Invariant: derived from this text, not from the collective that it checks. Called by `serial` only.

use crate::math::split::split;

/// Combines what has been accumulated (first) with a newcomer.
pub(super) type Combine = fn(f32, f32) -> f32;

/// Sum of a reduction.
pub(super) fn add(acc: f32, newcomer: f32) -> f32 {
    acc + newcomer
}

/// Reduces `members` elementwise; `groups` are the group counts from the leaves, the last of them 1.
pub(super) fn ktree(members: Vec<Vec<f32>>, groups: &[usize], combine: Combine) -> Vec<f32> {
    let mut level = members;
    for &count in groups {
        level = split(level.len(), count.min(level.len())).map(|group| reduce_group(&level[group], combine)).collect();
    }
    assert_eq!(level.len(), 1, "the last level has one group");
    level.swap_remove(0)
}

/// Reduces one group to its root.
fn reduce_group(members: &[Vec<f32>], combine: Combine) -> Vec<f32> {
    let root = members.len() / 2;
    let mut acc = members[root].clone();
    let higher = members[root + 1..].iter().rev();
    let lower = members[..root].iter();
    if let Some(side) = chain(higher, combine) {
        combine_into(&mut acc, &side, combine);
    }
    if let Some(side) = chain(lower, combine) {
        combine_into(&mut acc, &side, combine);
    }
    acc
}

/// A side of a group, from its far end inwards; nothing if the side is empty.
fn chain<'v>(mut side: impl Iterator<Item = &'v Vec<f32>>, combine: Combine) -> Option<Vec<f32>> {
    let mut acc = side.next()?.clone();
    for member in side {
        combine_into(&mut acc, member, combine);
    }
    Some(acc)
}

fn combine_into(acc: &mut [f32], newcomer: &[f32], combine: Combine) {
    assert_eq!(acc.len(), newcomer.len());
    for (acc, newcomer) in acc.iter_mut().zip(newcomer) {
        *acc = combine(*acc, *newcomer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members 1, 2, .., P under a combine that is neither commutative nor associative.
    fn order(p: usize, groups: &[usize]) -> f32 {
        let members = (1..=p).map(|v| vec![v as f32]).collect();
        ktree(members, groups, |acc, newcomer| 2.0 * acc + newcomer)[0]
    }

    #[test]
    fn order_is_the_documented_one() {
        let f = |acc: f32, newcomer: f32| 2.0 * acc + newcomer;
        assert_eq!(order(1, &[1]), 1.0);
        assert_eq!(order(1, &[4, 2, 1]), 1.0);
        assert_eq!(order(2, &[1]), f(2.0, 1.0));
        assert_eq!(order(3, &[1]), f(f(2.0, 3.0), 1.0));
        let five = f(f(3.0, f(5.0, 4.0)), f(1.0, 2.0));
        assert_eq!(order(5, &[1]), five);
        // Groups of 3, 2, 2: roots 2, 5, 7 with their partial results; then a group of three roots.
        let roots = [f(f(2.0, 3.0), 1.0), f(5.0, 4.0), f(7.0, 6.0)];
        assert_eq!(order(7, &[3, 1]), f(f(roots[1], roots[2]), roots[0]));
        assert_eq!(order(5, &[9, 1]), five, "at most as many groups as members");
        // Three levels: 4 groups of 2, then 2 groups of 2 roots, then 1 of 2.
        let pair = |a: f32, b: f32| f(b, a);
        let halves = [pair(pair(1.0, 2.0), pair(3.0, 4.0)), pair(pair(5.0, 6.0), pair(7.0, 8.0))];
        assert_eq!(order(8, &[4, 2, 1]), pair(halves[0], halves[1]));
    }

    #[test]
    fn sums_of_integers_do_not_depend_on_the_tree() {
        for p in 1..20 {
            for groups in [vec![1], vec![2, 1], vec![3, 1], vec![5, 2, 1]] {
                let members = (0..p).map(|v| vec![v as f32, 1.0]).collect();
                let sum = ktree(members, &groups, add);
                assert_eq!(sum, [(p * (p - 1) / 2) as f32, p as f32], "{p} {groups:?}");
            }
        }
    }
}
