//! K-tree allreduce: the naive result on integers, the oracle's own order on random floats, every small line and tree.
//!
//! Lines of 1 to 12 PEs on both axes with every list of group counts for K = 1, 2, 3, samples up to 80 PEs and K = 5;
//! sum, max and argmax; equal bits and cycles at every worker count and schedule.

#[path = "../../src/oracle/ktree.rs"]
mod oracle_ktree;

use plummer::arena::Owner;
use plummer::collectives::{Tree, broadcast, reduce};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{Chip, Layout, TileDecl, TileId};
use plummer::link::Schedule;
use plummer::math::reduce::fmax;
use plummer::pe::{Fold, Kernel, Pe};
use plummer::units::Coord;
use rand_core::{Rng, SeedableRng};

const TILE: TileId = TileId(0);

#[derive(Clone)]
struct Allreduce {
    tree: Tree,
    fold: Fold,
}

impl Kernel for Allreduce {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let member = self.tree.line.iter().position(|c| *c == pe.coord()).expect("a member");
        let (steps, ends) = (self.tree.roles(pe, member), self.tree.broadcast_ends(pe, member));
        let tile = pe.tile(TILE);
        reduce(pe, &steps, tile, self.fold).await;
        broadcast(pe, &ends, tile).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    X,
    Y,
}

/// How one allreduce is run.
#[derive(Clone, Debug)]
struct Run {
    axis: Axis,
    groups: Vec<usize>,
    fold: Fold,
    workers: usize,
    schedule: Schedule,
}

impl Run {
    fn new(axis: Axis, groups: &[usize], fold: Fold) -> Self {
        Self { axis, groups: groups.to_vec(), fold, workers: 1, schedule: Schedule::DepthFirst }
    }

    /// Runs it over `members`, the words of each PE; all PEs end with the same words: those, and the cycles.
    fn of(&self, members: &[Vec<u32>]) -> (Vec<u32>, u64) {
        let n = members.len() as u32;
        let line: Vec<Coord> =
            (0..n).map(|i| if self.axis == Axis::X { Coord::new(3 + i, 2) } else { Coord::new(3, 2 + i) }).collect();
        let mut layout = Layout::default();
        for (i, pe) in line.iter().enumerate() {
            layout.pe(*pe).share = (i as u32 * 65536 / n) as u16;
            let bytes = members[i].len() as u32 * 4;
            layout.tile(*pe, TileDecl { id: TILE, name: "tile", owner: Owner::Activations, bytes, visit: 0 });
        }
        let tree = Tree { line: line.clone(), groups: self.groups.clone(), base: 0 };
        tree.lay_out(&mut layout, true).unwrap();
        let chip = Chip::preset("wse2").unwrap();
        let options = RunOptions { schedule: self.schedule, ..RunOptions::new(self.workers) };
        let fill = |pe, _, words: &mut [u32]| {
            words.copy_from_slice(&members[line.iter().position(|c| *c == pe).expect("a member")]);
        };
        let kernel = Allreduce { tree, fold: self.fold };
        let mut wafer =
            Wafer::launch(kernel, layout, &chip, &options, fill).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        wafer.run(&[]).unwrap_or_else(|e| panic!("{self:?} of {n}: {e}"));
        let found = wafer.read(line[0], TILE).unwrap();
        for pe in &line {
            assert_eq!(wafer.read(*pe, TILE).unwrap(), found, "{self:?} of {n}: {pe}");
        }
        (found, wafer.counters().unwrap().cycles)
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Group counts of trees over a line of n: all of K = 1, 2, 3; more groups than members are asked for, too.
fn trees(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![1]];
    for first in 1..=n + 1 {
        all.push(vec![first, 1]);
        all.extend((1..=first).map(|second| vec![first, second, 1]));
    }
    all
}

/// Long lines: groups that divide, groups that do not, deep trees.
const SAMPLES: [(usize, &[usize]); 12] = [
    (13, &[4, 1]),
    (16, &[8, 4, 2, 1]),
    (17, &[7, 3, 1]),
    (25, &[24, 1]),
    (31, &[16, 8, 4, 2, 1]),
    (33, &[1]),
    (48, &[7, 1]),
    (53, &[9, 1]),
    (64, &[32, 11, 3, 1]),
    (71, &[70, 2, 1]),
    (79, &[13, 5, 1]),
    (80, &[9, 1]),
];

/// Every axis, line and tree of this file.
fn all_trees() -> impl Iterator<Item = (Axis, usize, Vec<usize>)> {
    let small = (1..=12).flat_map(|n| trees(n).into_iter().map(move |g| (n, g)));
    let all = small.chain(SAMPLES.map(|(n, g)| (n, g.to_vec())));
    all.flat_map(|(n, g)| [Axis::X, Axis::Y].map(|axis| (axis, n, g.clone())))
}

#[test]
fn sums_of_integers_are_naive_and_sums_of_floats_are_in_the_oracles_order() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(41);
    for (axis, n, groups) in all_trees() {
        let members: Vec<Vec<f32>> = (0..n)
            .map(|i| {
                let i = i as f32;
                let mut float = || (random.next_u32() >> 8) as f32 / 4096.0 - 2048.0;
                vec![i + 1.0, -3.0 * i, i * i, float(), float() * 1e-7, float() * 1e9, -0.0]
            })
            .collect();
        let words: Vec<Vec<u32>> = members.iter().map(|m| bits(m)).collect();
        let (found, _) = Run::new(axis, &groups, Fold::Add).of(&words);
        let count = n as u64;
        let squares: u64 = (0..count).map(|i| i * i).sum();
        let naive = [(count * (count + 1) / 2) as f32, -3.0 * (count * (count - 1) / 2) as f32, squares as f32];
        assert_eq!(found[..3], bits(&naive)[..], "{axis:?} {n} {groups:?}");
        let ordered = bits(&oracle_ktree::ktree(members, &groups, oracle_ktree::add));
        assert_eq!(found, ordered, "{axis:?} {n} {groups:?}: order of additions");
    }
}

