//! What blocks, stalls, and what is said about it: queues that are too short, tickets, touched tiles, stall reports.
//!
//! A report is the same text at every worker count and under random schedules, names the shortest cycle of waits, and
//! stays a screenful for a hundred thousand stalled PEs.

use plummer::exec::{PassError, StallReport};
use plummer::fabric::Chip;
use plummer::link::Schedule;
use plummer::units::Coord;

use crate::script::{Op, Program, at};

fn wse2() -> Chip {
    Chip::preset("wse2").unwrap()
}

fn pe(col: u32, row: u32) -> Coord {
    Coord::new(col, row)
}

/// A ring of PEs, each of which gives `w` words to the next and takes as many from the one before.
fn ring(out: &mut Program, members: &[Coord], w: u32, posted: bool) {
    let n = members.len();
    let colors: Vec<_> = (0..n).map(|i| out.line(members[i], members[(i + 1) % n])).collect();
    for (i, &member) in members.iter().enumerate() {
        let before = colors[(i + n - 1) % n];
        let ops = match posted {
            true => [Op::PostSend(colors[i], w), Op::PostRecv(before, w), Op::JoinAll],
            false => [Op::Send(colors[i], w), Op::Recv(before, w), Op::JoinAll],
        };
        ops.into_iter().for_each(|op| out.op(member, op));
    }
}

fn pair_in_a_row(w: u32, posted: bool) -> Program {
    let mut p = Program::default();
    ring(&mut p, &[pe(0, 0), pe(1, 0)], w, posted);
    p
}

fn ring_of_four(w: u32, posted: bool) -> Program {
    let mut p = Program::default();
    ring(&mut p, &[pe(0, 0), pe(1, 0), pe(1, 1), pe(0, 1)], w, posted);
    p
}

/// Every pair of neighbours in every row of a mesh exchanges.
fn mesh_of_pairs(cols: u32, rows: u32, w: u32) -> Program {
    let mut p = Program::default();
    for row in 0..rows {
        (0..cols / 2).for_each(|i| ring(&mut p, &[pe(2 * i, row), pe(2 * i + 1, row)], w, false));
    }
    p
}

/// Columns pass down and rows pass east, send first; a ring of rows at the left edge never gets going.
fn crossing_rings() -> Program {
    let mut p = Program::default();
    let square: Vec<Coord> = [(0, 0), (3, 0), (3, 3), (0, 3)].map(|(c, r)| pe(c, r)).to_vec();
    ring(&mut p, &square, 20, false);
    ring(&mut p, &[pe(1, 1), pe(2, 1)], 12, false);
    for (col, from) in [(4, 3), (5, 3)] {
        let color = p.line(pe(3, from), pe(col, from));
        p.op(pe(col, from), Op::Recv(color, 5));
        p.op(pe(3, from), Op::Send(color, 5));
    }
    p
}

/// PE 1 waits for a second burst that PE 0 does not send: no cycle.
fn missing_burst() -> Program {
    let mut p = Program::default();
    let color = p.line(at(0), at(1));
    p.op(at(0), Op::Send(color, 4));
    p.op(at(1), Op::Compute(7));
    p.op(at(1), Op::Recv(color, 4));
    p.op(at(1), Op::Recv(color, 4));
    p
}

/// A multicast to PEs 1 and 2; PE 1 takes nothing before it has heard from PE 2, which wants all of it first.
fn late_sink() -> Program {
    let mut p = Program::default();
    let all = p.color((0..3).map(at));
    p.layout.line(all, at(0), at(2), true).unwrap();
    let back = p.line(at(2), at(1));
    p.op(at(1), Op::Recv(back, 3));
    for _ in 0..4 {
        p.op(at(0), Op::Send(all, 3));
        p.op(at(1), Op::Recv(all, 3));
        p.op(at(2), Op::Recv(all, 3));
    }
    p.op(at(2), Op::Send(back, 3));
    p
}

