//! Random small programs: bursts in an order that works, then shuffled and posted until some of them do not.
//!
//! Every burst that is sent is asked for by all its sinks, so a program either completes or waits in a cycle.

use std::cmp::Ordering;

use plummer::fabric::{Direction, Tx};
use plummer::units::{Color, Coord};

use super::{Op, Program, at};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A color with its sender and its takers.
struct Tree {
    color: Color,
    source: Coord,
    sinks: Vec<Coord>,
}

/// Grows a tree from `source` over at most `most` other PEs; every leaf takes, some PEs between do.
fn tree(p: &mut Program, rng: &mut Rng, (cols, rows): (u32, u32), source: Coord) -> Tree {
    let color = Color(p.used.values().fold(0, |all, u| all | u).trailing_ones() as u8);
    let mut reached = vec![(source, Direction::Ramp)];
    let mut outs = vec![Tx::NONE];
    for _ in 0..1 + rng.below(4) {
        let from = rng.below(reached.len());
        let d = Direction::LINKS[rng.below(4)];
        let Some(to) = d.neighbour(reached[from].0, cols, rows) else { continue };
        if reached.iter().all(|r| r.0 != to) {
            outs[from] = outs[from].and(d);
            reached.push((to, d.opposite()));
            outs.push(Tx::NONE);
        }
    }
    let mut sinks = Vec::new();
    for (i, &(at, rx)) in reached.iter().enumerate() {
        let is_leaf = outs[i] == Tx::NONE;
        if i > 0 && (is_leaf || rng.one_in(2)) {
            outs[i] = outs[i].and(Direction::Ramp);
            sinks.push(at);
        }
        if reached.len() > 1 {
            p.layout.route(at, color, rx, outs[i]).expect("a color of its own");
            *p.used.entry(at).or_default() |= 1 << color.0;
        }
    }
    Tree { color, source, sinks }
}

/// One burst through `trees[at]`, and on through combines where a sink sends on another tree.
fn burst(p: &mut Program, rng: &mut Rng, trees: &[Tree], at: usize, w: u32) {
    p.op(trees[at].source, Op::Send(trees[at].color, w));
    let (mut open, mut used) = (vec![at], vec![at]);
    while let Some(t) = open.pop() {
        let on =
            |sink: &Coord, used: &[usize]| (0..trees.len()).find(|o| trees[*o].source == *sink && !used.contains(o));
        for sink in &trees[t].sinks {
            match on(sink, &used) {
                Some(next) if rng.one_in(2) => {
                    p.op(*sink, Op::Combine(trees[t].color, trees[next].color, w));
                    open.push(next);
                    used.push(next);
                }
                _ => p.op(*sink, Op::Recv(trees[t].color, w)),
            }
        }
    }
}

fn colors(op: &Op) -> [Option<Color>; 2] {
    match *op {
        Op::Send(c, _) | Op::Recv(c, _) | Op::PostSend(c, _) | Op::PostRecv(c, _) => [Some(c), None],
        Op::Combine(rx, tx, _) => [Some(rx), Some(tx)],
        _ => [None; 2],
    }
}

/// Swaps neighbours of different colors, posts some operations (or most, sends first), joins a few steps later.
fn perturb(p: &mut Program, rng: &mut Rng, most: bool) {
    let mut pes: Vec<Coord> = p.script.0.keys().copied().collect();
    pes.sort_unstable();
    for pe in &pes {
        let ops = p.script.0.get_mut(pe).expect("a key");
        for i in 1..ops.len() {
            let (a, b) = (colors(&ops[i - 1]), colors(&ops[i]));
            let swaps = match most && matches!((&ops[i - 1], &ops[i]), (Op::Recv(..), Op::Send(..))) {
                true => rng.one_in(2),
                false => rng.one_in(6),
            };
            if swaps && a.iter().flatten().all(|c| !b.contains(&Some(*c))) {
                ops.swap(i - 1, i);
            }
        }
        let (mut out, mut open) = (Vec::new(), 0);
        for op in ops.drain(..) {
            let posted = match op {
                Op::Send(c, w) if rng.one_in(3) ^ most => Op::PostSend(c, w),
                Op::Recv(c, w) if rng.one_in(3) ^ most => Op::PostRecv(c, w),
                other => other,
            };
            open += u32::from(matches!(posted, Op::PostSend(..) | Op::PostRecv(..)));
            out.push(posted);
            if open == 6 || (open > 0 && rng.one_in(3)) {
                out.push(Op::JoinAll);
                open = 0;
            }
        }
        out.push(Op::JoinAll);
        *ops = out;
    }
}

