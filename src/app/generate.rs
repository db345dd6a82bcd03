//! `plummer generate`: prompt in, text out, report at the end.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest as _, Sha256};

use crate::host::{Report, Session, SessionError, Token};
use crate::model::Model;
use crate::model::chat::Message;

use super::args::{ArenaArg, Generate, open_model};
use super::npy;
use super::sample::{Sampler, Settings};

/// Why the text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Eos,
    Text,
    Length,
    Context,
    Interrupt,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Text => "text",
            Self::Length => "length",
            Self::Context => "context",
            Self::Interrupt => "interrupt",
        }
    }
}

/// What was written so far.
struct Run {
    ids: Vec<u32>,
    text: String,
    printed: usize,
    steps: usize,
    hash: Sha256,
    rows: Vec<Vec<f32>>,
    prompt_cycles: u64,
    last_cycles: u64,
    stop: Stop,
    loading: Duration,
    writing: Duration,
}

/// Runs the command.
///
/// # Errors
/// Anything that keeps the run from starting, or a context that filled up (after the text).
pub fn run(low: Generate) -> anyhow::Result<()> {
    let began = Instant::now();
    let progress = progress(low.quiet || low.json && !std::io::stderr().is_terminal());
    progress.set_message("loading");
    let model = open_model(low.model.as_deref())?;
    let prompt = prompt_ids(&low, &model)?;
    check_sampling(&low)?;
    let limit = model.config.context;
    if prompt.len() > limit {
        bail!("prompt: need at most {limit} tokens (the model's context), found {}", prompt.len());
    }
    let context = low.ctx.unwrap_or((prompt.len() + low.n).min(limit));
    if context == 0 || context > limit {
        bail!("-c: need 1 to {limit} positions (the model's context), found {context}");
    }
    if prompt.len() > context {
        bail!("prompt: {} tokens do not fit -c {context}", prompt.len());
    }
    let mut config = low.place.session(context, prompt.len(), low.workers()?)?;
    config.arena_full = low.arena == ArenaArg::Full;
    progress.set_message("placing");
    let mut session = Session::new(&model, config)?;
    let room = context.min(session.capacity());
    if prompt.len() > room {
        bail!("prompt: {} tokens do not fit the arenas, which hold {room}", prompt.len());
    }
    if prompt.len() + low.n > room && !low.quiet {
        let more = room - prompt.len();
        progress.suspend(|| {
            eprintln!("warning: the context holds {room} positions: at most {more} of {} tokens will be written", low.n)
        });
    }
    let loading = began.elapsed();
    let run = write(&low, &model, &mut session, &prompt, room, &progress, loading)?;
    progress.finish_and_clear();
    finish(&low, &model, &mut session, &prompt, &run)?;
    if run.stop == Stop::Context {
        return Err(SessionError::Full { fits: room }.into());
    }
    Ok(())
}

fn progress(hidden: bool) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_draw_target(if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() });
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn check_sampling(low: &Generate) -> anyhow::Result<()> {
    if let Some(t) = low.temp.filter(|t| !(0.0..=100.0).contains(t)) {
        bail!("--temp: need 0 to 100, found {t}");
    }
    if !(low.top_p > 0.0 && low.top_p <= 1.0) {
        bail!("--top-p: need above 0 and at most 1, found {}", low.top_p);
    }
    if low.n == 0 {
        bail!("-n: need at least 1, found 0");
    }
    Ok(())
}

fn prompt_ids(low: &Generate, model: &Model) -> anyhow::Result<Vec<u32>> {
    let text = low.prompt_text()?;
    let ids = if low.chat {
        let text = model.chat(&[Message::new("user", &text)])?;
        model.tokenizer.encode_chat(&text)?
    } else {
        model.tokenizer.encode(&text)?
    };
    if !ids.is_empty() {
        return Ok(ids);
    }
    // An empty text can still start from the model's first token.
    match model.config.bos {
        Some(bos) => Ok(vec![bos]),
        None => bail!("prompt: need at least one token, found none (and the model has no first token)"),
    }
}

