//! Deadlock check of a session's programs, without weights: decode at every position, with and without logits; and
//! every launch of a session that begins with a prefill.
//!
//! ```text
//!   decode    position 0 .. c                                                   what `--prefill token` runs
//!   prefill   position by position: full chunks with ever more positions before them, then the ragged last one
//!   transition, launch by launch (none where one placement serves both)
//!   decode    the positions behind the prompt, from the KV rows that the prefill filled
//! ```
//! Invariant: covers every pass that such a session of so many positions can run: what a pass asks of a PE depends on
//! the prompt's length, on its position and on whether logits are wanted, and on nothing else. Between two launches
//! `kept` holds the tiles that the later one counts on. Called by `app` and by tests.

use std::fmt;
use std::ops::Range;

use crate::exec::{CheckReport, Inject, LaunchError, check, check_passes};
use crate::fabric::Layout;
use crate::kernels::decode::{Decode, Region, pass};
use crate::kernels::prefill::Prefill;
use crate::link::Ctrl;
use crate::math::checkpoint::{ModelShape, WeightFormat};

use super::config::SessionConfig;
use super::kept;
use super::planning::{apart, plan};
use super::prefill::{PrefillOptions, Prompt};
use super::report::{ArenaUse, arena_use};
use super::session::SessionError;

/// Which launch of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// The prompt, in chunks.
    Prefill {
        /// Positions.
        prompt: usize,
        /// Positions of a chunk.
        chunk: usize,
    },
    /// One of those that move weights, K and V.
    Transition {
        /// From 1.
        nth: usize,
        /// How many there are.
        of: usize,
    },
    /// Decode from the first position behind the prompt on.
    Decode {
        /// That position.
        from: usize,
    },
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefill { prompt, chunk } => write!(f, "prefill of {prompt}, {chunk} at once"),
            Self::Transition { nth, of } => write!(f, "transition {nth} of {of}"),
            Self::Decode { from } => write!(f, "decode from position {from}"),
        }
    }
}

/// A launch, checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which.
    pub launch: Launch,
    /// Arenas, with the reserve.
    pub arena: ArenaUse,
    /// What the check found.
    pub report: CheckReport,
}

/// Checks `positions` passes of decode with logits, then as many without; `each` is called before every pass.
///
/// # Errors
/// Why the chip cannot run the layout.
pub fn check_decode(
    decode: &Decode,
    layout: &Layout,
    positions: usize,
    each: impl FnMut(),
) -> Result<CheckReport, LaunchError> {
    check_positions(decode, layout, 0..positions, each)
}

fn check_positions(
    decode: &Decode,
    layout: &Layout,
    positions: Range<usize>,
    mut each: impl FnMut(),
) -> Result<CheckReport, LaunchError> {
    let mut sweep = |kind: u32| {
        let tokens = positions.clone().map(|position| {
            each();
            inject(kind, position)
        });
        check_passes(decode, layout, &decode.chip, std::iter::once(Vec::new()).chain(tokens))
    };
    let first = sweep(pass::WANT_LOGITS)?;
    if !first.verdict.is_strict() {
        return Ok(first);
    }
    let second = sweep(0)?;
    let (least, most) = (first.pass_cycles, second.pass_cycles);
    Ok(CheckReport {
        passes: first.passes + second.passes,
        // Both sweeps begin with the pass in which programs park.
        shapes: first.shapes + second.shapes - 1,
        operations: first.operations + second.operations,
        cycles: first.cycles,
        pass_cycles: (least.0.min(most.0), least.1.max(most.1)),
        load: first.load.with(second.load),
        ..second
    })
}

fn inject(kind_slot: u32, position: usize) -> Vec<Inject> {
    let ctrl = Ctrl { kind_slot, position: position as u32 };
    vec![Inject { lane: 0, ctrl, word: 0, ready: 0 }]
}

fn check_chunks(kernel: &Prefill, layout: &Layout, mut each: impl FnMut()) -> Result<CheckReport, LaunchError> {
    let tokens = (0..kernel.prompt).map(|position| {
        each();
        inject(if position + 1 == kernel.prompt { pass::WANT_LOGITS } else { 0 }, position)
    });
    check_passes(kernel, layout, &kernel.decode.chip, std::iter::once(Vec::new()).chain(tokens))
}

/// Checks every launch of a session that begins with a prefill of `config.prompt` positions and goes on to
/// `positions`, up to the first launch that is not strict; `each` is called before every pass.
///
/// # Errors
/// As `Session::with_prefill`; `NotKept` where a launch would not find what the one before should have left.
pub fn check_prefill(
    (shape, format): (&ModelShape, WeightFormat),
    config: &SessionConfig,
    how: PrefillOptions,
    positions: usize,
    mut each: impl FnMut(),
) -> Result<Vec<Checked>, SessionError> {
    let decode = plan(shape, format, config)?;
    let first = apart(shape, format, config, &decode, how.mesh)?;
    let Prompt { kernel, launches } =
        Prompt::new(first.as_ref().unwrap_or(&decode), &decode, config.prompt, how.chunk)?;
    let (then, of) = (kernel.then(), launches.len());
    let mut before = kernel.layout()?;
    let done = |launch, layout: &Layout, report| Checked { launch, arena: arena_use(&[layout], &config.chip), report };
    let launch = Launch::Prefill { prompt: kernel.prompt, chunk: kernel.chunk };
    let mut all = vec![done(launch, &before, check_chunks(&kernel, &before, &mut each)?)];
    for (at, launch) in launches.iter().enumerate() {
        if !is_strict(&all) {
            return Ok(all);
        }
        let layout = launch.layout()?;
        kept::check(&before, &layout, |pe| at == 0 && then.region(pe) != Region::Transit)?;
        let report = check(launch, &layout, &config.chip)?;
        all.push(done(Launch::Transition { nth: at + 1, of }, &layout, report));
        before = layout;
    }
    let rest = kernel.prompt..positions.clamp(kernel.prompt, then.plan.capacity.max(kernel.prompt));
    if is_strict(&all) {
        let layout = then.layout()?;
        kept::check(&before, &layout, |_| false)?;
        if rest.is_empty() {
            return Ok(all);
        }
        let report = check_positions(&then, &layout, rest, each)?;
        all.push(done(Launch::Decode { from: kernel.prompt }, &layout, report));
    }
    Ok(all)
}

fn is_strict(all: &[Checked]) -> bool {
    all.iter().all(|checked| checked.report.verdict.is_strict())
}
