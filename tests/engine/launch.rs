//! What a host cannot run is an error of the launch, not a panic.

use plummer::exec::{LaunchError, PassError, RunOptions, WORKERS_MAX, Wafer};
use plummer::fabric::{Chip, Layout};
use plummer::link::Schedule;
use plummer::pe::{Kernel, Pe};
use plummer::units::{Coord, Cycles};

use crate::script::{Op, Program, at};

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

/// A kernel with a defect: one PE panics.
struct Broken(Coord);

impl Kernel for Broken {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        pe.compute(Cycles(1), |_| assert_ne!(pe.coord(), self.0, "on purpose"));
    }
}

#[test]
fn a_program_that_panics_ends_the_run_at_every_worker_count() {
    for workers in [1, 2, 3, 8] {
        for broken in [0, 7] {
            let mut layout = Layout::default();
            (0..8).for_each(|col| layout.pe(at(col)).share = (col * 8192) as u16);
            let chip = Chip::preset("bench").expect("a preset");
            let kernel = Broken(at(broken));
            let mut wafer = Wafer::launch(kernel, layout, &chip, &RunOptions::new(workers), |_, _, _| {})
                .unwrap_or_else(|e| panic!("{e}"));
            let outcome = wafer.run(&[]);
            assert!(matches!(outcome, Err(PassError::Lost)), "{workers} workers, PE {broken}: {outcome:?}");
        }
    }
}
