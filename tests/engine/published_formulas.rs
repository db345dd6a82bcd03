//! Executed collectives take exactly the published cycles: chain, broadcast, two-tree allreduce on `wse2`.
//!
//! Chain and broadcast: Luczynski et al., "Near-Optimal Wafer-Scale Reduce" (HPDC'24), T_R = 2, alpha = 1, a wavelet a
//! cycle: S + 6 (P - 1) and S + 5 + max(r, P - 1 - r) for P PEs, S wavelets, root r. Two trees: the latency of two
//! levels of two-sided chains and a broadcast. Dry runs: cycles depend on shapes alone.

use plummer::fabric::Chip;
use plummer::link::Schedule;
use serde_json::{Value, json};

use crate::script::families::program;

/// Lengths of lines and payloads beyond the small ones: odd, even, prime, powers of two, the published ones.
const LINES: [u64; 9] = [14, 31, 64, 100, 127, 256, 333, 500, 512];
const PAYLOADS: [u64; 9] = [14, 16, 31, 64, 100, 128, 177, 255, 256];

/// Cycles of a program of the golden families on `wse2`.
fn cycles(family: &str, params: &Value) -> u64 {
    let chip = Chip::preset("wse2").unwrap();
    let mut wafer = program(family, params).launch(&chip, 1, Schedule::DepthFirst, true);
    wafer.run(&[]).unwrap_or_else(|e| panic!("{family} {params}: {e}"));
    wafer.counters().unwrap().cycles
}

/// Small worlds whole, then a grid of samples.
fn shapes() -> impl Iterator<Item = (u64, u64)> {
    let small = (2..=12).flat_map(|p| (1..=12).map(move |w| (p, w)));
    let large = LINES.into_iter().flat_map(|p| PAYLOADS.into_iter().map(move |w| (p, w)));
    let mixed = (2..=12).step_by(5).flat_map(|p| [16, 256].map(|w| (p, w))).chain([(512, 1), (512, 8), (512, 9)]);
    small.chain(large).chain(mixed)
}

#[test]
fn a_chain_takes_s_plus_six_a_stage() {
    for (p, w) in shapes() {
        assert_eq!(cycles("chain", &json!({"P": p, "w": w, "reps": 1})), w + 6 * (p - 1), "{p} PEs, {w} wavelets");
    }
    // The values printed in chip-facts.md.
    for (p, w, expect) in [(512, 16, 3082), (512, 256, 3322), (64, 256, 634)] {
        assert_eq!(cycles("chain", &json!({"P": p, "w": w, "reps": 1})), expect, "{p} PEs, {w} wavelets");
    }
}

#[test]
fn a_broadcast_from_any_root_takes_s_plus_five_and_the_longer_way() {
    let check = |p: u64, w: u64, root: u64| {
        let found = cycles("bcast", &json!({"P": p, "w": w, "root": root, "reps": 1}));
        assert_eq!(found, w + 5 + root.max(p - 1 - root), "{p} PEs, {w} wavelets, root {root}");
    };
    for p in 2..=12 {
        (1..=12).for_each(|w| (0..p).for_each(|root| check(p, w, root)));
    }
    for (p, w) in shapes().filter(|s| s.0 > 12) {
        for root in [0, 1, p / 3, p / 2, p - 1] {
            check(p, w, root);
        }
    }
    // The values printed in chip-facts.md: B + P + 4 from an end.
    for (p, w, expect) in [(512, 16, 532), (512, 256, 772), (64, 256, 324)] {
        assert_eq!(cycles("bcast", &json!({"P": p, "w": w, "root": 0, "reps": 1})), expect, "{p} PEs, {w} wavelets");
    }
}

#[test]
fn a_broadcast_over_a_rectangle_takes_b_plus_m_plus_n_plus_three() {
    // Every PE but the corner computes col + row cycles after its receive.
    for (m, n) in [(1, 2), (2, 1), (3, 4), (7, 7), (20, 13), (64, 3)] {
        for w in [1, 8, 9, 100] {
            let found = cycles("bcast2d", &json!({"M": m, "N": n, "w": w, "reps": 1}));
            assert_eq!(found, w + m + n + 3 + (m - 1 + n - 1), "{m}x{n}, {w} wavelets");
        }
    }
}

/// One level of a two-sided reduction of `members` PEs, `hops` apart, w wavelets: `n` stages on the longer side take
/// n (hops + 2 T_R + 1), the last word w later, as in a chain. The root takes the higher side first. Sides of equal
/// length come in together: the second take starts when the first has ended, w + 1 later than it could. A lower side
/// one longer comes a stage after the higher one and waits for what is left of that.
fn two_sided(members: u64, hops: u64, w: u64) -> u64 {
    let (low, high) = (members / 2, members.saturating_sub(1) - members / 2);
    let second = match (low, high) {
        (0, _) => return 0,
        (_, 0) => 0,
        _ if low == high => w + 1,
        _ => (w + 1).saturating_sub(hops + 5),
    };
    low * (hops + 5) + w + second
}

#[test]
fn a_two_sided_chain_pays_the_second_take_at_its_root() {
    for (p, w) in shapes() {
        let found = cycles("two_sided", &json!({"P": p, "w": w, "reps": 1}));
        assert_eq!(found, two_sided(p, 1, w), "{p} PEs, {w} wavelets");
    }
}

#[test]
fn a_two_tree_allreduce_takes_its_latency_formula() {
    // alpha (s1 + s2 g + max(r2, P - 1 - r2)) + beta (s1 + s2) + 5 + 3 w, and what the roots' second takes cost.
    for groups in 2..=9u64 {
        for size in 2..=9u64 {
            for w in [1, 2, 7, 8, 9, 40, 256] {
                let p = groups * size;
                let root = groups / 2 * size + size / 2;
                let expect = two_sided(size, 1, w) + two_sided(groups, size, w) + w + 5 + root.max(p - 1 - root);
                let params = json!({"P": p, "Gs": [groups, 1], "w": w, "bcast": true, "reps": 1});
                assert_eq!(cycles("ktree", &params), expect, "{groups} groups of {size}, {w} wavelets");
            }
        }
    }
}
