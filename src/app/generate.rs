//! `plummer generate`: prompt in, text out, then the report.
//!
//! Invariant: the loop ends for exactly one `Stop` reason, and whatever it is, text and report are delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest as _, Sha256};

use super::cli::GenerateArgs;
use super::output::TextOut;
use super::resolve::{HiArgs, resolve};
use super::sample::Sampler;
use super::{npy, report};
use crate::host::{Session, Step, Token};

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// The model ended it.
    Eos,
    /// A `--stop` text.
    Text,
    /// `-n` tokens.
    Length,
    /// No position left.
    Context,
    /// Ctrl-C, or the reader went away.
    Interrupt,
}

/// What a run gave.
pub struct Outcome {
    /// Without eos.
    pub token_ids: Vec<u32>,
    /// Their text, without the stop text.
    pub text: String,
    /// Why it ended.
    pub stop: Stop,
    /// Steps that gave logits.
    pub steps: usize,
    /// Passes after the prompt.
    pub decode_passes: usize,
    /// sha256 of all logits, in hex; absent if nobody asked.
    pub digest: Option<String>,
    /// Virtual time at the end of the prompt.
    pub prompt_cycles: u64,
    /// Host seconds to open the model and to start the wafer.
    pub seconds_load: f64,
    /// Host seconds of all passes.
    pub seconds_run: f64,
    /// Largest probability that the sampler's candidate limit cut.
    pub cut: f64,
}

/// Runs the command; the exit code.
pub fn run(args: &GenerateArgs) -> Result<u8> {
    let begin = Instant::now();
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("Ctrl-C handler")?;
    let bar = progress(args.quiet);
    bar.set_message("loading the model");
    let job = resolve(args)?;
    bar.set_message("placing it on the wafer");
    let mut session = Session::new(&job.model, job.session.clone())?;
    let limit = session.capacity().min(job.context);
    let prompt = job.prompt_ids.len();
    anyhow::ensure!(prompt <= limit, "the prompt has {prompt} tokens; {limit} fit in the arenas");
    let needed = prompt + args.n.saturating_sub(1); // the last token is not fed back
    if needed > limit && !args.quiet {
        bar.suspend(|| {
            eprintln!("warning: {prompt} prompt tokens and {} to generate, but {limit} positions fit", args.n);
        });
    }
    let seconds_load = begin.elapsed().as_secs_f64();
    let mut text = TextOut::new(&args.stop, !args.json);
    let mut outcome = Run {
        args,
        job: &job,
        session: &mut session,
        limit,
        interrupted: &interrupted,
        bar: &bar,
        hash: Sha256::new(),
        rows: Vec::new(),
    }
    .finish(&mut text)?;
    outcome.seconds_load = seconds_load;
    bar.finish_and_clear();
    let placement = session.placement();
    let totals = session.report();
    if args.json {
        let json = report::json(&job, &outcome, &placement, &totals);
        text.write(&format!("{}\n", serde_json::to_string(&json)?))?;
    } else if !outcome.text.ends_with('\n') {
        text.write("\n")?;
    }
    if let (true, false, Some(digest)) = (args.digest, args.json, &outcome.digest) {
        text.write(&format!("logits sha256 {digest}\n"))?;
    }
    if !args.quiet {
        eprint!("{}", report::table(&job, &outcome, &placement, &totals));
    }
    if outcome.stop == Stop::Context {
        eprintln!("error: the context is full: {limit} tokens fit");
        return Ok(2);
    }
    Ok(0)
}

struct Run<'a> {
    args: &'a GenerateArgs,
    job: &'a HiArgs,
    session: &'a mut Session,
    limit: usize,
    interrupted: &'a AtomicBool,
    bar: &'a ProgressBar,
    hash: Sha256,
    rows: Vec<Vec<f32>>,
}

