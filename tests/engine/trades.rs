//! Blocks that travel round a ring in tiles that change owners: each arrives as it left, may be read while it is on its
//! way, and takes as long as one that is copied, at every worker count and schedule.

use plummer::arena::Tile;
use plummer::collectives::{Cycle, Moving, RingEnds, Way};
use plummer::exec::{RunOptions, Wafer};
use plummer::fabric::{TileDecl, TileId};
use plummer::link::Schedule;
use plummer::prelude::*;

const BUFFERS: [TileId; 2] = [TileId(0), TileId(1)];
const SUMS: TileId = TileId(2);

/// A ring of `n` cores in a row; block b is `lens[b]` words of b + 1. Twice round, forward then back.
#[derive(Clone, Debug)]
struct Ring {
    lens: Vec<usize>,
    /// Words of a core's two buffers.
    room: Vec<usize>,
    trades: bool,
}

impl Ring {
    fn n(&self) -> usize {
        self.lens.len()
    }

    /// What a core has seen in all rounds, one after the other.
    fn seen(&self, col: usize) -> Vec<u32> {
        let (n, first) = (self.n(), Cycle::Interleave.pos(self.n(), col));
        let there = (0..=n).map(|round| (first + round) % n);
        let back = (1..=n).map(|round| (first + n - round) % n);
        there.chain(back).map(|block| (self.lens[block] * (block + 1)) as u32).collect()
    }

    fn layout(&self) -> Layout {
        let (n, mut layout) = (self.n(), Layout::default());
        let line: Vec<Coord> = (0..n as u32).map(|col| Coord::new(col, 0)).collect();
        for (col, at) in line.iter().enumerate() {
            layout.pe(*at).share = (col * 65536 / n) as u16;
            let sums = [(SUMS, 2 * n + 1)];
            for (id, words) in BUFFERS.map(|id| (id, self.room[col])).into_iter().chain(sums) {
                let bytes = 4 * words as u32;
                layout.tile(*at, TileDecl { id, name: "block", owner: Owner::Receive, bytes, visit: 0 });
            }
        }
        for (way, base) in [(Way::Forward, 0), (Way::Reverse, 3)] {
            Cycle::Interleave.lay_out(&mut layout, &line, base, way).unwrap();
        }
        layout
    }
}

impl Kernel for Ring {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let (n, col, sums) = (self.n(), pe.coord().col as usize, pe.tile(SUMS));
        let ends = |base, way| Cycle::Interleave.ends(pe, n, col, base, way).unwrap();
        let ways: [(RingEnds, Way); 2] = [(ends(0, Way::Forward), Way::Forward), (ends(3, Way::Reverse), Way::Reverse)];
        let make = if self.trades { Moving::trading } else { Moving::new };
        let mut moving = make(BUFFERS.map(|id| pe.tile(id)), Cycle::Interleave.pos(n, col), n);
        let sum = |block: Tile, round: usize| {
            pe.compute(Cycles(5), |v| {
                let total = v.words(block).iter().sum();
                v.words_mut([sums.slice(round, 1)])[0][0] = total;
            });
        };
        for round in 0..2 * n {
            let (ring, way) = ways[round / n];
            let exchange = moving.post(pe, ring, way, |block| self.lens[block]);
            // Whoever takes it may have it by now, or not.
            sum(moving.tile(self.lens[moving.block()]), round);
            exchange.join(pe).await;
            moving.turn(pe, exchange, way);
        }
        sum(moving.tile(self.lens[moving.block()]), 2 * n);
    }
}

/// Runs a ring: what its cores saw, and the cycles.
fn run(ring: &Ring, options: &RunOptions) -> (Vec<Vec<u32>>, u64) {
    let (chip, n) = (Chip::preset("wse2").unwrap(), ring.n());
    let fill = |at: Coord, id: TileId, words: &mut [u32]| {
        let block = Cycle::Interleave.pos(n, at.col as usize);
        if id == BUFFERS[0] {
            words[..ring.lens[block]].fill(block as u32 + 1);
        }
    };
    let mut wafer = Wafer::launch(ring.clone(), ring.layout(), &chip, options, fill).unwrap();
    wafer.run(&[]).unwrap();
    let seen = (0..n as u32).map(|col| wafer.read(Coord::new(col, 0), SUMS).unwrap()).collect();
    (seen, wafer.counters().unwrap().cycles)
}

#[test]
fn blocks_that_change_owners_arrive_as_they_left() {
    for n in 2..=6 {
        // Longer than the queues and shorter, none at all; buffers of one size, and of several.
        let even = Ring { lens: vec![40; n], room: vec![40; n], trades: true };
        let uneven = Ring { lens: (0..n).map(|b| [40, 3, 0, 17][b % 4]).collect(), ..even.clone() };
        let rooms = Ring { room: (0..n).map(|at| 40 + at % 2).collect(), ..even.clone() };
        for ring in [even, uneven, rooms] {
            let copies = Ring { trades: false, ..ring.clone() };
            let want: Vec<Vec<u32>> = (0..n).map(|col| ring.seen(col)).collect();
            let copied = run(&copies, &RunOptions::new(1));
            assert_eq!(copied.0, want, "{copies:?}");
            for workers in 1..=3 {
                for schedule in [Schedule::DepthFirst, Schedule::Random(3), Schedule::Random(4), Schedule::Random(5)] {
                    let options = RunOptions { schedule, ..RunOptions::new(workers) };
                    assert_eq!(run(&ring, &options), copied, "{ring:?} on {workers} workers, {schedule:?}");
                }
            }
        }
    }
}
