//! Every golden program gives its exact cycles, hops, wavelets, bursts and depth, at any worker count and schedule.
//!
//! The numbers in `tests/data/cycles.json` come from an interpreter of the contract that was written apart from this
//! crate. `PLUMMER_GOLDEN=DIR` reads them from another folder.

use plummer::link::Schedule;
use serde_json::Value;

use crate::script::{self, families::program};

fn cases() -> Vec<Value> {
    let folder =
        std::env::var("PLUMMER_GOLDEN").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data").into());
    let text = std::fs::read_to_string(format!("{folder}/cycles.json")).expect("the golden file is there");
    let all: Value = serde_json::from_str(&text).expect("the golden file is JSON");
    all["cases"].as_array().expect("it has cases").clone()
}

/// What differs from the golden numbers of one case.
fn differences(case: &Value, (workers, schedule, dry): (usize, Schedule, bool), in_moves: bool) -> Vec<String> {
    let program = program(case["family"].as_str().unwrap(), &case["params"]);
    let program = if in_moves { program.in_moves() } else { program };
    let chip = script::chip(&case["chip"]);
    let name = case["name"].as_str().unwrap();
    let place = format!("{name} workers {workers} {schedule:?} dry {dry} in moves {in_moves}");
    let mut wafer = program.launch(&chip, workers, schedule, dry);
    if let Err(error) = wafer.run(&[]) {
        return vec![format!("{place}: {error}")];
    }
    let c = wafer.counters().unwrap();
    let found = [
        ("cycles", c.cycles),
        ("hops", c.hops),
        ("wavelets", c.wavelets),
        ("bursts", c.bursts),
        ("depth", u64::from(c.depth)),
    ];
    let mut out = Vec::new();
    for (name, found) in found {
        let need = case[name].as_u64().unwrap();
        if need != found {
            out.push(format!("{place}: {name}: need {need}, found {found}"));
        }
    }
    let Some(per_pe) = case["per_pe"].as_object() else { return out };
    let records = wafer.records().unwrap();
    for (at, need) in per_pe {
        let need = need.as_u64().unwrap();
        let found = records.iter().find(|r| format!("{},{}", r.0.col, r.0.row) == *at).map(|r| r.1.now);
        if found != Some(need) {
            out.push(format!("{place}: PE {at}: need {need}, found {found:?}"));
        }
    }
    out
}

fn check_all(workers: &[usize], schedules: &[Schedule], dry: bool) {
    let cases = cases();
    assert!(cases.len() >= 77, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        for &workers in workers {
            for &schedule in schedules {
                wrong.extend(differences(case, (workers, schedule, dry), false));
                wrong.extend(differences(case, (workers, schedule, dry), true));
            }
        }
    }
    let shown = wrong.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences\n{shown}", wrong.len());
}

#[test]
fn every_golden_program_matches_depth_first() {
    check_all(&[1, 2, 3], &[Schedule::DepthFirst], false);
}

#[test]
fn every_golden_program_matches_dry() {
    check_all(&[1, 2, 3], &[Schedule::DepthFirst], true);
}

#[test]
fn every_golden_program_matches_under_random_schedules() {
    check_all(&[1, 2, 3], &[1, 2, 3].map(Schedule::Random), false);
}
