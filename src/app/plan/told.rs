//! What `plummer plan` says: a table and the floorplan for people, one JSON object for programs.
//!
//! Invariant: both are made from the same choices; numbers that were not executed are called closed form or assumed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::energy::cost_line;
use super::shares::Shares;
use crate::energy::{cost, joules};
use crate::fabric::Chip;
use crate::host::{Session, SessionConfig, SessionError};
use crate::math::checkpoint::ModelShape;
use crate::math::work;
use crate::model::sizes::Sizes;
use crate::placement::Plan;
use crate::plan::ask::Ask;
use crate::plan::capacity::Capacity;
use crate::plan::confirm::Choice;
use crate::plan::draw;
use crate::plan::prompt::Prompt;
use crate::plan::rivals::Rivals;

/// Version of the JSON object.
const SCHEMA: u32 = 1;

/// Tokens a second.
fn rate(chip: &Chip, cycles: u64) -> f64 {
    chip.clock_hz / cycles.max(1) as f64
}

fn capacity(ask: &Ask, c: &Choice) -> Option<Capacity> {
    let config = SessionConfig { k_tree: c.k_tree, trees: Some(c.plan.trees()), ..ask.config.clone() };
    let request = Session::request(&config).ok()?;
    let shape = ModelShape { n_layers: ask.layers(), ..ask.shape.clone() };
    let mesh = (c.plan.cols, c.plan.rows);
    Some(Capacity::of(&shape, &config.chip, &request, mesh, c.plan.stages.len()))
}

/// Bytes of weights, of K and V, and of all arenas of the wafers.
fn budget(ask: &Ask) -> [u64; 3] {
    let chip = &ask.config.chip;
    let kv = work::kv_bytes(&ask.shape, ask.config.kv_type.bytes()) * ask.config.context as u64;
    let arenas = u64::from(chip.cols) * u64::from(chip.rows) * (chip.arena_bytes - chip.reserved_bytes);
    [work::weight_bytes(&ask.shape), kv, arenas * ask.wafers as u64]
}

/// Bytes in a unit that shows them.
fn bytes(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Which budget fails.
fn failing(ask: &Ask) -> String {
    let [weights, kv, arenas] = budget(ask);
    match arenas.checked_sub(weights + kv) {
        None => format!("arenas: {} short on {} wafer(s)", bytes(weights + kv - arenas), ask.wafers),
        Some(left) => format!("floorplan: the arenas hold the sum ({} left), no equal regions do", bytes(left)),
    }
}

/// Joules and cost of the whole question, all wafers at work.
fn spent(ask: &Ask, c: &Choice, price: Option<f64>) -> (f64, Option<f64>) {
    let (chip, cycles) = (&ask.config.chip, c.total_cycles(ask) as f64 * ask.wafers as f64);
    (joules(chip, cycles), price.map(|price| cost(chip, cycles, price)))
}

fn prompt_json(ask: &Ask, c: &Choice) -> Value {
    let (p, chip) = (&c.prompt, &ask.config.chip);
    let mesh = p.apart.as_ref().unwrap_or(&c.plan);
    let check = p.check.as_ref().map(|k| {
        json!({
            "mesh": {"cols": k.layer.mesh.0, "rows": k.layer.mesh.1}, "positions": k.layer.position, "chunk": k.chunk,
            "times_smaller": k.smaller, "layer_executed": k.layer.cycles, "layer_closed_form": k.predicted,
            "host_seconds": k.layer.seconds.0,
        })
    });
    json!({
        "how": how(p), "mesh": {"cols": mesh.cols, "rows": mesh.rows}, "stages": mesh.stages.len(), "chunk": p.chunk,
        "cycles": p.cycles, "slowest_stage": p.stage_cycles, "transition": p.transition,
        "transition_executed": p.moved, "tpr": rate(chip, p.cycles) * ask.prompt as f64, "bubbles": p.bubbles,
        "check": check,
    })
}

/// In a word for programs.
fn how(p: &Prompt) -> &'static str {
    match (&p.apart, p.chunk) {
        (_, 0) => "token",
        (None, _) => "mesh",
        (Some(_), _) => "mesh apart",
    }
}