/// Program `seed`: 2 to 9 PEs, up to 5 colors, up to 10 bursts of distinct lengths, short and long.
pub fn program(seed: u64) -> Program {
    made(seed, false)
}

/// The same with most operations posted.
pub fn posted(seed: u64) -> Program {
    made(seed, true)
}

fn made(seed: u64, posted: bool) -> Program {
    let rng = &mut Rng(seed);
    let mut p = Program::default();
    let mesh = (2 + rng.below(2) as u32, 1 + rng.below(3) as u32);
    let mut trees = Vec::new();
    for _ in 0..2 + rng.below(4) {
        let source = Coord::new(rng.below(mesh.0 as usize) as u32, rng.below(mesh.1 as usize) as u32);
        let grown = tree(&mut p, rng, mesh, source);
        if !grown.sinks.is_empty() {
            trees.push(grown);
        }
    }
    if trees.is_empty() {
        return made(seed.wrapping_add(1 << 32), posted);
    }
    for i in 0..2 + rng.below(9) as u32 {
        let at = rng.below(trees.len());
        // Lengths differ, so no two open operations share a tile.
        let w = if rng.one_in(2) { 1 + i } else { 40 + i };
        burst(&mut p, rng, &trees, at, w);
    }
    perturb(&mut p, rng, posted);
    p
}

/// Cores in a row that pass blocks round one or two rings, mostly by pairs of posted operations, again and again over
/// the same links. Some blocks are sent or taken by an operation that blocks, some by none, some have another length
/// than their taker expects; joins come early or late.
pub fn rings(seed: u64) -> Program {
    let rng = &mut Rng(seed);
    let (mut p, n) = (Program::default(), 2 + rng.below(4));
    let rounds = 3 + rng.below(5);
    let rings: Vec<Vec<(Color, Color)>> = (0..1 + rng.below(2)).map(|_| ring(&mut p, rng, n, at)).collect();
    let is_short = [rng.one_in(8), rng.one_in(8)];
    // By ring, and different from one block to the next: lengths are names of tiles.
    let len = |ring: usize, round: usize| if is_short[ring] { 1 } else { 40 } + (4 * ring + round % 4) as u32;
    let is_wild = rng.one_in(2);
    for pe in 0..n {
        // At most eight are open, and scripts make no room by themselves.
        let mut open = 0;
        for round in 0..rounds {
            let first = rng.below(rings.len());
            for ring in (0..rings.len()).map(|i| (first + i) % rings.len()) {
                let ((tx, rx), w) = (rings[ring][pe], len(ring, round));
                let odds = |rng: &mut Rng, n| is_wild && rng.one_in(n);
                open += 2;
                if open > 6 {
                    p.op(at(pe), Op::JoinAll);
                    open = 2;
                }
                if !odds(rng, 90) {
                    p.op(at(pe), if odds(rng, 20) { Op::Send(tx, w) } else { Op::PostSend(tx, w) });
                }
                let w = w + u32::from(odds(rng, 90));
                if !odds(rng, 90) {
                    p.op(at(pe), if odds(rng, 20) { Op::Recv(rx, w) } else { Op::PostRecv(rx, w) });
                }
                if rng.one_in(4) {
                    p.op(at(pe), Op::Compute(rng.below(200) as u64));
                }
                if rng.one_in(3) {
                    p.op(at(pe), Op::JoinAll);
                    open = 0;
                }
            }
            if !rng.one_in(4) {
                p.op(at(pe), Op::JoinAll);
                open = 0;
            }
        }
        p.op(at(pe), Op::JoinAll);
    }
    p
}

/// A ring over `n` cores in some order: by core, the color to the next one and the color from the one before.
fn ring(p: &mut Program, rng: &mut Rng, n: usize, place: impl Fn(usize) -> Coord) -> Vec<(Color, Color)> {
    let mut order: Vec<usize> = (0..n).collect();
    (1..n).for_each(|i| order.swap(i, rng.below(i + 1)));
    let mut ends = vec![(Color(0), Color(0)); n];
    for (i, &from) in order.iter().enumerate() {
        let to = order[(i + 1) % n];
        let color = bent(p, place(from), place(to));
        (ends[from].0, ends[to].1) = (color, color);
    }
    ends
}

