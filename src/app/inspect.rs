//! `plummer inspect`: what a model is, and how it would lie on the wafer.

use std::fmt::Write as _;

use crate::host::Session;
use crate::math::checkpoint::Checkpoint as _;

use super::args::{Inspect, open_model};

/// Prints the summary.
///
/// # Errors
/// What is wrong with the model or why it does not fit.
pub fn run(low: &Inspect) -> anyhow::Result<()> {
    let model = open_model(low.model.as_deref())?;
    let s = model.summary();
    let (decode, layout) = Session::plan_only(&model, &low.place.session(low.ctx, low.ctx, 1)?)?;
    let place = Session::summarise(&decode, &layout);
    if low.json {
        let value = serde_json::json!({
            "schema": "plummer.inspect.1",
            "model": s.path.display().to_string(), "container": s.container,
            "architecture": s.config.architecture.name(), "parameters": s.parameters,
            "tokenizer": s.tokenizer, "chat_template": s.has_chat_template, "eos": s.config.eos,
            "mesh": { "cols": place.cols, "rows": place.rows, "stages": place.stages, "pes": place.pes },
            "head_cols": place.head_cols, "layers_per_stage": place.layers_per_stage,
            "colors": decode.colors(), "positions": decode.plan.capacity,
        });
        return super::print(format!("{}\n", serde_json::to_string_pretty(&value)?).as_bytes());
    }
    let shape = model.shape();
    let mut t = String::new();
    writeln!(t, "model         {} ({})", s.path.display(), s.container)?;
    writeln!(t, "architecture  {}, {} parameters", s.config.architecture.name(), s.parameters)?;
    writeln!(
        t,
        "shapes        hidden {}, layers {}, heads {} / {} KV, head_dim {}, ffn {}, vocabulary {}, context {}",
        shape.hidden,
        shape.n_layers,
        shape.n_heads,
        shape.n_kv_heads,
        shape.head_dim,
        shape.ffn,
        shape.vocab,
        s.config.context
    )?;
    writeln!(
        t,
        "              norm eps {}, rope base {} ({}), {}, {}",
        shape.norm_eps,
        s.config.rope_theta,
        s.config.rope_scaling.name(),
        if shape.tied { "tied head" } else { "separate head" },
        if shape.qkv_bias { "q/k/v biases" } else { "no biases" }
    )?;
    for f in &s.formats {
        writeln!(t, "tensors       {:<5} {:>4} tensors, {} B", f.format, f.tensors, f.bytes)?;
    }
    writeln!(t, "sizes         {} B on disk, {} B of matrices on the wafer", s.file_bytes, s.matrix_bytes)?;
    writeln!(t, "tokenizer     {}, eos {:?}", s.tokenizer, s.config.eos)?;
    writeln!(t, "chat template {}", if s.has_chat_template { "yes" } else { "no" })?;
    writeln!(
        t,
        "placement     {} {}x{} a stage, {} stages, {} PEs on {}, {} positions, {} colors{}",
        if low.place.mesh.is_some() { "mesh" } else { "smallest mesh that fits:" },
        place.cols,
        place.rows,
        place.stages,
        place.pes,
        decode.chip.name,
        decode.plan.capacity,
        decode.colors(),
        if low.place.mesh.is_some() { "" } else { " (fewest PEs)" }
    )?;
    writeln!(t, "floorplan     {}", place.floorplan)?;
    write!(t, "{}", place.ledger)?;
    super::print(t.as_bytes())
}
