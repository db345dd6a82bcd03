//! Prefill and the decode behind it equal the serial oracle bit for bit: meshes, chunks, heads, workers, schedules.

use plummer::exec::{Inject, RunOptions, Wafer};
use plummer::fabric::Chip;
use plummer::host::{Kv, KvType, PrefillOptions, Session, SessionConfig, Token};
use plummer::kernels::decode::{Contents, pass};
use plummer::kernels::prefill::Prefill;
use plummer::link::Ctrl;
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::math::reduce::argmax;
use plummer::oracle::{Chunks, Oracle, Recipe};
use plummer::pe::Mark;

use crate::tiny::shape;

/// Tokens that decode finds after the one of the prefill.
const GENERATED: usize = 3;
const PROMPT: [u32; 11] = [3, 17, 0, 5, 29, 36, 8, 8, 1, 22, 13];

fn config(mesh: (u32, u32), prompt: usize) -> SessionConfig {
    SessionConfig {
        mesh: Some(mesh),
        context: prompt + GENERATED,
        prompt,
        ..SessionConfig::new(Chip::preset("wse2").unwrap())
    }
}

/// An arena in which so many bytes are free for tiles.
fn arena(bytes: u64) -> Chip {
    let chip = Chip::preset("wse2").unwrap();
    Chip { arena_bytes: chip.reserved_bytes + bytes, ..chip }
}

/// Logits and ids of the prefill and of every later step; the session's last clock and counters.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    logits: Vec<Vec<u32>>,
    ids: Vec<u32>,
    cycles: (u64, u64),
    counters: (u64, u64, u64),
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

fn recipe(session: &Session, config: &SessionConfig) -> Recipe {
    plummer::app::verify::recipe(&session.decode().plan, config)
}

/// The largest chunk that fits.
const LARGEST: Option<usize> = Some(usize::MAX);

fn at_once(chunk: Option<usize>) -> PrefillOptions {
    PrefillOptions { chunk, mesh: None }
}

/// Runs a session; its recipe and chunks.
fn on_wafer(
    model: &RandomCheckpoint,
    config: &SessionConfig,
    chunk: Option<usize>,
    what: &str,
) -> (Outcome, Recipe, Chunks) {
    let session = Session::with_prefill(model, config.clone(), at_once(chunk), None, false);
    let mut session = session.unwrap_or_else(|e| panic!("{what}: {e}"));
    let chunks = Chunks { positions: session.chunk().unwrap(), older: session.older().unwrap() };
    let prompt = &PROMPT[..config.prompt];
    let mut outcome = Outcome::default();
    let mut step = session.prefill(prompt, |_| true).unwrap_or_else(|e| panic!("{what}: {e}")).unwrap();
    outcome.cycles.0 = step.cycles;
    for _ in 0..GENERATED {
        outcome.logits.push(bits(&session.logits().unwrap()));
        outcome.ids.push(step.argmax.unwrap());
        step = session.step(Token::Own, true).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    outcome.logits.push(bits(&session.logits().unwrap()));
    outcome.ids.push(step.argmax.unwrap());
    outcome.cycles.1 = step.cycles;
    let r = session.report();
    outcome.counters = (r.hops, r.wavelets, r.cycles_total);
    (outcome, recipe(&session, config), chunks)
}

/// Holds a session to its serial twin.
fn check(model: &RandomCheckpoint, config: &SessionConfig, chunk: Option<usize>, what: &str) -> (Outcome, Chunks) {
    let (outcome, recipe, chunks) = on_wafer(model, config, chunk, what);
    let mut oracle = Oracle::new(model, recipe).unwrap();
    let mut logits = oracle.prefill(&PROMPT[..config.prompt], chunks);
    for (i, found) in outcome.logits.iter().enumerate() {
        let differ = found.iter().zip(bits(&logits)).filter(|(a, b)| **a != *b).count();
        assert_eq!(differ, 0, "{what}, {chunks:?}: logits {i} differ in {differ} of {}", found.len());
        let id = argmax(&logits).unwrap().1;
        assert_eq!(outcome.ids[i], id, "{what}: id {i}");
        logits = oracle.step(id, true).unwrap();
    }
    (outcome, chunks)
}

#[test]
fn one_core_equals_the_oracle() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::F16, 7);
    for prompt in [1, 2, 11] {
        check(&model, &config((1, 1), prompt), LARGEST, &format!("1x1, prompt {prompt}"));
    }
}

