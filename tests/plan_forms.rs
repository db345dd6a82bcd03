//! The closed forms that rank meshes, held against executed layers.

use plummer::fabric::Chip;
use plummer::host::dry::{decode_layer, prefill_layer};
use plummer::host::{Kv, KvType, SessionConfig};
use plummer::model::sizes::Sizes;
use plummer::plan::closed;

fn config(mesh: (u32, u32), k_tree: usize, context: usize) -> SessionConfig {
    SessionConfig {
        chip: Chip::preset("wse2").expect("a preset"),
        mesh: Some(mesh),
        kv: Kv::Shift,
        kv_type: KvType::F16,
        k_tree,
        context,
        prompt: 1,
        workers: 1,
        arena_full: false,
        random_schedule: None,
        kernels: None,
    }
}

#[test]
fn decode_forms_are_within_a_tenth_of_executed_layers() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    for (mesh, k_tree, position) in
        [((40, 40), 2, 100), ((64, 48), 1, 500), ((96, 160), 2, 1000), ((200, 90), 2, 50), ((128, 128), 2, 2000)]
    {
        let c = config(mesh, k_tree, position + 1);
        let t = decode_layer(&sizes.config.shape, sizes.format, &c, position).expect("it runs");
        let side = (mesh.0 as usize, mesh.1 as usize);
        let form = closed::decode_layer(&sizes.config.shape, &c.chip, side, k_tree, position);
        let ratio = form as f64 / t.cycles as f64;
        println!("decode {mesh:?} K={k_tree} at {position}: {form} / {} = {ratio:.3}", t.cycles);
        assert!((0.9..1.1).contains(&ratio), "{mesh:?} K={k_tree} at {position}: {ratio}");
    }
}

#[test]
fn prefill_forms_are_within_a_quarter_of_executed_layers() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    for (mesh, n) in [((24, 24), 48), ((48, 48), 48), ((32, 64), 96), ((64, 32), 96), ((64, 64), 192)] {
        let c = config(mesh, 2, n + 1);
        let t = prefill_layer(&sizes.config.shape, sizes.format, &c, n).expect("it runs");
        let side = (mesh.0 as usize, mesh.1 as usize);
        let form = closed::prefill_layer(&sizes.config.shape, &c.chip, side, n);
        let ratio = form as f64 / t.cycles as f64;
        println!("prefill {mesh:?} of {n}: {form} / {} = {ratio:.3}", t.cycles);
        assert!((0.8..1.25).contains(&ratio), "{mesh:?} of {n}: {ratio}");
    }
}
