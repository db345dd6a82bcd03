//! The first launch of a session that begins with a prompt, and the transition to the second, decode.
//!
//! ```text
//!   launch 1: prefill --(quiescent: routes are written, arenas stay)--> launch 2: decode, K and V where it looks
//! ```
//! Invariant: what decode finds in a tile is what prefill left in it on the same PE; the host moves none between PEs.

use crate::exec::{Counters, Inject, Wafer};
use crate::kernels::decode::point::Part;
use crate::kernels::decode::{Decode, pass, tile};
use crate::kernels::prefill::{PHASES, Prefill, PrefillRefused};
use crate::link::Ctrl;
use crate::pe::Mark;

use super::report::{self, PhaseCycles, PrefillReport};
use super::session::{Session, SessionError, Step};
use super::visit::sort_by_visit;

/// A prompt that a session waits for.
pub(super) struct Prompt {
    pub(super) kernel: Prefill,
}

impl Prompt {
    pub(super) fn new(decode: &Decode, positions: usize) -> Result<Self, PrefillRefused> {
        Ok(Self { kernel: Prefill::new(decode, positions)? })
    }
}

impl Session {
    /// Positions that go through the wafer together in the prefill to come, or that did in the one that was.
    pub fn chunk(&self) -> Option<usize> {
        let coming = self.prompt.as_ref().map(|p| p.kernel.chunk);
        coming.or(self.prefilled.as_ref().map(|p| p.chunk))
    }

    /// Runs the whole prompt and goes on to decode: the id after its last position, as `step` would give it. `progress`
    /// gets the positions that are done, and ends the prefill by `false`: then there is no step.
    ///
    /// # Errors
    /// `Prompt` when the session was not made for this prompt; a stall or a number that is none.
    pub fn prefill(
        &mut self,
        ids: &[u32],
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Step>, SessionError> {
        let need = self.prompt.as_ref().map_or(0, |p| p.kernel.prompt);
        let Some(Prompt { kernel }) = self.prompt.take_if(|p| p.kernel.prompt == ids.len()) else {
            return Err(SessionError::Prompt { need, found: ids.len(), at: self.positions });
        };
        for (position, id) in ids.iter().enumerate() {
            let is_last = position + 1 == ids.len();
            let kind_slot = if is_last { pass::WANT_LOGITS } else { 0 };
            let ctrl = Ctrl { kind_slot, position: position as u32 };
            self.wafer.run(&[Inject { lane: 0, ctrl, word: *id, ready: 0 }])?;
            let marks = self.wafer.take_marks();
            self.note_phases(&PHASES, &marks);
            self.positions += 1;
            if !progress(self.positions) && !is_last {
                self.prompt = None;
                return Ok(None);
            }
        }
        let argmax = self.wafer.read(self.decode.head_root(), tile::OWN)?.first().copied();
        self.logits_at = self.phase_end;
        self.transition(&kernel)?;
        Ok(Some(Step { argmax, cycles: self.logits_at }))
    }

    /// Adds the marks of a pass to the phases of the session.
    pub(super) fn note_phases(&mut self, names: &[&'static str], marks: &[Mark]) {
        self.phase_end = report::add_phases(&mut self.by_phase, names, marks, self.phase_end);
    }

    /// Counters of all launches; `cycles` is the clock of the session.
    pub(super) fn totals(&self) -> Counters {
        let (now, before) = (self.counters, self.before);
        Counters {
            cycles: before.cycles + now.cycles,
            hops: before.hops + now.hops,
            wavelets: before.wavelets + now.wavelets,
            bursts: before.bursts + now.bursts,
            ..now
        }
    }

    /// From prefill to decode: the fabric is quiescent, routes are written, arenas stay as they are.
    fn transition(&mut self, kernel: &Prefill) -> Result<(), SessionError> {
        let counters = self.wafer.counters()?;
        let decode = kernel.then();
        let mut layout = decode.layout()?;
        sort_by_visit(&decode, &mut layout, &self.options)?;
        let routes_written = layout.pes.iter().map(|pe| pe.routes.len()).max().unwrap_or(0) as u32;
        let transition_cycles = u64::from(routes_written) * u64::from(decode.chip.route_write_cycles);
        let empty = Wafer::launch(Nothing, Default::default(), &decode.chip, &self.options, |_, _, _| {})?;
        let arenas = std::mem::replace(&mut self.wafer, empty).into_arenas()?;
        let fill = |pe, id, words: &mut [u32]| {
            if let Some(left) = arenas.tile(pe, id) {
                words.copy_from_slice(left);
            }
        };
        self.wafer = Wafer::launch(decode.clone(), layout, &decode.chip, &self.options, fill)?;
        drop(arenas);
        self.wafer.run(&[])?;
        self.decode = decode;
        self.prefilled = Some(PrefillReport {
            positions: kernel.prompt,
            chunk: kernel.chunk,
            cycles: self.phase_end,
            hops: counters.hops,
            wavelets: counters.wavelets,
            routes_written,
            transition_cycles,
        });
        // Every PE waits for the slowest one, then for its routes.
        let quiet = counters.cycles - self.phase_end.min(counters.cycles);
        let total = quiet + transition_cycles;
        self.by_phase.push(PhaseCycles { name: "transition", total, parts: [0; Part::ALL.len()] });
        self.before = Counters { cycles: counters.cycles + transition_cycles, ..counters };
        self.phase_end = 0;
        Ok(())
    }
}

/// A kernel without PEs, while arenas are between two launches.
struct Nothing;

impl crate::pe::Kernel for Nothing {
    async fn program<'a>(&'a self, _pe: crate::pe::Pe<'a>) {}
}