#[test]
fn every_mesh_up_to_4x4_equals_the_oracle() {
    for (heads, kv_heads, tied, bias) in [(4, 4, true, false), (6, 2, false, true), (3, 1, true, true)] {
        for format in [WeightFormat::F16, WeightFormat::Bf16] {
            let model = RandomCheckpoint::new(shape(heads, kv_heads, tied, bias), format, 7);
            for (cols, rows) in (1..=4).flat_map(|c| (1..=4).map(move |r| (c, r))) {
                for (prompt, chunk) in [(1, None), (3, LARGEST), (11, LARGEST), (11, None), (11, Some(2))] {
                    let what = format!("{heads}/{kv_heads}, {format:?}, {cols}x{rows}, prompt {prompt}");
                    check(&model, &config((cols, rows), prompt), chunk, &what);
                }
            }
        }
    }
}

/// Chunk sizes that arenas of many sizes give; each session equals its oracle.
fn chunks_of(model: &RandomCheckpoint, with: &SessionConfig, bytes: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut seen = Vec::new();
    for bytes in bytes {
        let config = SessionConfig { chip: arena(bytes), ..with.clone() };
        if Session::with_prefill(model, config.clone(), at_once(LARGEST), None, false).is_err() {
            continue; // too small for a layer or for a chunk
        }
        seen.push(check(model, &config, LARGEST, &format!("{:?}, {bytes} B", config.mesh)).1.positions);
    }
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn chunks_follow_the_arenas_and_every_size_equals_the_oracle() {
    for (heads, kv_heads, mesh) in [(4, 2, (2, 3)), (3, 1, (4, 2)), (6, 3, (2, 2)), (4, 4, (3, 4))] {
        let model = RandomCheckpoint::new(shape(heads, kv_heads, true, false), WeightFormat::F16, 21);
        let seen = chunks_of(&model, &config(mesh, 11), (1600..9000).step_by(192).chain([40_000]));
        assert!(seen.len() > 2 && seen.contains(&11), "{mesh:?}: {seen:?}");
        let more_than_one = seen.iter().filter(|c| **c < 11).count();
        assert!(more_than_one > 1, "{mesh:?}: prompts in several chunks are what this is about: {seen:?}");
    }
}

#[test]
fn stages_and_bands_equal_the_oracle() {
    let deep = ModelShape { n_layers: 8, ..shape(6, 2, true, true) };
    let model = RandomCheckpoint::new(deep, WeightFormat::Bf16, 4);
    let mut seen = Vec::new();
    for (cols, rows, wide) in [(3, 3, 750), (2, 4, 9), (4, 3, 9), (3, 2, 7), (4, 4, 13)] {
        for bytes in [2600, 4000, 6000] {
            let chip = Chip { cols: wide, colors: 40, ..arena(bytes) };
            let config = SessionConfig { chip, ..config((cols, rows), 11) };
            let Ok(session) = Session::with_prefill(&model, config.clone(), at_once(LARGEST), None, false) else {
                continue;
            };
            let p = session.placement();
            let bands = session.decode().plan.floor.bands();
            drop(session);
            let what = format!("{cols}x{rows} on {wide} columns, {bytes} B");
            let (_, chunks) = check(&model, &config, LARGEST, &what);
            seen.push((p.stages > 2, bands > 1, chunks.positions < 11));
        }
    }
    for bands in [false, true] {
        assert!(seen.contains(&(true, bands, true)), "several stages and chunks, bands {bands}: {seen:?}");
    }
}

#[test]
fn kv_modes_types_and_larger_ragged_meshes_equal_the_oracle() {
    let model = RandomCheckpoint::new(shape(6, 2, true, false), WeightFormat::F16, 11);
    for kv in [Kv::Shift, Kv::Concat] {
        for kv_type in [KvType::F16, KvType::F32] {
            for (mesh, bytes) in
                [((3, 3), 40_000), ((3, 3), 3_000), ((7, 5), 40_000), ((2, 13), 40_000), ((13, 2), 40_000)]
            {
                let config = SessionConfig { kv, kv_type, chip: arena(bytes), ..config(mesh, 11) };
                check(&model, &config, LARGEST, &format!("{kv:?} {kv_type:?} {mesh:?} {bytes} B"));
                check(&model, &config, Some(3), &format!("{kv:?} {kv_type:?} {mesh:?} {bytes} B, chunks of 3"));
            }
        }
    }
}

#[test]
fn workers_schedules_arenas_and_simd_change_nothing() {
    let model = RandomCheckpoint::new(shape(6, 2, false, true), WeightFormat::F16, 3);
    for chip in [arena(40_000), arena(4_000)] {
        let base = SessionConfig { chip, ..config((4, 3), 11) };
        let (expect, _) = check(&model, &base, LARGEST, "one worker");
        let same = |other: SessionConfig, what: &str| {
            assert!(on_wafer(&model, &other, LARGEST, what).0 == expect, "{what}");
        };
        for workers in [2, 3] {
            same(SessionConfig { workers, ..base.clone() }, &format!("{workers} workers"));
        }
        for seed in 0..20 {
            let workers = 1 + seed as usize % 3;
            same(SessionConfig { random_schedule: Some(seed), workers, ..base.clone() }, &format!("seed {seed}"));
        }
        same(SessionConfig { arena_full: true, ..base.clone() }, "full arenas");
        for level in plummer::math::SimdLevel::available() {
            let kernels = plummer::math::Kernels::for_level(level);
            same(SessionConfig { kernels, ..base.clone() }, &format!("{level:?}"));
        }
    }
}

#[test]
fn lane_depth_and_queues_change_no_bits() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::Bf16, 9);
    for (lane_depth, queue_wavelets) in [(1, 0), (1, 8), (2, 64), (8, 0)] {
        let chip = Chip { lane_depth, queue_wavelets, ..arena(4_000) };
        let config = SessionConfig { chip, ..config((4, 3), 11) };
        check(&model, &config, LARGEST, &format!("{lane_depth} {queue_wavelets}"));
    }
}

