//! What a plan that fails advises is followed, and there is a plan; one step beyond it there is none.

use plummer::fabric::Chip;
use plummer::host::{Kv, SessionConfig, SessionError};
use plummer::math::checkpoint::ModelShape;
use plummer::model::sizes::Sizes;
use plummer::plan::ask::{Ask, Objective, with_reserve};
use plummer::plan::confirm::Timed;

fn ask(model: &str, chip: Chip, (prompt, output): (usize, usize)) -> Ask {
    let sizes = Sizes::preset(model).expect("a preset");
    let context = prompt + output;
    Ask {
        shape: sizes.config.shape,
        format: sizes.format,
        config: SessionConfig { kv: Kv::Shift, prompt, context, k_tree: 2, ..SessionConfig::new(chip) },
        prefill_mesh: None,
        prompt,
        output,
        wafers: 1,
        wafer_cycles: 0,
        objective: Objective::Latency,
        finalists: 1,
    }
}

fn wse2(reserved_kib: u64) -> Chip {
    with_reserve(&Chip::preset("wse2").expect("a preset"), reserved_kib << 10)
}

fn error_of(ask: &Ask) -> Option<SessionError> {
    ask.choose(&mut Timed::default()).err()
}

/// A model of the embedded one's kind on a chip of so many cores, with 6 KB arenas.
fn small(chip: (u32, u32), (prompt, output): (usize, usize)) -> Ask {
    let arena_bytes = 6_000;
    let chip =
        Chip { cols: chip.0, rows: chip.1, arena_bytes, reserved_bytes: 0, ..Chip::preset("wse2").expect("a preset") };
    let shape = ModelShape {
        hidden: 48,
        n_layers: 6,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 12,
        ffn: 96,
        vocab: 90,
        norm_eps: 1e-5,
        inv_freq: vec![1.0; 6],
        tied: true,
        qkv_bias: false,
    };
    Ask { shape, ..ask("llama3-8b", chip, (prompt, output)) }
}

#[test]
fn models_of_34_and_72_billion_are_told_how_many_wafers_hold_them_and_those_do() {
    for (model, reserved) in [("codellama-34b", 8), ("codellama-34b", 26), ("qwen2-72b", 8)] {
        let one = ask(model, wse2(reserved), (32, 4));
        let error = error_of(&one).expect("one wafer is too small");
        let fit = one.advice(&error).sizes.expect("sizes are the matter");
        let wafers = fit.wafers.expect("some number of wafers holds it");
        assert!(wafers > 1 && fit.reserve_kib.is_none() && fit.positions.is_none(), "{model} {fit:?}");
        let on = |wafers: usize| error_of(&Ask { wafers, ..one.clone() });
        assert!(on(wafers).is_none() && on(wafers - 1).is_some(), "{model}, {reserved} KiB: {wafers} wafers");
        // Layers alike: so many fit one wafer, one more does not.
        let of =
            |n_layers: usize| error_of(&Ask { shape: ModelShape { n_layers, ..one.shape.clone() }, ..one.clone() });
        assert!(of(fit.layers).is_none() && of(fit.layers + 1).is_some(), "{model}: {} layers", fit.layers);
    }
}

#[test]
fn less_code_or_fewer_positions_hold_what_they_are_said_to_hold() {
    // 26 KiB of code are too many for LLaMA3-8B on a wafer.
    let much = ask("llama3-8b", wse2(26), (32, 4));
    let fit = much.advice(&error_of(&much).expect("no room")).sizes.expect("sizes");
    let kib = fit.reserve_kib.expect("less code helps");
    let with = |kib: u64| error_of(&ask("llama3-8b", wse2(kib), (32, 4)));
    assert!((8..26).contains(&kib) && with(kib).is_none() && with(kib + 1).is_some(), "{kib} KiB");
    let long = small((16, 12), (9_000, 10));
    let fit = long.advice(&error_of(&long).expect("no room")).sizes.expect("sizes");
    let positions = fit.positions.expect("a shorter one helps");
    let with = |n: usize| error_of(&small((16, 12), (n - 10, 10)));
    assert!(with(positions).is_none() && with(positions + 1).is_some(), "{positions}");
}

#[test]
fn a_mesh_and_a_prefill_mesh_that_cannot_be_are_told_the_nearest_that_can() {
    let free = small((16, 12), (12, 4));
    assert!(error_of(&free).is_none());
    let mut advised = 0;
    for mesh in (1..=16).step_by(3).flat_map(|c| (1..=12).step_by(2).map(move |r| (c, r))) {
        let on = |mesh| Ask { config: SessionConfig { mesh: Some(mesh), ..free.config.clone() }, ..free.clone() };
        if let Some(error) = error_of(&on(mesh)) {
            let near = free_sides(on(mesh).advice(&error).mesh);
            assert!(error_of(&on(near)).is_none(), "{mesh:?} -> {near:?}");
            advised += 1;
        }
        let own = |mesh| Ask { prefill_mesh: Some(mesh), ..free.clone() };
        if let Some(error) = error_of(&own(mesh)) {
            let advice = own(mesh).advice(&error);
            assert!(advice.sizes.is_none() && advice.mesh.is_none(), "{mesh:?}: {advice:?}");
            let near = free_sides(advice.prefill_mesh);
            assert!(error_of(&own(near)).is_none(), "prefill {mesh:?} -> {near:?}");
            advised += 1;
        }
    }
    assert!(advised > 10, "{advised}");
}

fn free_sides(sides: Option<plummer::plan::advice::Sides>) -> (u32, u32) {
    sides.map(|s| (s.cols as u32, s.rows as u32)).expect("some mesh can")
}
