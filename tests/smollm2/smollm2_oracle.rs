//! SmolLM2-135M-Instruct equals the oracle bit for bit: the first eight tokens of a golden prompt.

use plummer::host::{KvType, SessionConfig};

use crate::oracle_support::{by_oracle, check, config, on_wafer};
use crate::support::smollm2;

/// Ids of a prompt and greedy tokens, eight in all.
const PROMPT: [u32; 4] = [504, 3575, 282, 4649];
const GREEDY: usize = 5;

#[test]
fn the_first_eight_tokens_have_the_oracles_logits() {
    let Some(model) = smollm2() else { return };
    for (mesh, kv_type, workers) in [((12, 16), KvType::F16, 2), ((16, 16), KvType::F32, 1)] {
        let config = SessionConfig { workers, ..config(Some(mesh), kv_type, PROMPT.len() + GREEDY, PROMPT.len()) };
        let (found, recipe) = on_wafer(&model, &config, &PROMPT, GREEDY);
        assert_eq!(found.0.len(), 8);
        check(&found, &by_oracle(&model, recipe, &PROMPT, GREEDY), &format!("{mesh:?} {kv_type:?} {workers} workers"));
    }
}