fn choice_json(ask: &Ask, price: Option<f64>, c: &Choice) -> Value {
    let chip = &ask.config.chip;
    let seconds = c.total_cycles(ask) as f64 / chip.clock_hz;
    let shares = Shares::of(ask, c);
    let ((joules, cost), tokens) = (spent(ask, c, price), ask.output as f64);
    json!({
        "mesh": {"cols": c.plan.cols, "rows": c.plan.rows}, "k_tree": c.k_tree,
        "groups": {"y": c.plan.groups_y, "x": c.plan.groups_x, "head": c.plan.groups_head},
        "stages": c.stages, "layers_per_stage": c.plan.stages.iter().map(std::ops::Range::len).collect::<Vec<_>>(),
        "head_cols": c.plan.head_cols, "pes": c.pes(), "bands": c.plan.floor.bands(),
        "cycles": {
            "layer": c.layer.run.cycles, "executed": c.layer.run.executed, "layer_closed_form": c.layer.closed,
            "token_fewest_stages": c.by_form[1], "token_closed_form": c.by_form[0],
            "rest_closed_form": c.rest_cycles, "token": c.token_cycles(ask), "slowest_stage": c.stage_cycles(),
            "prefill": c.prompt.cycles, "transition": c.prompt.transition, "total": c.total_cycles(ask),
        },
        "prefill": prompt_json(ask, c), "tpr": rate(chip, c.token_cycles(ask)),
        "tokens_per_s_full": rate(chip, c.stage_cycles()),
        "ttft_ms": c.prompt.cycles as f64 * 1e3 / chip.clock_hz, "seconds": seconds,
        "energy": {
            "joules": joules, "joules_per_token": joules / tokens, "price_per_chip_hour": price, "cost": cost,
            "cost_per_token": cost.map(|cost| cost / tokens),
        },
        "arena": {"stage": c.arena[0], "head": c.arena[1], "budget": chip.arena_bytes},
        "colors": c.layer.run.colors_max, "capacity": capacity(ask, c), "utilisation": shares.decode,
        "utilisation_prefill": shares.prefill,
        "rivals": {"decode": shares.rivals[0].as_ref().ok(), "prefill": shares.rivals[1].as_ref().ok()},
        "host_seconds": c.layer.run.seconds.0,
    })
}

