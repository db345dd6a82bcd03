//! Prefill of SmolLM2-135M-Instruct: greedy ids against an independent engine, the last logits against the decode path.

use plummer::host::{KvType, PrefillOptions, Session, SessionConfig, Token};
use plummer::model::Model;
use plummer::oracle::{Chunks, Oracle};

use crate::oracle_support::{config, recipe};
use crate::support::{golden, ids, smollm2};

/// Columns and rows.
type Mesh = (u32, u32);

const GOLDEN: &str = "smollm2_greedy_llamacpp_f32_kvf32.json";

/// A prompt in the largest chunks that fit, on the mesh of decode or on another one.
fn prefilled(model: &Model, config: &SessionConfig, prompt: &[u32], mesh: Option<Mesh>) -> (Session, u32) {
    let how = PrefillOptions { chunk: Some(usize::MAX), mesh };
    let session = Session::with_prefill(model, config.clone(), how, None, false);
    let mut session = session.unwrap_or_else(|e| panic!("{e}"));
    let step = session.prefill(prompt, |_| true).unwrap_or_else(|e| panic!("{e}")).expect("not interrupted");
    let id = step.argmax.expect("an id");
    (session, id)
}

/// Logits of the last prompt position by decode, token by token.
fn by_decode(model: &Model, config: &SessionConfig, prompt: &[u32]) -> Vec<f32> {
    let mut session = Session::new(model, config.clone()).unwrap_or_else(|e| panic!("{e}"));
    for (i, id) in prompt.iter().enumerate() {
        session.step(Token::Given(*id), i + 1 == prompt.len()).unwrap_or_else(|e| panic!("{e}"));
    }
    session.logits().unwrap_or_else(|e| panic!("{e}"))
}

/// The golden ids of one case behind a prefill on decode's mesh or on another one.
fn golden_ids(case: &str, meshes: &[(Mesh, Option<Mesh>)]) {
    let Some(model) = smollm2() else { return };
    let all = golden(GOLDEN);
    for &(mesh, apart) in meshes {
        let (prompt, expect) = (ids(&all[case], "prompt_ids"), ids(&all[case], "greedy_ids"));
        let config = config(Some(mesh), KvType::F32, prompt.len() + expect.len(), prompt.len());
        let (mut session, first) = prefilled(&model, &config, &prompt, apart);
        let mut found = vec![first];
        while found.len() < expect.len() {
            found.extend(session.step(Token::Own, true).unwrap_or_else(|e| panic!("{e}")).argmax);
        }
        eprintln!(
            "{case} on {mesh:?}, prefill on {apart:?}: {} positions, {:?} at once",
            prompt.len(),
            session.chunk()
        );
        assert_eq!(found, expect, "{case} on {mesh:?}, prefill on {apart:?}");
    }
}

#[test]
fn greedy_ids_of_a_chat_behind_a_prefill_equal_the_golden_ones() {
    golden_ids("chat_gravity", &[((16, 16), None), ((53, 18), None)]);
}

#[test]
fn greedy_ids_of_a_raw_prompt_behind_a_prefill_equal_the_golden_ones() {
    golden_ids("raw_capital", &[((16, 16), None), ((16, 16), Some((16, 18)))]);
}

#[test]
fn last_logits_are_those_of_decode_within_the_bound_and_of_the_oracle_in_bits() {
    let Some(model) = smollm2() else { return };
    let prompt = ids(&golden(GOLDEN)["chat_gravity"], "prompt_ids");
    for (kv_type, mesh) in [(KvType::F32, (16, 16)), (KvType::F16, (16, 16))] {
        let config = config(Some(mesh), kv_type, prompt.len() + 8, prompt.len());
        let (mut session, _) = prefilled(&model, &config, &prompt, None);
        let found = session.logits().unwrap_or_else(|e| panic!("{e}"));
        let decode = by_decode(&model, &config, &prompt);
        let worst = found.iter().zip(&decode).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{kv_type:?} on {mesh:?}, {:?} at once: {worst:.2e} from decode", session.chunk());
        assert!(worst < 5e-2, "{kv_type:?}: {worst:e}");
        let (positions, older) = session.chunk().zip(session.older()).expect("a prefill");
        let chunks = Chunks { positions, older };
        let mut oracle = Oracle::new(&model, recipe(&session, &config)).unwrap_or_else(|e| panic!("{e}"));
        let expect = oracle.prefill(&prompt, chunks);
        let differ = found.iter().zip(&expect).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(differ, 0, "{kv_type:?}: {differ} of {} logits differ from the oracle's", expect.len());
    }
}
