//! What a host cannot run is an error of the launch, not a panic.

mod script;

use plummer::exec::{LaunchError, WORKERS_MAX};
use plummer::fabric::Chip;
use plummer::link::Schedule;
use script::{Op, Program, at};

#[test]
fn a_number_of_workers_that_cannot_be_is_refused_with_need_and_have() {
    let chip = Chip::preset("bench").expect("a preset");
    let mut program = Program::default();
    program.op(at(0), Op::Compute(7));
    for workers in [0, WORKERS_MAX + 1, usize::MAX] {
        let outcome = program.try_launch(&chip, workers, Schedule::DepthFirst, false);
        match outcome.map(|_| ()) {
            Err(error @ LaunchError::Workers { found, most }) => {
                assert_eq!((found, most), (workers, WORKERS_MAX));
                assert!(error.to_string().contains(&format!("1 to {WORKERS_MAX}")), "{error}");
            }
            other => panic!("{workers} workers: {other:?}"),
        }
    }
    let mut wafer = program.launch(&chip, WORKERS_MAX, Schedule::DepthFirst, false);
    wafer.run(&[]).expect("one PE finishes whoever has it");
    assert_eq!(wafer.counters().expect("counters").cycles, 7);
}
