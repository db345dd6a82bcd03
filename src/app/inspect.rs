//! `plummer inspect` and `plummer chips`: what a model is, how it lies on a chip, and which chips are known.
//!
//! Invariant: prints only; starts a session to learn the placement, but feeds it no token.

use anyhow::Result;
use serde_json::json;

use super::cli::InspectArgs;
use super::resolve::session;
use crate::fabric::Chip;
use crate::host::Session;
use crate::model::Model;

/// Positions that `inspect` provides for when `-c` is absent.
const CONTEXT: usize = 256;

/// Runs `plummer inspect`; the text for stdout.
pub fn inspect(args: &InspectArgs) -> Result<String> {
    let model = Model::open(&args.model)?;
    let summary = model.summary();
    let config = &summary.config;
    let context = args.place.context.unwrap_or(config.context.min(CONTEXT));
    let asked = session(&args.place, context, 1)?;
    let chip = asked.chip.name.clone();
    let smallest = Session::smallest(&model, &asked)?;
    let wafer = Session::new(&model, asked)?;
    let (place, capacity) = (wafer.placement(), wafer.capacity());
    let s = &config.shape;
    if args.json {
        let formats: Vec<_> = summary
            .formats
            .iter()
            .map(|f| json!({ "format": f.format, "tensors": f.tensors, "bytes": f.bytes }))
            .collect();
        let value = json!({
            "schema": 1, "path": summary.path, "container": summary.container,
            "architecture": config.architecture.name(), "hidden": s.hidden, "layers": s.n_layers,
            "heads": s.n_heads, "kv_heads": s.n_kv_heads, "head_dim": s.head_dim, "ffn": s.ffn,
            "vocab": s.vocab, "tied": s.tied, "qkv_bias": s.qkv_bias, "context": config.context,
            "rope_theta": config.rope_theta, "rope_scaling": config.rope_scaling.name(), "bos": config.bos,
            "eos": config.eos, "parameters": summary.parameters, "formats": formats,
            "file_bytes": summary.file_bytes, "matrix_bytes": summary.matrix_bytes,
            "tokenizer": summary.tokenizer, "chat_template": summary.has_chat_template, "chip": chip,
            "mesh": { "cols": place.cols, "rows": place.rows, "stages": place.stages, "pes": place.pes,
                "head_cols": place.head_cols, "layers_per_stage": place.layers_per_stage },
            "smallest_mesh": { "cols": smallest.cols, "rows": smallest.rows, "pes": smallest.pes() },
            "capacity": capacity, "ledger": place.ledger, "floorplan": place.floorplan,
        });
        return Ok(format!("{value}\n"));
    }
    let formats: Vec<String> =
        summary.formats.iter().map(|f| format!("{} x {} ({} bytes)", f.tensors, f.format, f.bytes)).collect();
    let yes = |b: bool| if b { "yes" } else { "no" };
    let rows = [
        ("file", format!("{} ({})", summary.path.display(), summary.container)),
        ("model", format!("{}, {} layers, {} parameters", config.architecture.name(), s.n_layers, summary.parameters)),
        ("sizes", format!("hidden {}, ffn {}, vocabulary {}", s.hidden, s.ffn, s.vocab)),
        (
            "heads",
            format!("{} query, {} KV, {} wide; QKV bias: {}", s.n_heads, s.n_kv_heads, s.head_dim, yes(s.qkv_bias)),
        ),
        (
            "context",
            format!(
                "{} positions; RoPE base {}, scaling {}",
                config.context,
                config.rope_theta,
                config.rope_scaling.name()
            ),
        ),
        ("tensors", formats.join(", ")),
        (
            "bytes",
            format!(
                "{} in files, {} as matrices on the wafer; tied: {}",
                summary.file_bytes,
                summary.matrix_bytes,
                yes(s.tied)
            ),
        ),
        ("tokenizer", format!("{}; bos {:?}, eos {:?}", summary.tokenizer, config.bos, config.eos)),
        ("chat", format!("template: {}", yes(summary.has_chat_template))),
        ("chip", chip),
        (
            "mesh",
            format!(
                "{}x{} cores a stage, {} stages, {} cores, {capacity} positions",
                place.cols, place.rows, place.stages, place.pes
            ),
        ),
        ("smallest", format!("{}x{} cores a stage, {} cores in all", smallest.cols, smallest.rows, smallest.pes())),
    ];
    let mut text: String = rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    text += &format!("{}\n{}", place.floorplan, place.ledger);
    Ok(text)
}

/// The text of `plummer chips`.
pub fn chips() -> String {
    let mut text = String::new();
    for chip in Chip::PRESETS.iter().filter_map(|name| Chip::preset(name)) {
        text += &format!(
            "{}: {}x{} cores, {} bytes each ({} reserved), {} colors ({} reserved), {:.0} MHz, {} W\n",
            chip.name,
            chip.cols,
            chip.rows,
            chip.arena_bytes,
            chip.reserved_bytes,
            chip.colors,
            chip.colors_reserved,
            chip.clock_hz / 1e6,
            chip.power_watts
        );
        for source in &chip.sources {
            text += &format!("  {source}\n");
        }
    }
    text
}
