//! From prefill to decode: the fabric is quiescent, routes are written, arenas stay; what lies elsewhere moves.
//!
//! ```text
//!   same placement:   prefill ------------------------------------------> decode      weights, K and V are in place
//!   apart:            prefill --> transition (one launch or several) ---> decode
//! ```
//! Invariant: what a launch finds in a tile is what the one before left in it on the same PE; the host moves none
//! between PEs. Called by `prefill`.

use crate::exec::{Counters, TraceOptions, Wafer};
use crate::fabric::Layout;
use crate::kernels::decode::point::{self, Part};
use crate::kernels::prefill::Prefill;
use crate::kernels::transition::Transition;
use crate::pe::{Kernel, Pe};

use super::report::{Moved, PhaseCycles, PrefillReport};
use super::session::{Session, SessionError};
use super::trace::Phase;
use super::visit::sort_by_visit;

impl Session {
    /// Ends the prefill and starts decode.
    pub(super) fn transition(&mut self, kernel: &Prefill, launches: Vec<Transition>) -> Result<(), SessionError> {
        let counters = self.wafer.counters()?;
        let (positions, chunk, older, cycles) = (kernel.prompt, kernel.chunk, kernel.older, self.phase_end);
        let (hops, wavelets) = (counters.hops, counters.wavelets);
        let decode = kernel.then();
        let mut moved = Moved::default();
        if kernel.apart.is_some() {
            self.kept_logits = Some(self.logits_of(&kernel.decode)?);
            let plan = &kernel.decode.plan;
            moved.from = Some((plan.cols as u32, plan.rows as u32));
            for launch in launches {
                let layout = launch.layout()?;
                self.relaunch(launch, layout, &mut moved)?;
            }
        }
        let mut layout = decode.layout()?;
        sort_by_visit(&decode, &mut layout, &self.options)?;
        self.relaunch(decode.clone(), layout, &mut moved)?;
        // Every PE waits for the slowest one of the launch before.
        moved.cycles = self.before.cycles - counters.cycles;
        moved.hops = self.before.hops - hops;
        moved.wavelets = self.before.wavelets - wavelets;
        let total = self.before.cycles - cycles.min(self.before.cycles);
        self.by_phase.push(PhaseCycles { name: "transition", total, parts: [0; Part::ALL.len()] });
        if self.spans_max > 0 {
            let (start, end) = (self.before.cycles - total, self.before.cycles);
            self.past.phases.push(Phase { track: u16::MAX, name: "transition", start, end });
        }
        self.prefilled = Some(PrefillReport { positions, chunk, older, cycles, hops, wavelets, moved });
        self.decode = decode;
        (self.points, self.phase_end) = (&point::NAMES, 0);
        Ok(())
    }

    /// Ends the launch in operation and starts the next one in its arenas, behind the writing of its routes; a program
    /// that does not wait for a pass runs to its end.
    fn relaunch<K: Kernel>(&mut self, kernel: K, layout: Layout, moved: &mut Moved) -> Result<(), SessionError> {
        let chip = self.decode.chip.clone();
        let done = self.wafer.counters()?;
        let routes = layout.pes.iter().map(|pe| pe.routes.len()).max().unwrap_or(0) as u32;
        let writing = u64::from(routes) * u64::from(chip.route_write_cycles);
        moved.launches += 1;
        moved.routes_written = moved.routes_written.max(routes);
        self.bank()?;
        let left = self.spans_max - self.past.spans();
        self.options.trace = self.options.trace.map(|t| TraceOptions { spans_max: left, ..t });
        self.kept = (self.spans_max.saturating_sub(self.past.phases.len()), Vec::new(), 0);
        let empty = Wafer::launch(Nothing, Default::default(), &chip, &self.options, |_, _, _| {})?;
        let arenas = std::mem::replace(&mut self.wafer, empty).into_arenas()?;
        let fill = |pe, id, words: &mut [u32]| {
            // A tile of another length is another tile: a buffer of this launch alone.
            if let Some(left) = arenas.tile(pe, id).filter(|left| left.len() == words.len()) {
                words.copy_from_slice(left);
            }
        };
        self.wafer = Wafer::launch(kernel, layout, &chip, &self.options, fill)?;
        drop(arenas);
        self.wafer.run(&[])?;
        self.before = Counters {
            cycles: self.before.cycles + done.cycles + writing,
            hops: self.before.hops + done.hops,
            wavelets: self.before.wavelets + done.wavelets,
            bursts: self.before.bursts + done.bursts,
            ..done
        };
        Ok(())
    }
}

/// A kernel without PEs, while arenas are between two launches.
struct Nothing;

impl Kernel for Nothing {
    async fn program<'a>(&'a self, _pe: Pe<'a>) {}
}
