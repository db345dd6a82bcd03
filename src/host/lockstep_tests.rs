//! Lockstep is execution: the same clocks, counters and marks on small meshes of every shape, on sampled larger ones,
//! and on chips that change what a message costs or waits for.

use super::prefill;
use crate::fabric::Chip;
use crate::host::dry::{Pass, alone, busy_of, phases_of, prefill_pass, run};
use crate::host::{Kv, KvType, SessionConfig};
use crate::kernels::decode::{Decode, pass, point};
use crate::kernels::prefill::Prefill;
use crate::link::Ctrl;
use crate::math::checkpoint::{ModelShape, WeightFormat};
use crate::placement::Trees;

fn shape((hidden, ffn): (usize, usize), (heads, kv_heads, head_dim): (usize, usize, usize)) -> ModelShape {
    ModelShape {
        hidden,
        n_layers: 1,
        n_heads: heads,
        n_kv_heads: kv_heads,
        head_dim,
        ffn,
        vocab: 1,
        norm_eps: 1e-5,
        inv_freq: vec![1.0; head_dim / 2],
        tied: true,
        qkv_bias: false,
    }
}

fn config(mesh: (u32, u32), positions: usize, chip: &Chip) -> SessionConfig {
    let config = SessionConfig { mesh: Some(mesh), ..SessionConfig::new(chip.clone()) };
    SessionConfig { context: positions, prompt: positions, ..config }
}

/// The preset, and edits of fields that change what a message costs or waits for.
fn chips() -> [Chip; 6] {
    let base = Chip::preset("wse2").expect("a preset");
    let edits: [fn(&mut Chip); 6] = [
        |_| {},
        |c| (c.lane_depth, c.queue_wavelets) = (1, 1000),
        |c| (c.lane_depth, c.queue_wavelets) = (3, 40),
        |c| (c.queue_wavelets, c.alpha, c.turn_cycles) = (0, 3, 5),
        |c| (c.ser_num, c.ser_den, c.ramp, c.issue_cycles) = (7, 2, 5, 9),
        |c| (c.queue_wavelets, c.lane_depth, c.ser_num, c.stage_cycles) = (1000, 2, 40, 0),
    ];
    let with = |edit: fn(&mut Chip)| {
        let mut chip = base.clone();
        edit(&mut chip);
        chip
    };
    edits.map(with)
}

/// Every core's clock, busy cycles and depth, the head's included; all counters; what the regions' borders did.
fn check_same(executed: &Pass, timed: &Pass, decode: &Decode, what: &str) {
    let sorted = |pass: &Pass| {
        let mut all: Vec<_> = pass.records.iter().map(|(at, r)| (*at, r.now, r.busy, r.depth)).collect();
        all.sort_unstable();
        all
    };
    let (cores, others) = (sorted(executed), sorted(timed));
    assert_eq!(cores.len(), others.len(), "{what}");
    for (a, b) in cores.iter().zip(others) {
        assert_eq!(*a, b, "{what}: core, clock, busy, depth");
    }
    assert_eq!(executed.counters, timed.counters, "{what}");
    assert_eq!(busy_of(decode, &executed.records), busy_of(decode, &timed.records), "{what}");
    assert_eq!(executed.colors_max, timed.colors_max, "{what}");
}

/// The pass, and the end of each phase.
fn check_prefill(shape: &ModelShape, mesh: (u32, u32), positions: usize, chip: &Chip) {
    let decode = alone(shape, WeightFormat::F16, &config(mesh, positions, chip), 1, 0).expect("a plan");
    let kernel = Prefill::new(&decode, positions, Some(positions)).expect("it fits");
    assert_eq!(kernel.chunk, positions, "one chunk");
    let (executed, timed) =
        (prefill_pass(&kernel).expect("it runs"), prefill(&kernel).expect("one chunk").expect("colors"));
    let what = format!("{mesh:?}, {positions} positions, depth {}, {shape:?}", chip.lane_depth);
    check_same(&executed, &timed, &decode, &what);
    assert_eq!(executed.arena_need, timed.arena_need, "{what}");
    let end = |pass: &Pass, id| pass.marks.iter().filter(|m| m.who == 0 && m.id & 0xff == id).map(|m| m.now).max();
    for id in [point::QKV, point::AV, point::O, point::FFN] {
        assert_eq!(end(&executed, id), end(&timed, id), "{what}: point {id}");
    }
}

