//! Blocks that travel round a ring in tiles that change owners: each arrives as it left, may be read while it is on its
//! way, and takes as long as one that is copied, at every worker count and schedule.
//!
//! Back first, then forward with reading under way, as MeshGEMM does it.

use plummer::arena::Tile;
use plummer::collectives::{Cycle, Moving, RingEnds, Way};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{TileDecl, TileId};
use plummer::link::Schedule;
use plummer::prelude::*;

use crate::script::random::Rng;

const BUFFERS: [TileId; 2] = [TileId(0), TileId(1)];
const SUMS: TileId = TileId(2);
/// Rounds in which the block lay in one of the core's own buffers.
const OWN: TileId = TileId(3);

/// A ring of `n` cores in a row; block b is `lens[b]` words of b + 1. Once back, then once round.
#[derive(Clone, Debug)]
struct Ring {
    lens: Vec<usize>,
    /// Words of a core's two buffers.
    room: Vec<usize>,
    trades: bool,
    /// Cycles of a sum, by core and round in turn.
    delays: Vec<u64>,
}

impl Ring {
    fn n(&self) -> usize {
        self.lens.len()
    }

    /// What a core has seen in all rounds, one after the other.
    fn seen(&self, col: usize) -> Vec<u32> {
        let (n, first) = (self.n(), Cycle::Interleave.pos(self.n(), col));
        let back = (0..n).map(|round| (first + n - round) % n);
        back.chain((0..=n).map(|round| (first + round) % n))
            .map(|block| (self.lens[block] * (block + 1)) as u32)
            .collect()
    }

    fn layout(&self) -> Layout {
        let (n, mut layout) = (self.n(), Layout::default());
        let line: Vec<Coord> = (0..n as u32).map(|col| Coord::new(col, 0)).collect();
        for (col, at) in line.iter().enumerate() {
            layout.pe(*at).share = (col * 65536 / n) as u16;
            let sums = [(SUMS, 2 * n + 1), (OWN, 1)];
            for (id, words) in BUFFERS.map(|id| (id, self.room[col])).into_iter().chain(sums) {
                let bytes = 4 * words as u32;
                layout.tile(*at, TileDecl { id, name: "block", owner: Owner::Receive, bytes, visit: 0 });
            }
        }
        for (way, base) in [(Way::Forward, 0), (Way::Reverse, 3)] {
            Cycle::Interleave.lay_out(&mut layout, &line, base, way).unwrap();
        }
        for (at, pair) in line.windows(2).enumerate() {
            layout.line(token(at), pair[0], pair[1], false).unwrap();
        }
        layout
    }
}

impl Kernel for Ring {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (n, col, sums, own) = (self.n(), pe.coord().col as usize, pe.tile(SUMS), pe.tile(OWN));
        let ends = |base, way| Cycle::Interleave.ends(pe, n, col, base, way).unwrap();
        let ways: [(RingEnds, Way); 2] = [(ends(3, Way::Reverse), Way::Reverse), (ends(0, Way::Forward), Way::Forward)];
        let before = (col > 0).then(|| pe.rx(token(col - 1)));
        let after = (col + 1 < n).then(|| pe.tx(token(col)));
        let buffers = BUFFERS.map(|id| pe.tile(id));
        let mut moving =
            (if self.trades { Moving::trading } else { Moving::new })(buffers, Cycle::Interleave.pos(n, col), n);
        let sum = |block: Tile, round: usize| {
            pe.compute(Cycles(self.delays[(7 * col + 3 * round) % self.delays.len()]), |v| {
                let total = v.words(block).iter().sum();
                v.words_mut([sums.slice(round, 1)])[0][0] = total;
                v.words_mut([own])[0][0] += u32::from(buffers.iter().any(|own| own.slice(0, block.words()) == block));
            });
        };
        for round in 0..2 * n {
            let (ring, way) = ways[round / n];
            if way == Way::Reverse {
                sum(moving.tile(self.lens[moving.block()]), round);
            }
            let [here, coming] = [moving.block(), moving.coming(way)].map(|block| self.lens[block]);
            let exchange = moving.exchange(pe, ring, here, coming);
            if way == Way::Forward {
                // Nothing is read before all cores to the west have come as far, so the takers have long had it.
                if let Some(before) = before {
                    pe.recv(before, Tile::EMPTY).await;
                }
                if let Some(after) = after {
                    pe.send(after, Tile::EMPTY).await;
                }
                sum(moving.tile(self.lens[moving.block()]), round);
            }
            let lie = exchange.moved(pe).await;
            moving.turn(lie, way);
        }
        sum(moving.tile(self.lens[moving.block()]), 2 * n);
    }
}