/// The loop: prompt through the decode path, then one token a pass.
fn write(
    low: &Generate,
    model: &Model,
    session: &mut Session,
    prompt: &[u32],
    room: usize,
    progress: &ProgressBar,
    loading: Duration,
) -> anyhow::Result<Run> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // A second handler in one process (tests) is refused; the first one stays.
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).ok();
    let temperature = low.temp.unwrap_or(if low.model.is_none() { 0.7 } else { 0.0 });
    let mut sampler = Sampler::new(Settings { temperature, top_k: low.top_k, top_p: low.top_p, seed: low.seed });
    let needs_logits = !sampler.is_greedy() || low.digest || low.logits.is_some() || low.json;
    let began = Instant::now();
    let mut run = Run {
        ids: Vec::new(),
        text: String::new(),
        printed: 0,
        steps: 0,
        hash: Sha256::new(),
        rows: Vec::new(),
        prompt_cycles: 0,
        last_cycles: 0,
        stop: Stop::Length,
        loading,
        writing: Duration::ZERO,
    };
    let mut stream = model.tokenizer.stream();
    let mut next = Token::Given(prompt[0]);
    let mut used = 0;
    loop {
        let want = used + 1 >= prompt.len();
        let step = session.step(next, want)?;
        used += 1;
        if !want {
            progress.set_message(format!("prompt {used}/{}", prompt.len()));
            next = Token::Given(prompt[used]);
            if interrupted.load(Ordering::Relaxed) {
                run.stop = Stop::Interrupt;
                break;
            }
            continue;
        }
        if used == prompt.len() {
            run.prompt_cycles = step.cycles;
        }
        run.last_cycles = step.cycles;
        run.steps += 1;
        let logits = if needs_logits { session.logits()? } else { Vec::new() };
        logits.iter().for_each(|l| run.hash.update(l.to_le_bytes()));
        let greedy = sampler.is_greedy();
        let id = if greedy { step.argmax.unwrap_or(0) } else { sampler.draw(&logits) };
        if low.logits.is_some() {
            run.rows.push(logits);
        }
        if model.config.eos.contains(&id) {
            run.stop = Stop::Eos;
            break;
        }
        run.ids.push(id);
        run.text.push_str(&stream.push(id));
        if let Some(at) = low.stop.iter().filter(|s| !s.is_empty()).filter_map(|s| run.text.find(s.as_str())).min() {
            run.text.truncate(at);
            run.stop = Stop::Text;
            break;
        }
        show(low, &mut run, progress, false)?;
        let rate = run.steps as f64 / began.elapsed().as_secs_f64();
        progress.set_message(format!("{} tokens, {rate:.1} tokens/s on this host", run.steps));
        if run.ids.len() == low.n {
            break;
        }
        if interrupted.load(Ordering::Relaxed) {
            run.stop = Stop::Interrupt;
            break;
        }
        if used == room {
            run.stop = Stop::Context;
            break;
        }
        next = if greedy { Token::Own } else { Token::Sampled(id) };
    }
    if run.stop != Stop::Text {
        run.text.push_str(&stream.finish());
    }
    run.writing = began.elapsed();
    show(low, &mut run, progress, true)?;
    if sampler.cut && !low.quiet {
        progress.suspend(|| eprintln!("note: top-p was cut at 256 candidates"));
    }
    Ok(run)
}