/// A long cycle of waits that is reached first, and a short one: five PEs in a row, two of them in a second row.
fn long_and_short_cycle() -> Program {
    let mut p = Program::default();
    ring(&mut p, &[pe(0, 0), pe(1, 0), pe(2, 0), pe(3, 0), pe(4, 0)], 9, false);
    ring(&mut p, &[pe(3, 2), pe(4, 2)], 9, false);
    ring(&mut p, &[pe(0, 2), pe(1, 2)], 9, false);
    p
}

fn outcome(p: &Program, workers: usize, schedule: Schedule) -> Result<(), PassError> {
    p.launch(&wse2(), workers, schedule, false).run(&[])
}

fn stall(p: &Program, workers: usize, schedule: Schedule) -> StallReport {
    match outcome(p, workers, schedule) {
        Err(PassError::Stall(report)) => *report,
        other => panic!("{workers} workers, {schedule:?}: {other:?}"),
    }
}

#[test]
fn a_send_first_exchange_runs_up_to_the_queues_and_stalls_beyond_them_and_posted_it_always_runs() {
    let queue = wse2().queue_wavelets;
    let mut four_in_a_row = Vec::new();
    for w in [queue, queue + 1] {
        let mut p = Program::default();
        ring(&mut p, &[at(0), at(1), at(2), at(3)], w, false);
        four_in_a_row.push(p);
    }
    let programs = |w, posted| [pair_in_a_row(w, posted), ring_of_four(w, posted)];
    for workers in [1, 2, 3, 4] {
        let runs = |p: &Program| outcome(p, workers, Schedule::DepthFirst).is_ok();
        for p in programs(queue, false).iter().chain(&four_in_a_row[..1]) {
            assert!(runs(p), "{workers} workers: {queue} wavelets fit the queues");
        }
        for p in programs(queue + 1, false).iter().chain(&four_in_a_row[1..]) {
            assert!(!runs(p), "{workers} workers: {} wavelets do not fit", queue + 1);
        }
        for w in [queue + 1, 100, 3000] {
            for p in programs(w, true) {
                assert!(runs(&p), "{workers} workers: {w} wavelets, posted");
            }
        }
    }
    // With queues of 9 the same exchange runs: it is the chip that stalls it.
    let roomy = Chip { queue_wavelets: queue + 1, ..wse2() };
    assert!(pair_in_a_row(queue + 1, false).launch(&roomy, 1, Schedule::DepthFirst, false).run(&[]).is_ok());
}