/// The color from core `at` to the next one in the row.
fn token(at: usize) -> Color {
    Color(6 + at as u8 % 2)
}

/// Runs a ring: what its cores saw, and the cycles; and in how many rounds blocks lay in buffers of their cores.
fn run(ring: &Ring, chip: &Chip, options: &RunOptions) -> ((Vec<Vec<u32>>, u64), u32) {
    let n = ring.n();
    let fill = |at: Coord, id: TileId, words: &mut [u32]| {
        let block = Cycle::Interleave.pos(n, at.col as usize);
        if id == BUFFERS[0] {
            words[..ring.lens[block]].fill(block as u32 + 1);
        }
    };
    let mut wafer = Wafer::launch(ring.clone(), ring.layout(), chip, options, fill).unwrap();
    wafer.run(&[]).unwrap();
    let read = |id| (0..n as u32).map(move |col| (Coord::new(col, 0), id)).map(|(at, id)| wafer.read(at, id).unwrap());
    let (seen, own) = (read(SUMS).collect(), read(OWN).map(|own| own[0]).sum());
    ((seen, wafer.counters().unwrap().cycles), own)
}

#[test]
fn blocks_that_change_owners_arrive_as_they_left() {
    let chip = Chip::preset("wse2").unwrap();
    for n in 2..=6 {
        // Longer than the queues and shorter, none at all; buffers of one size, and of several, which are then copied.
        let even = Ring { lens: vec![40; n], room: vec![40; n], trades: true, delays: vec![5] };
        let uneven = Ring { lens: (0..n).map(|b| [40, 3, 0, 17][b % 4]).collect(), ..even.clone() };
        let rooms = Ring { room: (0..n).map(|at| 40 + at).collect(), ..even.clone() };
        for (ring, may_trade) in [(even, true), (uneven, true), (rooms, false)] {
            let copies = Ring { trades: false, ..ring.clone() };
            let want: Vec<Vec<u32>> = (0..n).map(|col| ring.seen(col)).collect();
            let (copied, own) = run(&copies, &chip, &RunOptions::new(1));
            let all = (n * (2 * n + 1)) as u32;
            assert_eq!((&copied.0, own), (&want, all), "{copies:?}");
            for workers in 1..=3 {
                for schedule in [Schedule::DepthFirst, Schedule::Random(3), Schedule::Random(4), Schedule::Random(5)] {
                    let options = RunOptions { schedule, ..RunOptions::new(workers) };
                    let (found, own) = run(&ring, &chip, &options);
                    assert_eq!(found, copied, "{ring:?} on {workers} workers, {schedule:?}");
                    // Neighbours on one worker trade, neighbours on two do not.
                    assert!(workers >= n || (own < all) == may_trade, "{ring:?} on {workers} workers: {own} of {all}");
                }
            }
        }
    }
}

#[test]
fn whoever_is_late_and_however_long_blocks_are() {
    let mut traded = 0;
    for seed in 0..150 {
        let r = &mut Rng(seed);
        let n = 2 + r.below(7);
        let lens = (0..n).map(|_| [40, 3, 0, 17, 8, 9, 1, 40][r.below(8)]).collect();
        let delays = (0..1 + r.below(9)).map(|_| [0, 1, 5, 60, 200][r.below(5)]).collect();
        let (lane_depth, issue_cycles) = (1 + r.below(2) as u8, 3 * r.below(2) as u32);
        let chip = Chip { lane_depth, issue_cycles, ..Chip::preset("wse2").unwrap() };
        let ring = Ring { lens, room: vec![40; n], trades: true, delays };
        let copies = Ring { trades: false, ..ring.clone() };
        let (want, all) = run(&copies, &chip, &RunOptions { schedule: Schedule::Random(seed), ..RunOptions::new(1) });
        for (ring, workers) in [(&copies, 1), (&ring, 1), (&ring, 2)] {
            let (found, own) = run(ring, &chip, &RunOptions::new(workers));
            assert_eq!(found, want, "seed {seed}: {ring:?} on {workers} workers");
            traded += u32::from(own < all);
        }
    }
    assert!(traded > 100, "tiles changed owners in {traded} of 300 runs");
}
