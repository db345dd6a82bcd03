//! The closed forms that rank meshes, held against executed layers; and what a smaller mesh says of a larger one.

use plummer::fabric::Chip;
use plummer::host::dry::{decode_layer, prefill_layer, prefill_layer_as};
use plummer::host::{Kv, KvType, SessionConfig};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::model::sizes::Sizes;
use plummer::plan::closed::{Forms, Lines};
use plummer::plan::prompt::Form;
use plummer::plan::smaller::Smaller;

fn config(mesh: (u32, u32), k_tree: usize, context: usize) -> SessionConfig {
    SessionConfig {
        mesh: Some(mesh),
        kv: Kv::Shift,
        kv_type: KvType::F16,
        k_tree,
        context,
        ..SessionConfig::new(Chip::preset("wse2").expect("a preset"))
    }
}

#[test]
fn decode_forms_are_within_a_tenth_of_executed_layers() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    for (mesh, k_tree, position) in
        [((40, 40), 2, 100), ((64, 48), 1, 500), ((96, 160), 2, 1000), ((200, 90), 2, 50), ((128, 128), 2, 2000)]
    {
        let c = config(mesh, k_tree, position + 1);
        let side = (mesh.0 as usize, mesh.1 as usize);
        let forms = Forms::new(&sizes.config.shape, &c.chip);
        let (quick, best) = (forms.lines(side, 9, k_tree), forms.trees(side, 9, k_tree));
        for (lines, trees) in [(quick, None), (Lines::from(&best), Some(best))] {
            let c = SessionConfig { trees, ..c.clone() };
            let t = decode_layer(&sizes.config.shape, sizes.format, &c, position).expect("it runs");
            let form = forms.decode_layer(side, &lines, position);
            let ratio = form as f64 / t.cycles as f64;
            println!("decode {mesh:?} K={k_tree} at {position}: {form} / {} = {ratio:.3} {:?}", t.cycles, c.trees);
            assert!((0.9..1.1).contains(&ratio), "{mesh:?} K={k_tree} at {position}: {ratio}");
        }
    }
}

#[test]
fn group_counts_by_cycles_are_no_slower_by_form_or_by_execution() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    let shape = &sizes.config.shape;
    let (mut quick, mut best) = (0, 0);
    for (mesh, k_tree) in [((60, 40), 2), ((97, 33), 2), ((50, 90), 2), ((64, 64), 3)] {
        let c = config(mesh, k_tree, 101);
        let side = (mesh.0 as usize, mesh.1 as usize);
        let forms = Forms::new(shape, &c.chip);
        let trees = forms.trees(side, 9, k_tree);
        let form = |lines: &Lines| forms.decode_layer(side, lines, 100);
        assert!(form(&Lines::from(&trees)) <= form(&forms.lines(side, 9, k_tree)), "{mesh:?}");
        let run = |trees| {
            let c = SessionConfig { trees, ..c.clone() };
            decode_layer(shape, sizes.format, &c, 100).expect("it runs").cycles
        };
        (quick, best) = (quick + run(None), best + run(Some(trees)));
    }
    assert!(best < quick, "executed: {best} cycles, {quick} with the fewest stages");
}

/// A prefill of one chunk, whose form is that of `Prefill::predict_over` without the hand-over.
fn predicted(shape: &ModelShape, c: &SessionConfig, n: usize, chunk: usize, older: usize) -> u64 {
    let mesh = c.mesh.map_or((1, 1), |m| (m.0 as usize, m.1 as usize));
    let model = (shape, WeightFormat::F16, c.kv_type);
    let form = |layers| Form::new(model, &c.chip, n, mesh, layers).cycles(1, chunk, older).0;
    form(2) - form(1)
}

#[test]
fn prefill_forms_are_within_a_quarter_of_executed_layers() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    for (mesh, n) in [((24, 24), 48), ((48, 48), 48), ((32, 64), 96), ((64, 32), 96), ((64, 64), 192)] {
        let c = config(mesh, 2, n + 1);
        let t = prefill_layer(&sizes.config.shape, sizes.format, &c, n).expect("it runs");
        let form = predicted(&sizes.config.shape, &c, n, n, 1);
        let ratio = form as f64 / t.cycles as f64;
        println!("prefill {mesh:?} of {n}: {form} / {} = {ratio:.3}", t.cycles);
        assert!((0.8..1.25).contains(&ratio), "{mesh:?} of {n}: {ratio}");
    }
}

#[test]
fn a_prefill_layer_on_a_smaller_mesh_corrects_the_form_of_a_larger_one() {
    let sizes = Sizes::preset("llama3-8b").expect("a preset");
    let (shape, mesh, prompt, chunk) = (&sizes.config.shape, (96, 48), 192, 96);
    // Positions of a chunk as many a column and a row.
    let lap = |shape: &ModelShape, mesh: (usize, usize), n: usize, chunk: usize| {
        let c = config((mesh.0 as u32, mesh.1 as u32), 2, n);
        let t = prefill_layer_as(shape, sizes.format, &c, n, Some((chunk, 2))).expect("it runs");
        (predicted(shape, &c, n, chunk, 2) as f64, t.cycles as f64)
    };
    let (form, executed) = lap(shape, mesh, prompt, chunk);
    for times in [2, 4] {
        let s = Smaller::fitting(shape, mesh, |s| s.times == times);
        let (small_form, small) = lap(&s.shape, s.mesh, s.less(prompt), s.less(chunk));
        let corrected = form * small / small_form;
        println!("prefill / {times}: {corrected:.0} for {executed}, form {form}");
        assert!((corrected / executed - 1.0).abs() < 0.15, "prefill / {times}: {corrected} {executed}");
    }
}
