//! What a run reports: a table for people, one JSON object for programs.
//!
//! Invariant: both are made from the same numbers; nothing is measured here. Called by `generate`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::generate::Outcome;
use super::resolve::HiArgs;
use crate::host::{PlacementSummary, Report};

/// Version of the JSON object.
const SCHEMA: u32 = 1;

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Cycles after the prompt (in which every generated step is one pass) a generated step.
fn per_token(outcome: &Outcome, totals: &Report) -> f64 {
    let decode = totals.cycles_total.saturating_sub(outcome.prompt_cycles);
    ratio(decode as f64, outcome.steps as f64)
}

fn host_rates(outcome: &Outcome, totals: &Report) -> (f64, f64) {
    (ratio(outcome.passes as f64, outcome.seconds_run), ratio(totals.message_hops as f64, outcome.seconds_run))
}

/// The object of `--json`.
pub fn json(job: &HiArgs, outcome: &Outcome, placement: &PlacementSummary, totals: &Report) -> Value {
    let per_token = per_token(outcome, totals);
    let (tokens_per_s, message_hops_per_s) = host_rates(outcome, totals);
    let by_phase: Map<String, Value> =
        totals.by_phase.iter().map(|(name, cycles)| ((*name).to_owned(), json!(cycles))).collect();
    json!({
        "schema": SCHEMA,
        "prompt_ids": job.prompt_ids,
        "token_ids": outcome.token_ids,
        "text": outcome.text,
        "stop": outcome.stop,
        "logits_sha256": outcome.digest,
        "chip": totals.chip,
        "mesh": {
            "cols": placement.cols, "rows": placement.rows, "stages": placement.stages, "pes": placement.pes,
        },
        "workers": job.session.workers,
        "cycles": {
            "total": totals.cycles_total, "prompt": outcome.prompt_cycles, "per_token": per_token,
            "by_phase": by_phase, "generated_steps": outcome.steps, "host_roundtrip": totals.host_roundtrip_cycles,
        },
        "numerics": totals.numerics,
        "energy_joules": totals.energy_joules,
        "assumed": totals.assumed,
        "hops": totals.hops,
        "wavelets": totals.wavelets,
        "arena": {
            "min": totals.arena.min, "median": totals.arena.median, "max": totals.arena.max,
            "budget": totals.arena.budget,
        },
        "colors_max": totals.colors_max,
        "tpr": ratio(totals.clock_hz, per_token),
        "tpot_ms": ratio(per_token * 1e3, totals.clock_hz),
        "host": {
            "tokens_per_s": tokens_per_s, "message_hops_per_s": message_hops_per_s,
            "seconds_load": outcome.seconds_load,
        },
    })
}

/// The table for stderr.
pub fn table(job: &HiArgs, outcome: &Outcome, placement: &PlacementSummary, totals: &Report) -> String {
    let mut text = String::from("\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    row("chip", format!("{} at {:.0} MHz", totals.chip, totals.clock_hz / 1e6));
    row("numerics", totals.numerics.clone());
    let p = placement;
    row("mesh", format!("{}x{} cores a stage, {} stages, {} cores", p.cols, p.rows, p.stages, p.pes));
    let (made, prompt) = (outcome.token_ids.len(), job.prompt_ids.len());
    let stop = format!("{:?}", outcome.stop).to_lowercase();
    row("tokens", format!("{prompt} prompt, {made} generated, stop: {stop}"));
    cycle_rows(&mut row, outcome, totals);
    row(
        "fabric",
        format!("{} hops, {} wavelet-hops, {} colors at most", totals.hops, totals.wavelets, totals.colors_max),
    );
    let a = totals.arena;
    row("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget));
    let is_assumed = totals.assumed.iter().any(|name| name.contains("power_watts") || name.starts_with("everything"));
    let source = if is_assumed { " (assumed)" } else { "" };
    row("energy", format!("{:.4} J: {} W{source} x modelled time", totals.energy_joules, totals.power_watts));
    row("assumed", totals.assumed.join(", "));
    let (tokens_per_s, hops_per_s) = host_rates(outcome, totals);
    let (millions, workers, load) = (hops_per_s / 1e6, job.session.workers, outcome.seconds_load);
    row(
        "host",
        format!("{tokens_per_s:.1} tokens/s, {millions:.2} M message hops/s, {workers} workers, {load:.2} s to load"),
    );
    if outcome.cut > 0.0 {
        row("sampler", format!("the 256-candidate limit cut up to {:.4} of probability", outcome.cut));
    }
    text
}

fn cycle_rows(row: &mut impl FnMut(&str, String), outcome: &Outcome, totals: &Report) {
    let per_token = per_token(outcome, totals);
    if outcome.steps > 0 {
        let (rate, ms) = (ratio(totals.clock_hz, per_token), ratio(per_token * 1e3, totals.clock_hz));
        row("emulated", format!("{rate:.0} tokens/s (TPR), {ms:.4} ms (TPOT) and {per_token:.0} cycles a token"));
    }
    row("cycles", format!("{} in all, {} before the first generated step", totals.cycles_total, outcome.prompt_cycles));
    if totals.host_roundtrip_cycles > 0 {
        let trips = totals.host_roundtrip_cycles;
        row("", format!("of them {trips} round trips to the host, which draws the ids (under head)"));
    }
    let sum: u64 = totals.by_phase.iter().map(|p| p.1).sum();
    for (name, cycles) in totals.by_phase.iter().filter(|p| p.1 > 0) {
        row("", format!("{name:<14} {cycles:>12} {:>5.1} %", ratio(*cycles as f64 * 100.0, sum as f64)));
    }
}