/// Cycles and counters of the prefill alone, wet or dry.
fn prefill_alone(model: &RandomCheckpoint, kernel: &Prefill, dry: bool) -> (plummer::exec::Counters, Vec<Mark>) {
    let mut options = RunOptions::new(1);
    options.dry = dry;
    let contents = Contents::new(&kernel.decode, model);
    let layout = kernel.layout().unwrap();
    let fill = |pe, id, words: &mut [u32]| contents.fill(pe, id, words);
    let mut wafer = Wafer::launch(kernel.clone(), layout, &kernel.decode.chip, &options, fill).unwrap();
    for (position, word) in PROMPT.into_iter().cycle().take(kernel.prompt).enumerate() {
        let kind_slot = if position + 1 == kernel.prompt { pass::WANT_LOGITS } else { 0 };
        let ctrl = Ctrl { kind_slot, position: position as u32 };
        wafer.run(&[Inject { lane: 0, ctrl, word, ready: 0 }]).unwrap();
    }
    (wafer.counters().unwrap(), wafer.take_marks())
}

#[test]
fn a_dry_prefill_has_the_cycles_and_counters_of_a_wet_one() {
    let model = RandomCheckpoint::new(shape(6, 2, true, true), WeightFormat::F16, 2);
    for (mesh, bytes) in [((1, 1), 40_000), ((4, 3), 40_000), ((4, 3), 4_000), ((2, 5), 5_000)] {
        let config = SessionConfig { chip: arena(bytes), ..config(mesh, 11) };
        let (decode, _) = Session::plan_only(&model, &config).unwrap();
        let kernel = Prefill::new(&decode, 11, LARGEST).unwrap();
        assert_eq!(prefill_alone(&model, &kernel, true), prefill_alone(&model, &kernel, false), "{mesh:?}");
    }
}

