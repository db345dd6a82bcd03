//! A snake of bands computes what a straight line of regions does: turns, westward bands and the return from below
//! change no bit, at any mesh, worker count and schedule; and a chip that is too small says by how much.

use plummer::exec::{Inject, RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::host::{Session, SessionConfig};
use plummer::kernels::decode::pass;
use plummer::link::Ctrl;
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;

use crate::decode_support::{GENERATED, PROMPT, check, config, on_wafer};

fn shape(n_heads: usize, n_kv_heads: usize, n_layers: usize) -> ModelShape {
    ModelShape {
        hidden: 10,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim: 4,
        ffn: 13,
        vocab: 17,
        norm_eps: 1e-5,
        inv_freq: vec![1.0, 0.1],
        tied: n_layers.is_multiple_of(2),
        qkv_bias: n_heads.is_multiple_of(2),
    }
}

/// A chip of 6x12 small PEs on which this mesh needs `bands` bands, if any arena size makes it so.
fn chip_for(model: &RandomCheckpoint, mesh: (u32, u32), bands: usize) -> Option<Chip> {
    let chip = Chip { cols: 6, rows: 12, reserved_bytes: 0, colors: 43, ..Chip::preset("wse2").unwrap() };
    let chips = (256..12_288).step_by(64).map(|arena_bytes| Chip { arena_bytes, ..chip.clone() });
    let planned = |chip: &Chip| {
        let config = SessionConfig { chip: chip.clone(), ..config(mesh) };
        Session::plan_only(model, &config).is_ok_and(|(d, _)| d.plan.floor.bands() == bands)
    };
    chips.into_iter().find(planned)
}

#[test]
fn every_mesh_and_number_of_bands_equals_the_oracle() {
    let mut seen = [0; 7];
    for (at, (heads, kv_heads, layers)) in [(2, 2, 7), (4, 2, 8), (3, 1, 5)].into_iter().enumerate() {
        let model = RandomCheckpoint::new(shape(heads, kv_heads, layers), WeightFormat::F16, 3 + at as u64);
        for (cols, rows) in (1..=4).flat_map(|c| (1..=4).map(move |r| (c, r))) {
            for (bands, seen) in seen.iter_mut().enumerate().skip(1) {
                let Some(chip) = chip_for(&model, (cols, rows), bands) else { continue };
                let what = format!("{heads}/{kv_heads} heads, {layers} layers, {cols}x{rows}, {bands} bands");
                let config = SessionConfig { chip, ..config((cols, rows)) };
                let one = check(&model, config.clone(), &what);
                for (workers, random_schedule) in [(2, None), (3, Some(9)), (1, Some(at as u64))] {
                    let other = SessionConfig { workers, random_schedule, ..config.clone() };
                    assert!(on_wafer(&model, other).0 == one, "{what}, {workers} workers, {random_schedule:?}");
                }
                *seen += 1;
            }
        }
    }
    assert!(seen[1] >= 10 && seen[2] >= 10 && seen[3] >= 10 && seen[4] >= 3, "bands: {seen:?}");
}

#[test]
fn dry_passes_take_the_cycles_and_hops_of_wet_ones() {
    let model = RandomCheckpoint::new(shape(4, 2, 8), WeightFormat::F16, 1);
    let mut seen = [0; 5];
    let meshes = (1..=4).flat_map(|c| (2..=3).map(move |r| (c, r)));
    for (mesh, bands) in meshes.flat_map(|m| (1..=4).map(move |b| (m, b))) {
        let Some(chip) = chip_for(&model, mesh, bands) else { continue };
        seen[bands] += 1;
        let config = SessionConfig { chip, ..config(mesh) };
        let (_, _, _, wet) = on_wafer(&model, config.clone()).0;
        let (decode, layout) = Session::plan_only(&model, &config).unwrap();
        let options = RunOptions { dry: true, ..RunOptions::new(2) };
        let chip = decode.chip.clone();
        let mut wafer = Wafer::launch(decode, layout, &chip, &options, |_, _, _| {}).unwrap();
        wafer.run(&[]).unwrap();
        for i in 0..PROMPT.len() + GENERATED {
            let own = if i < PROMPT.len() { 0 } else { pass::OWN_ID };
            let wanted = if i + 1 < PROMPT.len() { 0 } else { pass::WANT_LOGITS };
            let ctrl = Ctrl { kind_slot: own | wanted, position: i as u32 };
            wafer.run(&[Inject { lane: 0, ctrl, word: 0, ready: 0 }]).unwrap();
        }
        let dry = wafer.counters().unwrap();
        assert_eq!((dry.hops, dry.wavelets, dry.cycles), wet, "{mesh:?} in {bands} bands");
    }
    assert!(seen[1..].iter().all(|n| *n > 0), "bands: {seen:?}");
}

#[test]
fn the_printed_floorplan_shows_the_bands_and_their_direction() {
    let model = RandomCheckpoint::new(shape(2, 2, 7), WeightFormat::F16, 1);
    let (mesh, chip) = (1..=4)
        .find_map(|cols| chip_for(&model, (cols, 2), 3).map(|chip| ((cols, 2), chip)))
        .expect("some mesh of two rows takes three bands");
    let (decode, layout) = Session::plan_only(&model, &SessionConfig { chip, ..config(mesh) }).unwrap();
    let text = Session::summarise(&decode, &layout).floorplan;
    for says in ["rows 0..2 | head", "rows 2..4 |", "running west", "rows 4..6 |", "turns and return"] {
        assert!(text.contains(says), "{says} is missing: {text}");
    }
    let west = text.lines().filter(|l| l.contains("running west")).count();
    assert_eq!((west, text.matches("running east").count()), (1, 2), "{text}");
}

#[test]
fn too_few_rows_or_colors_are_refused_with_numbers() {
    let model = RandomCheckpoint::new(shape(2, 2, 7), WeightFormat::F16, 1);
    let fits = chip_for(&model, (1, 4), 2).unwrap();
    let refused = |chip: Chip| {
        let config = SessionConfig { chip, ..config((1, 4)) };
        Session::plan_only(&model, &config).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let rows = refused(Chip { rows: 7, ..fits.clone() });
    assert!(rows.contains("2 bands") && rows.contains("8 rows; the chip has 7"), "{rows}");
    // One column: each of the four rows turns on a color of its own, so 18 + 4 at least.
    let colors = refused(Chip { colors: 24, colors_reserved: 3, ..fits });
    assert!(colors.contains("2 bands need 22 colors") && colors.contains("has 21 usable"), "{colors}");
}
