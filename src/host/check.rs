//! Deadlock check of a session's decode program: every position, with and without logits, without weights.
//!
//! Invariant: covers every pass that a session of so many positions can run: what a pass asks of a PE depends on its
//! position and on whether logits are wanted, and on nothing else. Called by `app` and by tests.

use crate::exec::{CheckReport, Inject, LaunchError, check_passes};
use crate::fabric::Layout;
use crate::kernels::decode::{Decode, pass};
use crate::link::Ctrl;

/// Checks `positions` passes with logits, then as many without; `each` is called before every pass.
///
/// # Errors
/// Why the chip cannot run the layout.
pub fn check_decode(
    decode: &Decode,
    layout: &Layout,
    positions: usize,
    mut each: impl FnMut(),
) -> Result<CheckReport, LaunchError> {
    let mut sweep = |kind: u32| {
        let start = std::iter::once(Vec::new());
        let tokens = (0..positions as u32).map(|position| {
            each();
            let ctrl = Ctrl { kind_slot: kind, position };
            vec![Inject { lane: 0, ctrl, word: 0, ready: 0 }]
        });
        check_passes(decode, layout, &decode.chip, start.chain(tokens))
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
