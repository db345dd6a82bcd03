//! `plummer inspect`: what a model is, and how it lies on a chip; or everything about it that is not supported.
//!
//! Invariant: plans and checks the layout, but packs no weight and starts no worker. What is known is printed, also
//! when the model cannot be placed.

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::cli::InspectArgs;
use super::count;
use super::resolve::session;
use crate::host::{PlacementSummary, Session, SessionConfig, SessionError};
use crate::model::error::Reason;
use crate::model::summary::{FormatCount, ModelSummary};
use crate::model::{Model, ModelError};

/// Positions that `inspect` provides for when `-c` is absent.
const CONTEXT: usize = 256;

/// Where the model lies, and on how many positions the mesh ends.
struct Placed {
    asked: PlacementSummary,
    /// The fewest PEs that hold the model; absent if that is what was asked.
    smallest: Option<PlacementSummary>,
    /// Most positions on the mesh, up to what the model was trained for.
    context_max: usize,
}

/// Runs `plummer inspect`: the text for stdout, and how it went.
pub fn inspect(args: &InspectArgs) -> (String, Result<()>) {
    let model = match super::model::open(args.model.as_deref().or(args.named.as_deref())) {
        Ok(model) => model,
        Err(error) => {
            let text = if args.json { format!("{}\n", refusal(&error)) } else { String::new() };
            return (text, Err(error.into()));
        }
    };
    let summary = model.summary();
    let context = args.place.context.unwrap_or(summary.config.context.min(CONTEXT));
    let most = summary.config.context;
    if context > most {
        return (String::new(), Err(anyhow!("-c {context}: the model was trained for {most} positions")));
    }
    let config = match session(&args.place, context, 1) {
        Ok(config) => config,
        Err(error) => return (String::new(), Err(error)),
    };
    let placed = place(&model, &config);
    let text = match args.json {
        true => format!("{}\n", object(&summary, &config, &placed)),
        false => table(&summary) + &placement_text(&config, &placed),
    };
    (text, placed.map(|_| ()).map_err(Into::into))
}

fn place(model: &Model, config: &SessionConfig) -> Result<Placed, SessionError> {
    let on = |config: &SessionConfig| -> Result<PlacementSummary, SessionError> {
        let (decode, layout) = Session::plan_only(model, config)?;
        Ok(Session::summarise(&decode, &layout))
    };
    let asked = on(config)?;
    let mesh = Some((asked.cols, asked.rows));
    let fewest = Session::smallest(model, config).ok().map(|plan| (plan.cols as u32, plan.rows as u32));
    let other = fewest.filter(|fewest| Some(*fewest) != mesh);
    let smallest = other.and_then(|fewest| on(&SessionConfig { mesh: Some(fewest), ..config.clone() }).ok());
    let smallest = smallest.filter(|fewest| fewest.pes < asked.pes);
    let widest = SessionConfig { mesh, context: model.config.context, ..config.clone() };
    Ok(Placed { asked, smallest, context_max: Session::context_max(model, &widest) })
}

fn refusal(error: &ModelError) -> Value {
    let reasons = match error {
        ModelError::Unsupported { reasons, .. } => reasons.as_slice(),
        _ => &[],
    };
    let listed = |r: &Reason| json!({ "place": r.place, "have": r.have, "need": r.need });
    let unsupported: Vec<Value> = reasons.iter().map(listed).collect();
    json!({ "schema": 1, "error": error.to_string(), "unsupported": unsupported })
}

fn mesh_json(p: &PlacementSummary) -> Value {
    json!({
        "cols": p.cols, "rows": p.rows, "stages": p.stages, "pes": p.pes, "head_cols": p.head_cols,
        "layers_per_stage": p.layers_per_stage,
    })
}

