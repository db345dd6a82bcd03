//! `plummer generate --dry`: what a run would take, from a model's sizes alone.
//!
//! The whole model runs as in a session, pass by pass, with bursts that carry nothing: cycles and counters are those of
//! the run with weights. With `--one-layer` one layer is timed alone on its mesh and multiplied, as the paper does.
//!
//! Invariant: no weight is read; every number that is multiplied or assumed says so. Called by `generate`.

mod layers;
mod whole;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::cli::{GenerateArgs, PrefillArg};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::spans::Spans;
use super::{resolve, say, start};
use crate::host::dry::{decode_layer, prefill_layer};
use crate::host::{PhaseCycles, PrefillOptions, Session, SessionConfig, SessionError, Token};
use crate::model::sizes::Sizes;
use crate::placement::capacity::Capacity;
use crate::plan::rivals::{Rivals, Unknown};

use layers::Layers;
use whole::{Passes, Whole};

/// Version of the JSON object; 2: utilisation by span.
const SCHEMA: u32 = 2;

/// The model that `-m` names: a preset, a config.json or its directory, or a whole model; the embedded one if absent.
pub fn sizes(model: Option<&Path>) -> Result<Sizes> {
    let Some(path) = model else { return super::model::embedded_sizes().map_err(Into::into) };
    if !path.exists() {
        let presets = || Sizes::presets().collect::<Vec<_>>().join(", ");
        let found = path.to_str().and_then(Sizes::preset);
        return found.with_context(|| format!("model {}: neither a path nor one of {}", path.display(), presets()));
    }
    super::files::reads_model(path);
    if path.join("config.json").is_file() || path.extension().is_some_and(|e| e == "json") {
        let mut sizes = Sizes::from_file(path)?;
        if path.is_dir()
            && let Ok(model) = super::model::open(Some(path))
        {
            sizes.config = model.config; // what the tensors say: a configuration may not tell whether the head is tied
        }
        return Ok(sizes);
    }
    let model = super::model::open(Some(path))?;
    let name = path.display().to_string();
    Ok(Sizes { name, config: model.config, format: crate::math::checkpoint::WeightFormat::F16 })
}

/// Runs the command; the exit code.
pub fn run(args: &GenerateArgs) -> Result<u8> {
    let sizes = sizes(args.path())?;
    let prompt = match args.prompt_tokens {
        Some(n) => n,
        None => resolve::resolve(args)
            .context("--dry without --prompt-tokens N counts the tokens of a text with a whole model's tokenizer")?
            .prompt_ids
            .len(),
    };
    let needed = prompt.saturating_add(args.n.saturating_sub(1));
    let context = args.place.context.unwrap_or_else(|| prompt.saturating_add(args.n));
    if prompt == 0 {
        bail!("--prompt-tokens 0: need at least 1");
    }
    if needed > context {
        bail!("-c {context}: {prompt} prompt tokens and {} to generate need {needed} positions", args.n);
    }
    let most = sizes.config.context;
    let beyond = (needed > most).then(|| format!("{needed} positions are timed; the model was trained for {most}"));
    let idle = start::idle(args, args.temp.unwrap_or(0.0));
    for warning in [idle, beyond].into_iter().flatten().filter(|_| !args.quiet) {
        say(&format!("warning: {warning}\n"));
    }
    let mut config = resolve::session(&args.place, context, prompt)?;
    let mut prefill = resolve::prefill(args);
    config.in_chunks = resolve::in_chunks(prefill, prompt, args.n);
    if args.auto {
        prefill = super::plan::auto(&sizes, &mut config, args)?;
    }
    config.workers = args.workers.map_or(config.workers, usize::from);
    let run = DryRun { args, sizes, prompt, prefill, config };
    if args.one_layer { run.one_layer() } else { run.whole() }
}

struct DryRun<'a> {
    args: &'a GenerateArgs,
    sizes: Sizes,
    prompt: usize,
    /// `None`: token by token.
    prefill: Option<PrefillOptions>,
    config: SessionConfig,
}