/// The pass, and all that the stage marks of it.
fn check_decode(shape: &ModelShape, config: &SessionConfig, position: usize) {
    let what = format!("{:?} at {position}, {:?}, {:?}, {shape:?}", config.mesh, config.kv, config.trees);
    let decode = alone(shape, WeightFormat::F16, config, 2, position).expect("a plan");
    let ctrl = Ctrl { kind_slot: pass::WANT_LOGITS, position: position as u32 };
    let executed = run(decode.clone(), decode.layout().expect("a layout"), &decode, &[ctrl]).expect("it runs");
    let timed = super::decode(&decode, position).expect("colors");
    check_same(&executed, &timed, &decode, &what);
    let marks = |pass: &Pass| {
        let mut all: Vec<_> = pass.marks.iter().filter(|m| m.who == 0).map(|m| (m.now, m.id)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(marks(&executed), marks(&timed), "{what}");
    let phases = phases_of(&executed.marks);
    assert!(phases.1 > 0 && phases == phases_of(&timed.marks), "{what}");
}

#[test]
fn a_prefill_in_lockstep_is_the_executed_one_on_every_small_mesh() {
    let shapes = [shape((12, 20), (4, 2, 4)), shape((5, 7), (3, 3, 2)), shape((16, 24), (2, 1, 8))];
    for (i, (cols, rows)) in (1..=6).flat_map(|c| (1..=6).map(move |r| (c, r))).enumerate() {
        for (j, chip) in chips().iter().enumerate() {
            let positions = [1, 3, 6, 11, 17][(i + j) % 5];
            check_prefill(&shapes[(i + 2 * j) % 3], (cols, rows), positions, chip);
        }
    }
}

#[test]
fn a_prefill_in_lockstep_is_the_executed_one_on_sampled_meshes() {
    let (llama, chips) = (shape((256, 448), (16, 4, 16)), chips());
    let meshes = [((16, 16), 40), ((32, 32), 100), ((24, 17), 64), ((9, 31), 50), ((32, 8), 33), ((7, 20), 160)];
    for (n, (mesh, positions)) in meshes.into_iter().enumerate() {
        check_prefill(&llama, mesh, positions, &chips[n % 6]);
        check_prefill(&shape((24, 30), (4, 4, 6)), mesh, positions, &chips[(n + 3) % 6]);
    }
}

#[test]
fn a_decode_in_lockstep_is_the_executed_one_on_every_small_mesh() {
    let shapes = [shape((12, 20), (4, 2, 4)), shape((5, 7), (3, 3, 2)), shape((16, 24), (2, 1, 8))];
    for (i, (cols, rows)) in (1..=7).flat_map(|c| (1..=7).map(move |r| (c, r))).enumerate() {
        for (j, chip) in chips().iter().enumerate() {
            let position = [0, 1, 6, 11, 17][(i + j) % 5];
            let config = config((cols, rows), position + 2, chip);
            check_decode(&shapes[(i + 2 * j) % 3], &config, position);
        }
    }
}

#[test]
fn a_decode_in_lockstep_is_the_executed_one_on_sampled_meshes() {
    let (llama, chips) = (shape((256, 448), (16, 4, 16)), chips());
    let meshes = [(16, 16), (32, 32), (24, 17), (9, 31), (40, 8), (7, 20)];
    for (n, mesh) in meshes.into_iter().enumerate() {
        let config = config(mesh, 120, &chips[n % 6]);
        check_decode(&llama, &config, [100, 7, 64][n % 3]);
        let kv = if n % 2 == 0 { Kv::Concat } else { Kv::Shift };
        let config = SessionConfig { kv, kv_type: KvType::F32, prompt: 60, k_tree: 1, ..config };
        check_decode(&shape((24, 30), (4, 4, 6)), &config, [59, 60, 100][n % 3]);
    }
    // LLaMA3-8B's sizes on as many cores as are executed in a second or two.
    check_decode(&shape((4096, 14336), (32, 8, 128)), &config((120, 96), 1200, &chips[0]), 1100);
}

#[test]
fn a_decode_in_lockstep_is_the_executed_one_with_every_group_count() {
    let shapes = [shape((24, 30), (4, 4, 6)), shape((40, 56), (8, 2, 4))];
    let chips = chips().map(|chip| Chip { colors: 40, ..chip });
    for (cols, rows) in [(6, 5), (9, 4), (5, 11)] {
        for (i, (x, y)) in (1..=cols).flat_map(|x| (1..=rows).map(move |y| (x, y))).enumerate() {
            let levels = |n: usize| [vec![1], vec![n, 1], vec![n, n.div_ceil(2), 1]];
            for (k, (x, y)) in levels(x).into_iter().zip(levels(y)).enumerate() {
                let config = config((cols as u32, rows as u32), 40, &chips[(i + k) % 6]);
                let trees = Trees { head: vec![1; k + 1], x, y };
                let config = SessionConfig { k_tree: k + 1, trees: Some(trees), ..config };
                check_decode(&shapes[(i + k) % 2], &config, [3, 16, 33][i % 3]);
            }
        }
    }
}

#[test]
fn a_prompt_of_several_chunks_is_executed() {
    let decode = alone(&shape((12, 20), (4, 2, 4)), WeightFormat::F16, &config((3, 3), 20, &chips()[0]), 1, 0);
    let kernel = Prefill::new(&decode.expect("a plan"), 20, Some(7)).expect("it fits");
    assert!(kernel.chunk == 7 && prefill(&kernel).is_none());
}