impl Run<'_> {
    fn finish(mut self, out: &mut TextOut<'_>) -> Result<Outcome> {
        let begin = Instant::now();
        let mut outcome = Outcome {
            token_ids: Vec::new(),
            text: String::new(),
            stop: Stop::Length,
            steps: 0,
            decode_passes: 0,
            digest: None,
            prompt_cycles: 0,
            seconds_load: 0.0,
            seconds_run: 0.0,
            cut: 0.0,
        };
        outcome.stop = match self.prompt()? {
            Some(step) => {
                outcome.prompt_cycles = step.cycles;
                self.decode(step, out, &mut outcome)?
            }
            None => Stop::Interrupt,
        };
        out.flush()?;
        outcome.seconds_run = begin.elapsed().as_secs_f64();
        outcome.text = std::mem::take(&mut out.text);
        if self.wants_logits() {
            outcome.digest = Some(self.hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        if let Some(path) = &self.args.logits {
            let vocab = self.job.model.config.shape.vocab;
            npy::write(path, &self.rows, vocab).with_context(|| format!("--logits {}", path.display()))?;
        }
        Ok(outcome)
    }

    /// Feeds the prompt; the last step, or `None` when interrupted.
    fn prompt(&mut self) -> Result<Option<Step>> {
        let ids = &self.job.prompt_ids;
        let mut last = None;
        for (i, id) in ids.iter().enumerate() {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.bar.set_message(format!("prompt {} of {}", i + 1, ids.len()));
            last = Some(self.session.step(Token::Given(*id), i + 1 == ids.len())?);
        }
        Ok(last)
    }

    fn decode(&mut self, mut step: Step, out: &mut TextOut<'_>, outcome: &mut Outcome) -> Result<Stop> {
        let mut sampler = Sampler::new(self.job.sample);
        let mut stream = self.job.model.tokenizer.stream();
        let begin = Instant::now();
        let stop = loop {
            if outcome.token_ids.len() >= self.args.n {
                break Stop::Length;
            }
            if self.interrupted.load(Ordering::Relaxed) || out.closed {
                break Stop::Interrupt;
            }
            let mut id = step.argmax.context("the wafer gave no id")?;
            let mut next = Token::Own;
            if self.wants_logits() || !sampler.is_greedy() {
                let logits = self.session.logits()?;
                if !sampler.is_greedy() {
                    let choice = sampler.choose(&logits).context("no logits")?;
                    outcome.cut = outcome.cut.max(choice.cut);
                    (id, next) = (choice.id, Token::Sampled(choice.id));
                }
                self.keep(logits);
            }
            outcome.steps += 1;
            if self.job.model.config.eos.contains(&id) {
                break Stop::Eos;
            }
            outcome.token_ids.push(id);
            let piece = stream.push(id);
            if self.bar.suspend(|| out.push(&piece))? {
                break Stop::Text;
            }
            if outcome.token_ids.len() >= self.args.n {
                break Stop::Length;
            }
            if self.job.prompt_ids.len() + outcome.decode_passes >= self.limit {
                break Stop::Context;
            }
            step = self.session.step(next, true)?;
            outcome.decode_passes += 1;
            let rate = outcome.decode_passes as f64 / begin.elapsed().as_secs_f64();
            self.bar.set_message(format!("{} tokens, {rate:.1} tokens/s", outcome.token_ids.len()));
        };
        if stop != Stop::Text && out.push(&stream.finish())? {
            return Ok(Stop::Text);
        }
        Ok(stop)
    }

    fn wants_logits(&self) -> bool {
        self.args.json || self.args.digest || self.args.logits.is_some()
    }

    fn keep(&mut self, logits: Vec<f32>) {
        if self.wants_logits() {
            for value in &logits {
                self.hash.update(value.to_le_bytes());
            }
        }
        if self.args.logits.is_some() {
            self.rows.push(logits);
        }
    }
}

/// A spinner on stderr; hidden with `--quiet`, and by indicatif itself where stderr is no terminal.
fn progress(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::default_spinner());
    bar
}
