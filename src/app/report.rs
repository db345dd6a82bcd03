//! What a run reports: a table for people, one JSON object for programs.
//!
//! Invariant: both are made from the same numbers; nothing is measured here. Called by `generate`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::count;
use super::energy::Energy;
use super::generate::Outcome;
use super::resolve::HiArgs;
use super::spans::Spans;
use crate::host::{PhaseCycles, PlacementSummary, Report};
use crate::kernels::decode::point::Part;

/// Version of the JSON object.
const SCHEMA: u32 = 1;

/// What there is to tell.
pub struct Told<'a> {
    /// What was asked.
    pub job: &'a HiArgs,
    /// What it gave.
    pub outcome: &'a Outcome,
    /// How the model lies.
    pub placement: &'a PlacementSummary,
    /// What the chip did.
    pub totals: &'a Report,
    /// How well it was used.
    pub spans: &'a Spans,
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl Told<'_> {
    /// Generated steps that are passes of decode: without the one that the prompt ends in.
    fn decode_steps(&self) -> usize {
        self.outcome.steps.saturating_sub(1)
    }

    /// Cycles after the prompt (in which every such step is one pass) a step of decode.
    fn per_token(&self) -> f64 {
        let decode = self.totals.cycles_total.saturating_sub(self.outcome.prompt_cycles);
        ratio(decode as f64, self.decode_steps() as f64)
    }

    /// Positions of the prompt that went through: all, unless the run was interrupted.
    fn fed(&self) -> usize {
        self.outcome.passes.min(self.job.prompt_ids.len())
    }

    /// Cycles until the logits of the prompt's last position are there: the time to the first token.
    fn first_token(&self) -> Option<u64> {
        let stepped = (self.outcome.first_cycles > 0).then_some(self.outcome.first_cycles);
        self.totals.prefill.as_ref().map(|p| p.cycles).or(stepped)
    }

    /// The prompt's part of the object of `--json`.
    fn prefill_json(&self) -> Value {
        let (outcome, totals, positions) = (self.outcome, self.totals, self.fed());
        let cycles = self.first_token().unwrap_or(outcome.prompt_cycles);
        let mesh = totals.prefill.as_ref();
        json!({
            "mode": if outcome.chunk.is_some() { "mesh" } else { "token" },
            "refused": outcome.refused,
            "positions": positions,
            "chunk": outcome.chunk,
            "faster_chunk": mesh.and_then(|p| p.faster).map(|(chunk, share)| json!({ "chunk": chunk, "share": share })),
            "cycles": cycles,
            "hops": mesh.map(|p| p.hops),
            "wavelets": mesh.map(|p| p.wavelets),
            "mesh": mesh.and_then(|p| p.moved.from).map(|(cols, rows)| json!({ "cols": cols, "rows": rows })),
            "transition_cycles": mesh.map(|p| p.moved.cycles),
            "transition_hops": mesh.map(|p| p.moved.hops),
            "transition_wavelets": mesh.map(|p| p.moved.wavelets),
            "transition_routes": mesh.map(|p| p.moved.routes_written),
            "tpr": ratio(totals.clock_hz * positions as f64, cycles as f64),
            "tpot_ms": ratio(cycles as f64 * 1e3, totals.clock_hz * positions as f64),
        })
    }

    fn host_rates(&self) -> (f64, f64) {
        let (outcome, seconds) = (self.outcome, self.outcome.seconds_run);
        (ratio(outcome.passes as f64, seconds), ratio(self.totals.message_hops as f64, seconds))
    }

    fn energy(&self) -> Energy {
        let (job, counts) = (self.job, (self.outcome.passes, self.outcome.steps));
        Energy::of(&job.session.chip, &job.model.config.shape, counts, job.price, self.totals)
    }

    /// The object of `--json`.
    pub fn json(&self) -> Value {
        let Self { job, outcome, placement, totals, spans } = *self;
        let per_token = self.per_token();
        let (tokens_per_s, message_hops_per_s) = self.host_rates();
        let by_phase: Map<String, Value> =
            totals.by_phase.iter().map(|phase| (phase.name.to_owned(), json!(phase.total))).collect();
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
                "by_phase": by_phase, "by_part": by_part(&totals.by_phase), "generated_steps": outcome.steps,
                "decode_steps": self.decode_steps(),
                "host_roundtrip": totals.host_roundtrip_cycles,
            },
            "numerics": totals.numerics,
            "energy": self.energy().json(),
            "utilisation": spans.utilisation_json(),
            "rivals": spans.rivals_json(),
            "assumed": totals.assumed,
            "hops": totals.hops,
            "wavelets": totals.wavelets,
            "arena": {
                "min": totals.arena.min, "median": totals.arena.median, "max": totals.arena.max,
                "budget": totals.arena.budget,
            },
            "colors_max": totals.colors_max,
            "prefill": self.prefill_json(),
            "ttft_ms": self.first_token().map(|cycles| ratio(cycles as f64 * 1e3, totals.clock_hz)),
            "tpr": ratio(totals.clock_hz, per_token),
            "tpot_ms": ratio(per_token * 1e3, totals.clock_hz),
            "host": {
                "tokens_per_s": tokens_per_s, "message_hops_per_s": message_hops_per_s,
                "seconds_load": outcome.seconds_load,
            },
        })
    }

    /// The table for stderr.
    pub fn table(&self) -> String {
        let Self { job, outcome, placement: p, totals, spans } = *self;
        let mut text = String::from("\n");
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("chip", format!("{} at {:.0} MHz", totals.chip, totals.clock_hz / 1e6));
        row("numerics", totals.numerics.clone());
        row("mesh", format!("{}x{} cores a stage, {}, {} cores", p.cols, p.rows, count(p.stages, "stage"), p.pes));
        let (made, prompt) = (outcome.token_ids.len(), job.prompt_ids.len());
        let prompt = if self.fed() < prompt { format!("{} of {prompt}", self.fed()) } else { prompt.to_string() };
        let stop = format!("{:?}", outcome.stop).to_lowercase();
        row("tokens", format!("{prompt} prompt, {made} generated, stop: {stop}"));
        self.cycle_rows(&mut row);
        row(
            "fabric",
            format!("{} hops, {} wavelet-hops, {} colors at most", totals.hops, totals.wavelets, totals.colors_max),
        );
        let a = totals.arena;
        row("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget));
        self.energy().rows(&mut row);
        spans.rows(&mut row);
        row("assumed", totals.assumed.join(", "));
        let (tokens_per_s, hops_per_s) = self.host_rates();
        let (millions, workers, load) = (hops_per_s / 1e6, count(job.session.workers, "worker"), outcome.seconds_load);
        row(
            "host",
            format!("{tokens_per_s:.1} tokens/s, {millions:.2} M message hops/s, {workers}, {load:.2} s to load"),
        );
        if outcome.cut > 0.0 {
            row("sampler", format!("the 256-candidate limit cut up to {:.4} of probability", outcome.cut));
        }
        text
    }

    fn prefill_row(&self, row: &mut impl FnMut(&str, String)) {
        let (outcome, totals, positions) = (self.outcome, self.totals, self.fed());
        let cycles = self.first_token().unwrap_or(outcome.prompt_cycles);
        if cycles == 0 {
            return;
        }
        let (rate, ms) = (totals.clock_hz * positions as f64 / cycles as f64, cycles as f64 * 1e3 / totals.clock_hz);
        let how = match outcome.chunk {
            Some(chunk) => format!("{} at once", count(chunk, "position")),
            None => "token by token".to_owned(),
        };
        let until = if self.first_token().is_some() { "to the first token" } else { "until it was interrupted" };
        row("prefill", format!("{rate:.0} tokens/s, {how}; {ms:.4} ms {until} ({cycles} cycles)"));
        if let Some((chunk, share)) = totals.prefill.as_ref().and_then(|p| p.faster) {
            let less = (1.0 - share) * 100.0;
            row(
                "",
                format!(
                    "{less:.0} % fewer cycles are predicted for {chunk} at once (--chunk {chunk}): stages idle less"
                ),
            );
        }
        if let Some(p) = &totals.prefill {
            let m = p.moved;
            let how = match m.from {
                None => "weights, K and V are where decode wants them".to_owned(),
                Some((cols, rows)) => format!(
                    "weights, K and V moved from {cols}x{rows} cores a stage in {}: {} hops, {} wavelet-hops",
                    count(m.launches - 1, "launch"),
                    m.hops,
                    m.wavelets
                ),
            };
            let (cycles, routes) = (m.cycles, count(m.routes_written, "route"));
            row("transition", format!("{cycles} cycles, up to {routes} written a core; {how}"));
        }
    }

    fn cycle_rows(&self, row: &mut impl FnMut(&str, String)) {
        let (outcome, totals, per_token) = (self.outcome, self.totals, self.per_token());
        self.prefill_row(row);
        if per_token > 0.0 {
            let (rate, ms) = (ratio(totals.clock_hz, per_token), ratio(per_token * 1e3, totals.clock_hz));
            row("emulated", format!("{rate:.0} tokens/s (TPR), {ms:.4} ms (TPOT) and {per_token:.0} cycles a token"));
        }
        row("cycles", format!("{} in all, {} before decode", totals.cycles_total, outcome.prompt_cycles));
        if totals.host_roundtrip_cycles > 0 {
            let trips = totals.host_roundtrip_cycles;
            row("", format!("of them {trips} round trips to the host, which draws the ids (under head)"));
        }
        phase_rows(row, totals);
    }
}

