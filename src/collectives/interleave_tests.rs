//! The ring's invariants, measured on the routes that are built.

use std::collections::HashMap;

use super::*;
use crate::fabric::Direction;

const ORDERS: [Cycle; 2] = [Cycle::Interleave, Cycle::Wrap];
const WAYS: [Way; 2] = [Way::Forward, Way::Reverse];

fn sizes() -> impl Iterator<Item = usize> {
    (1..=128).chain([240, 255, 256, 360, 361, 480, 511, 512, 660, 719, 720])
}

fn line(n: usize) -> Vec<Coord> {
    (0..n).map(|i| Coord::new(i as u32, 0)).collect()
}

fn built(order: Cycle, n: usize, way: Way) -> Layout {
    let mut layout = Layout::default();
    line(n).into_iter().for_each(|c| layout.pe(c).share = 0);
    order.lay_out(&mut layout, &line(n), 5, way).unwrap();
    layout
}

/// From every PE that sends: where its burst ends, and over how many links.
fn streams(layout: &Layout) -> HashMap<u32, (u32, u32)> {
    let mut found = HashMap::new();
    for pe in &layout.pes {
        for route in pe.routes.iter().filter(|r| r.rx == Direction::Ramp) {
            let (mut at, mut route, mut hops) = (pe.coord, *route, 0);
            while !(hops > 0 && route.tx.has(Direction::Ramp)) {
                let outs: Vec<Direction> = route.tx.links().collect();
                let [out] = outs[..] else { panic!("{route:?} at {at}") };
                at = out.neighbour(at, u32::MAX, u32::MAX).unwrap();
                let next = &layout.pes[layout.find(at).unwrap() as usize];
                route = *next.routes.iter().find(|r| r.color == route.color && r.rx == out.opposite()).unwrap();
                hops += 1;
            }
            assert_eq!(found.insert(pe.coord.col, (at.col, hops)), None, "PE {} sends twice", pe.coord);
        }
    }
    found
}

#[test]
fn the_routes_of_a_way_form_one_cycle_through_the_whole_line() {
    for (order, way) in ORDERS.into_iter().flat_map(|o| WAYS.map(|w| (o, w))) {
        for n in sizes() {
            let streams = streams(&built(order, n, way));
            assert_eq!(streams.len(), if n == 1 { 0 } else { n }, "{order:?} {n}");
            let (mut at, mut steps) = (0, 0);
            while n > 1 && (steps == 0 || at != 0) {
                at = streams[&at].0;
                steps += 1;
                assert!(steps <= n, "{order:?} {way:?} {n}");
            }
            assert_eq!(steps, if n == 1 { 0 } else { n }, "{order:?} {way:?} {n}");
        }
    }
}

#[test]
fn an_interleaved_hop_is_two_links_at_most_and_a_round_trip_crosses_each_direction_once() {
    for n in sizes() {
        for way in WAYS {
            let hops: Vec<u32> = streams(&built(Cycle::Interleave, n, way)).values().map(|s| s.1).collect();
            assert!(hops.iter().all(|h| *h <= 2), "{n}");
            assert_eq!(hops.iter().sum::<u32>() as usize, 2 * (n - 1), "{n}");
        }
    }
}

#[test]
fn a_directed_link_carries_one_stream_of_a_way() {
    for (order, way) in ORDERS.into_iter().flat_map(|o| WAYS.map(|w| (o, w))) {
        for n in sizes() {
            let layout = built(order, n, way);
            for pe in &layout.pes {
                for d in [Direction::East, Direction::West] {
                    let streams = pe.routes.iter().filter(|r| r.tx.has(d)).count();
                    assert!(streams <= 1, "{order:?} {way:?} {n}: {} has {streams} {d:?}", pe.coord);
                }
                assert!(pe.routes.iter().all(|r| (5..8).contains(&r.color.0)), "{order:?} {n}");
            }
        }
    }
}

#[test]
fn the_reverse_way_undoes_the_forward_way() {
    for (order, n) in ORDERS.into_iter().flat_map(|o| sizes().map(move |n| (o, n))) {
        let (forward, reverse) = (streams(&built(order, n, Way::Forward)), streams(&built(order, n, Way::Reverse)));
        assert!(forward.iter().all(|(from, (to, hops))| reverse[to] == (*from, *hops)), "{order:?} {n}");
    }
}

/// waferllm.md 1.2, the rule by cases (n >= 3).
fn recv_by_cases(n: usize, i: usize) -> usize {
    match i {
        0 => 1,
        i if i % 2 == 1 && i + 2 < n => i + 2,
        i if i % 2 == 1 => {
            if n.is_multiple_of(2) {
                n - 2
            } else {
                n - 1
            }
        }
        i => i - 2,
    }
}

#[test]
fn recv_is_the_published_rule_and_alignment_is_symmetric() {
    for n in sizes().filter(|n| *n >= 3) {
        let order = Cycle::Interleave;
        let pos: Vec<usize> = (0..n).map(|i| order.pos(n, i)).collect();
        for (i, &pos) in pos.iter().enumerate() {
            assert_eq!(order.recv(n, i), recv_by_cases(n, i), "{n} {i}");
            assert_eq!(order.send(n, recv_by_cases(n, i)), i, "{n} {i}");
            assert_eq!(order.at(n, pos), i, "{n}");
        }
    }
    for n in (1..=24).chain([64]) {
        for order in ORDERS {
            let walk = |from: usize, steps: usize| (0..steps).fold(from, |i, _| order.recv(n, i));
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                assert_eq!(walk(i, order.pos(n, j)), walk(j, order.pos(n, i)), "{order:?} {n} {i} {j}");
            }
        }
    }
}

#[test]
fn the_short_way_is_half_a_ring_at_most() {
    for n in 1..40 {
        for forward in 0..n {
            let (way, rounds) = shortest(n, forward);
            assert!(rounds <= n / 2);
            let back = if way == Way::Forward { rounds } else { n - rounds };
            assert_eq!(back % n, forward, "{n} {forward}");
        }
    }
}
