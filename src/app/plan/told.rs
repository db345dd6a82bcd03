//! What `plummer plan` says: a table and the floorplan for people, one JSON object for programs.
//!
//! Invariant: both are made from the same choices; numbers that were not executed are called closed form or assumed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::fabric::Chip;
use crate::host::dry::RegionBusy;
use crate::host::{Session, SessionConfig, SessionError};
use crate::math::checkpoint::ModelShape;
use crate::math::work;
use crate::model::sizes::Sizes;
use crate::plan::capacity::Capacity;
use crate::plan::draw;
use crate::plan::search::{Ask, Choice, layers_that_fit, wafers_needed};
use crate::plan::utilise::Utilisation;

/// Version of the JSON object.
const SCHEMA: u32 = 1;

/// Tokens a second.
fn rate(chip: &Chip, cycles: u64) -> f64 {
    chip.clock_hz / cycles.max(1) as f64
}

/// Of a token of decode: stages as the executed layer, the head by its products.
fn utilisation(ask: &Ask, c: &Choice) -> Utilisation {
    let (chip, rows) = (&ask.config.chip, c.plan.rows as u64);
    let (h, v) = (ask.shape.hidden.div_ceil(c.plan.rows), ask.shape.vocab.div_ceil(c.plan.head_cols));
    let pes = c.plan.head_cols as u64 * rows;
    let head = RegionBusy { pes, busy: pes * chip.gemv(h, v).0, ..RegionBusy::default() };
    let stage = |layers: usize| {
        let n = layers as u64;
        let layer = c.layer.busy_of_layer();
        RegionBusy { busy: layer.busy * n, edge_busy: layer.edge_busy * n, ..layer }
    };
    let (mut regions, mut works) = (vec![head], vec![c.rest_cycles]);
    for layers in c.plan.stages.iter().map(std::ops::Range::len) {
        regions.push(stage(layers));
        works.push(layers as u64 * c.layer.cycles);
    }
    let position = c.layer.position;
    let macs = ask.layers() as u64 * work::decode_layer_macs(&ask.shape, position) + work::head_macs(&ask.shape);
    Utilisation::of(chip, c.token_cycles, macs, &regions, &works)
}

