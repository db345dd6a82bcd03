//! `plummer verify`: the wafer beside the oracle, bit for bit, in every way of running it that this machine has.
//!
//! | varied               | values                                                    |
//! |----------------------|-----------------------------------------------------------|
//! | SIMD level           | each one of this machine, on one worker                   |
//! | workers              | 1, 2, all                                                 |
//! | schedule             | depth first, three random ones                            |
//! | lane depth           | the chip's, 1, 4                                          |
//!
//! Invariant: the oracle runs once, serially; every line compares all logits of all tokens with it. Exit 0 when all are
//! equal, 1 otherwise. Called by `app`; `differ` looks for the first number that is not equal.

mod differ;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::cli::VerifyArgs;
use super::progress::Progress;
use super::resolve::session;
use crate::host::{Kv, KvType, Session, SessionConfig, SessionError, Token};
use crate::math::checkpoint::Checkpoint;
use crate::math::reduce::argmax;
use crate::math::{Kernels, SimdLevel};
use crate::oracle::{self, KvMode, Oracle, Recipe};
use crate::placement::Plan;

pub use differ::Difference;

/// Bits of the logits after every token, and the ids that were fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By token, by id of the vocabulary.
    pub logits: Vec<Vec<u32>>,
    /// Given, then found.
    pub ids: Vec<u32>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What ran.
    pub what: String,
    /// The first number that differs.
    pub difference: Option<Difference>,
}

/// What was compared, and with what outcome.
struct Verified {
    model: String,
    config: SessionConfig,
    plan: Plan,
    lines: Vec<Line>,
    tokens: usize,
    vocab: usize,
}

/// Runs `plummer verify`: the text for stdout, and the exit code.
pub fn run(args: &VerifyArgs) -> Result<(String, u8)> {
    let path = args.model.as_deref().or(args.placed.as_deref());
    let model = super::model::open(path)?;
    let (tokens, most) = (usize::from(args.tokens), model.config.context);
    let context = args.place.context.unwrap_or(tokens);
    if tokens > context || context > most {
        bail!(
            "--tokens {tokens}, -c {context}: the model was trained for {most} positions, need --tokens <= -c <= {most}"
        );
    }
    let config = session(&args.place, context, 1)?;
    let first = model.config.bos.unwrap_or(1).min(model.shape().vocab as u32 - 1);
    let bar = Progress::new(None);
    let (plan, lines) = verify((&model, &model), &config, first, tokens, |what| bar.at(what))?;
    bar.finish();
    let failed = lines.iter().any(|l| l.difference.is_some());
    let name = path.map_or(super::model::EMBEDDED.name.to_owned(), |path| path.display().to_string());
    let found = Verified { model: name, config, plan, lines, tokens, vocab: model.shape().vocab };
    Ok((if args.json { format!("{}\n", found.object()) } else { found.text() }, u8::from(failed)))
}

/// Compares `model` on the wafer with `twin` in the oracle (the same one, except in tests that want a difference):
/// `tokens` tokens, the first one `first`, then greedy; `begins` hears of each run. Gives the wafer's plan and a line a
/// run.
///
/// # Errors
/// What keeps the wafer from running.
pub fn verify(
    (model, twin): (&dyn Checkpoint, &dyn Checkpoint),
    config: &SessionConfig,
    first: u32,
    tokens: usize,
    begins: impl Fn(&str),
) -> Result<(Plan, Vec<Line>)> {
    let (decode, _) = Session::plan_only(model, config)?;
    let recipe = recipe(&decode.plan, config);
    begins("the oracle");
    let expect = by_oracle(twin, recipe.clone(), first, tokens)?;
    let config = SessionConfig { mesh: Some((decode.plan.cols as u32, decode.plan.rows as u32)), ..config.clone() };
    let mut lines = Vec::new();
    for (what, config) in ways(&config) {
        begins(&what);
        let found = on_wafer(model, &config, first, tokens)?;
        let difference = match found == expect {
            true => None,
            false => Some(differ::first(model, twin, &config, recipe.clone(), (&found, &expect))?),
        };
        lines.push(Line { what, difference });
    }
    Ok((decode.plan, lines))
}

/// Every way of running that this machine has.
fn ways(config: &SessionConfig) -> Vec<(String, SessionConfig)> {
    let best = SimdLevel::detect();
    let one = SessionConfig { workers: 1, kernels: Kernels::for_level(best), ..config.clone() };
    let depth = config.chip.lane_depth;
    let mut ways = Vec::new();
    let mut add = |schedule: Option<u64>, workers: usize, level: SimdLevel, depth: u8| {
        let order = schedule.map_or("depth first".to_owned(), |seed| format!("random schedule {seed}"));
        let what = format!("{}, {order}, lane depth {depth}, {level:?}", super::count(workers, "worker"));
        let mut way = SessionConfig { workers, random_schedule: schedule, ..one.clone() };
        way.kernels = Kernels::for_level(level);
        way.chip.lane_depth = depth;
        ways.push((what, way));
    };
    SimdLevel::available().for_each(|level| add(None, 1, level, depth));
    let mut workers = vec![2, config.workers];
    workers.sort_unstable();
    workers.dedup();
    workers.into_iter().filter(|n| *n > 1).for_each(|n| add(None, n, best, depth));
    [1, 2, 3].into_iter().for_each(|seed| add(Some(seed), 1 + seed as usize % 2, best, depth));
    [1, 4].into_iter().filter(|d| *d != depth).for_each(|d| add(None, 1, best, d));
    ways
}

