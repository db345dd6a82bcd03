//! All kernels pass the strict dry run: decode, prefill, transitions, GEMV and GEMM with every algorithm, collectives;
//! on every small mesh and on samples of larger ones.

use plummer::collectives::{Allreduce, Chain, Ring, RingOrder, Tree};
use plummer::exec::{Inject, check, check_passes};
use plummer::fabric::{Chip, Layout, LayoutError};
use plummer::host::{Kv, Launch, PrefillOptions, Session, SessionConfig, SessionError, check_decode, check_prefill};
use plummer::kernels::Numerics;
use plummer::kernels::gemm::{Algo, Gemm, Spec};
use plummer::kernels::gemv::{Gemv, GemvAlgo, GemvShape};
use plummer::kernels::line::{Line, LineOp, row_of};
use plummer::math::checkpoint::{Checkpoint as _, ModelShape, WeightFormat};
use plummer::math::gemm::Dims;
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::pe::Kernel;

/// Enough colors for every baseline, the smallest buffers: what passes here passes on every chip.
fn chip() -> Chip {
    Chip { colors: 64, lane_depth: 1, queue_wavelets: 0, ..Chip::preset("wse2").unwrap() }
}

fn strict<K: Kernel>(kernel: &K, layout: Result<Layout, LayoutError>, what: &str) {
    let layout = layout.unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = check(kernel, &layout, &chip()).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.verdict.is_strict(), "{what}: {:?}", report.verdict);
}

/// Every mesh up to 8 x 8, and three larger ones.
fn meshes() -> impl Iterator<Item = (usize, usize)> {
    (1..=8).flat_map(|cols| (1..=8).map(move |rows| (cols, rows))).chain([(17, 5), (6, 31), (24, 24)])
}

#[test]
fn gemv_is_strict_with_every_allreduce_on_every_mesh() {
    for (cols, rows) in meshes() {
        let mut algos = vec![GemvAlgo::Pipeline];
        algos.extend([vec![1], vec![2, 1], vec![rows.div_ceil(2), 2, 1]].map(GemvAlgo::KTree));
        algos.extend([RingOrder::WrapAround, RingOrder::Interleaved].map(GemvAlgo::Ring));
        for algo in algos {
            let shape = GemvShape { cols, rows, m: 3 * rows + 1, n: 40 * cols + 1 };
            let g = Gemv { shape, algo, numerics: Numerics::Default, chip: chip(), passes: 2 };
            strict(&g, g.layout(), &format!("{:?} on {cols}x{rows}", g.algo));
        }
    }
}

#[test]
fn gemm_is_strict_with_every_algorithm_on_every_mesh() {
    for (cols, rows) in meshes().filter(|m| m.0 * m.1 <= 200) {
        for algo in Algo::ALL {
            let size = Dims { m: 2 * rows + 1, k: 2 * cols + 1, n: 2 * cols + 3 };
            let g = Gemm::new(Spec::new(algo, (cols, rows), size, Numerics::Default), &chip());
            strict(&g, g.layout(), &format!("{algo:?} on {cols}x{rows}"));
        }
    }
}

#[test]
fn collectives_are_strict_on_every_line_up_to_forty() {
    for n in 1..=40 {
        let line = row_of(n);
        let mut all: Vec<Allreduce> = [vec![1], vec![3, 1], vec![7, 2, 1]]
            .map(|groups| Allreduce::Tree(Tree { line: line.clone(), groups, base: 0 }))
            .into();
        all.push(Allreduce::Chain(Chain { line: line.clone(), base: 0 }));
        for order in [RingOrder::WrapAround, RingOrder::Interleaved] {
            all.push(Allreduce::Ring(Ring { line: line.clone(), order, base: 0 }));
        }
        for collective in all {
            let line = Line { collective, op: LineOp::Allreduce, words: 3 * n, passes: 3 };
            strict(&line, line.layout(), &format!("{line:?}"));
        }
    }
}

/// Three layers, 4 query heads on 2 KV heads.
fn model() -> RandomCheckpoint {
    let shape = ModelShape {
        hidden: 24,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        ffn: 40,
        vocab: 37,
        norm_eps: 1e-5,
        inv_freq: vec![1.0, 0.1, 0.01],
        tied: true,
        qkv_bias: false,
    };
    RandomCheckpoint::new(shape, WeightFormat::F16, 1)
}

fn config(mesh: (u32, u32), kv: Kv) -> SessionConfig {
    SessionConfig {
        mesh: Some(mesh),
        kv,
        context: 20,
        prompt: 4,
        ..SessionConfig::new(Chip { lane_depth: 1, queue_wavelets: 0, ..Chip::preset("wse2").unwrap() })
    }
}

