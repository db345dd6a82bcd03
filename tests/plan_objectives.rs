//! What an objective is called is what its plan is the best at: held against every candidate on small chips.

use plummer::fabric::Chip;
use plummer::host::{Kv, SessionConfig};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::plan::ask::{Ask, Objective};
use plummer::plan::confirm::{Choice, Timed};

/// Closed forms rank; layers of this size are within this much of them, and a checked prompt within that.
const NEAR: f64 = 1.04;

fn shape(n_layers: usize) -> ModelShape {
    ModelShape {
        hidden: 48,
        n_layers,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 12,
        ffn: 96,
        vocab: 90,
        norm_eps: 1e-5,
        inv_freq: vec![1.0; 6],
        tied: true,
        qkv_bias: false,
    }
}

fn ask(cols: u32, rows: u32, arena_bytes: u64, (prompt, output): (usize, usize)) -> Ask {
    let chip = Chip { cols, rows, arena_bytes, reserved_bytes: 0, ..Chip::preset("wse2").expect("a preset") };
    let context = prompt + output;
    Ask {
        shape: shape(4),
        format: WeightFormat::F16,
        config: SessionConfig { kv: Kv::Shift, prompt, context, k_tree: 2, ..SessionConfig::new(chip) },
        prefill_mesh: None,
        prompt,
        output,
        wafers: 1,
        wafer_cycles: 0,
        objective: Objective::Latency,
        finalists: 4,
    }
}

/// The objective's own number; the more the better for tokens.
fn value(ask: &Ask, c: &Choice) -> f64 {
    let terms = c.terms(ask);
    match ask.objective {
        Objective::Latency => terms.seconds(&ask.config.chip),
        Objective::Energy => terms.joules(ask),
        Objective::Tokens => -terms.tokens_per_s(ask),
    }
}

fn best(ask: &Ask, objective: Objective, timed: &mut Timed<'_>) -> (Ask, Choice) {
    let ask = Ask { objective, ..ask.clone() };
    let choice = ask.choose(timed).expect("it fits").swap_remove(0);
    (ask, choice)
}

const ALL: [Objective; 3] = [Objective::Latency, Objective::Energy, Objective::Tokens];

#[test]
fn no_mesh_and_no_tree_is_better_by_the_objective_than_the_one_that_is_chosen() {
    for (cols, rows, arena, tokens) in [(14, 12, 6_000, (12, 8)), (20, 9, 12_000, (4, 20)), (9, 16, 48 << 10, (40, 4))]
    {
        let ask = ask(cols, rows, arena, tokens);
        let mut timed = Timed::default();
        for objective in ALL {
            let (ask, chosen) = best(&ask, objective, &mut timed);
            let chosen = value(&ask, &chosen);
            let mut seen = 0;
            for mesh in (1..=cols).flat_map(|c| (1..=rows).map(move |r| (c, r))) {
                let config = SessionConfig { mesh: Some(mesh), ..ask.config.clone() };
                let here = Ask { config, finalists: 64, ..ask.clone() };
                for other in here.choose(&mut timed).unwrap_or_default() {
                    seen += 1;
                    // Less is better; of tokens both are negative.
                    let worse = if chosen < 0.0 { 1.0 / NEAR } else { NEAR };
                    let found = value(&here, &other);
                    assert!(
                        chosen <= found * worse,
                        "{objective:?} on {cols}x{rows}: {chosen} is chosen, {mesh:?} K = {} has {found}",
                        other.k_tree
                    );
                }
            }
            assert!(seen > 50, "{seen}");
        }
    }
}

#[test]
fn the_three_objectives_can_differ_and_each_is_the_best_at_its_own() {
    let ask = ask(24, 20, 12_000, (16, 16));
    let mut timed = Timed::default();
    let all = ALL.map(|objective| best(&ask, objective, &mut timed));
    let meshes = all.each_ref().map(|(_, c)| (c.plan.cols, c.plan.rows, c.plan.stages.len()));
    assert!(meshes[0] != meshes[1] && meshes[1] != meshes[2] && meshes[0] != meshes[2], "{meshes:?}");
    for (ask, own) in &all {
        for (_, other) in &all {
            assert!(value(ask, own) <= value(ask, other), "{:?}: {meshes:?}", ask.objective);
        }
    }
}

#[test]
fn requests_and_copies_are_what_arenas_and_wafer_hold() {
    let (ask, c) = best(&ask(24, 20, 12_000, (16, 16)), Objective::Tokens, &mut Timed::default());
    let terms = c.terms(&ask);
    let (width, height) = (c.plan.floor.width(), c.plan.floor.bands() * c.plan.rows);
    let apart = c.prompt.apart.as_ref().map_or(0, |p| p.floor.bands() * p.rows);
    assert_eq!(terms.copies, (24 / width) * (20 / (height + apart)));
    // As many requests as are said fit into one row's arenas, and one more does not.
    let holds = |requests: usize| {
        let context = requests * ask.config.context.div_ceil(c.plan.rows) * c.plan.rows;
        let mesh = Some((c.plan.cols as u32, c.plan.rows as u32));
        let config = SessionConfig { mesh, context, trees: None, ..ask.config.clone() };
        let request = plummer::host::Session::request(&config).expect("levels");
        let found = plummer::placement::Plan::sketches(&ask.shape, &ask.config.chip, &request);
        found.is_ok_and(|s| s[0].stages == c.plan.stages.len())
    };
    // (A request's scores take room too, of which there is one set: a little more than K and V alone.)
    assert!(holds(1) && !holds(terms.requests + 1), "{}", terms.requests);
}