fn object(summary: &ModelSummary, config: &SessionConfig, placed: &Result<Placed, SessionError>) -> Value {
    let (c, s) = (&summary.config, &summary.config.shape);
    let format = |f: &FormatCount| json!({"format": f.format, "tensors": f.tensors, "bytes": f.bytes});
    let formats: Vec<Value> = summary.formats.iter().map(format).collect();
    let mut value = json!({
        "schema": 1, "path": summary.path, "container": summary.container, "architecture": c.architecture.name(),
        "hidden": s.hidden, "layers": s.n_layers, "heads": s.n_heads, "kv_heads": s.n_kv_heads,
        "head_dim": s.head_dim, "ffn": s.ffn, "vocab": s.vocab, "tied": s.tied, "qkv_bias": s.qkv_bias,
        "context": c.context, "rope_theta": c.rope_theta, "rope_scaling": c.rope_scaling.name(), "bos": c.bos,
        "eos": c.eos, "parameters": summary.parameters, "formats": formats, "file_bytes": summary.file_bytes,
        "matrix_bytes": summary.matrix_bytes, "tokenizer": summary.tokenizer,
        "chat_template": summary.has_chat_template, "chip": config.chip.name, "unsupported": [],
    });
    match placed {
        Err(error) => value["error"] = json!(error.to_string()),
        Ok(placed) => {
            let (asked, arena) = (&placed.asked, placed.asked.arena);
            value["mesh"] = mesh_json(asked);
            value["smallest_mesh"] = mesh_json(placed.smallest.as_ref().unwrap_or(asked));
            value["capacity"] = json!(asked.capacity);
            value["context_max"] = json!(placed.context_max);
            value["arena"] = json!({
                "min": arena.min, "median": arena.median, "max": arena.max, "budget": arena.budget,
            });
            value["colors_max"] = json!(asked.colors_max);
            value["ledger"] = json!(asked.ledger);
            value["floorplan"] = json!(asked.floorplan);
        }
    }
    value
}

fn yes(b: bool) -> &'static str {
    if b { "yes" } else { "no" }
}

fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

fn table(summary: &ModelSummary) -> String {
    let (c, s) = (&summary.config, &summary.config.shape);
    let formats: Vec<String> =
        summary.formats.iter().map(|f| format!("{} x {} ({} bytes)", f.tensors, f.format, f.bytes)).collect();
    let (heads, kv, wide, bias) = (s.n_heads, s.n_kv_heads, s.head_dim, yes(s.qkv_bias));
    let (files, matrices) = (summary.file_bytes, summary.matrix_bytes);
    let ids = |ids: &[u32]| match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    };
    lines(&[
        ("file", format!("{} ({})", summary.path.display(), summary.container)),
        ("model", format!("{}, {} layers, {} parameters", c.architecture.name(), s.n_layers, summary.parameters)),
        ("sizes", format!("hidden {}, ffn {}, vocabulary {}", s.hidden, s.ffn, s.vocab)),
        ("heads", format!("{heads} query, {kv} KV, {wide} wide; QKV bias: {bias}")),
        ("context", format!("{} positions; RoPE base {}, scaling {}", c.context, c.rope_theta, c.rope_scaling.name())),
        ("tensors", formats.join(", ")),
        ("bytes", format!("{files} in files, {matrices} as matrices on the wafer; tied: {}", yes(s.tied))),
        ("tokenizer", format!("{}; bos {}, eos {}", summary.tokenizer, ids(c.bos.as_slice()), ids(&c.eos))),
        ("chat", format!("template: {}", yes(summary.has_chat_template))),
        ("supported", "all of it".to_owned()),
    ])
}

fn mesh_text(p: &PlacementSummary) -> String {
    format!(
        "{}x{} cores a stage, {}, head {}, {} cores; {}",
        p.cols,
        p.rows,
        count(p.stages, "stage"),
        count(p.head_cols, "column"),
        p.pes,
        count(p.capacity, "position")
    )
}

fn placement_text(config: &SessionConfig, placed: &Result<Placed, SessionError>) -> String {
    let chip = ("chip", config.chip.name.clone());
    let placed = match placed {
        Err(error) => return lines(&[chip, ("mesh", format!("none: {error}"))]),
        Ok(placed) => placed,
    };
    let (asked, a) = (&placed.asked, placed.asked.arena);
    let text = lines(&[
        chip,
        ("mesh", mesh_text(asked)),
        ("smallest", placed.smallest.as_ref().map_or("this mesh".to_owned(), mesh_text)),
        ("context", format!("at most {} positions on this mesh", placed.context_max)),
        ("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget)),
        ("colors", format!("{} at most", asked.colors_max)),
    ]);
    format!("{text}{}\n{}", asked.floorplan, asked.ledger)
}
