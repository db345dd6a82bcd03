//! The verdict of `check` against the engine (threads, random schedules) and against a network of single wavelets, on
//! random small programs; and hand-made programs whose verdict the contract says.

use plummer::exec::{CheckReport, PassError, Verdict, WaitCycle, check};
use plummer::fabric::Chip;
use plummer::link::Schedule;
use plummer::units::Coord;

use crate::script::{Op, Program, at, random, wavelets};

/// Programs; a failure names its seed.
const PROGRAMS: u64 = 3000;

fn chip(lane_depth: u8, queue_wavelets: u32) -> Chip {
    Chip { lane_depth, queue_wavelets, colors: 64, ..Chip::preset("wse2").unwrap() }
}

fn checked(p: &Program, chip: &Chip) -> CheckReport {
    check(&p.script, &p.layout(), chip).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_verdict_is_the_engines_at_every_worker_count_and_schedule() {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..PROGRAMS {
        let p = random::program(seed);
        let chip = chip(1 + (seed % 3) as u8, [0, 8, 16][(seed / 3 % 3) as usize]);
        let report = checked(&p, &chip);
        *counts.entry(report.verdict.name()).or_insert(0) += 1;
        for (workers, schedule) in [(1, Schedule::Random(seed)), (2, Schedule::DepthFirst)] {
            let ran = p.launch(&chip, workers, schedule, seed % 2 == 0).run(&[]);
            match (&report.verdict, &ran) {
                (Verdict::Deadlock(ours), Err(PassError::Stall(theirs))) => assert_eq!(ours, theirs, "seed {seed}"),
                (Verdict::Strict | Verdict::Buffered(_), Ok(())) => {}
                // A burst that comes back to a PE on its way meets its own tile.
                (Verdict::Fault(ours), Err(PassError::Fault(theirs))) => assert_eq!(**ours, *theirs, "seed {seed}"),
                (verdict, ran) => panic!("seed {seed}, {workers} workers: {} but {ran:?}", verdict.name()),
            }
        }
    }
    println!("{counts:?}");
    for name in ["strict", "buffered", "deadlock"] {
        assert!(counts.get(name).is_some_and(|n| *n > PROGRAMS / 20), "the sample has too few {name}: {counts:?}");
    }
}

/// How a program ended: its counters, or who waits since when and the shortest cycle, or the fault.
fn outcome(p: &Program, chip: &Chip, (workers, schedule, dry): (usize, Schedule, bool)) -> String {
    let mut wafer = p.launch(chip, workers, schedule, dry);
    match wafer.run(&[]) {
        Ok(()) => format!("{:?} {:?}", wafer.counters().unwrap(), wafer.link_traffic().unwrap()),
        Err(PassError::Stall(stall)) => {
            let blocked = stall.blocked.iter().map(|b| (b.pe, b.since, b.color, &b.waits_for, &b.holds));
            format!("{:?} {:?} {:?}", blocked.collect::<Vec<_>>(), stall.cycle, wafer.counters().unwrap())
        }
        Err(error) => error.to_string(),
    }
}

/// How programs end whose pairs of posts are moves, on several schedules and chips: as they do operation by operation.
/// Moves, stalls and faults.
fn in_moves(name: &str, made: fn(u64) -> Program) -> [usize; 3] {
    let (mut moves, mut stalls, mut faults) = (0, 0, 0);
    for seed in 0..PROGRAMS {
        let (p, together) = (made(seed), made(seed).in_moves());
        let script = format!("{:?}", together.script);
        moves += script.matches("Exchange").count();
        let chip = Chip {
            issue_cycles: (seed % 2 * 3) as u32,
            turn_cycles: (seed / 3 % 2) as u32,
            ..chip(1 + (seed / 2 % 3) as u8, 8)
        };
        let want = outcome(&p, &chip, (1, Schedule::Random(seed), seed % 2 == 0));
        stalls += usize::from(want.starts_with('['));
        faults += usize::from(want.starts_with("PE"));
        for (workers, schedule) in
            [(1, Schedule::DepthFirst), (2, Schedule::DepthFirst), (1, Schedule::Random(seed + 1))]
        {
            let found = outcome(&together, &chip, (workers, schedule, seed % 2 == 0));
            assert_eq!(found, want, "{name} {seed}, {workers} workers, {schedule:?}: {script}");
        }
    }
    println!("{name}: {moves} moves in {PROGRAMS} programs, {stalls} of which stall and {faults} fail");
    [moves, stalls, faults]
}

/// Moves of rings are posted and joined in one piece depth first, and operation by operation in any other schedule.
#[test]
fn sends_and_receives_that_are_posted_together_are_those_that_are_posted_apart() {
    let [moves, stalls, _] = in_moves("posted", random::posted);
    assert!(moves > 500 && stalls > 100, "{moves} {stalls}");
}

/// The same on links over which block follows block, where neither ports nor lanes are touched as long as nothing else
/// uses them; and where something does.
#[test]
fn blocks_that_follow_each_other_over_the_same_links_are_messages_like_any_other() {
    for (name, made) in [("rings", random::rings as fn(u64) -> Program), ("mixed", random::mixed)] {
        let [moves, stalls, faults] = in_moves(name, made);
        assert!(moves > 20_000 && stalls > 100 && faults > 50, "{name} {moves} {stalls} {faults}");
    }
}

#[test]
fn what_passes_strictly_completes_on_every_chip_and_wavelet_by_wavelet() {
    let (mut strict, mut buffered, mut hang) = (0, 0, 0);
    for seed in 0..PROGRAMS {
        let p = random::program(seed);
        let verdict = checked(&p, &chip(2, 16)).verdict;
        // Longer than all queues of any way on six PEs: at most 6 routers and a ramp of 8 wavelets each.
        let by_wavelets = || [1, 2, 8].map(|depth| wavelets::completes(&p, depth, 80));
        match verdict {
            Verdict::Strict => {
                strict += 1;
                assert_eq!(by_wavelets(), [true; 3], "seed {seed}");
                for (depth, queue) in [(1, 0), (1, 64), (3, 0)] {
                    let other = checked(&p, &chip(depth, queue)).verdict;
                    assert!(other.is_strict(), "seed {seed}, depth {depth}, queue {queue}: {other:?} {:?}", p.script);
                }
            }
            Verdict::Buffered(stall) => {
                buffered += 1;
                hang += u32::from(by_wavelets().contains(&false));
                assert!(!stall.cycle.is_empty(), "seed {seed}: every burst has a taker, so someone waits in a cycle");
                let mut next = stall.cycle.clone();
                next.rotate_left(1);
                for (pe, next) in stall.cycle.iter().zip(next) {
                    let waits = stall.blocked.iter().find(|b| b.pe == *pe).expect("a blocked PE");
                    assert!(waits.waits_for.contains(&next), "seed {seed}: {pe} does not wait for {next}");
                }
            }
            _ => {}
        }
    }
    println!("{strict} strict; {buffered} only buffered, of which {hang} hang wavelet by wavelet");
    // Neither too lax (above) nor too strict: what only completes by buffering hangs on shorter queues.
    assert!(strict > 500 && hang * 10 >= buffered * 9, "{strict} {buffered} {hang}");
}

/// Two PEs that give each other `w` and `w` + 1 words (lengths are names of tiles in a script).
fn exchange(w: u32, posted: bool) -> Program {
    let mut p = Program::default();
    let (east, west) = (p.line(at(0), at(1)), p.line(at(1), at(0)));
    for (pe, to, give, from, take) in [(at(0), east, w, west, w + 1), (at(1), west, w + 1, east, w)] {
        let send = if posted { Op::PostSend(to, give) } else { Op::Send(to, give) };
        [send, Op::Recv(from, take), Op::JoinAll].into_iter().for_each(|op| p.op(pe, op));
    }
    p
}

#[test]
fn a_send_first_exchange_is_buffered_or_deadlocks_and_the_posted_one_is_strict() {
    let wse2 = chip(2, 8);
    for (p, expect) in [
        (exchange(4, false), "buffered"),
        (exchange(20, false), "deadlock"),
        (exchange(4, true), "strict"),
        (exchange(20, true), "strict"),
    ] {
        assert_eq!(checked(&p, &wse2).verdict.name(), expect);
    }
    let Verdict::Buffered(stall) = checked(&exchange(4, false), &wse2).verdict else { panic!("as above") };
    assert_eq!(stall.cycle, [at(0), at(1)]);
    let text = WaitCycle(&stall).to_string();
    for part in ["shortest cycle of waits, 2 of 2 PEs", "PE (0, 0): send on color 0 to East", "waits for PE (1, 0)"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// A chain 0 -> 1 -> 2 by a combine at 1, whose first burst also goes to 3, which first wants a word from 2. With the
/// chain's bursts in queues it completes; the combine cannot stream before PE 3 takes.
fn combine_behind_a_late_sink() -> Program {
    let mut p = Program::default();
    let pes: Vec<Coord> = (0..4).map(at).collect();
    let all = p.color(pes.clone());
    use plummer::fabric::{Direction, Tx};
    p.layout.route(at(0), all, Direction::Ramp, Tx::to(Direction::East)).unwrap();
    p.layout.route(at(1), all, Direction::West, Tx::RAMP.and(Direction::East)).unwrap();
    p.layout.route(at(2), all, Direction::West, Tx::to(Direction::East)).unwrap();
    p.layout.route(at(3), all, Direction::West, Tx::RAMP).unwrap();
    let on = p.line(at(1), at(2));
    let word = p.line(at(2), at(3));
    p.op(at(0), Op::Send(all, 6));
    p.op(at(1), Op::Combine(all, on, 6));
    p.op(at(2), Op::Recv(on, 6));
    p.op(at(2), Op::Send(word, 1));
    p.op(at(3), Op::Recv(word, 1));
    p.op(at(3), Op::Recv(all, 6));
    p
}

#[test]
fn a_combine_ends_only_with_all_sinks_of_the_burst_that_feeds_it() {
    let p = combine_behind_a_late_sink();
    assert_eq!(checked(&p, &chip(2, 8)).verdict.name(), "buffered");
    assert!(!wavelets::completes(&p, 1, 80));
}

#[test]
fn a_burst_that_nobody_takes_is_named() {
    let mut p = Program::default();
    let color = p.line(at(0), at(1));
    p.op(at(0), Op::PostSend(color, 4));
    p.op(at(1), Op::Compute(1));
    match checked(&p, &chip(2, 8)).verdict {
        Verdict::Left { bursts, from } => assert_eq!((bursts, from), (1, Some(at(0)))),
        other => panic!("{}", other.name()),
    }
}
