//! What `plummer plan` says to people: a table and the floorplan.
//!
//! Invariant: numbers that were not executed are called closed form or assumed. Called by `plan`; `object` says the
//! same to programs.

use std::fmt::Write as _;

use super::super::count;
use super::energy::Spent;
use super::shares::Shares;
use crate::fabric::Chip;
use crate::host::{Session, SessionConfig, SessionError};
use crate::math::checkpoint::ModelShape;
use crate::math::work;
use crate::model::sizes::Sizes;
use crate::placement::capacity::Capacity;
use crate::placement::{Plan, Spread};
use crate::plan::advice::{Advice, Sides, is_of_prefill_mesh};
use crate::plan::ask::{Ask, Objective};
use crate::plan::confirm::Choice;
use crate::plan::draw;
use crate::plan::prompt::Prompt;
use crate::plan::rivals::Rivals;

/// Tokens a second.
pub(super) fn rate(chip: &Chip, cycles: u64) -> f64 {
    chip.clock_hz / cycles.max(1) as f64
}

pub(super) fn capacity(ask: &Ask, c: &Choice) -> Option<Capacity> {
    let spread = Spread { stages: 0, head_cols: c.plan.head_cols };
    let config = SessionConfig { k_tree: c.k_tree, trees: Some(c.plan.trees()), spread, ..ask.config.clone() };
    let request = Session::request(&config).ok()?;
    let shape = ModelShape { n_layers: ask.layers(), ..ask.shape.clone() };
    let mesh = (c.plan.cols, c.plan.rows);
    Some(Capacity::of(&shape, &config.chip, &request, mesh, c.plan.stages.len()))
}

/// Bytes of weights, of K and V, and of all arenas of the wafers.
pub(super) fn budget(ask: &Ask) -> [u64; 3] {
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
pub(super) fn failing(ask: &Ask) -> String {
    let [weights, kv, arenas] = budget(ask);
    match arenas.checked_sub(weights + kv) {
        None => format!("arenas: {} short on {} wafer(s)", bytes(weights + kv - arenas), ask.wafers),
        Some(left) => format!("floorplan: the arenas hold the sum ({} left), no equal regions do", bytes(left)),
    }
}

/// In a word for programs.
pub(super) fn how(p: &Prompt) -> &'static str {
    match (&p.apart, p.chunk) {
        (_, 0) => "token",
        (None, _) => "mesh",
        (Some(_), _) => "mesh apart",
    }
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
    let _ = writeln!(text, "refused      {error}");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let advice = ask.advice(error);
    if let Some(Sides { cols, rows }) = advice.mesh {
        row("nearest", format!("--mesh {cols}x{rows} holds it; without --mesh the best one is chosen"));
    }
    if let Some(Sides { cols, rows }) = advice.prefill_mesh {
        row("nearest", format!("--prefill-mesh {cols}x{rows} holds it; without it the best way is chosen"));
    }
    if is_of_prefill_mesh(error) && advice == Advice::default() {
        row("nearest", "no prefill mesh of its own has room; without --prefill-mesh the best way is chosen".to_owned());
    }
    let Some(fit) = advice.sizes else { return };
    let meshes = match (ask.config.mesh, ask.prefill_mesh) {
        (None, None) => "",
        _ => ", the mesh left to the plan",
    };
    row("budget", failing(ask));
    match fit.wafers {
        Some(n) => row("needs", format!("{n} wafers (--wafers {n}{meshes})")),
        None if fit.layers == 0 => row("needs", "a chip that holds a layer and the head on one wafer".to_owned()),
        None => {}
    }
    let (all, wafers) = (ask.shape.n_layers, ask.wafers);
    if let Some(kib) = fit.reserve_kib {
        row(
            "nearest",
            format!("{wafers} wafer(s) with {kib} KiB reserved for code (reserved_bytes of a chip file){meshes}"),
        );
    }
    if let Some(n) = fit.positions {
        row("nearest", format!("{n} positions, prompt and output, on {wafers} wafer(s){meshes}"));
    }
    row("", format!("{} of its {all} layers fit one wafer with this context", fit.layers));
}

