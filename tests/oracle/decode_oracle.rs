//! The wafer equals the serial oracle bit for bit: random tiny models over meshes, workers, schedules, KV modes.

use plummer::fabric::Chip;
use plummer::host::{Kv, KvType, Session, SessionConfig};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;

use crate::decode_support::{check, config, on_wafer};
use crate::tiny::shape;

#[test]
fn every_mesh_up_to_4x4_equals_the_oracle() {
    for (heads, kv_heads, tied, bias) in [(4, 4, true, false), (6, 2, false, true), (3, 1, true, true)] {
        for format in [WeightFormat::F16, WeightFormat::Bf16] {
            let model = RandomCheckpoint::new(shape(heads, kv_heads, tied, bias), format, 7);
            for cols in 1..=4 {
                for rows in 1..=4 {
                    let what = format!("{heads}/{kv_heads} heads, tied {tied}, bias {bias}, {format:?}, {cols}x{rows}");
                    check(&model, config((cols, rows)), &what);
                }
            }
        }
    }
}

#[test]
fn larger_ragged_meshes_and_other_trees_equal_the_oracle() {
    let model = RandomCheckpoint::new(shape(6, 2, true, false), WeightFormat::F16, 11);
    for (mesh, k_tree) in [((7, 5), 2), ((5, 9), 1), ((13, 3), 2), ((2, 11), 2)] {
        check(&model, SessionConfig { k_tree, ..config(mesh) }, &format!("{mesh:?} k {k_tree}"));
    }
    let mut chip = Chip::preset("wse2").unwrap();
    chip.colors = 40;
    check(&model, SessionConfig { chip, k_tree: 3, ..config((9, 8)) }, "k 3");
}

#[test]
fn kv_modes_and_types_equal_the_oracle() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::F16, 5);
    for kv in [Kv::Shift, Kv::Concat] {
        for kv_type in [KvType::F16, KvType::F32] {
            check(&model, SessionConfig { kv, kv_type, ..config((3, 3)) }, &format!("{kv:?} {kv_type:?}"));
        }
    }
}

#[test]
fn workers_schedules_arenas_and_simd_change_nothing() {
    let model = RandomCheckpoint::new(shape(6, 2, false, true), WeightFormat::F16, 3);
    let expect = check(&model, config((4, 3)), "one worker");
    for workers in [2, 3, 8] {
        assert!(on_wafer(&model, SessionConfig { workers, ..config((4, 3)) }).0 == expect, "{workers} workers");
    }
    for seed in 0..100 {
        let other = SessionConfig { random_schedule: Some(seed), workers: 1 + seed as usize % 2, ..config((4, 3)) };
        assert!(on_wafer(&model, other).0 == expect, "seed {seed}");
    }
    assert!(on_wafer(&model, SessionConfig { arena_full: true, ..config((4, 3)) }).0 == expect, "full arenas");
    for level in plummer::math::SimdLevel::available() {
        let kernels = plummer::math::Kernels::for_level(level);
        assert!(on_wafer(&model, SessionConfig { kernels, ..config((4, 3)) }).0 == expect, "{level:?}");
    }
}

#[test]
fn lane_depth_and_queues_change_cycles_but_no_bits() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::Bf16, 9);
    let expect = check(&model, config((4, 3)), "wse2");
    for lane_depth in [1, 2, 8] {
        for queue_wavelets in [0, 8, 64] {
            let chip = Chip { lane_depth, queue_wavelets, ..Chip::preset("wse2").unwrap() };
            let other = on_wafer(&model, SessionConfig { chip, ..config((4, 3)) }).0;
            assert!((&other.0, &other.1) == (&expect.0, &expect.1), "depth {lane_depth} queue {queue_wavelets}");
        }
    }
}

#[test]
fn three_levels_exhaust_the_routes_of_wse2() {
    // More layers than these arenas hold in one stage.
    let model = RandomCheckpoint::new(ModelShape { n_layers: 16, ..shape(6, 2, true, false) }, WeightFormat::F16, 9);
    let chip = Chip { arena_bytes: 8192 + 1024, ..Chip::preset("wse2").unwrap() };
    let with = |k_tree, colors| SessionConfig { k_tree, chip: Chip { colors, ..chip.clone() }, ..config((18, 18)) };
    let error = Session::new(&model, with(3, 24)).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("needs 22 colors") && error.contains("21 usable"), "{error}");
    check(&model, with(2, 24), "two levels need 18 and run");
    check(&model, with(3, 25), "three levels run on a chip with 22 usable colors");
}
