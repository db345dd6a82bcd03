//! Layers that are not executed: their cores are timed in lockstep.
//!
//! Invariant: cycles and counters are those of the executed pass, core by core, the head's included (tested on small
//! meshes of every shape). Called by `dry`.

use std::time::Instant;

use crate::collectives::lockstep::{Clock, Done};
use crate::exec::Counters;
use crate::kernels::decode::Decode;
use crate::kernels::prefill::Prefill;
use crate::link::Record;
use crate::units::Coord;

use super::dry::Pass;
use super::session::SessionError;

/// Messages of a prefill layer that are executed in a few seconds.
const MESSAGES_MAX: usize = 4_000_000;
/// Cores on which a pass of decode is executed in less than a second, layout and launch included.
const CORES_MAX: usize = 20_000;

/// The layers of a prefill that stands alone, where they are too many messages to execute and the prompt is one chunk.
///
/// # Errors
/// A defect in the coloring.
pub(super) fn prefill_pass(kernel: &Prefill) -> Option<Result<Pass, SessionError>> {
    let plan = &kernel.decode.plan;
    // Tours of QKV and gate|up along x, of attention, O and down along y; every round an exchange and a partial sum.
    let messages = 2 * plan.cols * plan.rows * (2 * plan.cols + 3 * plan.rows);
    if messages > MESSAGES_MAX { prefill(kernel) } else { None }
}

/// The layers of a decode that stands alone, on meshes with many cores; not where the launch would be refused: it says
/// why.
///
/// # Errors
/// A defect in the coloring.
pub(super) fn decode_pass(decode: &Decode, position: usize) -> Option<Result<Pass, SessionError>> {
    let (plan, chip) = (&decode.plan, &decode.chip);
    let longest = decode.shape.n_heads * plan.cap;
    let fits = decode.colors() <= chip.usable_colors() && longest <= usize::from(u16::MAX);
    (plan.cols * plan.rows > CORES_MAX && fits).then(|| self::decode(decode, position))
}

fn prefill(kernel: &Prefill) -> Option<Result<Pass, SessionError>> {
    let begin = Instant::now();
    let done = kernel.in_lockstep()?;
    let pass = |colors_max| Pass {
        colors_max,
        arena_need: kernel.fullest_bytes() as u64,
        ..pass(&kernel.decode, done, begin)
    };
    Some(kernel.colors_at_most().map(pass).map_err(SessionError::from))
}

fn decode(decode: &Decode, position: usize) -> Result<Pass, SessionError> {
    let begin = Instant::now();
    let done = decode.in_lockstep(position);
    Ok(Pass { colors_max: decode.colors_at_most()?, ..pass(decode, done, begin) })
}

/// The pass; colors and arenas are for others to say.
fn pass(decode: &Decode, done: Done, begin: Instant) -> Pass {
    let (places, cols) = (&decode.plan.floor.regions, decode.plan.cols);
    let record = |at: Coord, c: &Clock| (at, Record { now: c.now, busy: c.busy, depth: c.depth, ..Record::new() });
    let of_head = done.head.iter().enumerate().map(|(row, c)| record(places[0].at(0, row), c));
    let of_stage = done.clocks.iter().enumerate().map(|(i, c)| record(places[1].at(i % cols, i / cols), c));
    let records: Vec<(Coord, Record)> = of_head.chain(of_stage).collect();
    let all = || records.iter().map(|r| &r.1);
    let counters = Counters {
        cycles: all().map(|r| r.now).max().unwrap_or(0),
        hops: done.sent.hops,
        wavelets: done.sent.wavelets,
        bursts: done.sent.bursts,
        depth: all().map(|r| r.depth).max().unwrap_or(0),
        busy: all().map(|r| r.busy).sum(),
    };
    let seconds = begin.elapsed().as_secs_f64();
    Pass { counters, marks: done.marks, records, colors_max: 0, arena_need: 0, executed: false, seconds }
}

#[cfg(test)]
#[path = "lockstep_tests.rs"]
mod tests;