#[test]
fn maxima_are_those_of_the_line_and_zeros_lose_their_sign() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(43);
    for (axis, n, groups) in all_trees() {
        let members: Vec<Vec<f32>> = (0..n)
            .map(|i| {
                let float = (random.next_u32() >> 8) as f32 - 8e6;
                let zero = if i % 2 == 0 { -0.0 } else { 0.0 };
                vec![float, zero, -0.0, f32::NEG_INFINITY, -(i as f32) - 1.0]
            })
            .collect();
        let words: Vec<Vec<u32>> = members.iter().map(|m| bits(m)).collect();
        let (found, _) = Run::new(axis, &groups, Fold::Max).of(&words);
        let ordered = bits(&oracle_ktree::ktree(members.clone(), &groups, fmax));
        assert_eq!(found, ordered, "{axis:?} {n} {groups:?}: the oracle");
        let largest = members.iter().map(|m| m[0]).fold(f32::NEG_INFINITY, f32::max);
        // A line of one compares nothing; anything else has turned -0.0 into +0.0.
        let zero = if n == 1 { -0.0f32 } else { 0.0 };
        let expect = [largest, zero, zero, f32::NEG_INFINITY, -1.0];
        assert_eq!(found, bits(&expect), "{axis:?} {n} {groups:?}");
    }
}

#[test]
fn argmax_finds_the_largest_logit_and_the_lowest_id_on_ties() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(47);
    for (axis, n, groups) in all_trees() {
        // Four logits only, so that ties abound; ids in an order of their own; a pair of zeros of both signs.
        let shift = random.next_u32() as usize % n;
        let pair = |logit: f32, id: u32| [logit.to_bits(), id];
        let members: Vec<Vec<u32>> = (0..n)
            .map(|i| {
                let id = ((i + shift) % n) as u32 * 7 + 5;
                let logit = (random.next_u32() % 4) as f32 - 9.5;
                let zero = if random.next_u32().is_multiple_of(2) { -0.0 } else { 0.0 };
                [pair(logit, id), pair(zero, id)].concat()
            })
            .collect();
        let (found, _) = Run::new(axis, &groups, Fold::MaxId).of(&members);
        let best = members.iter().map(|m| f32::from_bits(m[0])).fold(f32::MIN, f32::max);
        let first = members.iter().filter(|m| f32::from_bits(m[0]) == best).map(|m| m[1]).min().unwrap();
        assert_eq!((f32::from_bits(found[0]), found[1]), (best, first), "{axis:?} {n} {groups:?}");
        assert_eq!(found[3], 5, "{axis:?} {n} {groups:?}: -0.0 and +0.0 tie, the lowest id wins");
    }
}

#[test]
fn workers_and_schedules_change_neither_words_nor_cycles() {
    let trees: [(usize, &[usize]); 6] =
        [(2, &[1]), (5, &[2, 1]), (12, &[5, 2, 1]), (29, &[6, 1]), (53, &[9, 1]), (80, &[27, 9, 3, 1])];
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(53);
    for (n, groups) in trees {
        for w in [1, 8, 9, 70] {
            let members: Vec<Vec<u32>> =
                (0..n).map(|_| (0..w).map(|_| ((random.next_u32() >> 8) as f32).to_bits()).collect()).collect();
            for axis in [Axis::X, Axis::Y] {
                let expect = Run::new(axis, groups, Fold::Add).of(&members);
                for workers in [1, 2, 3] {
                    for schedule in [Schedule::DepthFirst, Schedule::Random(w), Schedule::Random(w + 1)] {
                        let run = Run { workers, schedule, ..Run::new(axis, groups, Fold::Add) };
                        assert_eq!(run.of(&members), expect, "{n} PEs, {w} words, {run:?}");
                    }
                }
            }
        }
    }
}
