//! Tests of the stall report by itself: cycles of waits, groups, size and speed.

use super::*;

#[test]
fn the_shortest_cycle_is_found_and_ties_go_to_the_first() {
    let check = |next: &[&[usize]], expect: &[usize]| {
        let next: Vec<Vec<usize>> = next.iter().map(|to| to.to_vec()).collect();
        assert_eq!(shortest_cycle(next.clone()), expect, "{next:?}");
    };
    check(&[&[1], &[2], &[0], &[4], &[3]], &[3, 4]);
    check(&[&[1], &[0], &[3], &[2]], &[0, 1]);
    check(&[&[1], &[]], &[]);
    check(&[&[0]], &[0]);
    // A tail that leads into a cycle is no part of it.
    check(&[&[1], &[2], &[3], &[2]], &[2, 3]);
    // Two ways round: 0 -> 1 -> 3 -> 0 is shorter than 0 -> 1 -> 2 -> 3 -> 0.
    check(&[&[1], &[2, 3], &[3], &[0]], &[0, 1, 3]);
    // The short cycle does not go through the first node of the long one.
    check(&[&[1], &[2], &[3], &[0, 4], &[3]], &[3, 4]);
}

/// Every shortest cycle of all graphs on four nodes, by brute force over simple cycles.
#[test]
fn all_graphs_of_four_nodes_give_the_length_of_their_shortest_cycle() {
    for edges in 0u32..1 << 16 {
        let next: Vec<Vec<usize>> =
            (0..4).map(|n| (0..4).filter(|m| edges >> (4 * n + m) & 1 == 1).collect()).collect();
        let mut reach = [0u32; 4]; // nodes that can be reached in exactly `length` steps
        let mut expect = 0;
        (0..4).for_each(|n| reach[n] = 1 << n);
        for length in 1..=4 {
            reach = reach
                .map(|set| (0..4).filter(|n| set >> n & 1 == 1).map(|n| edges >> (4 * n) & 15).fold(0, |a, b| a | b));
            if (0..4).any(|n| reach[n] >> n & 1 == 1) {
                expect = length;
                break;
            }
        }
        let found = shortest_cycle(next.clone());
        assert_eq!(found.len(), expect, "{next:?}");
        let follows = |i: usize| next[found[i]].contains(&found[(i + 1) % found.len()]);
        assert!((0..found.len()).all(follows), "{next:?} has no cycle {found:?}");
    }
}

fn blocked(col: u32, row: u32, waits_for: Coord) -> Blocked {
    Blocked {
        pe: Coord::new(col, row),
        since: u64::from(col),
        sends: false,
        color: Color((col % 2) as u8),
        port: "from West".to_owned(),
        place: "kernel.rs:7".to_owned(),
        waits_for: vec![waits_for],
        holds: (0, 0),
    }
}

#[test]
fn a_chain_and_a_ring_of_a_hundred_thousand_are_reported_in_no_time_and_in_few_lines() {
    let at = |i: u32| Coord::new(i % 400, i / 400);
    for closed in [false, true] {
        let n = 160_000;
        let all: Vec<Blocked> = (0..n)
            .map(|i| {
                let next = if i + 1 < n || closed { (i + 1) % n } else { i + 400 };
                blocked(at(i).col, at(i).row, at(next))
            })
            .collect();
        let start = std::time::Instant::now();
        let report = StallReport::new(all);
        let text = report.to_string();
        assert!(start.elapsed().as_secs() < 20, "{:?}: a quadratic walk takes minutes", start.elapsed());
        assert_eq!(report.cycle.len(), if closed { 160_000 } else { 0 });
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("80000 PEs in columns 0..=398 step 2, rows 0..=399: receive on color 0"), "{text}");
        assert!(text.contains("since cycle 1..=399"), "{text}");
    }
}

#[test]
fn a_pattern_without_rectangles_is_cut_after_the_largest_groups() {
    let all = (0..200).map(|i| blocked(i * i % 101, i, Coord::new(500, 500))).collect();
    let text = StallReport::new(all).to_string();
    assert!(text.lines().count() <= GROUPS_MAX + 3, "{text}");
    assert!(text.contains("smaller groups"), "{text}");
}

#[test]
fn runs_name_single_numbers_ranges_and_steps() {
    for (numbers, expect) in [
        (&[5][..], "5"),
        (&[0, 1, 2, 3], "0..=3"),
        (&[1, 3, 5], "1..=5 step 2"),
        (&[0, 1, 2, 10], "0..=2, 10"),
        (&[0, 5, 6, 20, 21, 40, 42], "0..=5 step 5, 6..=20 step 14, 21..=40 step 19, ... 42"),
    ] {
        assert_eq!(runs(numbers), expect);
    }
}
