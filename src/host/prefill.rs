//! The first launch of a session that begins with a prompt; `transition` goes on to decode.
//!
//! Invariant: one pass a position; a chunk runs when its last position is there.

use crate::exec::{Counters, Inject, TraceOptions};
use crate::fabric::{Backing, LayoutError, build};
use crate::kernels::decode::{Decode, pass};
use crate::kernels::prefill::{Prefill, PrefillRefused};
use crate::kernels::transition::Transition;
use crate::link::Ctrl;
use crate::math::checkpoint::{Checkpoint, ModelShape, WeightFormat};
use crate::pe::Mark;
use crate::placement::Plan;

use super::config::SessionConfig;
use super::planning::apart;
use super::report;
use super::session::{Session, SessionError, Step, Watch};
use super::trace;

/// What a session begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// Its prompt goes token by token.
    Decode,
    /// A prefill.
    Prefill(PrefillOptions),
}

impl Start {
    pub(super) fn is_prefill(self) -> bool {
        matches!(self, Self::Prefill(_))
    }

    /// The kernel of a prefill that is not on the mesh of `decode`.
    pub(super) fn apart(
        self,
        shape: &ModelShape,
        format: WeightFormat,
        config: &SessionConfig,
        decode: &Decode,
    ) -> Result<Option<Decode>, SessionError> {
        match self {
            Self::Decode => Ok(None),
            Self::Prefill(how) => apart(shape, format, config, decode, how.mesh),
        }
    }
}

/// How a prefill is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefillOptions {
    /// Positions at once, at most as many as the arenas hold; `None`: as many.
    pub chunk: Option<usize>,
    /// Columns and rows of a layer region in the prefill; `None`: decode's, where one placement serves both.
    pub mesh: Option<(u32, u32)>,
}

/// A prompt that a session waits for.
pub(super) struct Prompt {
    pub(super) kernel: Prefill,
    /// Of the transition, where decode is elsewhere.
    pub(super) launches: Vec<Transition>,
}

impl Prompt {
    /// On the regions of `first`, which are those of `decode` or below them.
    pub(super) fn new(
        first: &Decode,
        decode: &Decode,
        positions: usize,
        chunk: Option<usize>,
    ) -> Result<Self, PrefillRefused> {
        let apart = (first.plan != decode.plan).then(|| decode.clone());
        let kernel = Prefill { apart, ..Prefill::new(first, positions, chunk)? };
        let launches = match kernel.apart {
            Some(_) => Transition::launches(&kernel, &kernel.then()),
            None => Vec::new(),
        };
        Ok(Self { kernel, launches })
    }

    /// Holds the launches to come against the chip: what does not fit is said before the prompt runs.
    ///
    /// # Errors
    /// As a launch.
    pub(super) fn check(&self) -> Result<(), LayoutError> {
        let chip = &self.kernel.decode.chip;
        self.launches.iter().try_for_each(|launch| build(&launch.layout()?, chip, 1, Backing::Dry).map(|_| ()))
    }
}

impl Session {
    /// As `traced`, to begin with `prefill` of a prompt of `config.prompt` positions. A trace has room for half its
    /// spans in the prefill.
    ///
    /// # Errors
    /// As `new`; `Prefill` when the arenas hold no chunk, `PrefillMesh` and `PrefillRows`.
    pub fn with_prefill(
        model: &dyn Checkpoint,
        config: SessionConfig,
        how: PrefillOptions,
        trace: Option<TraceOptions>,
        link_windows: bool,
    ) -> Result<Self, SessionError> {
        Self::launch(model, config, Start::Prefill(how), Watch { trace, link_windows, probes: None })
    }

    /// The placement of the prefill to come.
    pub fn prefill_plan(&self) -> Option<&Plan> {
        self.prompt.as_ref().map(|p| &p.kernel.decode.plan)
    }

    /// Positions that go through the wafer together in the prefill to come, or that did in the one that was.
    pub fn chunk(&self) -> Option<usize> {
        let coming = self.prompt.as_ref().map(|p| p.kernel.chunk);
        coming.or(self.prefilled.as_ref().map(|p| p.chunk))
    }

    /// Earlier positions of every row that pass at once in that prefill.
    pub fn older(&self) -> Option<usize> {
        let coming = self.prompt.as_ref().map(|p| p.kernel.older);
        coming.or(self.prefilled.as_ref().map(|p| p.older))
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
        let Some(Prompt { kernel, launches }) = self.prompt.take_if(|p| p.kernel.prompt == ids.len()) else {
            return Err(SessionError::Prompt { need, found: ids.len(), at: self.positions });
        };
        for (position, id) in ids.iter().enumerate() {
            let is_last = position + 1 == ids.len();
            let kind_slot = if is_last { pass::WANT_LOGITS } else { 0 };
            let ctrl = Ctrl { kind_slot, position: position as u32 };
            self.wafer.run(&[Inject { lane: 0, ctrl, word: *id, ready: 0 }])?;
            let marks = self.wafer.take_marks();
            self.note_phases(&marks);
            self.positions += 1;
            if !progress(self.positions) && !is_last {
                self.prompt = None;
                return Ok(None);
            }
        }
        let argmax = self.found(kernel.decode.head_root())?;
        self.logits_at = self.phase_end;
        self.noted.logits = 1;
        self.transition(&kernel, launches)?;
        Ok(Some(Step { argmax, cycles: self.logits_at }))
    }

    /// Adds the marks of a pass to the phases of the session, and keeps for a trace those that end a phase.
    pub(super) fn note_phases(&mut self, marks: &[Mark]) {
        self.noted.add(marks);
        // A limit that is used up counts what it cuts.
        if self.spans_max > 0 {
            let phases = trace::ends_of_phases(marks);
            let room = phases.len().min(self.kept.0 - self.kept.1.len());
            self.kept.1.extend(&phases[..room]);
            self.kept.2 += (phases.len() - room) as u64;
        }
        self.phase_end = report::add_phases(&mut self.by_phase, self.points, marks, self.phase_end);
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
}
