//! What `plummer plan --json` says: one object.
//!
//! Invariant: made from the choices that `told` words; only the best one has what takes an execution of its own
//! (`rivals`). Called by `plan`.

use serde_json::{Value, json};

use super::energy::Spent;
use super::shares::Shares;
use super::told::{budget, capacity, chosen, failing, how, rate};
use crate::host::SessionError;
use crate::model::sizes::Sizes;
use crate::plan::ask::Ask;
use crate::plan::confirm::Choice;

/// Version of the JSON object.
const SCHEMA: u32 = 1;

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

/// A finalist; of the best also what takes an execution of its own.
fn choice_json(ask: &Ask, price: Option<f64>, c: &Choice) -> Value {
    let chip = &ask.config.chip;
    let seconds = c.total_cycles(ask) as f64 / chip.clock_hz;
    let ([decode, prefill], terms) = (Shares::utilisation(ask, c), c.terms(ask));
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
        "energy": Spent::of(ask, c, price).json(),
        "by_objective": {
            "seconds": terms.seconds(chip), "joules_of_cores_in_use": terms.joules(ask),
            "tokens_per_s": terms.tokens_per_s(ask), "requests_under_way": terms.requests,
            "copies": terms.copies.max(1), "slowest_region_cycles": terms.slowest,
        },
        "arena": {"stage": c.arena[0], "head": c.arena[1], "budget": chip.arena_bytes},
        "colors": c.layer.run.colors_max, "capacity": capacity(ask, c), "utilisation": decode,
        "utilisation_prefill": prefill,
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
                let all: Vec<Value> = choices.iter().map(|c| choice_json(ask, price, c)).collect();
                let [decode, prefill] = Shares::rivals(ask, &choices[0]).map(Result::ok);
                value["best"] = all[0].clone();
                value["best"]["rivals"] = json!({"decode": decode, "prefill": prefill});
                value["best"]["chosen_because"] = json!(chosen(ask, choices));
                value["finalists"] = json!(all);
            }
            Err(error) => {
                value["error"] = json!(error.to_string());
                let advice = ask.advice(error);
                if advice.sizes.is_some() {
                    value["budget"] = json!(failing(ask));
                }
                if let (Value::Object(to), Value::Object(from)) = (&mut value, json!(advice)) {
                    to.extend(from);
                }
            }
        }
        value
    };
    let ask = &results[0].0;
    json!({
        "schema": SCHEMA, "model": sizes.name, "chip": ask.config.chip.name, "objective": ask.objective,
        "tokens": {"prompt": ask.prompt, "output": ask.output}, "trained_context": sizes.config.context,
        "wafers": ask.wafers,
        "wafer_us_assumed": ask.wafer_cycles as f64 * 1e6 / ask.config.chip.clock_hz,
        "results": results.iter().map(one).collect::<Vec<_>>(),
    })
}
