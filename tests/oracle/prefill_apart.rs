//! A prefill on a mesh of its own: weights, K and V move over links, and every bit is the oracle's.

use plummer::app::verify::recipe;
use plummer::fabric::Chip;
use plummer::host::{Kv, KvType, PrefillOptions, Session, SessionConfig, Token};
use plummer::math::checkpoint::{ModelShape, WeightFormat};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::math::reduce::argmax;
use plummer::oracle::{Chunks, Oracle, Recipe};

use crate::tiny::shape;

/// Tokens that decode finds after the one of the prefill.
const GENERATED: usize = 3;
const PROMPT: [u32; 11] = [3, 17, 0, 5, 29, 36, 8, 8, 1, 22, 13];

fn config(mesh: (u32, u32), bytes: u64) -> SessionConfig {
    let chip = Chip::preset("wse2").unwrap();
    SessionConfig {
        chip: Chip { arena_bytes: chip.reserved_bytes + bytes, ..chip },
        mesh: Some(mesh),
        kv: Kv::Shift,
        kv_type: KvType::F16,
        k_tree: 2,
        context: PROMPT.len() + GENERATED,
        prompt: PROMPT.len(),
        workers: 1,
        arena_full: false,
        random_schedule: None,
        spread: plummer::placement::Spread::default(),
        in_chunks: plummer::placement::InChunks::default(),
        kernels: None,
        trees: None,
    }
}

/// Bits of the logits of all steps; cycles, hops and wavelets of the whole session.
type Outcome = (Vec<Vec<u32>>, [u64; 3]);

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

/// Runs a session; recipes of its prefill and of its decode, chunks, hops of the transition.
fn on_wafer(
    model: &RandomCheckpoint,
    config: &SessionConfig,
    mesh: (u32, u32),
    what: &str,
) -> (Outcome, [Recipe; 2], Chunks, u64) {
    let how = PrefillOptions { chunk: Some(4), mesh: Some(mesh) };
    let session = Session::with_prefill(model, config.clone(), how, None, false);
    let mut session = session.unwrap_or_else(|e| panic!("{what}: {e}"));
    let chunks = Chunks { positions: session.chunk().unwrap(), older: session.older().unwrap() };
    let recipes = [session.prefill_plan().unwrap(), &session.decode().plan].map(|plan| recipe(plan, config));
    let mut logits = Vec::new();
    session.prefill(&PROMPT, |_| true).unwrap_or_else(|e| panic!("{what}: {e}")).unwrap();
    for _ in 0..GENERATED {
        logits.push(bits(&session.logits().unwrap()));
        session.step(Token::Own, true).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    logits.push(bits(&session.logits().unwrap()));
    let report = session.report();
    let moved = report.prefill.unwrap().moved;
    assert!(moved.launches > 1 && moved.from == Some(mesh) && moved.wavelets >= moved.hops, "{what}: {moved:?}");
    let phase = report.by_phase.iter().find(|p| p.name == "transition").unwrap();
    assert!(moved.cycles > 0 && phase.total >= moved.cycles, "{what}: {phase:?} {moved:?}");
    let [compute, reduce, broadcast, wait] = phase.parts;
    assert!(compute > 0 && wait > 0 && (reduce, broadcast) == (0, 0), "{what}: {phase:?}");
    assert_eq!(compute + wait, phase.total, "{what}");
    ((logits, [report.cycles_total, report.hops, report.wavelets]), recipes, chunks, moved.hops)
}

/// Holds a session to its serial twin; hops of the transition.
fn check(model: &RandomCheckpoint, config: &SessionConfig, mesh: (u32, u32), what: &str) -> (Outcome, u64) {
    let (outcome, [first, then], chunks, hops) = on_wafer(model, config, mesh, what);
    let mut oracle = Oracle::new(model, first).unwrap();
    let mut logits = oracle.prefill(&PROMPT, chunks);
    oracle.change(then).unwrap();
    for (i, found) in outcome.0.iter().enumerate() {
        let differ = found.iter().zip(bits(&logits)).filter(|(a, b)| **a != *b).count();
        assert_eq!(differ, 0, "{what}: logits {i} differ in {differ} of {}", found.len());
        logits = oracle.step(argmax(&logits).unwrap().1, true).unwrap();
    }
    (outcome, hops)
}

#[test]
fn every_pair_of_meshes_equals_the_oracle_through_the_transition() {
    let meshes = [(1, 1), (2, 3), (3, 2), (4, 4), (1, 5), (6, 1)];
    for (heads, kv_heads, tied, bias, format) in
        [(4, 2, true, false, WeightFormat::F16), (6, 3, false, true, WeightFormat::Bf16)]
    {
        let model = RandomCheckpoint::new(shape(heads, kv_heads, tied, bias), format, 7);
        for (decode, prefill) in meshes.iter().flat_map(|d| meshes.map(|p| (*d, p))).filter(|(d, p)| d != p) {
            let what = format!("{heads}/{kv_heads}, decode {decode:?}, prefill {prefill:?}");
            let (_, hops) = check(&model, &config(decode, 40_000), prefill, &what);
            assert!(hops > 0, "{what}");
        }
    }
}

#[test]
fn stages_kv_modes_types_and_workers_equal_the_oracle() {
    let deep = ModelShape { n_layers: 7, ..shape(6, 2, true, true) };
    let model = RandomCheckpoint::new(deep, WeightFormat::F16, 5);
    for (kv, kv_type) in [(Kv::Shift, KvType::F32), (Kv::Concat, KvType::F16), (Kv::Concat, KvType::F32)] {
        let base = SessionConfig { kv, kv_type, ..config((3, 4), 4_000) };
        let what = format!("{kv:?} {kv_type:?}");
        let (expect, _) = check(&model, &base, (4, 3), &what);
        for workers in [2, 3] {
            let more = SessionConfig { workers, ..base.clone() };
            assert!(on_wafer(&model, &more, (4, 3), &what).0 == expect, "{what}, {workers} workers");
        }
        let full = SessionConfig { arena_full: true, random_schedule: Some(3), ..base };
        assert!(on_wafer(&model, &full, (4, 3), &what).0 == expect, "{what}, full arenas, a random schedule");
    }
}

#[test]
fn a_prefill_mesh_that_is_decode_s_moves_nothing_and_one_that_cannot_be_says_why() {
    let model = RandomCheckpoint::new(shape(4, 2, true, false), WeightFormat::F16, 7);
    let with = |config: SessionConfig, mesh| {
        Session::with_prefill(&model, config, PrefillOptions { chunk: None, mesh: Some(mesh) }, None, false)
    };
    let mut session = with(config((3, 2), 40_000), (3, 2)).unwrap();
    session.prefill(&PROMPT, |_| true).unwrap();
    let moved = session.report().prefill.unwrap().moved;
    assert_eq!((moved.from, moved.hops, moved.launches), (None, 0, 1));
    let low = Chip { rows: 6, ..config((3, 2), 40_000).chip };
    for (chip, mesh, says) in [(low.clone(), (2, 5), "take 7 rows"), (low, (2, 9), "prefill mesh: mesh 2x9")] {
        let error = with(SessionConfig { chip, ..config((3, 2), 40_000) }, mesh).err().unwrap().to_string();
        assert!(error.contains("prefill mesh") && error.contains(says), "{error}");
    }
}