/// SmolLM2's layers, a few of them, on its automatic mesh; and two small meshes.
#[test]
fn predicted_cycles_are_near_those_of_dry_runs_and_the_chunk_named_is_near_the_best() {
    let narrow = ModelShape { hidden: 576, n_layers: 4, head_dim: 64, ffn: 1536, ..shape(9, 3, true, false) };
    let narrow = ModelShape { inv_freq: vec![1.0; 32], ..narrow };
    for (shape, mesh) in [(narrow, (12, 17)), (shape(6, 2, true, false), (4, 3)), (shape(4, 4, true, true), (2, 5))] {
        let model = RandomCheckpoint::new(shape, WeightFormat::F16, 2);
        let prompt = 60;
        let (decode, _) = Session::plan_only(&model, &config(mesh, prompt)).unwrap();
        let largest = Prefill::new(&decode, prompt, LARGEST).unwrap().chunk;
        let cycles = |chunk| {
            let kernel = Prefill::new(&decode, prompt, chunk).unwrap();
            (kernel.chunk, kernel.predict(kernel.chunk, kernel.older), prefill_alone(&model, &kernel, true).0.cycles)
        };
        let all: Vec<_> = [1, 2, 3, 4, 6, 12, 17, 30, 60].into_iter().filter(|c| *c <= largest).collect();
        let all: Vec<_> = all.into_iter().map(|c| cycles(Some(c))).collect();
        let named = cycles(Some(Prefill::new(&decode, prompt, LARGEST).unwrap().fastest().0));
        for (chunk, predicted, executed) in all.iter().chain([&named]) {
            eprintln!("{mesh:?}, {chunk} at once: {predicted} predicted, {executed} executed");
        }
        for (chunk, predicted, executed) in all.iter().chain([&named]) {
            let ratio = *predicted as f64 / *executed as f64;
            assert!((0.75..1.35).contains(&ratio), "{mesh:?}, {chunk} at once: {ratio}");
        }
        let least = all.iter().map(|c| c.2).min().unwrap();
        assert!(named.2 * 4 <= least * 5, "{mesh:?}: {named:?} of {all:?}");
    }
}

#[test]
fn a_prefill_s_parts_sum_to_its_phases_and_these_to_the_time_of_its_logits() {
    let deep = ModelShape { n_layers: 7, ..shape(6, 2, true, false) };
    let model = RandomCheckpoint::new(deep, WeightFormat::F16, 2);
    for (mesh, bytes, chunk) in
        [((1, 1), 40_000, None), ((4, 3), 40_000, None), ((4, 3), 4_000, Some(2)), ((2, 5), 5_000, Some(3))]
    {
        let config = SessionConfig { chip: arena(bytes), ..config(mesh, 11) };
        let session = Session::with_prefill(&model, config, at_once(chunk), None, false);
        let mut session = session.unwrap_or_else(|e| panic!("{mesh:?}: {e}"));
        let step = session.prefill(&PROMPT, |_| true).unwrap().unwrap();
        let (report, mut sum, mut stages) = (session.report(), 0, [0; 4]);
        for phase in report.by_phase.iter().filter(|p| p.name.starts_with("prefill ")) {
            assert_eq!(phase.parts.iter().sum::<u64>(), phase.total, "{mesh:?}: {phase:?}");
            sum += phase.total;
            if ["QKV", "attention", "O", "FFN"].iter().any(|stage| phase.name.ends_with(stage)) {
                assert!(phase.parts[0] > 0, "{mesh:?}: {phase:?}");
                phase.parts.iter().zip(&mut stages).for_each(|(part, all)| *all += part);
            }
        }
        assert_eq!((sum, report.prefill.as_ref().map(|p| p.cycles)), (step.cycles, Some(step.cycles)), "{mesh:?}");
        let [_, reduce, broadcast, wait] = stages;
        assert_eq!(mesh == (1, 1), reduce + broadcast + wait == 0, "one core computes all the time: {stages:?}");
        let transition = report.by_phase.iter().find(|p| p.name == "transition").unwrap();
        assert_eq!(transition.parts, [0, 0, 0, transition.total], "{mesh:?}: routes are written, nothing moves");
    }
}