/// A unicast line on a color of its own, along the row, then along the column.
fn bent(p: &mut Program, from: Coord, to: Coord) -> Color {
    let (mut cells, mut ways) = (vec![from], Vec::new());
    while let Some(&at) = cells.last().filter(|at| **at != to) {
        let way = match (at.col.cmp(&to.col), at.row.cmp(&to.row)) {
            (Ordering::Less, _) => Direction::East,
            (Ordering::Greater, _) => Direction::West,
            (_, Ordering::Less) => Direction::South,
            _ => Direction::North,
        };
        cells.push(way.neighbour(at, u32::MAX, u32::MAX).expect("inside the mesh"));
        ways.push(way);
    }
    let color = p.color(cells.iter().copied());
    let entered = std::iter::once(Direction::Ramp).chain(ways.iter().map(|way| way.opposite()));
    let left = ways.iter().map(|way| Tx::to(*way)).chain(std::iter::once(Tx::RAMP));
    for ((cell, rx), tx) in cells.iter().zip(entered).zip(left) {
        p.layout.route(*cell, color, rx, tx).expect("the color is free on the way");
    }
    color
}

/// As `rings`, on meshes, with up to three rings of links that turn, and with whatever else a core may do on them:
/// combines on a ring and from one to another, relays that wait for an answer, receives posted first, sends without a
/// receive, short blocks and long ones on one port.
pub fn mixed(seed: u64) -> Program {
    let rng = &mut Rng(seed ^ 0x5555_0000);
    let (mut p, cols, rows) = (Program::default(), 2 + rng.below(3), 1 + rng.below(2));
    let place = |i: usize| Coord::new((i % cols) as u32, (i / cols) as u32);
    let rings: Vec<_> = (0..1 + rng.below(3)).map(|_| ring(&mut p, rng, cols * rows, place)).collect();
    let (rounds, wild) = (3 + rng.below(8), [0, 60, 25, 10][rng.below(4)]);
    let (is_short, is_one_length) = (rng.one_in(6), rng.one_in(3));
    let len = |ring: usize, round: usize| match (is_short && ring == 0 && round % 2 == 1, is_one_length) {
        (true, _) => 4 + (round % 4) as u32,
        (_, true) => 40,
        _ => (40 + 4 * ring + round % 4) as u32,
    };
    for pe in 0..cols * rows {
        let (at, mut open) = (place(pe), 0);
        for round in 0..rounds {
            let first = rng.below(rings.len());
            for ring in (0..rings.len()).map(|i| (first + i) % rings.len()) {
                open += 2;
                if open > 6 || is_one_length && open > 2 {
                    p.op(at, Op::JoinAll);
                    open = 2;
                }
                let (ends, other) = (rings[ring][pe], rings[rng.below(rings.len())][pe]);
                let kind = if wild > 0 && rng.one_in(wild) { rng.below(9) } else { 9 };
                turn(ends, other, len(ring, round), kind).into_iter().flatten().for_each(|op| p.op(at, op));
                if rng.one_in(4) {
                    p.op(at, Op::Compute(rng.below(200) as u64));
                }
                if rng.one_in(3) {
                    p.op(at, Op::JoinAll);
                    open = 0;
                }
            }
            if !rng.one_in(3) {
                p.op(at, Op::JoinAll);
                open = 0;
            }
        }
        p.op(at, Op::JoinAll);
    }
    p
}

/// What a core does with a block of `w` words at its ends of a ring, and at those of another one.
fn turn((tx, rx): (Color, Color), other: (Color, Color), w: u32, kind: usize) -> [Option<Op>; 2] {
    let [sent, taken] = [Op::PostSend(tx, w), Op::PostRecv(rx, w)];
    match kind {
        0 => [Some(Op::Send(tx, w)), Some(taken)],
        1 => [Some(sent), Some(Op::Recv(rx, w))],
        2 => [Some(Op::Combine(rx, tx, w)), None],
        3 => [Some(Op::Combine(rx, other.0, w)), None],
        4 => [Some(Op::Call((tx, w), (rx, w))), None],
        5 => [Some(Op::Call((tx, w), (other.1, w))), None],
        6 => [Some(taken), Some(sent)],
        7 => [Some(sent), Some(Op::PostRecv(rx, w + 1))],
        8 => [Some(sent), None],
        _ => [Some(sent), Some(taken)],
    }
}
