//! `plummer generate --dry`: what a run would take, from a model's sizes alone.
//!
//! The whole model runs as in a session, pass by pass, with bursts that carry nothing: cycles and counters are those of
//! the run with weights. With `--one-layer` one layer is timed alone on its mesh and multiplied, as the paper does.
//!
//! Invariant: no weight is read; every number that is multiplied or assumed says so. Called by `generate`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::cli::{GenerateArgs, PrefillArg};
use super::interrupt::Interrupt;
use super::{resolve, say};
use crate::host::dry::{LayerTime, busy_by_region, decode_layer, prefill_layer};
use crate::host::{Report, Session, SessionConfig, SessionError, Token};
use crate::model::sizes::Sizes;
use crate::placement::PlanError;
use crate::plan::utilise::Utilisation;
use crate::plan::work;

/// Version of the JSON object.
const SCHEMA: u32 = 1;

/// The model that `-m` names: a preset, a config.json or its directory, or a whole model; the embedded one if absent.
pub fn sizes(model: Option<&Path>) -> Result<Sizes> {
    let Some(path) = model else { return super::model::embedded_sizes().map_err(Into::into) };
    if !path.exists() {
        let presets = || Sizes::presets().collect::<Vec<_>>().join(", ");
        let found = path.to_str().and_then(Sizes::preset);
        return found.with_context(|| format!("-m {}: neither a path nor one of {}", path.display(), presets()));
    }
    if path.join("config.json").is_file() || path.extension().is_some_and(|e| e == "json") {
        return Ok(Sizes::from_file(path)?);
    }
    let model = super::model::open(Some(path))?;
    let name = path.display().to_string();
    Ok(Sizes { name, config: model.config, format: crate::math::checkpoint::WeightFormat::F16 })
}

/// Runs the command; the exit code.
pub fn run(args: &GenerateArgs) -> Result<u8> {
    let sizes = sizes(args.model.as_deref())?;
    let prompt = match args.prompt_tokens {
        Some(n) => n,
        None => resolve::resolve(args)
            .context("--dry without --prompt-tokens counts the tokens of a text")?
            .prompt_ids
            .len(),
    };
    let needed = prompt.saturating_add(args.n.saturating_sub(1)).max(prompt);
    let context = args.place.context.unwrap_or(needed);
    if prompt == 0 || needed > context {
        bail!("--prompt-tokens {prompt} and -n {} need 1 to {context} positions, found {needed}", args.n);
    }
    let mut config = resolve::session(&args.place, context, prompt)?;
    config.workers = args.workers.map_or(config.workers, usize::from);
    let run = DryRun { args, sizes, prompt, config };
    if args.one_layer { run.one_layer() } else { run.whole() }
}

struct DryRun<'a> {
    args: &'a GenerateArgs,
    sizes: Sizes,
    prompt: usize,
    config: SessionConfig,
}

