//! Ways and multicasts as large as a wafer: a route through 160,000 routers, one burst with 90,000 sinks.

use plummer::fabric::{Chip, Direction, Tx};
use plummer::link::Schedule;
use plummer::units::{Color, Coord};

use crate::script::{Op, Program};

const WORDS: u32 = 64; // longer than a queue: a rendezvous that waits for every sink
const COLOR: Color = Color(3);

fn wafer_chip() -> Chip {
    Chip::preset("bench").expect("a preset")
}

/// East along even rows, west along odd ones, over all of `cols x rows`.
fn snake(cols: u32, rows: u32) -> Program {
    let mut program = Program::default();
    let mut rx = Direction::Ramp;
    for row in 0..rows {
        let (out, back) = if row.is_multiple_of(2) { (Direction::East, false) } else { (Direction::West, true) };
        for i in 0..cols {
            let at = Coord::new(if back { cols - 1 - i } else { i }, row);
            let tx = match (i + 1 < cols, row + 1 < rows) {
                (true, _) => Tx::to(out),
                (false, true) => Tx::to(Direction::South),
                (false, false) => Tx::RAMP,
            };
            program.layout.route(at, COLOR, rx, tx).expect("one way");
            rx = if i + 1 < cols { out.opposite() } else { Direction::North };
        }
    }
    let end = Coord::new(if rows.is_multiple_of(2) { 0 } else { cols - 1 }, rows - 1);
    program.op(Coord::new(0, 0), Op::Send(COLOR, WORDS));
    program.op(end, Op::Recv(COLOR, WORDS));
    program
}

/// From (0, 0) along row 0, and from every PE of it along its column.
fn flood(cols: u32, rows: u32) -> Program {
    let mut program = Program::default();
    for (col, row) in (0..rows).flat_map(|row| (0..cols).map(move |col| (col, row))) {
        let at = Coord::new(col, row);
        let rx = match (col, row) {
            (0, 0) => Direction::Ramp,
            (_, 0) => Direction::West,
            _ => Direction::North,
        };
        let mut tx = if rx == Direction::Ramp { Tx::NONE } else { Tx::RAMP };
        if row == 0 && col + 1 < cols {
            tx = tx.and(Direction::East);
        }
        if row + 1 < rows {
            tx = tx.and(Direction::South);
        }
        program.layout.route(at, COLOR, rx, tx).expect("one tree");
        program.op(at, if rx == Direction::Ramp { Op::Send(COLOR, WORDS) } else { Op::Recv(COLOR, WORDS) });
    }
    program
}

/// Cycles, hops and bursts at a number of workers.
fn run(program: &Program, workers: usize, dry: bool) -> (u64, u64, u64) {
    let mut wafer = program.launch(&wafer_chip(), workers, Schedule::DepthFirst, dry);
    wafer.run(&[]).unwrap_or_else(|error| panic!("{workers} workers, dry {dry}: {error}"));
    let c = wafer.counters().expect("counters");
    (c.cycles, c.hops, c.bursts)
}

#[test]
fn a_route_through_160_000_routers_takes_a_cycle_a_hop() {
    let program = snake(400, 400);
    let hops = 400 * 400 - 1;
    // Ser + 2 T_R + alpha x hops + 1 (design.md section 3).
    let need = (u64::from(WORDS) + 5 + hops, hops, 1);
    for (workers, dry) in [(1, false), (3, false), (1, true)] {
        assert_eq!(run(&program, workers, dry), need, "{workers} workers, dry {dry}");
    }
}

#[test]
fn a_multicast_to_more_than_90_000_sinks_ends_when_the_last_has_begun() {
    let (cols, rows) = (301, 300);
    let program = flood(cols, rows);
    let sinks = u64::from(cols * rows - 1);
    assert!(sinks > 90_000);
    let farthest = u64::from(cols - 1 + rows - 1);
    let need = (u64::from(WORDS) + 5 + farthest, sinks, 1);
    for (workers, dry) in [(1, false), (2, false), (5, false), (2, true)] {
        assert_eq!(run(&program, workers, dry), need, "{workers} workers, dry {dry}");
    }
}
