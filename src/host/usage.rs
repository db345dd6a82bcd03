//! What the PEs of a session did in a span of it: busy cycles by region, and how long each region had work before it.
//!
//! A region *works* from the arrival of a token (or chunk) until its own part of it is done: marks of one region follow
//! each other, and what lies between two of them is its work, except the time up to an arrival and, in the head, up to
//! the host's next command. Ways between regions are no region's work.
//!
//! Invariant: uncharged: counters and marks are read, nothing is run. Called by `session`, `transition` and `app`.

use std::ops::Range;

use crate::exec::PassError;
use crate::kernels::decode::Decode;
use crate::kernels::decode::point::{self, Part};
use crate::math::checkpoint::ModelShape;
use crate::math::work;
use crate::pe::Mark;

use super::dry::{RegionBusy, busy_by_region};
use super::session::Session;

/// A span of a session in one launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Virtual time of the span.
    pub cycles: u64,
    /// The head region, then every stage.
    pub regions: Vec<RegionBusy>,
    /// Cycles of the span in which each of them worked.
    pub works: Vec<u64>,
    /// Positions that went through.
    pub positions: Range<usize>,
    /// How many of them ended in logits.
    pub logits: usize,
}

impl Usage {
    /// The rest of this span behind `earlier`, which began where it begins.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |(now, then): (&RegionBusy, &RegionBusy)| RegionBusy {
            busy: now.busy - then.busy,
            edge_busy: now.edge_busy - then.edge_busy,
            ..*now
        };
        Self {
            cycles: self.cycles - earlier.cycles,
            regions: self.regions.iter().zip(&earlier.regions).map(less).collect(),
            works: self.works.iter().zip(&earlier.works).map(|(now, then)| now - then).collect(),
            positions: earlier.positions.end..self.positions.end,
            logits: self.logits - earlier.logits,
        }
    }

    /// Multiply-adds that a model of this shape asked for.
    pub fn macs(&self, shape: &ModelShape) -> u64 {
        let layers = self.positions.clone().map(|at| work::decode_layer_macs(shape, at)).sum::<u64>();
        layers * shape.n_layers as u64 + self.logits as u64 * work::head_macs(shape)
    }

    /// Busy cycles of all PEs of regions.
    pub fn busy_cycles(&self) -> u64 {
        self.regions.iter().map(|r| r.busy).sum()
    }
}

/// What is noted of a launch while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// Of each region: its last mark, and cycles that it worked up to there.
    regions: Vec<(u64, u64)>,
    /// Passes that ended in logits.
    pub(super) logits: usize,
}

impl Noted {
    /// Takes the marks of a pass.
    pub(super) fn add(&mut self, marks: &[Mark]) {
        let mut sorted: Vec<&Mark> = marks.iter().collect();
        sorted.sort_by_key(|m| m.now);
        for mark in sorted {
            // The head marks as nobody's stage.
            let region = if mark.who == u16::MAX { 0 } else { usize::from(mark.who) + 1 };
            if self.regions.len() <= region {
                self.regions.resize(region + 1, (0, 0));
            }
            let (last, works) = &mut self.regions[region];
            let (point, part) = point::of(mark.id);
            let arrives = point == point::ARRIVED && part == Some(Part::Broadcast);
            let waits_for_host = region == 0 && part == Some(Part::Wait);
            if !arrives && !waits_for_host {
                *works += mark.now.saturating_sub(*last);
            }
            *last = mark.now.max(*last);
        }
    }
}