/// The object of `--json`.
pub fn object(sizes: &Sizes, price: Option<f64>, results: &[(Ask, Result<Vec<Choice>, SessionError>)]) -> Value {
    let one = |(ask, outcome): &(Ask, Result<Vec<Choice>, SessionError>)| {
        let [weights, kv, arenas] = budget(ask);
        let mut value = json!({
            "reserved_bytes": ask.config.chip.reserved_bytes,
            "bytes": {"weights": weights, "kv": kv, "arenas": arenas},
        });
        match outcome {
            Ok(choices) => {
                value["best"] = choice_json(ask, price, &choices[0]);
                value["finalists"] = choices.iter().map(|c| choice_json(ask, price, c)).collect();
            }
            Err(error) => {
                value["error"] = json!(error.to_string());
                match ask.nearest_mesh() {
                    Some((cols, rows)) => value["nearest_mesh"] = json!({"cols": cols, "rows": rows}),
                    None => {
                        value["budget"] = json!(failing(ask));
                        value["wafers_needed"] = json!(ask.wafers_needed());
                        value["layers_that_fit"] = json!(ask.layers_that_fit());
                    }
                }
            }
        }
        value
    };
    let ask = &results[0].0;
    json!({
        "schema": SCHEMA, "model": sizes.name, "chip": ask.config.chip.name, "objective": ask.objective,
        "tokens": {"prompt": ask.prompt, "output": ask.output}, "wafers": ask.wafers,
        "wafer_us_assumed": ask.wafer_cycles as f64 * 1e6 / ask.config.chip.clock_hz,
        "results": results.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The table of one reserve, and the floorplan.
pub fn text(sizes: &Sizes, price: Option<f64>, ask: &Ask, outcome: &Result<Vec<Choice>, SessionError>) -> String {
    let chip = &ask.config.chip;
    let mut text = format!(
        "{} on {}, {} prompt and {} output tokens, {} wafer(s), {} KiB of {} reserved for code\n",
        sizes.name,
        chip.name,
        ask.prompt,
        ask.output,
        ask.wafers,
        chip.reserved_bytes >> 10,
        chip.arena_bytes >> 10
    );
    let [weights, kv, arenas] = budget(ask).map(bytes);
    let _ = writeln!(text, "bytes        {weights} of weights and {kv} of K and V; arenas {arenas}");
    match outcome {
        Ok(choices) => choice_text(&mut text, ask, price, choices),
        Err(error) => refused_text(&mut text, ask, error),
    }
    text
}

/// What fails, and what would do.
fn refused_text(text: &mut String, ask: &Ask, error: &SessionError) {
    let _ = writeln!(text, "does not fit {error}");
    if let Some((cols, rows)) = ask.nearest_mesh() {
        let _ = writeln!(text, "nearest      --mesh {cols}x{rows} holds it; without --mesh the best one is chosen");
        return;
    }
    let _ = writeln!(text, "budget       {}", failing(ask));
    let _ = match ask.wafers_needed() {
        Some(n) if n <= ask.wafers => Ok(()),
        Some(n) => writeln!(text, "needs        {n} wafers (--wafers {n})"),
        None => writeln!(text, "needs        more than a wafer a layer"),
    };
    let (fit, all) = (ask.layers_that_fit(), ask.shape.n_layers);
    let _ = writeln!(text, "nearest      {fit} of its {all} layers fit one wafer with this context");
}

fn choice_text(text: &mut String, ask: &Ask, price: Option<f64>, choices: &[Choice]) {
    let (c, chip) = (&choices[0], &ask.config.chip);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let (p, most) = (&c.plan, c.plan.stages.iter().map(std::ops::Range::len).max().unwrap_or(0));
    row("mesh", format!("{}x{} cores a stage, {} stages of up to {most} layers", p.cols, p.rows, c.stages));
    let free = f64::from(chip.cols) * f64::from(chip.rows) - p.pes() as f64;
    row(
        "wafer",
        format!("{} cores in {} bands, head {}x{}; {free:.0} free", p.pes(), p.floor.bands(), p.head_cols, p.rows),
    );
    let counts = |list: &[usize]| list[..list.len() - 1].iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let [y, x, head] = [&p.groups_y, &p.groups_x, &p.groups_head].map(|list| counts(list));
    let groups = if c.k_tree > 1 { format!(", --groups {y}/{x}/{head} (y/x/head)") } else { String::new() };
    row("trees", format!("K = {}{groups}", c.k_tree));
    let fill = c.arena.map(|b| b as f64 * 100.0 / chip.arena_bytes as f64);
    row(
        "arena",
        format!("{} bytes ({:.0} %) a stage core, {} ({:.0} %) a head core", c.arena[0], fill[0], c.arena[1], fill[1]),
    );
    row(
        "decode",
        format!(
            "{:.0} tokens/s: {} cycles a token = {} layers x {} ({}) + {} (closed form)",
            rate(chip, c.token_cycles(ask)),
            c.token_cycles(ask),
            ask.shape.n_layers,
            c.layer.run.cycles,
            timed(c),
            c.rest_cycles
        ),
    );
    let gain = c.by_form[1] as f64 / c.by_form[0] as f64;
    row("", format!("a token is {gain:.3}x as fast as with the groups of the fewest stages (closed forms)"));
    prompt_text(&mut row, ask, c);
    let seconds = c.total_cycles(ask) as f64 / chip.clock_hz;
    let ((joules, cost), tokens) = (spent(ask, c, price), ask.output as f64);
    let (watts, a_token) = (chip.power_watts, joules / tokens);
    row("in all", format!("{seconds:.4} s and {joules:.1} J at {watts} W a wafer, {a_token:.3} J an output token"));
    if let (Some(cost), Some(price)) = (cost, price) {
        row("cost", cost_line(cost / tokens, price));
    }
    row(
        "pipeline",
        format!(
            "{:.0} tokens/s with a request in every stage: the slowest works {} cycles on a token",
            rate(chip, c.stage_cycles()),
            c.stage_cycles()
        ),
    );
    if let Some(k) = capacity(ask, c) {
        row("KV capacity", k.line());
    }
    let shares = Shares::of(ask, c);
    row("utilisation", format!("decode: {}", shares.decode.line()));
    row("", format!("prefill: {}", shares.prefill.line()));
    for (phase, rivals) in ["decode", "prefill"].into_iter().zip(&shares.rivals) {
        row("", format!("{phase}: {}", Rivals::line(rivals)));
    }
    if ask.wafers > 1 {
        let us = ask.wafer_cycles as f64 * 1e6 / chip.clock_hz;
        row("assumed", format!("{us:.2} us from wafer to wafer"));
    }
    for other in &choices[1..] {
        let (p, how) = (&other.plan, how(&other.prompt));
        let (stages, ms) = (other.stages, other.total_cycles(ask) as f64 * 1e3 / chip.clock_hz);
        let tokens = rate(chip, other.token_cycles(ask));
        let what = format!("{}x{}, K = {}, {stages} stages", p.cols, p.rows, other.k_tree);
        row("second", format!("{what}: {tokens:.0} tokens/s, {ms:.2} ms in all (prompt: {how})"));
    }
    text.push_str(&draw::text(&c.plan, c.prompt.apart.as_ref(), chip));
    text.push_str("#: head, letters: stages in order, capitals: a prefill on its own mesh (its head %), .: free\n");
}

/// What the cycles of a layer of decode rest on.
fn timed(c: &Choice) -> String {
    let how = if c.layer.run.executed { "executed" } else { "all cores timed in lockstep" };
    format!("{how}; closed form {}", c.layer.closed)
}

/// How the prompt goes, and what that rests on.
fn prompt_text(row: &mut impl FnMut(&str, String), ask: &Ask, c: &Choice) {
    let (p, chip) = (&c.prompt, &ask.config.chip);
    let sides = |p: &Plan| format!("{}x{}", p.cols, p.rows);
    let how = match (&p.apart, p.chunk) {
        (_, 0) => {
            "token by token through decode's stages (layer as above; form at the middle of the prompt)".to_owned()
        }
        (None, n) => format!("{n} positions at once on decode's mesh"),
        (Some(own), n) => format!("{n} positions at once on {} cores, {} stages below", sides(own), own.stages.len()),
    };
    let tokens = rate(chip, p.cycles) * ask.prompt as f64;
    row("prefill", format!("{tokens:.0} tokens/s, {how}; {} cycles, bubbles {:.1} %", p.cycles, p.bubbles * 100.0));
    if let Some(k) = &p.check {
        let (cols, rows) = k.layer.mesh;
        let what = match k.smaller {
            1 => "a layer of it executed".to_owned(),
            n => {
                format!("closed form, corrected by a layer executed on {cols}x{rows} cores, {n}x less with equal tiles")
            }
        };
        let n = k.layer.position;
        row(
            "",
            format!("{what}: {} cycles for {n} positions, form {} ({:.3})", k.layer.cycles, k.predicted, k.ratio()),
        );
    }
    let by = match (&p.apart, p.moved) {
        (None, _) => "routes alone: weights, K and V are in place (closed form)",
        (_, true) => "executed",
        _ => "closed form, its order of magnitude",
    };
    row("transition", format!("{} cycles, {by}", p.transition));
    if p.apart.is_none() && c.plan.floor.bands() * c.plan.rows * 2 > chip.rows as usize {
        row("", "a prefill mesh of its own has no room: both placements hold all weights".to_owned());
    }
}