impl DryRun<'_> {
    fn bar(&self) -> Progress {
        Progress::unless(self.args.quiet)
    }

    /// Every pass of the run.
    fn whole(self) -> Result<u8> {
        let shape = &self.sizes.config.shape;
        let mut mesh = self.prefill.is_some();
        let interrupt = Interrupt::listen().context("Ctrl-C handler")?;
        let bar = self.bar();
        bar.at("placing it on the wafer");
        let open = |how| Session::dry(shape, self.sizes.format, self.config.clone(), how);
        let session = match open(self.prefill) {
            Err(SessionError::Prefill(reason)) => {
                bar.aside(|| say(&format!("no prefill: {reason}; the prompt goes token by token\n")));
                mesh = false;
                open(None)
            }
            other => other,
        };
        let mut session = session.map_err(hint)?;
        interrupt.run_begins();
        let begin = Instant::now();
        let (mut passes, mut prompt_cycles, mut fed) = (0, 0, None);
        let total = self.prompt + self.args.n.saturating_sub(1);
        let tell = |passes: usize| bar.at(format!("{passes} of {total} positions"));
        tell(0);
        if mesh {
            let ids = vec![0; self.prompt];
            session.prefill(&ids, |done| {
                passes = done;
                tell(done);
                !interrupt.asked()
            })?;
            prompt_cycles = session.report().cycles_total;
        }
        while passes < total && !interrupt.asked() {
            let wants = passes + 1 >= self.prompt && self.args.n > 0;
            let step = session.step(if passes < self.prompt { Token::Given(0) } else { Token::Own }, wants)?;
            passes += 1;
            tell(passes);
            if passes <= self.prompt {
                prompt_cycles = step.cycles;
            }
            if passes == self.prompt {
                fed = Some(session.usage()?);
            }
        }
        bar.finish();
        let seconds = begin.elapsed().as_secs_f64();
        let report = session.report();
        let made = (passes + 1).saturating_sub(self.prompt).min(self.args.n);
        let spans = Spans::of(&session, &report, shape, fed.as_ref(), (self.prompt, made))?;
        let plan = &session.decode().plan;
        let (mesh, request) = ((plan.cols, plan.rows), Session::request(&self.config)?);
        let capacity = Capacity::of(shape, &self.config.chip, &request, mesh, plan.stages.len());
        let pass = Passes { passes, made, prompt_cycles, seconds };
        let out = Whole { run: &self, session: &session, report: &report, pass, spans, capacity };
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

    /// On as many cores as a mesh has.
    fn rivals(&self, mesh: (usize, usize), positions: usize, is_prefill: bool) -> Result<Rivals, Unknown> {
        Rivals::of(&self.sizes.config.shape, &self.config.chip, mesh, positions, is_prefill)
    }

    /// One layer of decode at the first and the last position, and of the prefill if it is asked for.
    fn one_layer(self) -> Result<u8> {
        if self.config.mesh.is_none() {
            bail!("--one-layer needs --mesh COLSxROWS");
        }
        let (shape, format) = (&self.sizes.config.shape, self.sizes.format);
        let last = self.prompt + self.args.n.saturating_sub(2);
        let bar = self.bar();
        bar.at(format!("a layer of a prompt of {} positions", self.prompt));
        let prefill = match self.args.prefill {
            PrefillArg::Mesh => Some(prefill_layer(shape, format, &self.config, self.prompt)?),
            PrefillArg::Token => None,
        };
        bar.at("a layer of decode");
        let mut decode = vec![decode_layer(shape, format, &self.config, self.prompt)?];
        if last > self.prompt {
            decode.push(decode_layer(shape, format, &self.config, last)?);
        }
        bar.finish();
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
        SessionError::Plan(e) if !e.is_of_request() => anyhow::Error::from(SessionError::Plan(e))
            .context("the wafer does not hold it; --one-layer times one layer"),
        other => other.into(),
    }
}

fn phases_json(phases: &[PhaseCycles]) -> Value {
    Value::Object(phases.iter().map(|p| (p.name.to_owned(), json!(p.total))).collect::<Map<_, _>>())
}

fn per_second(clock: f64, cycles: f64) -> f64 {
    if cycles > 0.0 { clock / cycles } else { 0.0 }
}