impl Session {
    /// What the launch in operation did since it began: all passes of a decode; of a session that begins with a
    /// prefill, `PrefillReport` has that of the prompt.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn usage(&self) -> Result<Usage, PassError> {
        self.usage_of(&self.decode, self.decode.launch.positions..self.positions)
    }

    /// Likewise, with the regions of a kernel.
    pub(super) fn usage_of(&self, kernel: &Decode, positions: Range<usize>) -> Result<Usage, PassError> {
        let regions = busy_by_region(kernel, &self.wafer)?;
        let works = (0..regions.len()).map(|i| self.noted.regions.get(i).map_or(0, |r| r.1)).collect();
        let cycles = self.wafer.counters()?.cycles;
        Ok(Usage { cycles, regions, works, positions, logits: self.noted.logits })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PhaseCycles, PrefillOptions, SessionConfig, Token};
    use super::*;
    use crate::fabric::Chip;
    use crate::math::checkpoint::WeightFormat;

    fn shape() -> ModelShape {
        ModelShape {
            hidden: 16,
            n_layers: 3,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 8,
            ffn: 24,
            vocab: 19,
            norm_eps: 1e-5,
            inv_freq: vec![1.0, 0.1, 0.01, 0.001],
            tied: true,
            qkv_bias: false,
        }
    }

    fn config(mesh: (u32, u32)) -> SessionConfig {
        // An arena that holds a layer: stages, so that regions wait for each other.
        let chip = Chip { arena_bytes: 10_392, ..Chip::preset("wse2").expect("a preset") };
        SessionConfig { mesh: Some(mesh), context: 12, prompt: 5, ..SessionConfig::new(chip) }
    }

    /// Regions together are busy as the counters say, and no region works longer than the span.
    fn check(usage: &Usage, busy: u64, what: &str) {
        assert_eq!(usage.busy_cycles(), busy, "{what}");
        for (region, works) in usage.regions.iter().zip(&usage.works) {
            assert!(*works > 0 && *works <= usage.cycles, "{what}: {usage:?}");
            assert!(region.busy <= region.pes * usage.cycles && region.edge_busy <= region.busy, "{what}: {usage:?}");
        }
    }

    /// Cycles on the way between regions, and up to the host's commands.
    fn ways(session: &Session) -> u64 {
        let of = |p: &PhaseCycles| match p.name {
            "hand-over" => p.total,
            "head" => p.parts[Part::Wait as usize - 1],
            _ => 0,
        };
        session.by_phase().iter().map(of).sum()
    }

    #[test]
    fn spans_of_a_run_token_by_token_sum_to_the_counters() {
        let mut session = Session::dry(&shape(), WeightFormat::F16, config((3, 2)), None).expect("a session");
        assert!(session.placement().stages > 1, "regions that wait for each other");
        for at in 0..5 {
            session.step(Token::Given(0), at == 4).expect("a pass");
        }
        let prompt = session.usage().expect("counters");
        check(&prompt, session.wafer().counters().expect("counters").busy, "prompt");
        let ways_before = ways(&session);
        for _ in 0..3 {
            session.step(Token::Own, true).expect("a pass");
        }
        let all = session.usage().expect("counters");
        let rest = all.since(&prompt);
        assert_eq!((prompt.positions.clone(), prompt.logits), (0..5, 1));
        assert_eq!((rest.positions.clone(), rest.logits), (5..8, 3));
        assert_eq!(all.macs(&shape()), prompt.macs(&shape()) + rest.macs(&shape()));
        let busy = session.wafer().counters().expect("counters").busy;
        check(&rest, busy - prompt.busy_cycles(), "answer");
        // One token at a time: regions take turns, and what none works for is on the way between two of them.
        assert_eq!(rest.works.iter().sum::<u64>() + ways(&session) - ways_before, rest.cycles);
    }

    #[test]
    fn a_prefill_has_its_own_span_on_a_mesh_of_its_own_too() {
        for mesh in [None, Some((2, 4))] {
            let how = PrefillOptions { chunk: Some(2), mesh };
            let mut session = Session::dry(&shape(), WeightFormat::F16, config((3, 2)), Some(how)).expect("a session");
            session.prefill(&[0; 5], |_| true).expect("a prompt");
            session.step(Token::Own, true).expect("a pass");
            let prompt = session.report().prefill.expect("a prefill").usage;
            check(&prompt, prompt.busy_cycles(), "prompt");
            assert_eq!((prompt.positions.clone(), prompt.logits), (0..5, 1));
            assert_eq!(prompt.regions[1].pes, if mesh.is_some() { 8 } else { 6 });
            let decode = session.usage().expect("counters");
            check(&decode, session.wafer().counters().expect("counters").busy, "answer");
            assert_eq!((decode.positions.clone(), decode.logits), (5..6, 1));
        }
    }
}