#[test]
fn decode_is_strict_at_every_position_on_every_mesh() {
    let model = model();
    for (cols, rows) in meshes().filter(|m| m.0 * m.1 <= 200) {
        for kv in [Kv::Shift, Kv::Concat] {
            let what = format!("{kv:?} on {cols}x{rows}");
            let config = config((cols as u32, rows as u32), kv);
            let Ok((decode, layout)) = Session::plan_only(&model, &config) else { continue };
            let positions = config.context.min(decode.plan.capacity);
            let mut passes = 0;
            let report = check_decode(&decode, &layout, positions, || passes += 1).unwrap();
            assert!(report.verdict.is_strict(), "{what}: {:?}", report.verdict);
            assert_eq!((passes, report.passes), (2 * positions, 2 * positions + 2), "{what}");
        }
    }
}

/// Checks a session that begins with a prefill; the launches that it has, all of them strict.
fn strict_session(config: &SessionConfig, how: PrefillOptions, what: &str) -> Vec<Launch> {
    let mut passes = 0;
    let model = model();
    let sizes = (model.shape(), WeightFormat::F16);
    let checked = match check_prefill(sizes, config, how, config.context, || passes += 1) {
        Err(SessionError::Prefill(_) | SessionError::Plan(_)) => return Vec::new(), // no room for it on this mesh
        other => other.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    for c in &checked {
        assert!(c.report.verdict.is_strict(), "{what}, {}: {:?}", c.launch, c.report.verdict);
        assert!(c.report.colors_max > 0 && c.arena.max <= c.arena.budget && c.report.shapes > 0, "{what}: {c:?}");
    }
    let (first, last) = (&checked[0], &checked[checked.len() - 1]);
    let Launch::Prefill { prompt, chunk } = first.launch else { panic!("{what}: {first:?}") };
    // The pass in which programs park, and of every chunk the pass that runs it: in a column, where earlier positions
    // travel, they all differ.
    let shapes = if config.mesh.is_some_and(|m| m.1 > 1) { prompt.div_ceil(chunk) } else { 1 };
    assert!(first.report.passes == prompt + 1 && first.report.shapes > shapes, "{what}: {first:?}");
    assert!(first.report.cycles > 0 && matches!(last.launch, Launch::Decode { .. }), "{what}: {first:?}");
    assert_eq!(passes, prompt + 2 * (last.report.passes / 2 - 1), "{what}");
    checked.into_iter().map(|c| c.launch).collect()
}

#[test]
fn prefill_is_strict_with_every_shape_of_chunk_on_every_mesh_up_to_4x4_and_on_larger_ones() {
    let small = (1..=4).flat_map(|cols| (1..=4).map(move |rows| (cols, rows)));
    let mut seen = 0;
    for (cols, rows) in small.chain([(8, 8), (5, 7), (1, 9), (9, 2)]) {
        for kv in [Kv::Shift, Kv::Concat] {
            // One chunk; full ones and a ragged one behind earlier positions; as many chunks as positions.
            for (prompt, chunk) in [(1, None), (11, None), (11, Some(4)), (3, Some(1))] {
                let config = SessionConfig { prompt, ..config((cols, rows), kv) };
                let how = PrefillOptions { chunk, mesh: None };
                let launches = strict_session(&config, how, &format!("{kv:?} on {cols}x{rows}, {prompt} by {chunk:?}"));
                seen += usize::from(launches.len() == 2);
            }
        }
    }
    assert!(seen > 120, "{seen} of 160 sessions fit");
}

#[test]
fn every_launch_of_a_transition_is_strict_and_finds_what_the_one_before_left() {
    let mut transitions = 0;
    for (decode, prefill) in [((2, 2), (3, 1)), ((3, 2), (2, 3)), ((1, 4), (4, 1)), ((4, 4), (2, 5)), ((8, 8), (5, 6))]
    {
        for kv in [Kv::Shift, Kv::Concat] {
            let config = SessionConfig { prompt: 11, ..config(decode, kv) };
            let how = PrefillOptions { chunk: Some(4), mesh: Some(prefill) };
            let launches = strict_session(&config, how, &format!("{kv:?} from {prefill:?} to {decode:?}"));
            transitions += launches.iter().filter(|l| matches!(l, Launch::Transition { .. })).count();
        }
    }
    assert!(transitions > 10, "{transitions}");
}

#[test]
fn a_pass_beyond_the_arenas_is_a_fault_and_not_a_deadlock() {
    let model = model();
    let config = SessionConfig { context: 3, ..config((4, 1), Kv::Shift) };
    let (decode, layout) = Session::plan_only(&model, &config).unwrap();
    let report = check_decode(&decode, &layout, decode.plan.capacity + 1, || ()).unwrap();
    assert_eq!(report.verdict.name(), "fault");
    assert_eq!(report.at_pass, Some(decode.plan.capacity + 1));
    let none: [Vec<Inject>; 0] = [];
    assert!(
        check_passes(&decode, &layout, &decode.chip, none).unwrap().verdict.is_strict(),
        "nothing runs, nothing hangs"
    );
}
