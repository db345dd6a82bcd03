//! Where the host keeps weights: in the order in which a token visits them.
//!
//! Every weight is read once a token, so decode runs at the speed at which the host streams them; each jump from one
//! tile to another starts a stream anew. The order follows from the schedule of the workers and from nothing else, so
//! one pass without payloads, before any weight is read, finds it. That pass is also the proof that the launch
//! completes.
//!
//! Invariant: places change and nothing else does: bits, cycles and counters do not know where a tile lies.
//! Called by `session`.

use crate::exec::{Inject, RunOptions, Wafer};
use crate::fabric::Layout;
use crate::kernels::decode::{Decode, pass};
use crate::link::{Ctrl, Schedule};

use super::session::SessionError;

/// Renumbers the visits of the layout's large tiles by a dry pass.
///
/// # Errors
/// Why the layout cannot run.
pub(super) fn sort_by_visit(decode: &Decode, layout: &mut Layout, options: &RunOptions) -> Result<(), SessionError> {
    if options.dry || options.full_arenas || options.schedule != Schedule::DepthFirst {
        return Ok(());
    }
    // A prompt that fills the arenas leaves no position to try.
    let position = decode.launch.positions;
    if position >= decode.plan.capacity {
        return Ok(());
    }
    let options = RunOptions { dry: true, log_visits: true, trace: None, probes: None, ..options.clone() };
    let mut wafer = Wafer::launch(decode.clone(), layout.clone(), &decode.chip, &options, |_, _, _| {})?;
    wafer.run(&[])?;
    let ctrl = Ctrl { kind_slot: pass::WANT_LOGITS, position: position as u32 };
    wafer.run(&[Inject { lane: 0, ctrl, word: 0, ready: 0 }])?;
    for (visit, (pe, id)) in wafer.take_visits()?.into_iter().enumerate() {
        if let Some(tile) = layout.pe(pe).tiles.iter_mut().find(|t| t.id == id) {
            tile.visit = visit as u64;
        }
    }
    Ok(())
}
