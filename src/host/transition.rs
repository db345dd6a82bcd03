//! From prefill to decode: the fabric is quiescent, routes are written, arenas stay; what lies elsewhere moves.
//!
//! ```text
//!   same placement:   prefill ------------------------------------------> decode      weights, K and V are in place
//!   apart:            prefill --> transition (one launch or several) ---> decode
//! ```
//! The time of a launch is split at the core that ends last: what it computes, and all else (links, routes to write).
//!
//! Invariant: what a launch finds in a tile is what the one before left in it on the same PE; the host moves none
//! between PEs, and `kept` holds that every tile that counts is there. Called by `prefill`.

use crate::exec::{Counters, PassError, TraceOptions, Wafer};
use crate::fabric::Layout;
use crate::kernels::decode::Region;
use crate::kernels::decode::point::{self, Part};
use crate::kernels::prefill::Prefill;
use crate::kernels::transition::Transition;
use crate::pe::{Kernel, Pe};
use crate::units::Coord;

use super::kept;
use super::report::{Moved, PhaseCycles, PrefillReport};
use super::session::{Session, SessionError};
use super::trace::Phase;
use super::usage::Noted;
use super::visit::sort_by_visit;

impl Session {
    /// Ends the prefill and starts decode.
    pub(super) fn transition(&mut self, kernel: &Prefill, launches: Vec<Transition>) -> Result<(), SessionError> {
        let counters = self.wafer.counters()?;
        let (positions, chunk, older, cycles) = (kernel.prompt, kernel.chunk, kernel.older, self.phase_end);
        let (hops, wavelets) = (counters.hops, counters.wavelets);
        let usage = self.usage_of(&kernel.decode, 0..positions)?;
        let decode = kernel.then();
        let (mut moved, mut computed) = (Moved::default(), 0);
        if kernel.apart.is_some() {
            self.kept_logits = Some(self.logits_of(&kernel.decode)?);
            let plan = &kernel.decode.plan;
            moved.from = Some((plan.cols as u32, plan.rows as u32));
            for (nth, launch) in launches.into_iter().enumerate() {
                let layout = launch.layout()?;
                let is_new = |pe| nth == 0 && decode.region(pe) != Region::Transit;
                self.relaunch(launch, layout, &mut moved, is_new)?;
                computed += self.busy_of_last()?;
            }
        }
        let mut layout = decode.layout()?;
        sort_by_visit(&decode, &mut layout, &self.options)?;
        self.relaunch(decode.clone(), layout, &mut moved, |_| false)?;
        // Every PE waits for the slowest one of the launch before.
        moved.cycles = self.before.cycles - counters.cycles;
        moved.hops = self.before.hops - hops;
        moved.wavelets = self.before.wavelets - wavelets;
        let total = self.before.cycles - cycles.min(self.before.cycles);
        let mut parts = [0; Part::ALL.len()];
        (parts[Part::Compute as usize - 1], parts[Part::Wait as usize - 1]) = (computed, total - computed);
        self.by_phase.push(PhaseCycles { name: "transition", total, parts });
        if self.spans_max > 0 {
            let (start, end) = (self.before.cycles - total, self.before.cycles);
            self.past.phases.push(Phase { track: u16::MAX, name: "transition", start, end });
        }
        // As a share of what `positions` in this chunk were predicted to take: both are estimates.
        let (best, [least, taken]) = kernel.fastest();
        let faster = (9 * least < 8 * taken).then_some((best, least as f64 / taken as f64));
        self.prefilled = Some(PrefillReport { positions, chunk, older, faster, cycles, hops, wavelets, usage, moved });
        self.noted = Noted::default();
        self.decode = decode;
        (self.points, self.phase_end) = (&point::NAMES, 0);
        Ok(())
    }

    /// Compute and issue cycles of the core that ends last in the launch in operation, the first of them by (row, col).
    fn busy_of_last(&self) -> Result<u64, PassError> {
        let records = self.wafer.records()?;
        Ok(records.iter().rev().max_by_key(|(_, record)| record.now).map_or(0, |(_, record)| record.busy))
    }

    /// Ends the launch in operation and starts the next one in its arenas, behind the writing of its routes; a program
    /// that does not wait for a pass runs to its end. `is_new`: PEs that no launch had before.
    ///
    /// # Errors
    /// `NotKept` before anything ends, when a tile that the next launch counts on is not there; as a launch and a run.
    fn relaunch<K: Kernel>(
        &mut self,
        kernel: K,
        layout: Layout,
        moved: &mut Moved,
        is_new: impl Fn(Coord) -> bool,
    ) -> Result<(), SessionError> {
        kept::check(&self.wafer.shared_layout(), &layout, is_new)?;
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

#[cfg(test)]
mod tests {
    use super::super::kept::NotKept;
    use super::super::{PrefillOptions, SessionConfig};
    use super::*;
    use crate::arena::Owner;
    use crate::fabric::Chip;
    use crate::math::checkpoint::{ModelShape, WeightFormat};
    use crate::math::random_checkpoint::RandomCheckpoint;

    #[test]
    fn a_launch_that_would_lose_keys_does_not_begin_and_names_them() {
        let shape = ModelShape {
            hidden: 16,
            n_layers: 2,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 8,
            ffn: 24,
            vocab: 19,
            norm_eps: 1e-5,
            inv_freq: vec![1.0, 0.1, 0.01, 0.001],
            tied: true,
            qkv_bias: false,
        };
        let model = RandomCheckpoint::new(shape, WeightFormat::F16, 3);
        let chip = Chip::preset("wse2").expect("a preset");
        let config = SessionConfig { mesh: Some((2, 2)), context: 9, prompt: 4, ..SessionConfig::new(chip) };
        let session = Session::with_prefill(&model, config, PrefillOptions::default(), None, false);
        let mut session = session.unwrap_or_else(|e| panic!("{e}"));
        let kernel = session.prompt.as_ref().expect("a prompt to come").kernel.then();
        let layout = kernel.layout().expect("a layout");
        let at = layout.pes.iter().rev().find(|pe| pe.tiles.iter().any(|t| t.owner == Owner::Kv)).expect("KV").coord;
        let mut broken = layout.clone();
        let keys = broken.pe(at).tiles.iter_mut().find(|t| t.owner == Owner::Kv).expect("K");
        keys.bytes += 16;
        let lost = session.relaunch(kernel.clone(), broken, &mut Moved::default(), |_| false);
        let Err(SessionError::NotKept(NotKept { pe, tile: "K", need, found: Some(found), .. })) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!((pe, need.1, need.0), (at, found.1 + 16, found.0));
        session.relaunch(kernel, layout, &mut Moved::default(), |_| false).expect("what is kept");
    }
}
