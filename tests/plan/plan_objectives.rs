//! What an objective is called is what its plan is the best at: held against every candidate on small chips.

use plummer::fabric::Chip;
use plummer::host::{Kv, Session, SessionConfig};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::placement::Plan;
use plummer::plan::ask::{Ask, Objective};
use plummer::plan::confirm::{Choice, Timed};

/// Chips so small have all near candidates timed. What is left: a prompt that is checked only for the best ones, whose
/// form is nearer than that.
const NEAR: f64 = 1.02;

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
fn copies_are_what_the_wafer_has_room_for() {
    let (ask, c) = best(&ask(24, 20, 12_000, (16, 16)), Objective::Tokens, &mut Timed::default());
    let (width, height) = (c.plan.floor.width(), c.plan.floor.bands() * c.plan.rows);
    let apart = c.prompt.apart.as_ref().map_or(0, |p| p.floor.bands() * p.rows);
    assert_eq!(c.terms(&ask).copies, (24 / width) * (20 / (height + apart)));
}

/// K and V of so many requests lie beside each other, each in whole rows; many more would need more stages.
#[test]
fn arenas_hold_the_requests_that_are_said_to_be_under_way() {
    let (ask, mut seen) = (ask(24, 20, 12_000, (16, 16)), 0);
    let found = |context: usize, mesh: Option<(u32, u32)>| {
        let config = SessionConfig { mesh, context, ..ask.config.clone() };
        let request = Session::request(&config).expect("levels");
        Plan::sketches(&ask.shape, &ask.config.chip, &request).unwrap_or_default()
    };
    // Tiles of K and V of 48 bytes and more: each request rounds its own up to 16.
    for s in found(ask.config.context, None).into_iter().filter(|s| s.cols <= 4 && s.rows <= 8) {
        let held = s.requests(&ask.shape, &ask.config.chip, 2, 0);
        let context = |requests: usize| requests * ask.config.context.div_ceil(s.rows) * s.rows;
        let holds = |requests: usize| {
            let found = found(context(requests), Some((s.cols as u32, s.rows as u32)));
            found.first().is_some_and(|more| more.stages == s.stages)
        };
        assert!(holds(1) && !holds(((held + 1) * 4).div_ceil(3) + 1), "{s:?}: {held}");
        // What a prompt in chunks takes is not there for requests.
        assert!(s.requests(&ask.shape, &ask.config.chip, 2, 16) <= held);
        seen += held;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn more_memory_never_makes_a_worse_plan() {
    for (cols, rows, arena, tokens) in [(14, 12, 5_000, (12, 8)), (20, 20, 4_000, (30, 6)), (40, 12, 6_000, (6, 20))] {
        for objective in [Objective::Latency, Objective::Energy] {
            let of = |arena| {
                let (ask, chosen) = best(&ask(cols, rows, arena, tokens), objective, &mut Timed::default());
                value(&ask, &chosen)
            };
            let by_arena = [1, 2, 4].map(|times| of(arena * times));
            for pair in by_arena.windows(2) {
                assert!(
                    pair[1] <= pair[0] * NEAR,
                    "{cols}x{rows}, {objective:?}: {by_arena:?} with 1, 2, 4 x {arena} B"
                );
            }
        }
    }
}
