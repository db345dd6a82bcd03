//! Layers that are not executed: their cores are timed in lockstep.
//!
//! Invariant: cycles and counters are those of the executed pass, in a prefill core by core, in a decode mark by mark
//! (tested on small meshes of every shape). Called by `dry`.

use std::time::Instant;

use crate::collectives::lockstep::{Clock, Done};
use crate::exec::Counters;
use crate::kernels::decode::Decode;
use crate::kernels::prefill::Prefill;
use crate::link::Record;

use super::dry::Pass;

/// Messages of a prefill layer that are executed in a few seconds.
const MESSAGES_MAX: usize = 4_000_000;
/// Cores on which a pass of decode is executed in less than a second, layout and launch included.
const CORES_MAX: usize = 20_000;

/// The layers of a prefill that stands alone, where they are too many messages to execute and the prompt is one chunk.
pub(super) fn prefill_pass(kernel: &Prefill) -> Option<Pass> {
    let plan = &kernel.decode.plan;
    // Tours of QKV and gate|up along x, of attention, O and down along y; every round an exchange and a partial sum.
    let messages = 2 * plan.cols * plan.rows * (2 * plan.cols + 3 * plan.rows);
    if messages > MESSAGES_MAX { prefill(kernel) } else { None }
}

/// The layers of a decode that stands alone, on meshes with many cores; not where the launch would be refused: it says
/// why.
pub(super) fn decode_pass(decode: &Decode, position: usize) -> Option<Pass> {
    let (plan, chip) = (&decode.plan, &decode.chip);
    let longest = decode.shape.n_heads * plan.cap;
    let fits = decode.colors() <= chip.usable_colors() && longest <= usize::from(u16::MAX);
    (plan.cols * plan.rows > CORES_MAX && fits).then(|| self::decode(decode, position))
}

fn prefill(kernel: &Prefill) -> Option<Pass> {
    let begin = Instant::now();
    let done = kernel.in_lockstep()?;
    Some(Pass { arena_need: kernel.fullest_bytes() as u64, ..pass(&kernel.decode, done, begin) })
}

fn decode(decode: &Decode, position: usize) -> Pass {
    let begin = Instant::now();
    pass(decode, decode.in_lockstep(position), begin)
}

fn pass(decode: &Decode, done: Done, begin: Instant) -> Pass {
    let (place, cols) = (decode.plan.floor.regions[1], decode.plan.cols);
    let record = |(i, c): (usize, &Clock)| {
        let record = Record { now: c.now, busy: c.busy, depth: c.depth, ..Record::new() };
        (place.at(i % cols, i / cols), record)
    };
    let clocks = &done.clocks;
    let counters = Counters {
        cycles: clocks.iter().map(|c| c.now).max().unwrap_or(0),
        hops: done.sent.hops,
        wavelets: done.sent.wavelets,
        bursts: done.sent.bursts,
        depth: clocks.iter().map(|c| c.depth).max().unwrap_or(0),
        busy: clocks.iter().map(|c| c.busy).sum::<u64>() + decode.head_busy(),
    };
    let records = clocks.iter().enumerate().map(record).collect();
    let (colors_max, seconds) = (decode.colors(), begin.elapsed().as_secs_f64());
    Pass { counters, marks: done.marks, records, colors_max, arena_need: 0, executed: false, seconds }
}

#[cfg(test)]
#[path = "lockstep_tests.rs"]
mod tests;