/// The plain numbers of a plan that decide in which order the wafer adds: all that the oracle gets of it.
pub fn recipe(plan: &Plan, config: &SessionConfig) -> Recipe {
    Recipe {
        cols: plan.cols,
        rows: plan.rows,
        head_cols: plan.head_cols,
        groups_y: plan.groups_y.clone(),
        groups_x: plan.groups_x.clone(),
        groups_head: plan.groups_head.clone(),
        kv: match config.kv {
            Kv::Shift => KvMode::Shift,
            Kv::Concat => KvMode::Concat { prompt: config.prompt },
        },
        kv_type: match config.kv_type {
            KvType::F16 => oracle::KvType::F16,
            KvType::F32 => oracle::KvType::F32,
        },
    }
}

fn on_wafer(
    model: &dyn Checkpoint,
    config: &SessionConfig,
    first: u32,
    tokens: usize,
) -> Result<Outcome, SessionError> {
    let mut session = Session::new(model, config.clone())?;
    let mut outcome = Outcome { logits: Vec::new(), ids: vec![first] };
    for at in 0..tokens {
        let token = if at == 0 { Token::Given(first) } else { Token::Own };
        let step = session.step(token, true)?;
        outcome.logits.push(session.logits()?.iter().map(|l| l.to_bits()).collect());
        outcome.ids.extend(step.argmax);
    }
    Ok(outcome)
}

/// Feeds the token `id`, whatever the wafer itself found.
fn feed(session: &mut Session, id: u32) -> Result<(), SessionError> {
    session.step(Token::Given(id), true).map(|_| ())
}

fn by_oracle(twin: &dyn Checkpoint, recipe: Recipe, first: u32, tokens: usize) -> Result<Outcome> {
    let mut oracle = Oracle::new(twin, recipe)?;
    let mut outcome = Outcome { logits: Vec::new(), ids: vec![first] };
    for at in 0..tokens {
        let Some(logits) = oracle.step(outcome.ids[at], true) else { bail!("the oracle gave no logits") };
        outcome.ids.push(argmax(&logits).map_or(0, |best| best.1));
        outcome.logits.push(logits.iter().map(|l| l.to_bits()).collect());
    }
    Ok(outcome)
}

impl Verified {
    fn object(&self) -> Value {
        let line = |l: &Line| match &l.difference {
            None => json!({ "what": l.what, "equal": true }),
            Some(d) => json!({
                "what": l.what, "equal": false, "token": d.token, "phase": d.phase, "layer": d.layer,
                "pe": d.pe.map(|pe| [pe.col, pe.row]), "index": d.index, "wafer": d.wafer, "oracle": d.oracle,
            }),
        };
        let equal = self.lines.iter().all(|l| l.difference.is_none());
        let all: Vec<Value> = self.lines.iter().map(line).collect();
        json!({
            "schema": 1, "equal": equal, "model": self.model, "chip": self.config.chip.name,
            "mesh": {"cols": self.plan.cols, "rows": self.plan.rows, "stages": self.plan.stages.len()},
            "context": self.config.context, "tokens": self.tokens, "logits_per_token": self.vocab, "comparisons": all,
        })
    }

    fn text(&self) -> String {
        let Self { model, config, plan, lines, tokens, vocab } = self;
        let line = |l: &Line| match &l.difference {
            None => format!("equal    {}\n", l.what),
            Some(d) => format!("DIFFERS  {}: {d}\n", l.what),
        };
        let failed = lines.iter().filter(|l| l.difference.is_some()).count();
        let all: String = lines.iter().map(line).collect();
        let (chip, stages) = (&config.chip.name, super::count(plan.stages.len(), "stage"));
        let (cols, rows, positions) = (plan.cols, plan.rows, super::count(config.context, "position"));
        let head = format!("{model} on {chip}: {cols}x{rows} cores a stage, {stages}, room for {positions}");
        let verdict = match failed {
            0 => {
                format!("all {} comparisons are equal bit for bit: {tokens} tokens x {vocab} logits each", lines.len())
            }
            n => format!("{n} of {} comparisons differ", lines.len()),
        };
        format!("{head}\n{all}{verdict}\n")
    }
}
