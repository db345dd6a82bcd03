//! What a dry run of a whole model says: a table for people, one JSON object for programs.
//!
//! Invariant: fields that a run with weights has too have its names and values.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::count;
use super::super::energy::Energy;
use super::super::report::by_part;
use super::super::spans::Spans;
use super::{DryRun, SCHEMA, per_second, phases_json};
use crate::host::{PhaseCycles, Report, Session};
use crate::placement::capacity::Capacity;

/// What the passes gave.
pub(super) struct Passes {
    /// Positions.
    pub(super) passes: usize,
    /// Tokens.
    pub(super) made: usize,
    /// Virtual time before decode.
    pub(super) prompt_cycles: u64,
    /// Of the host.
    pub(super) seconds: f64,
}

/// A run, told.
pub(super) struct Whole<'a> {
    pub(super) run: &'a DryRun<'a>,
    pub(super) session: &'a Session,
    pub(super) report: &'a Report,
    pub(super) pass: Passes,
    pub(super) spans: Spans,
    pub(super) capacity: Capacity,
}

impl Whole<'_> {
    /// Positions of the prompt that went through: all, unless the run was interrupted.
    fn fed(&self) -> usize {
        self.pass.passes.min(self.run.prompt)
    }

    /// Cycles of a step of decode; the step that the prompt ends in is none.
    fn per_token(&self) -> f64 {
        let steps = self.pass.made.saturating_sub(1);
        if steps == 0 { 0.0 } else { (self.report.cycles_total - self.pass.prompt_cycles) as f64 / steps as f64 }
    }

    fn energy(&self) -> Energy {
        let (run, counts) = (self.run, (self.pass.passes, self.pass.made));
        Energy::of(&run.config.chip, &run.sizes.config.shape, counts, run.args.price, self.report)
    }

    pub(super) fn json(&self) -> Value {
        let (r, p, per_token) = (self.report, self.session.placement(), self.per_token());
        json!({
            "schema": SCHEMA, "dry": true, "model": self.run.sizes.name, "chip": r.chip,
            "mesh": {"cols": p.cols, "rows": p.rows, "stages": p.stages, "pes": p.pes, "head_cols": p.head_cols},
            "tokens": {"prompt": self.fed(), "generated": self.pass.made},
            "cycles": {
                "total": r.cycles_total, "prompt": self.pass.prompt_cycles, "per_token": per_token,
                "by_phase": phases_json(&r.by_phase), "by_part": by_part(&r.by_phase),
            },
            "prefill": r.prefill.as_ref().map(|p| json!({"chunk": p.chunk, "cycles": p.cycles})),
            "hops": r.hops, "wavelets": r.wavelets, "bursts": r.bursts, "colors_max": r.colors_max,
            "arena": {"min": r.arena.min, "median": r.arena.median, "max": r.arena.max, "budget": r.arena.budget},
            "tpr": per_second(r.clock_hz, per_token), "energy": self.energy().json(), "numerics": r.numerics,
            "utilisation": self.spans.utilisation_json(), "rivals": self.spans.rivals_json(),
            "capacity": self.capacity, "assumed": r.assumed, "host": {"seconds": self.pass.seconds},
        })
    }

    pub(super) fn table(&self) -> String {
        let (r, p, per_token) = (self.report, self.session.placement(), self.per_token());
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row(
            "dry run",
            format!("{}: no weights, no text; cycles and counters of a real run with --temp 0", self.run.sizes.name),
        );
        row("chip", format!("{} at {:.0} MHz", r.chip, r.clock_hz / 1e6));
        row("mesh", format!("{}x{} cores a stage, {}, {} cores", p.cols, p.rows, count(p.stages, "stage"), p.pes));
        row("tokens", format!("{} prompt, {} generated", self.fed(), self.pass.made));
        row("cycles", format!("{} in all, {} before decode", r.cycles_total, self.pass.prompt_cycles));
        let sum: u64 = r.by_phase.iter().map(|p| p.total).sum();
        for PhaseCycles { name, total, .. } in r.by_phase.iter().filter(|p| p.total > 0) {
            row("", format!("{name:<17} {total:>12} {:>5.1} %", *total as f64 * 100.0 / sum as f64));
        }
        row(
            "emulated",
            format!("{:.0} tokens/s (TPR), {per_token:.0} cycles a token", per_second(r.clock_hz, per_token)),
        );
        row("fabric", format!("{} hops, {} wavelet-hops, {} colors at most", r.hops, r.wavelets, r.colors_max));
        let a = r.arena;
        row("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget));
        self.energy().rows(&mut row);
        self.spans.rows(&mut row);
        row("KV capacity", self.capacity.line());
        row("assumed", r.assumed.join(", "));
        row("host", format!("{:.2} s", self.pass.seconds));
        text
    }
}