/// Mesh, wafer, trees and arenas of a choice.
fn placed_text(row: &mut impl FnMut(&str, String), chip: &Chip, c: &Choice) {
    let (p, most) = (&c.plan, c.plan.stages.iter().map(std::ops::Range::len).max().unwrap_or(0));
    let spread = match c.is_spread() {
        true => format!(", --stages {} --head-cols {}", p.stages.len(), p.head_cols),
        false => String::new(),
    };
    let (stages, layers) = (count(c.stages, "stage"), count(most, "layer"));
    row("mesh", format!("{}x{} cores a stage, {stages} of up to {layers}{spread}", p.cols, p.rows));
    let bands = count(p.floor.bands(), "band");
    let free = f64::from(chip.cols) * f64::from(chip.rows) - p.pes() as f64;
    row("wafer", format!("{} cores in {bands}, head {}x{}; {free:.0} free", p.pes(), p.head_cols, p.rows));
    let counts = |list: &[usize]| list[..list.len() - 1].iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let [y, x, head] = [&p.groups_y, &p.groups_x, &p.groups_head].map(|list| counts(list));
    let groups = if c.k_tree > 1 { format!(", --groups {y}/{x}/{head} (y/x/head)") } else { String::new() };
    row("trees", format!("K = {}{groups}", c.k_tree));
    let fill = c.arena.map(|b| b as f64 * 100.0 / chip.arena_bytes as f64);
    row(
        "arena",
        format!("{} bytes ({:.0} %) a stage core, {} ({:.0} %) a head core", c.arena[0], fill[0], c.arena[1], fill[1]),
    );
}

/// The finalists that were not chosen.
fn finalists_text(row: &mut impl FnMut(&str, String), ask: &Ask, choices: &[Choice]) {
    let chip = &ask.config.chip;
    for (i, other) in choices.iter().enumerate().skip(1) {
        let (p, how) = (&other.plan, how(&other.prompt));
        let (stages, ms) = (other.stages, other.total_cycles(ask) as f64 * 1e3 / chip.clock_hz);
        let tokens = rate(chip, other.token_cycles(ask));
        let what = format!("{}x{}, K = {}, {stages} stages", p.cols, p.rows, other.k_tree);
        row(&format!("finalist {}", i + 1), format!("{what}: {tokens:.0} tokens/s, {ms:.2} ms in all (prompt: {how})"));
    }
}

fn choice_text(text: &mut String, ask: &Ask, price: Option<f64>, choices: &[Choice]) {
    let (c, chip) = (&choices[0], &ask.config.chip);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    placed_text(&mut row, chip, c);
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
    let terms = c.terms(ask);
    row("in all", format!("{:.4} s a request", terms.seconds(chip)));
    row("chosen", chosen(ask, choices));
    Spent::of(ask, c, price).rows(&mut row);
    row(
        "pipeline",
        format!(
            "decode alone: {:.0} tokens/s with a request in every stage, the slowest works {} cycles on a token",
            rate(chip, c.stage_cycles()),
            c.stage_cycles()
        ),
    );
    row(
        "",
        format!(
            "whole requests: {:.1} tokens/s of the wafer(s), {} under way (as many as the arenas hold K and V of) on \
             {} cop{} of the placement",
            terms.tokens_per_s(ask),
            terms.requests,
            terms.copies.max(1),
            if terms.copies > 1 { "ies" } else { "y" }
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
    finalists_text(&mut row, ask, choices);
    text.push_str(&draw::text(&c.plan, c.prompt.apart.as_ref(), chip));
    text.push_str("#: head, letters: stages in order, capitals: a prefill on its own mesh (its head %), .: free\n");
}

/// By what the first is the best of the finalists.
pub(super) fn chosen(ask: &Ask, choices: &[Choice]) -> String {
    let (name, what) = match ask.objective {
        Objective::Latency => ("latency", "least seconds of a request"),
        Objective::Energy => ("energy", "least joules of a request on the cores in use"),
        Objective::Tokens => ("tokens", "most tokens a second of the wafer(s)"),
    };
    let value = |c: &Choice| {
        let terms = c.terms(ask);
        match ask.objective {
            Objective::Latency => format!("{:.5} s", terms.seconds(&ask.config.chip)),
            Objective::Energy => format!("{:.4} J", terms.joules(ask)),
            Objective::Tokens => format!("{:.1} tokens/s", terms.tokens_per_s(ask)),
        }
    };
    let others: Vec<String> = choices[1..].iter().map(value).collect();
    let others = if others.is_empty() { String::new() } else { format!("; other finalists {}", others.join(", ")) };
    format!("because --objective {name}: {what}, {}{others}", value(&choices[0]))
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