#[test]
fn a_report_says_who_waits_where_since_when_and_for_whom() {
    let report = stall(&pair_in_a_row(9, false), 1, Schedule::DepthFirst);
    assert_eq!(report.cycle, [at(0), at(1)]);
    let ends: Vec<_> = report.blocked.iter().map(|b| (b.pe, b.sends, b.since, &b.waits_for[..], b.holds)).collect();
    assert_eq!(ends, [(at(0), true, 0, &[at(1)][..], (1, 9)), (at(1), true, 0, &[at(0)][..], (1, 9))]);
    let text = report.to_string();
    for part in ["stalled: 2 PEs", "send on color 0 to East", "send on color 1 to West", "script/mod.rs:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("shortest cycle of waits (2 PEs): (0, 0) -> (1, 0) -> (0, 0)"), "{text}");

    let report = stall(&missing_burst(), 1, Schedule::DepthFirst);
    let waits: Vec<_> = report.blocked.iter().map(|b| (b.pe, b.sends, &b.waits_for[..])).collect();
    assert_eq!((waits, &report.cycle[..]), (vec![(at(1), false, &[at(0)][..])], &[][..]));
    // The first receive ended at 7 + 4 + 1: the burst was there (head 3, tail 7, both + T_R = 2 before 7 and 9).
    assert_eq!(report.blocked[0].since, 12);
    let text = report.to_string();
    assert!(text.contains("receive on color 0 from West") && text.contains("no cycle of waits"), "{text}");
}

#[test]
fn the_late_sink_of_a_multicast_is_what_the_others_wait_for() {
    let report = stall(&late_sink(), 1, Schedule::DepthFirst);
    let waits: Vec<_> = report.blocked.iter().map(|b| (b.pe, b.sends, &b.waits_for[..])).collect();
    let (source, late, wants) = (at(0), at(1), at(2));
    assert_eq!(waits, [(source, true, &[late][..]), (late, false, &[wants][..]), (wants, false, &[late][..])]);
    assert_eq!(report.cycle, [late, wants]);
}

#[test]
fn the_shortest_cycle_is_named_and_ties_go_to_the_first_in_row_order() {
    let report = stall(&long_and_short_cycle(), 1, Schedule::DepthFirst);
    assert_eq!((report.blocked.len(), &report.cycle[..]), (9, &[pe(0, 2), pe(1, 2)][..]));
    assert_eq!(stall(&crossing_rings(), 1, Schedule::DepthFirst).cycle, [pe(1, 1), pe(2, 1)]);
    assert_eq!(stall(&ring_of_four(9, false), 1, Schedule::DepthFirst).cycle, [pe(0, 0), pe(1, 0), pe(1, 1), pe(0, 1)]);
}

#[test]
fn the_text_is_the_same_at_every_worker_count_and_schedule() {
    let programs = [
        ("pair", pair_in_a_row(9, false)),
        ("ring of four", ring_of_four(30, false)),
        ("pairs on a mesh", mesh_of_pairs(8, 5, 12)),
        ("crossing rings", crossing_rings()),
        ("missing burst", missing_burst()),
        ("late sink", late_sink()),
        ("two cycles", long_and_short_cycle()),
    ];
    for (name, p) in &programs {
        let expect = stall(p, 1, Schedule::DepthFirst);
        for workers in [1, 2, 3, 8] {
            let schedules = (0..5).map(|i| Schedule::Random(workers as u64 * 100 + i));
            for schedule in std::iter::once(Schedule::DepthFirst).chain(schedules) {
                let found = stall(p, workers, schedule);
                assert_eq!(found.to_string(), expect.to_string(), "{name}: {workers} workers, {schedule:?}");
                assert_eq!(found, expect, "{name}: {workers} workers, {schedule:?}");
            }
        }
    }
}

/// PEs of a mesh in boustrophedon order.
fn snake(cols: u32, rows: u32) -> Vec<Coord> {
    let row = |r: u32| (0..cols).map(move |c| pe(if r.is_multiple_of(2) { c } else { cols - 1 - c }, r));
    (0..rows).flat_map(row).collect()
}

#[test]
fn a_hundred_thousand_stalled_pes_read_as_a_screenful() {
    // Everybody waits for the one before, and the first for a PE of the second row.
    let mut waiting = Program::default();
    let (cols, rows) = (400, 250);
    let order = snake(cols, rows);
    for (i, &to) in order.iter().enumerate() {
        let from = if i == 0 { pe(0, 1) } else { order[i - 1] };
        let color = waiting.line(from, to);
        waiting.op(to, Op::Recv(color, 5));
        waiting.op(from, Op::JoinAll);
    }
    let report = stall(&waiting, 2, Schedule::DepthFirst);
    let text = report.to_string();
    assert_eq!((report.blocked.len(), report.cycle.len()), (100_000, 800), "{text}");
    is_a_screenful(&text);
    assert!(text.contains("columns 1..=399 step 2, rows 2..=248 step 2: receive"), "{text}");

    let pairs = stall(&mesh_of_pairs(cols, rows, 12), 3, Schedule::DepthFirst);
    let text = pairs.to_string();
    assert_eq!((pairs.blocked.len(), pairs.cycle.len(), text.lines().count()), (100_000, 2, 4), "{text}");
    is_a_screenful(&text);
    for (first, side) in [(0, "East"), (1, "West")] {
        let part = format!("50000 PEs in columns {first}..={} step 2, rows 0..=249: send on color", 398 + first);
        assert!(text.contains(&part) && text.contains(&format!("to {side}")), "{part} in {text}");
    }
}

/// Lines and columns of a terminal; a cycle of waits may wrap.
fn is_a_screenful(text: &str) {
    let lines: usize = text.lines().map(|line| line.len().div_ceil(160)).sum();
    assert!(lines <= 24, "{lines} lines:\n{text}");
}