/// By phase, what its cycles went into; phases that are marked as a whole are left out.
pub fn by_part(by_phase: &[PhaseCycles]) -> Map<String, Value> {
    let split = by_phase.iter().filter(|phase| is_split(phase));
    let parts = |phase: &PhaseCycles| -> Map<String, Value> {
        Part::ALL.iter().zip(phase.parts).map(|(part, cycles)| (part.name().to_owned(), json!(cycles))).collect()
    };
    split.map(|phase| (phase.name.to_owned(), Value::Object(parts(phase)))).collect()
}

fn is_split(phase: &PhaseCycles) -> bool {
    phase.parts.iter().sum::<u64>() == phase.total
}

/// Cycles by phase, and in percent of the phase what they went into.
fn phase_rows(row: &mut impl FnMut(&str, String), totals: &Report) {
    let percent = |cycles: u64, of: u64| ratio(cycles as f64 * 100.0, of as f64);
    let sum: u64 = totals.by_phase.iter().map(|p| p.total).sum();
    let names: String = Part::ALL.iter().map(|part| format!("{:>10}", part.name())).collect();
    row("", format!("{:<17} {:>12} {:>7} {names}", "phase", "cycles", "share"));
    for phase in totals.by_phase.iter().filter(|p| p.total > 0) {
        let parts: String = match is_split(phase) {
            true => phase.parts.iter().map(|cycles| format!("{:>8.1} %", percent(*cycles, phase.total))).collect(),
            false => String::new(),
        };
        let (name, cycles, share) = (phase.name, phase.total, percent(phase.total, sum));
        row("", format!("{name:<17} {cycles:>12} {share:>5.1} % {parts}").trim_end().to_owned());
    }
    let split = || totals.by_phase.iter().filter(|p| is_split(p));
    let (all, of) = (split().map(|p| p.total).sum(), |i: usize| split().map(|p| p.parts[i]).sum());
    let parts: String = (0..Part::ALL.len()).map(|i| format!("{:>8.1} %", percent(of(i), all))).collect();
    row(
        "",
        format!(
            "{:<17} {all:>12} {:>5.1} % {parts}",
            if all == sum { "all" } else { "all that is split" },
            percent(all, sum)
        ),
    );
}
