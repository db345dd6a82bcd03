//! `plummer check`: layout check and strict dry run of a model's programs without weights: decode, prefill, transition.
//!
//! Invariant: exit 0 exactly when it is proven that no launch that was checked can deadlock; 1 when one would, on this
//! chip or where the fabric buffers less. Called by `app`.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::cli::CheckArgs;
use super::count;
use super::progress::Progress;
use super::resolve::{in_chunks, session};
use crate::exec::{CheckReport, LoadReport, StallReport, Verdict, WINDOW, WaitCycle};
use crate::host::{
    Checked, Launch, PlacementSummary, PrefillOptions, Session, SessionConfig, SessionError, check_decode,
    check_prefill,
};
use crate::model::sizes::Sizes;

/// Positions that are checked when `-c` is absent.
const CONTEXT: usize = 256;

/// All that was checked.
struct Found {
    placed: PlacementSummary,
    positions: usize,
    decode: CheckReport,
    /// Launches of sessions that begin with a prefill, and the prompts of the sessions.
    launches: Vec<Checked>,
    prompts: Vec<usize>,
    /// Why there is no prefill.
    refused: Option<String>,
}

impl Found {
    /// What stands for all: the first that is not strict, and which launch it was if it was not decode alone.
    fn worst(&self) -> (&CheckReport, Option<Launch>) {
        let bad = self.launches.iter().find(|checked| !checked.report.verdict.is_strict());
        match bad {
            Some(checked) if self.decode.verdict.is_strict() => (&checked.report, Some(checked.launch)),
            _ => (&self.decode, None),
        }
    }
}

/// Runs `plummer check`: the text for stdout, and the exit code.
pub fn run(args: &CheckArgs) -> Result<(String, u8)> {
    let sizes = super::dry::sizes(args.model.as_deref().or(args.placed.as_deref()))?;
    let most = sizes.config.context;
    let context = args.place.context.unwrap_or(most.min(CONTEXT));
    if context > most {
        bail!("-c {context}: the model was trained for {most} positions");
    }
    let mut config = session(&args.place, context, args.prompt.map_or(context, |n| n as usize))?;
    if let Some(prompt) = args.prompt {
        // The mesh that `generate` takes for such a prompt and as many tokens as there are positions left.
        let prompt = prompt as usize;
        config.in_chunks = in_chunks(Some(how(args)), prompt, context.saturating_sub(prompt));
    }
    let (decode, layout) = Session::plan_sizes((&sizes.config.shape, sizes.format), &config)?;
    let placed = Session::summarise(&decode, &layout);
    let positions = context.min(placed.capacity);
    if let Some(prompt) = args.prompt.filter(|n| *n as usize > positions) {
        bail!("--prompt {prompt}: {positions} positions are checked (-c N)");
    }
    let bar = Progress::new(Some(2 * positions as u64));
    bar.at("passes of a session, two a position");
    let decode = check_decode(&decode, &layout, positions, || bar.step())?;
    let mut found = Found { placed, positions, decode, launches: Vec::new(), prompts: Vec::new(), refused: None };
    if found.decode.verdict.is_strict() {
        prefills(args, &sizes, &config, &mut found, &bar)?;
    }
    bar.finish();
    let text = match args.json {
        true => format!("{}\n", object(&config, &found)),
        false => text(&config, &found),
    };
    Ok((text, u8::from(!found.worst().0.verdict.is_strict())))
}

/// How a prompt goes by the flags.
fn how(args: &CheckArgs) -> PrefillOptions {
    PrefillOptions { chunk: args.chunk.map(|n| n as usize), mesh: args.prefill_mesh }
}

