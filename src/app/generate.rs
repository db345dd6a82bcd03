//! `plummer generate`: prompt in, text out, then the report.
//!
//! A *generated step* is a pass that ends in logits from which a token is chosen; the first of them is the pass of the
//! prompt's last token, and the last may choose eos.
//!
//! Invariant: the loop ends for exactly one `Stop` reason, and whatever it is, text and report are delivered.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::cli::{GenerateArgs, PrefillArg};
use super::interrupt::Interrupt;
use super::npy::Rows;
use super::output::TextOut;
use super::progress::Progress;
use super::resolve::{HiArgs, resolve};
use super::sample::Sampler;
use super::spans::Spans;
use super::{count, report, say, start};
use crate::host::{Session, Step, Token, Usage};

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
    /// Generated steps.
    pub steps: usize,
    /// Passes, those of the prompt included.
    pub passes: usize,
    /// sha256 of the logits of all generated steps, in hex; absent if nobody asked.
    pub digest: Option<String>,
    /// Virtual time before the first step that counts for TPR: the transition to decode included.
    pub prompt_cycles: u64,
    /// Virtual time of the first generated step; 0 if there was none.
    pub first_cycles: u64,
    /// Positions of the prompt at once; none: token by token.
    pub chunk: Option<usize>,
    /// What the wafer did for a prompt that went token by token, when it ended.
    pub fed: Option<Usage>,
    /// Why the prompt went token by token though it was not asked to.
    pub refused: Option<String>,
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
    let interrupt = Interrupt::listen().context("Ctrl-C handler")?;
    let bar = Progress::unless(args.quiet);
    bar.at("loading the model");
    if args.prefill == PrefillArg::Token && (args.chunk.is_some() || args.prefill_mesh.is_some()) {
        bail!("--prefill token has no chunks and no mesh of its own: leave out --chunk and --prefill-mesh");
    }
    let mut job = resolve(args)?;
    let warn = |text: String| {
        if !args.quiet {
            bar.aside(|| say(&format!("warning: {text}\n")));
        }
    };
    let (workers, cores) = (job.session.workers, std::thread::available_parallelism().map_or(1, usize::from));
    if workers > cores {
        warn(format!("{} on {} wait for each other", count(workers, "worker"), count(cores, "core")));
    }
    start::idle(args, job.sample.temperature).map(warn);
    bar.at("placing it on the wafer");
    let (mut session, refused) = start::start(args, &mut job)?;
    if let Some(reason) = &refused {
        warn(format!("the prompt goes token by token: {reason}"));
    }
    start::reduced(args, &session).map(warn);
    let (limit, warning) = start::limit(args, &job, &session)?;
    warning.map(warn);
    let vocab = job.model.config.shape.vocab;
    let rows = args
        .logits
        .as_deref()
        .map(|path| Rows::create(path, vocab).with_context(|| format!("--logits {}", path.display())));
    let rows = rows.transpose()?;
    args.probe.check_cores(session.cores().into_iter())?;
    let probes = args.probe.open()?;
    let seconds_load = begin.elapsed().as_secs_f64();
    interrupt.run_begins();
    let mut out = TextOut::new(&args.stop, !args.json);
    let run = Run { args, job: &job, session: &mut session, limit, interrupt, bar: &bar, hash: Sha256::new(), rows };
    let mut outcome = run.finish(&mut out).inspect_err(|_| bar.finish())?;
    outcome.seconds_load = seconds_load;
    outcome.refused = refused;
    bar.finish();
    probes.write(&session.decode().chip, || session.recorded())?;
    deliver(args, &job, &outcome, &mut session, &mut out)?;
    if outcome.stop == Stop::Context {
        say(&format!("error: the context is full: {limit} tokens fit\n"));
        return Ok(2);
    }
    Ok(0)
}

/// What follows the text: JSON on stdout, digest and table on stderr.
fn deliver(
    args: &GenerateArgs,
    job: &HiArgs,
    outcome: &Outcome,
    session: &mut Session,
    out: &mut TextOut<'_>,
) -> Result<()> {
    let (placement, totals) = (session.placement(), session.report());
    let (shape, counts) = (&job.model.config.shape, (job.prompt_ids.len(), outcome.steps));
    let spans = || Spans::of(session, &totals, shape, outcome.fed.as_ref(), counts);
    let spans = (args.json || !args.quiet).then(spans).transpose()?;
    let told = spans.as_ref().map(|spans| report::Told { job, outcome, placement: &placement, totals: &totals, spans });
    if let Some(told) = told.as_ref().filter(|_| args.json) {
        out.write(&format!("{}\n", serde_json::to_string(&told.json())?))?;
    } else if !outcome.text.is_empty() && !outcome.text.ends_with('\n') {
        out.write("\n")?;
    }
    if let Some(told) = told.filter(|_| !args.quiet) {
        say(&told.table());
    }
    if let (true, Some(digest)) = (args.digest, &outcome.digest) {
        say(&format!("logits sha256 {digest}\n"));
    }
    Ok(())
}

struct Run<'a> {
    args: &'a GenerateArgs,
    job: &'a HiArgs,
    session: &'a mut Session,
    limit: usize,
    interrupt: Interrupt,
    bar: &'a Progress,
    hash: Sha256,
    rows: Option<Rows>,
}

