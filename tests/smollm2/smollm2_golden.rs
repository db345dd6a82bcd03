//! SmolLM2-135M-Instruct against independent engines: greedy ids, and the f64 logits of the last prompt position.

use plummer::fabric::Chip;
use plummer::host::{KvType, Session, SessionConfig, Token};
use plummer::model::Model;

use crate::support::{data, golden, ids, smollm2};

fn session(model: &Model, mesh: (u32, u32), kv_type: KvType, positions: usize, prompt: usize) -> Session {
    let config = SessionConfig {
        mesh: Some(mesh),
        kv_type,
        context: positions,
        prompt,
        ..SessionConfig::new(Chip::preset("wse2").expect("a preset"))
    };
    Session::new(model, config).unwrap_or_else(|e| panic!("{e}"))
}

/// Greedy ids after a prompt, at most `n`, the last one may be an end.
fn greedy(model: &Model, prompt: &[u32], n: usize, mesh: (u32, u32), kv_type: KvType) -> Vec<u32> {
    let mut s = session(model, mesh, kv_type, prompt.len() + n, prompt.len());
    let mut found = Vec::new();
    for at in 0..prompt.len() + n - 1 {
        let token = if at < prompt.len() { Token::Given(prompt[at]) } else { Token::Own };
        let step = s.step(token, at + 1 >= prompt.len()).unwrap_or_else(|e| panic!("{e}"));
        found.extend(step.argmax);
    }
    found
}

/// The golden ids of one case, on three meshes.
fn on_three_meshes(case: &str) {
    let Some(model) = smollm2() else { return };
    let case = &golden("smollm2_greedy_llamacpp_f32_kvf32.json")[case];
    for mesh in [(12, 16), (16, 16), (53, 18)] {
        let (prompt, expect) = (ids(case, "prompt_ids"), ids(case, "greedy_ids"));
        let found = greedy(&model, &prompt, expect.len(), mesh, KvType::F32);
        assert_eq!(found, expect, "{mesh:?}: {}", case["prompt_text"]);
    }
}

#[test]
fn greedy_ids_of_a_chat_with_f32_kv_equal_the_golden_ones_on_three_meshes() {
    on_three_meshes("chat_gravity");
}

#[test]
fn greedy_ids_of_a_raw_prompt_with_f32_kv_equal_the_golden_ones_on_three_meshes() {
    on_three_meshes("raw_capital");
}

#[test]
fn greedy_ids_with_f16_kv_hold_up_to_the_first_narrow_gap() {
    let Some(model) = smollm2() else { return };
    let all = golden("smollm2_greedy_llamacpp_f16_kvf16.json");
    for case in all.as_object().expect("cases").values() {
        let (prompt, expect) = (ids(case, "prompt_ids"), ids(case, "greedy_ids"));
        let gaps = case["top1_gaps"].as_array().expect("gaps");
        let sure = gaps.iter().position(|g| g.as_f64().expect("a gap") < 0.03).unwrap_or(expect.len());
        if sure == 0 {
            continue;
        }
        let found = greedy(&model, &prompt, sure, (12, 16), KvType::F16);
        assert_eq!(found, expect[..sure], "{}", case["prompt_text"]);
    }
}

#[test]
fn last_logits_are_close_to_f64() {
    let Some(model) = smollm2() else { return };
    let all = golden("smollm2_greedy_llamacpp_f32_kvf32.json");
    let prompt = ids(&all["chat_gravity"], "prompt_ids");
    let bytes = data("smollm2_logits_f64_weights_f16_chat_gravity.npy");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let width = (bytes.len() - start) / 49152;
    let exact: Vec<f64> = bytes[start..]
        .chunks_exact(width)
        .map(|c| match width {
            8 => f64::from_le_bytes(c.try_into().expect("8 bytes")),
            _ => f64::from(f32::from_le_bytes(c.try_into().expect("4 bytes"))),
        })
        .collect();
    for (kv, max_allowed, rms_allowed) in [(KvType::F16, 2e-2, 6e-3), (KvType::F32, 2e-4, 2e-4)] {
        let mut s = session(&model, (12, 16), kv, prompt.len(), prompt.len());
        for (i, id) in prompt.iter().enumerate() {
            s.step(Token::Given(*id), i + 1 == prompt.len()).unwrap_or_else(|e| panic!("{e}"));
        }
        let logits = s.logits().unwrap_or_else(|e| panic!("{e}"));
        let errors: Vec<f64> = logits.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
        let max = errors.iter().copied().fold(0.0, f64::max);
        let rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        eprintln!("{kv:?}: max {max:.2e}, rms {rms:.2e}");
        assert!(max < max_allowed && rms < rms_allowed, "{kv:?}: max {max:.2e} rms {rms:.2e}");
    }
}