/// Checks the prompt that was asked for; or the longest, then three shorter ones: a single position, a full chunk, one
/// position behind a full chunk.
fn prefills(args: &CheckArgs, sizes: &Sizes, config: &SessionConfig, found: &mut Found, bar: &Progress) -> Result<()> {
    let how = how(args);
    let longest = args.prompt.map_or(found.positions, |n| n as usize);
    let mut prompts = vec![longest];
    while let Some(prompt) = prompts.pop() {
        let config = SessionConfig { prompt, ..config.clone() };
        bar.more((2 * found.positions - prompt) as u64);
        let launches =
            match check_prefill((&sizes.config.shape, sizes.format), &config, how, found.positions, || bar.step()) {
                Err(SessionError::Prefill(reason)) => {
                    found.refused = Some(format!("a prompt of {prompt}: {reason}"));
                    return Ok(());
                }
                other => other?,
            };
        if let (None, true, Some(Launch::Prefill { chunk, .. })) =
            (args.prompt, prompt == longest, launches.first().map(|checked| checked.launch))
        {
            prompts = vec![1, chunk, chunk + 1];
            prompts.retain(|shorter| *shorter < longest);
            prompts.dedup();
        }
        found.prompts.push(prompt);
        found.launches.extend(launches);
        if found.worst().1.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

fn waits(stall: &StallReport) -> Vec<Value> {
    let member = |pe| stall.blocked.iter().find(|b| b.pe == pe);
    let one = |b: &crate::exec::Blocked| {
        let waits_for: Vec<[u32; 2]> = b.waits_for.iter().map(|c| [c.col, c.row]).collect();
        json!({
            "pe": [b.pe.col, b.pe.row], "operation": if b.sends { "send" } else { "receive" }, "color": b.color.0,
            "port": b.port, "place": b.place, "waits_for": waits_for,
        })
    };
    stall.cycle.iter().filter_map(|pe| member(*pe)).map(one).collect()
}

fn arena(a: &crate::host::ArenaUse) -> Value {
    json!({"min": a.min, "median": a.median, "max": a.max, "budget": a.budget})
}

fn object(config: &SessionConfig, found: &Found) -> Value {
    let Found { placed, positions, decode: r, .. } = found;
    let worst = found.worst().0;
    let launch = |checked: &Checked| {
        let r = &checked.report;
        json!({
            "launch": checked.launch.to_string(), "verdict": r.verdict.name(),
            "cannot_deadlock": r.verdict.is_strict(), "completes_on_this_chip": r.verdict.completes(),
            "pes": r.pes, "passes": r.passes, "shapes": r.shapes, "operations": r.operations, "cycles": r.cycles,
            "colors": r.colors_max, "arena": arena(&checked.arena),
            "links": {"links_over": r.load.links_over, "windows_over": r.load.windows_over, "excess": r.load.excess},
        })
    };
    let launches: Vec<Value> = found.launches.iter().map(launch).collect();
    let mut value = json!({
        "schema": 1, "verdict": worst.verdict.name(), "cannot_deadlock": worst.verdict.is_strict(),
        "completes_on_this_chip": worst.verdict.completes(), "chip": config.chip.name,
        "mesh": {"cols": placed.cols, "rows": placed.rows, "stages": placed.stages, "pes": placed.pes},
        "positions": positions, "passes": r.passes, "shapes": r.shapes, "operations": r.operations,
        "colors": {"max": r.colors_max, "budget": config.chip.colors - config.chip.colors_reserved},
        "arena": arena(&placed.arena),
        "cycles": {"shortest_pass": r.pass_cycles.0, "longest_pass": r.pass_cycles.1},
        "links": {
            "window": WINDOW, "links_over": r.load.links_over, "windows_over": r.load.windows_over,
            "excess": r.load.excess,
        },
        "prefill": {"prompts": found.prompts, "refused": found.refused}, "launches": launches,
    });
    if let Some(((from, to), busiest)) = r.load.busiest {
        let of = json!({
            "from": [from.col, from.row], "to": [to.col, to.row], "at": busiest.at, "cycles": busiest.busiest,
        });
        value["links"]["busiest"] = of;
    }
    match &worst.verdict {
        Verdict::Buffered(stall) | Verdict::Deadlock(stall) => {
            value["cycle"] = json!(waits(stall));
            value["waiting_pes"] = json!(stall.blocked.len());
        }
        Verdict::Fault(fault) => value["fault"] = json!(fault.to_string()),
        Verdict::Left { bursts, .. } => value["bursts_left"] = json!(bursts),
        Verdict::Strict => {}
    }
    value
}

fn text(config: &SessionConfig, found: &Found) -> String {
    let Found { placed, positions, decode: r, .. } = found;
    let (a, chip, stages) = (placed.arena, &config.chip, count(placed.stages, "stage"));
    let routing = match r.pes as u64 - placed.pes {
        0 => String::new(),
        n => format!(" and {n} that only route"),
    };
    let rows = [
        ("chip", chip.name.clone()),
        ("mesh", format!("{}x{} cores a stage, {stages}, {} cores{routing}", placed.cols, placed.rows, placed.pes)),
        ("layout", "every lane traces back to one ramp or the host, every burst reaches its sinks".to_owned()),
        ("colors", format!("{} at most at a core in decode, of {}", r.colors_max, chip.colors - chip.colors_reserved)),
        ("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget)),
        (
            "passes",
            format!(
                "{}, with and without logits: {}",
                count(*positions, "position"),
                count(r.shapes, "distinct shape")
            ),
        ),
        ("recorded", format!("{} operations in {}", r.operations, count(r.passes, "pass"))),
        ("cycles", format!("{} shortest, {} longest pass", r.pass_cycles.0, r.pass_cycles.1)),
        ("links", format!("in decode {}", links(&r.load))),
    ];
    let mut table: String = rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    for Checked { launch, arena, report: r } in &found.launches {
        table += &format!(
            "{:<10} {launch}: {}; {} colors, {} bytes at most, {} in {}, {} cycles{}\n",
            "launch",
            sentence(&r.verdict),
            r.colors_max,
            arena.max,
            count(r.shapes, "shape"),
            count(r.passes, "pass"),
            r.cycles,
            if r.load.windows_over > 0 { format!("; {}", links(&r.load)) } else { String::new() }
        );
    }
    if let Some(reason) = &found.refused {
        table += &format!("{:<10} goes token by token: {reason}\n", "prefill");
    }
    let (worst, launch) = found.worst();
    let which = launch.map_or(String::new(), |launch| format!("{launch} "));
    let prompts: Vec<String> = found.prompts.iter().map(usize::to_string).collect();
    if !prompts.is_empty() {
        table += &format!("{:<10} prompts of {} positions; --prompt N checks another\n", "prefill", prompts.join(", "));
    }
    table + &format!("{:<10} {which}{}\n", "verdict", verdict(worst))
}

/// A verdict on one line.
fn sentence(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Strict => "cannot deadlock",
        Verdict::Buffered(_) => "completes only thanks to buffering",
        Verdict::Left { .. } => "leaves bursts behind",
        Verdict::Deadlock(_) => "deadlocks",
        Verdict::Fault(_) => "stops a core",
    }
}

/// Where colors ask more of a link than it carries: nothing arbitrates between them in the model.
fn links(load: &LoadReport) -> String {
    let Some(((from, to), busiest)) = load.busiest else { return "no traffic".to_owned() };
    let (cycles, at) = (busiest.busiest, busiest.at);
    let busiest = format!("the busiest, {from} to {to} at cycle {at} of the session, is taken for {cycles}");
    if load.windows_over == 0 {
        return format!("no window of {WINDOW} cycles is over what a link carries; {busiest}");
    }
    let (links, windows, excess) = (load.links_over, load.windows_over, load.excess);
    format!("{windows} windows of {WINDOW} cycles on {links} links are over by {excess} cycles in all; {busiest}")
}

fn verdict(r: &CheckReport) -> String {
    let at = r.at_pass.map_or(String::new(), |pass| format!(" (first in pass {pass})"));
    match &r.verdict {
        Verdict::Strict => "cannot deadlock on this shape, under any schedule".to_owned(),
        Verdict::Buffered(stall) => format!(
            "completes on this chip under any schedule, but only thanks to buffering{at}; without it:\n{}",
            WaitCycle(stall)
        ),
        Verdict::Left { bursts, from } => {
            let from = from.map_or("the host".to_owned(), |pe| format!("PE {pe}"));
            format!("completes, but {bursts} bursts are never taken, the first from {from}")
        }
        Verdict::Deadlock(stall) => format!("deadlocks, under any schedule{at}:\n{}{stall}", WaitCycle(stall)),
        Verdict::Fault(fault) => format!("a core is stopped{at}: {fault}"),
    }
}