impl Run<'_> {
    fn finish(mut self, out: &mut TextOut<'_>) -> Result<Outcome> {
        let begin = Instant::now();
        let mut outcome = Outcome {
            token_ids: Vec::new(),
            text: String::new(),
            stop: Stop::Interrupt,
            steps: 0,
            passes: 0,
            digest: None,
            prompt_cycles: 0,
            first_cycles: 0,
            chunk: self.session.chunk(),
            fed: None,
            refused: None,
            seconds_load: 0.0,
            seconds_run: 0.0,
            cut: 0.0,
        };
        let stop = self.all(out, &mut outcome);
        out.flush()?; // what was held back, also when the wafer stopped
        outcome.stop = stop?;
        outcome.seconds_run = begin.elapsed().as_secs_f64();
        outcome.text = std::mem::take(&mut out.text);
        if self.wants_logits() {
            outcome.digest = Some(self.hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        if let Some(rows) = self.rows {
            rows.finish().context("--logits")?;
        }
        Ok(outcome)
    }

    fn all(&mut self, out: &mut TextOut<'_>, outcome: &mut Outcome) -> Result<Stop> {
        if self.interrupt.asked() {
            return Ok(Stop::Interrupt);
        }
        let step = if outcome.chunk.is_some() { self.prefill(outcome)? } else { self.prompt(outcome)? };
        let Some(step) = step else { return Ok(Stop::Interrupt) };
        outcome.first_cycles = step.cycles;
        if self.args.n == 0 {
            return Ok(Stop::Length);
        }
        // Where the text goes there is no line left for the progress: on a terminal, or in a file that may be the same.
        if !self.args.json && (std::io::stdout().is_terminal() || !std::io::stderr().is_terminal()) {
            self.bar.finish();
        }
        self.decode(step, out, outcome)
    }

    /// The prompt in chunks; the step of its last token, or `None` when interrupted.
    fn prefill(&mut self, outcome: &mut Outcome) -> Result<Option<Step>> {
        let ids = &self.job.prompt_ids;
        let (bar, interrupt, chunk) = (self.bar, &self.interrupt, outcome.chunk.unwrap_or(1));
        let moves = self.session.prefill_plan().is_some_and(|plan| *plan != self.session.decode().plan);
        let step = self.session.prefill(ids, |done| {
            bar.at(match moves && done == ids.len() {
                true => "weights, K and V on their way to the mesh of decode".to_owned(),
                false => format!("prompt {done} of {}, {chunk} at once", ids.len()),
            });
            outcome.passes = done;
            !interrupt.asked()
        })?;
        outcome.prompt_cycles = self.session.report().cycles_total;
        Ok(step)
    }

    /// Feeds the prompt token by token; the last step, or `None` when interrupted.
    fn prompt(&mut self, outcome: &mut Outcome) -> Result<Option<Step>> {
        let ids = &self.job.prompt_ids;
        let mut last = None;
        for (i, id) in ids.iter().enumerate() {
            if self.interrupt.asked() {
                return Ok(None);
            }
            self.bar.at(format!("prompt {} of {}", i + 1, ids.len()));
            let is_generated = i + 1 == ids.len() && self.args.n > 0;
            let step = self.session.step(Token::Given(*id), is_generated)?;
            outcome.passes += 1;
            outcome.prompt_cycles = step.cycles;
            last = Some(step);
        }
        outcome.fed = Some(self.session.usage()?);
        Ok(last)
    }

    fn decode(&mut self, mut step: Step, out: &mut TextOut<'_>, outcome: &mut Outcome) -> Result<Stop> {
        let mut sampler = Sampler::new(self.job.sample);
        let mut stream = self.job.model.tokenizer.stream();
        let begin = Instant::now();
        let stop = loop {
            let (id, next) = self.choose(step, &mut sampler, outcome)?;
            outcome.steps += 1;
            if self.job.model.config.eos.contains(&id) {
                break Stop::Eos;
            }
            outcome.token_ids.push(id);
            let piece = stream.push(id);
            if self.bar.aside(|| out.push(&piece))? {
                break Stop::Text;
            }
            if outcome.token_ids.len() >= self.args.n {
                break Stop::Length;
            }
            if self.interrupt.asked() || out.closed {
                break Stop::Interrupt;
            }
            if outcome.passes >= self.limit {
                break Stop::Context;
            }
            step = self.session.step(next, true)?;
            outcome.passes += 1;
            let rate = outcome.steps as f64 / begin.elapsed().as_secs_f64();
            self.bar.at(format!("{} tokens, {rate:.1} tokens/s", outcome.token_ids.len()));
        };
        if stop != Stop::Text && out.push(&stream.finish())? {
            return Ok(Stop::Text);
        }
        Ok(stop)
    }

    /// The token of a step, and how the wafer is told.
    fn choose(&mut self, step: Step, sampler: &mut Sampler, outcome: &mut Outcome) -> Result<(u32, Token)> {
        let own = step.argmax.context("the wafer gave no id")?;
        if sampler.is_greedy() && !self.wants_logits() {
            return Ok((own, Token::Own));
        }
        let logits = self.session.logits()?;
        if self.wants_logits() {
            logits.iter().for_each(|value| self.hash.update(value.to_le_bytes()));
        }
        if let Some(rows) = &mut self.rows {
            rows.push(&logits).context("--logits")?;
        }
        if sampler.is_greedy() {
            return Ok((own, Token::Own));
        }
        let choice = sampler.choose(&logits).context("no logits")?;
        outcome.cut = outcome.cut.max(choice.cut);
        Ok((choice.id, Token::Sampled(choice.id)))
    }

    fn wants_logits(&self) -> bool {
        self.args.json || self.args.digest || self.args.logits.is_some()
    }
}