impl DryRun<'_> {
    /// Every pass of the run.
    fn whole(self) -> Result<u8> {
        let (shape, mesh) = (&self.sizes.config.shape, self.args.prefill == PrefillArg::Mesh);
        let interrupt = Interrupt::listen().context("Ctrl-C handler")?;
        let session = Session::dry(shape, self.sizes.format, self.config.clone(), mesh);
        let mut session = session.map_err(hint)?;
        interrupt.run_begins();
        let begin = Instant::now();
        let (mut passes, mut prompt_cycles) = (0, 0);
        if mesh {
            let ids = vec![0; self.prompt];
            session.prefill(&ids, |done| {
                passes = done;
                !interrupt.asked()
            })?;
            prompt_cycles = session.report().cycles_total;
        }
        let total = self.prompt + self.args.n.saturating_sub(1);
        while passes < total && !interrupt.asked() {
            let wants = passes + 1 >= self.prompt && self.args.n > 0;
            let step = session.step(if passes < self.prompt { Token::Given(0) } else { Token::Own }, wants)?;
            passes += 1;
            if !wants {
                prompt_cycles = step.cycles;
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let report = session.report();
        let made = (passes + 1).saturating_sub(self.prompt).min(self.args.n);
        let u = self.utilisation(&session, passes)?;
        let out = Whole { run: &self, session: &session, report: &report, made, prompt_cycles, seconds, u };
        if self.args.json {
            super::print(format!("{}\n", out.json()).as_bytes())?;
        } else {
            super::print(out.table().as_bytes())?;
        }
        if passes < total {
            say(&format!("interrupted after {passes} of {total} passes\n"));
        }
        Ok(0)
    }

    /// Of all passes since the last launch.
    fn utilisation(&self, session: &Session, passes: usize) -> Result<Utilisation> {
        let (decode, shape) = (session.decode(), &self.sizes.config.shape);
        let regions = busy_by_region(decode, session.wafer())?;
        let first = if decode.launch.positions > 0 { self.prompt } else { 0 };
        let positions = first..passes.max(first);
        let layers = shape.n_layers as u64;
        let mut macs: u64 = positions.clone().map(|p| layers * work::decode_layer_macs(shape, p)).sum();
        let with_logits = positions.filter(|p| p + 1 >= self.prompt && self.args.n > 0).count() as u64;
        macs += with_logits * work::head_macs(shape);
        let clock = session.wafer().counters()?.cycles;
        let head = phase_sum(session.by_phase(), &["head", "embedding"]).min(clock);
        let stages = decode.plan.stages.iter().map(|s| (clock - head) * s.len() as u64 / layers);
        let works: Vec<u64> = std::iter::once(head).chain(stages).collect();
        Ok(Utilisation::of(&decode.chip, clock, macs, &regions, &works))
    }

    /// One layer of decode at the first and the last position, and of the prefill if it is asked for.
    fn one_layer(self) -> Result<u8> {
        if self.config.mesh.is_none() {
            bail!("--one-layer needs --mesh COLSxROWS");
        }
        let (shape, format) = (&self.sizes.config.shape, self.sizes.format);
        let last = self.prompt + self.args.n.saturating_sub(2);
        let prefill = match self.args.prefill {
            PrefillArg::Mesh => Some(prefill_layer(shape, format, &self.config, self.prompt)?),
            PrefillArg::Token => None,
        };
        let mut decode = vec![decode_layer(shape, format, &self.config, self.prompt)?];
        if last > self.prompt {
            decode.push(decode_layer(shape, format, &self.config, last)?);
        }
        let fits = Session::fits(shape, format, &self.config).err().map(|e| e.to_string());
        let out = Layers { run: &self, decode, prefill, fits };
        let text = if self.args.json { format!("{}\n", out.json()) } else { out.table() };
        super::print(text.as_bytes())?;
        Ok(0)
    }
}

/// What to do about a model that no wafer holds.
fn hint(error: SessionError) -> anyhow::Error {
    match error {
        SessionError::Plan(e) if !matches!(e, PlanError::OffMesh { .. }) => anyhow::Error::from(SessionError::Plan(e))
            .context("the wafer does not hold it; --one-layer times one layer"),
        other => other.into(),
    }
}

fn phase_sum(phases: &[(&'static str, u64)], names: &[&str]) -> u64 {
    phases.iter().filter(|p| names.contains(&p.0)).map(|p| p.1).sum()
}

fn phases_json(phases: &[(&'static str, u64)]) -> Value {
    Value::Object(phases.iter().map(|(name, cycles)| ((*name).to_owned(), json!(cycles))).collect::<Map<_, _>>())
}

fn per_second(clock: f64, cycles: f64) -> f64 {
    if cycles > 0.0 { clock / cycles } else { 0.0 }
}

struct Whole<'a> {
    run: &'a DryRun<'a>,
    session: &'a Session,
    report: &'a Report,
    made: usize,
    prompt_cycles: u64,
    seconds: f64,
    u: Utilisation,
}

impl Whole<'_> {
    /// Cycles of a step of decode; the step that a prefill ends in is none.
    fn per_token(&self) -> f64 {
        let steps = self.made.saturating_sub(usize::from(self.report.prefill.is_some()));
        if steps == 0 { 0.0 } else { (self.report.cycles_total - self.prompt_cycles) as f64 / steps as f64 }
    }

    fn json(&self) -> Value {
        let (r, p, per_token) = (self.report, self.session.placement(), self.per_token());
        json!({
            "schema": SCHEMA, "dry": true, "model": self.run.sizes.name, "chip": r.chip,
            "mesh": {"cols": p.cols, "rows": p.rows, "stages": p.stages, "pes": p.pes, "head_cols": p.head_cols},
            "tokens": {"prompt": self.run.prompt, "generated": self.made},
            "cycles": {
                "total": r.cycles_total, "prompt": self.prompt_cycles, "per_token": per_token,
                "by_phase": phases_json(&r.by_phase),
            },
            "prefill": r.prefill.as_ref().map(|p| json!({"chunk": p.chunk, "cycles": p.cycles})),
            "hops": r.hops, "wavelets": r.wavelets, "bursts": r.bursts, "colors_max": r.colors_max,
            "arena": {"min": r.arena.min, "median": r.arena.median, "max": r.arena.max, "budget": r.arena.budget},
            "tpr": per_second(r.clock_hz, per_token), "energy_joules": r.energy_joules, "numerics": r.numerics,
            "utilisation": self.u, "assumed": r.assumed, "host": {"seconds": self.seconds},
        })
    }

    fn table(&self) -> String {
        let (r, p, per_token) = (self.report, self.session.placement(), self.per_token());
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row(
            "dry run",
            format!("{}: no weights, no text; cycles and counters are those of a real run", self.run.sizes.name),
        );
        row("chip", format!("{} at {:.0} MHz", r.chip, r.clock_hz / 1e6));
        row("mesh", format!("{}x{} cores a stage, {} stages, {} cores", p.cols, p.rows, p.stages, p.pes));
        row("tokens", format!("{} prompt, {} generated", self.run.prompt, self.made));
        row("cycles", format!("{} in all, {} before decode", r.cycles_total, self.prompt_cycles));
        let sum: u64 = r.by_phase.iter().map(|p| p.1).sum();
        for (name, cycles) in r.by_phase.iter().filter(|p| p.1 > 0) {
            row("", format!("{name:<17} {cycles:>12} {:>5.1} %", *cycles as f64 * 100.0 / sum as f64));
        }
        row(
            "emulated",
            format!("{:.0} tokens/s (TPR), {per_token:.0} cycles a token", per_second(r.clock_hz, per_token)),
        );
        row("fabric", format!("{} hops, {} wavelet-hops, {} colors at most", r.hops, r.wavelets, r.colors_max));
        let a = r.arena;
        row("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget));
        row("utilisation", self.u.line());
        row("assumed", r.assumed.join(", "));
        row("host", format!("{:.2} s", self.seconds));
        text
    }
}

struct Layers<'a> {
    run: &'a DryRun<'a>,
    decode: Vec<LayerTime>,
    prefill: Option<LayerTime>,
    /// Why the wafer does not hold the whole model on this mesh.
    fits: Option<String>,
}

impl Layers<'_> {
    fn layers(&self) -> f64 {
        self.run.sizes.config.shape.n_layers as f64
    }

    /// Mean of the layers that were timed.
    fn cycles(&self) -> f64 {
        self.decode.iter().map(|d| d.cycles as f64).sum::<f64>() / self.decode.len() as f64
    }

    fn utilisation(&self, t: &LayerTime, is_prefill: bool) -> Utilisation {
        let shape = &self.run.sizes.config.shape;
        let macs = match is_prefill {
            true => work::prefill_layer_macs(shape, t.position),
            false => work::decode_layer_macs(shape, t.position),
        };
        Utilisation::of(&self.run.config.chip, t.cycles, macs, &[t.busy], &[t.cycles])
    }

    fn layer_json(&self, t: &LayerTime, is_prefill: bool) -> Value {
        let c = &t.counters;
        json!({
            "position": t.position, "cycles": t.cycles, "rest_cycles": t.rest_cycles, "by_phase": phases_json(&t.by_phase),
            "hops": c.hops, "wavelets": c.wavelets, "bursts": c.bursts, "busy": c.busy, "colors_max": t.colors_max,
            "arena_need": t.arena_need, "utilisation": self.utilisation(t, is_prefill),
            "host": {"seconds": t.seconds},
        })
    }

    fn json(&self) -> Value {
        let (run, clock) = (self.run, self.run.config.chip.clock_hz);
        let (cols, rows) = self.decode[0].mesh;
        let token = self.cycles() * self.layers();
        json!({
            "schema": SCHEMA, "dry": true, "one_layer": true, "model": run.sizes.name, "chip": run.config.chip.name,
            "mesh": {"cols": cols, "rows": rows}, "layers": run.sizes.config.shape.n_layers,
            "decode": self.decode.iter().map(|t| self.layer_json(t, false)).collect::<Vec<_>>(),
            "prefill": self.prefill.as_ref().map(|t| self.layer_json(t, true)),
            "cycles_per_token": token, "tpr": per_second(clock, token),
            "prefill_tpr": self.prefill.as_ref().map(|t| {
                per_second(clock * t.position as f64, t.cycles as f64 * self.layers())
            }),
            "arena": {"need": self.arena_need(), "budget": run.config.chip.arena_bytes}, "whole_model": self.fits,
            "multiplied": "one layer, times the layers; head and hand-over apart",
        })
    }

    fn arena_need(&self) -> u64 {
        self.decode.iter().chain(&self.prefill).map(|t| t.arena_need).max().unwrap_or(0)
    }

    fn table(&self) -> String {
        let (run, chip) = (self.run, &self.run.config.chip);
        let (n, (cols, rows)) = (self.layers(), self.decode[0].mesh);
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row("dry run", format!("{}: one layer timed on {cols}x{rows} cores, times {n} layers", run.sizes.name));
        row("chip", format!("{} at {:.0} MHz", chip.name, chip.clock_hz / 1e6));
        for (t, name, is_prefill) in
            self.decode.iter().map(|t| (t, "decode", false)).chain(self.prefill.iter().map(|t| (t, "prefill", true)))
        {
            let what =
                if is_prefill { format!("of {} positions", t.position) } else { format!("at position {}", t.position) };
            row(name, format!("{} cycles a layer {what} ({:.2} s on this host)", t.cycles, t.seconds));
            for (phase, cycles) in &t.by_phase {
                row("", format!("{phase:<17} {cycles:>12} {:>5.1} %", *cycles as f64 * 100.0 / t.cycles as f64));
            }
            row("", format!("{} hops, {} wavelet-hops, {} colors", t.counters.hops, t.counters.wavelets, t.colors_max));
            row("", self.utilisation(t, is_prefill).line());
        }
        let token = self.cycles() * n;
        row(
            "decode TPR",
            format!(
                "{:.0} tokens/s: {token:.0} cycles a token, head and hand-over not counted",
                per_second(chip.clock_hz, token)
            ),
        );
        if let Some(t) = &self.prefill {
            let rate = per_second(chip.clock_hz * t.position as f64, t.cycles as f64 * n);
            row("prefill TPR", format!("{rate:.0} tokens/s"));
        }
        let (need, have) = (self.arena_need(), chip.arena_bytes);
        let verdict = if need > have { "one layer does not fit" } else { "one layer fits" };
        row("arena", format!("{need} bytes at the fullest core of {have}: {verdict} (not enforced here)"));
        row("whole model", self.fits.clone().unwrap_or_else(|| "fits the wafer on this mesh".to_owned()));
        text
    }
}