fn capacity(ask: &Ask, c: &Choice) -> Option<Capacity> {
    let config = SessionConfig { k_tree: c.k_tree, ..ask.config.clone() };
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

fn choice_json(ask: &Ask, c: &Choice) -> Value {
    let chip = &ask.config.chip;
    let seconds = c.total_cycles(ask) as f64 / chip.clock_hz;
    json!({
        "mesh": {"cols": c.plan.cols, "rows": c.plan.rows}, "k_tree": c.k_tree,
        "groups": {"y": c.plan.groups_y, "x": c.plan.groups_x, "head": c.plan.groups_head},
        "stages": c.stages, "layers_per_stage": c.plan.stages.iter().map(std::ops::Range::len).collect::<Vec<_>>(),
        "head_cols": c.plan.head_cols, "pes": c.plan.pes(), "bands": c.plan.floor.bands(),
        "cycles": {
            "layer": c.layer.cycles, "layer_closed_form": c.layer_closed, "rest_closed_form": c.rest_cycles,
            "token": c.token_cycles, "slowest_stage": c.stage_cycles, "prefill_closed_form": c.prefill_cycles,
            "total": c.total_cycles(ask),
        },
        "chunk": c.chunk, "tpr": rate(chip, c.token_cycles), "tokens_per_s_full": rate(chip, c.stage_cycles),
        "ttft_ms": c.prefill_cycles as f64 * 1e3 / chip.clock_hz, "seconds": seconds,
        "joules": seconds * chip.power_watts * ask.wafers as f64,
        "arena": {"stage": c.arena[0], "head": c.arena[1], "budget": chip.arena_bytes},
        "colors": c.layer.colors_max, "capacity": capacity(ask, c), "utilisation": utilisation(ask, c),
        "host_seconds": c.layer.seconds.0,
    })
}

/// The object of `--json`.
pub fn object(sizes: &Sizes, results: &[(Ask, Result<Vec<Choice>, SessionError>)]) -> Value {
    let one = |(ask, outcome): &(Ask, Result<Vec<Choice>, SessionError>)| {
        let [weights, kv, arenas] = budget(ask);
        let mut value = json!({
            "reserved_bytes": ask.config.chip.reserved_bytes,
            "bytes": {"weights": weights, "kv": kv, "arenas": arenas},
        });
        match outcome {
            Ok(choices) => {
                value["best"] = choice_json(ask, &choices[0]);
                value["finalists"] = choices.iter().map(|c| choice_json(ask, c)).collect();
            }
            Err(error) => {
                value["error"] = json!(error.to_string());
                value["budget"] = json!(failing(ask));
                value["wafers_needed"] = json!(wafers_needed(ask));
                value["layers_that_fit"] = json!(layers_that_fit(ask));
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
pub fn text(sizes: &Sizes, ask: &Ask, outcome: &Result<Vec<Choice>, SessionError>) -> String {
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
        Ok(choices) => choice_text(&mut text, ask, choices),
        Err(error) => {
            let _ = writeln!(text, "does not fit {error}");
            let _ = writeln!(text, "budget       {}", failing(ask));
            let _ = match wafers_needed(ask) {
                Some(n) => writeln!(text, "needs        {n} wafers (--wafers {n})"),
                None => writeln!(text, "needs        more than a wafer a layer"),
            };
            let (fit, all) = (layers_that_fit(ask), ask.shape.n_layers);
            let _ = writeln!(text, "nearest      {fit} of its {all} layers fit one wafer with this context");
        }
    }
    text
}

fn choice_text(text: &mut String, ask: &Ask, choices: &[Choice]) {
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
    row("trees", format!("K = {}, groups {:?} on y, {:?} on x", c.k_tree, p.groups_y, p.groups_x));
    let fill = c.arena.map(|b| b as f64 * 100.0 / chip.arena_bytes as f64);
    row(
        "arena",
        format!("{} bytes ({:.0} %) a stage core, {} ({:.0} %) a head core", c.arena[0], fill[0], c.arena[1], fill[1]),
    );
    row(
        "decode",
        format!(
            "{:.0} tokens/s: {} cycles a token = {} layers x {} ({}; closed form {}) + {} (closed form)",
            rate(chip, c.token_cycles),
            c.token_cycles,
            ask.shape.n_layers,
            c.layer.cycles,
            if c.layer.executed { "executed" } else { "timed in lockstep" },
            c.layer_closed,
            c.rest_cycles
        ),
    );
    let how = match c.chunk {
        0 => "token by token".to_owned(),
        n => format!("{n} positions at once, on the same mesh"),
    };
    row("prefill", format!("{:.0} tokens/s, {how} (closed form)", rate(chip, c.prefill_cycles) * ask.prompt as f64));
    let seconds = c.total_cycles(ask) as f64 / chip.clock_hz;
    let joules = seconds * chip.power_watts * ask.wafers as f64;
    row("in all", format!("{seconds:.4} s and {joules:.1} J at {} W a wafer", chip.power_watts));
    row("pipeline", format!("{:.0} tokens/s with a request in every stage", rate(chip, c.stage_cycles)));
    if let Some(k) = capacity(ask, c) {
        row("KV capacity", k.line());
    }
    row("utilisation", utilisation(ask, c).line());
    if ask.wafers > 1 {
        let us = ask.wafer_cycles as f64 * 1e6 / chip.clock_hz;
        row("assumed", format!("{us:.2} us from wafer to wafer"));
    }
    for other in &choices[1..] {
        let p = &other.plan;
        row(
            "second",
            format!("{}x{}, {} stages: {:.0} tokens/s", p.cols, p.rows, other.stages, rate(chip, other.token_cycles)),
        );
    }
    text.push_str(&draw::text(&c.plan, chip));
    text.push_str("#: head, letters: stages in order, .: free\n");
}