#[test]
fn the_default_chunk_is_the_largest_that_arenas_admit_and_one_that_is_faster_is_named() {
    let deep = ModelShape { n_layers: 8, ..shape(6, 2, true, false) };
    let model = RandomCheckpoint::new(deep, WeightFormat::F16, 2);
    let run = |bytes, chunk| {
        let config = SessionConfig { chip: arena(bytes), ..config((3, 3), 11) };
        let mut session = Session::with_prefill(&model, config, at_once(chunk), None, false).ok()?; // too small for one
        session.prefill(&PROMPT, |_| true).unwrap();
        Some((session.placement().stages, session.report().prefill.unwrap()))
    };
    let mut named = 0;
    for bytes in [3_000, 4_000, 6_000, 40_000] {
        let Some((stages, default)) = run(bytes, None) else { continue };
        assert_eq!(Some((stages, default.clone())), run(bytes, LARGEST), "{bytes} B");
        let Some((chunk, share)) = default.faster else { continue };
        let (_, other) = run(bytes, Some(chunk)).unwrap();
        assert!(stages > 1 && share < 8.0 / 9.0 && other.chunk == chunk && chunk < default.chunk, "{bytes} B");
        assert!(other.cycles < default.cycles && other.faster.is_none(), "{bytes} B: {other:?} {default:?}");
        named += 1;
    }
    assert!(named > 0, "a small chunk is faster where a prompt passes through many stages");
}

#[test]
fn tiles_of_both_launches_lie_at_the_same_addresses() {
    let model = RandomCheckpoint::new(shape(6, 2, true, true), WeightFormat::F16, 2);
    let (decode, layout) = Session::plan_only(&model, &config((4, 3), 11)).unwrap();
    let before = Prefill::new(&decode, 11, LARGEST).unwrap().layout().unwrap();
    let mut both = 0;
    for pe in layout.pes.iter().filter(|pe| !pe.tiles.is_empty()) {
        let of = |tiles: &[plummer::fabric::TileDecl]| -> Vec<(u16, u32, u32)> {
            let mut at = 0;
            let place = |t: &plummer::fabric::TileDecl| {
                let start = at;
                at += t.bytes.next_multiple_of(16);
                (t.id.0, start, t.bytes)
            };
            tiles.iter().map(place).collect()
        };
        let old = of(&before.pes[before.find(pe.coord).unwrap() as usize].tiles);
        for tile in of(&pe.tiles) {
            if let Some(kept) = old.iter().find(|t| t.0 == tile.0) {
                assert_eq!(*kept, tile, "PE {}", pe.coord);
                both += 1;
            }
        }
    }
    assert!(both > 12 * 3 * 8, "weights, norms, K and V of three layers on twelve PEs: {both}");
}

#[test]
fn a_session_without_room_or_with_another_prompt_says_so() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::F16, 7);
    let mut session = Session::with_prefill(&model, config((2, 2), 5), at_once(None), None, false).unwrap();
    let error = session.step(Token::Given(1), true).unwrap_err().to_string();
    assert!(error.contains("prompt of 5 positions"), "{error}");
    let error = session.prefill(&PROMPT[..4], |_| true).unwrap_err().to_string();
    assert!(error.contains("5 positions") && error.contains("found 4"), "{error}");
    assert!(session.prefill(&PROMPT[..5], |_| true).unwrap().is_some());
    let error = session.prefill(&PROMPT[..5], |_| true).unwrap_err().to_string();
    assert!(error.contains("at 5"), "{error}");
    // Prefill has gate and up of a position three times (passing twice, partial, whole), decode once.
    let wide = ModelShape { ffn: 300, ..shape(4, 2, true, false) };
    let model = RandomCheckpoint::new(wide, WeightFormat::F16, 7);
    let refused = (6_000..40_000).step_by(256).find_map(|bytes| {
        let config = SessionConfig { chip: arena(bytes), ..config((2, 2), 5) };
        Session::new(&model, config.clone()).ok()?;
        Session::with_prefill(&model, config, at_once(None), None, false).err()
    });
    let error = refused.expect("an arena with room for decode alone").to_string();
    assert!(error.contains("prefill of one position needs") && error.contains("its arena has"), "{error}");
}