/// Streams what cannot be the beginning of a stop text any more.
fn show(low: &Generate, run: &mut Run, progress: &ProgressBar, all: bool) -> std::io::Result<()> {
    if low.json {
        return Ok(());
    }
    let mut until = run.text.len();
    if !all {
        let longest = low.stop.iter().map(String::len).max().unwrap_or(0);
        until = until.saturating_sub(longest.saturating_sub(1));
        while !run.text.is_char_boundary(until) {
            until -= 1;
        }
    }
    if until <= run.printed && !all {
        return Ok(());
    }
    let from = run.printed;
    run.printed = until.max(from);
    let text = &run.text[from.min(until)..until];
    let shared = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let print = || {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if all {
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    if shared {
        progress.finish_and_clear(); // the text itself is the progress
    }
    print()
}

fn finish(low: &Generate, model: &Model, session: &mut Session, prompt: &[u32], run: &Run) -> anyhow::Result<()> {
    let report = session.report();
    let digest: String = run.hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect();
    if let Some(path) = &low.logits {
        npy::write(path, &run.rows)?;
    }
    if low.json {
        let value = json(low, session, &report, prompt, run, &digest)?;
        super::print(format!("{}\n", serde_json::to_string(&value)?).as_bytes())?;
    }
    if low.digest {
        writeln!(std::io::stderr(), "logits sha256 {digest}")?;
    }
    if !low.quiet && !low.json {
        human(session, &report, model, prompt, run)?;
    }
    Ok(())
}

/// Decode cycles per generated step: what came after the prompt's own last step.
fn per_token(run: &Run) -> f64 {
    match run.steps {
        0 => 0.0,
        1 => run.last_cycles as f64,
        n => (run.last_cycles - run.prompt_cycles) as f64 / (n - 1) as f64,
    }
}

fn json(
    low: &Generate,
    session: &Session,
    r: &Report,
    prompt: &[u32],
    run: &Run,
    digest: &str,
) -> anyhow::Result<serde_json::Value> {
    let place = session.placement();
    let per_token = per_token(run);
    let by_phase: serde_json::Map<String, serde_json::Value> =
        r.by_phase.iter().map(|(name, cycles)| ((*name).to_owned(), (*cycles).into())).collect();
    let seconds = run.writing.as_secs_f64();
    Ok(serde_json::json!({
        "schema": "plummer.generate.1",
        "prompt_ids": prompt,
        "token_ids": run.ids,
        "text": run.text,
        "stop": run.stop.name(),
        "logits_sha256": digest,
        "chip": r.chip,
        "mesh": { "cols": place.cols, "rows": place.rows, "stages": place.stages, "pes": place.pes },
        "workers": low.workers()?,
        "cycles": {
            "total": r.cycles_total, "prompt": run.prompt_cycles, "per_token": per_token, "by_phase": by_phase,
            "host_roundtrips": r.host_roundtrip_cycles,
        },
        "hops": r.hops,
        "wavelets": r.wavelets,
        "arena": { "min": r.arena.min, "median": r.arena.median, "max": r.arena.max, "budget": r.arena.budget },
        "colors_max": r.colors_max,
        "tpr": if per_token > 0.0 { r.clock_hz / per_token } else { 0.0 },
        "tpot_ms": per_token / r.clock_hz * 1e3,
        "energy_joules": r.energy_joules,
        "host": {
            "tokens_per_s": (prompt.len() + run.steps).saturating_sub(1) as f64 / seconds,
            "message_hops_per_s": r.message_hops as f64 / seconds,
            "seconds_load": run.loading.as_secs_f64(),
        },
    }))
}

fn human(session: &Session, r: &Report, model: &Model, prompt: &[u32], run: &Run) -> std::io::Result<()> {
    let mut e = std::io::stderr().lock();
    let place = session.placement();
    let per_token = per_token(run);
    let seconds = run.writing.as_secs_f64();
    let passes = (prompt.len() + run.steps).saturating_sub(1);
    writeln!(e, "\n-- {} on {} --", model.config.architecture.name(), r.chip)?;
    writeln!(
        e,
        "placement     {} PEs: {} stages of {}x{}, head {}x{}, {} colors at most, {} positions",
        place.pes,
        place.stages,
        place.cols,
        place.rows,
        place.head_cols,
        place.rows,
        r.colors_max,
        session.capacity()
    )?;
    writeln!(
        e,
        "arena         {} / {} / {} B (min / median / max) of {}",
        r.arena.min, r.arena.median, r.arena.max, r.arena.budget
    )?;
    writeln!(e, "tokens        {} prompt, {} written, stopped by {}", prompt.len(), run.ids.len(), run.stop.name())?;
    writeln!(
        e,
        "wafer         {:.0} cycles a token = {:.4} ms at {:.2} GHz: {:.0} tokens/s (f32 transport, f16 weights; rates partly assumed, see `plummer chips`)",
        per_token,
        per_token / r.clock_hz * 1e3,
        r.clock_hz / 1e9,
        if per_token > 0.0 { r.clock_hz / per_token } else { 0.0 }
    )?;
    if r.host_roundtrip_cycles > 0 {
        writeln!(e, "              of them {} cycles in all for sampling on the host", r.host_roundtrip_cycles)?;
    }
    write!(e, "cycles        {} in all; by phase:", r.cycles_total)?;
    for (name, cycles) in r.by_phase.iter().filter(|p| p.1 > 0) {
        write!(e, " {name} {cycles}")?;
    }
    writeln!(e, "\ntraffic       {} hops, {} wavelets, {} bursts", r.hops, r.wavelets, r.bursts)?;
    writeln!(e, "energy        {:.3} J (chip power x time)", r.energy_joules)?;
    writeln!(
        e,
        "host          {:.1} tokens/s, {:.2} M message-hops/s, loaded in {:.2} s",
        passes as f64 / seconds,
        r.message_hops as f64 / seconds / 1e6,
        run.loading.as_secs_f64()
    )
}
