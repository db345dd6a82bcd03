//! The embedded model equals the oracle bit for bit: 16 greedy tokens, meshes, workers, schedules, f16 and f32 KV.

use std::path::Path;

use plummer::host::{Kv, KvType, SessionConfig};
use plummer::model::Model;

use crate::oracle_support::{by_oracle, check, config, on_wafer};

const GREEDY: usize = 16;

fn model() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    Model::open(&path).unwrap_or_else(|e| panic!("{e}"))
}

/// Ids spread over the vocabulary: what the tokenizer makes of them does not matter here.
fn prompt(vocab: u32) -> Vec<u32> {
    (0..5).map(|i| (i * 97 + 13) % vocab).collect()
}

#[test]
fn sixteen_greedy_tokens_have_the_oracles_logits_on_every_mesh_worker_count_and_kv_type() {
    use plummer::math::checkpoint::Checkpoint;
    let model = model();
    let prompt = prompt(model.shape().vocab as u32);
    // The fewest PEs; a ragged small mesh; one wider than it is high, with bands of several columns.
    for mesh in [None, Some((7, 9)), Some((13, 6))] {
        for kv_type in [KvType::F16, KvType::F32] {
            let one = config(mesh, kv_type, prompt.len() + GREEDY, prompt.len());
            let (expect, recipe) = on_wafer(&model, &one, &prompt, GREEDY);
            assert_eq!(expect.1.len(), GREEDY);
            let what = format!("{}x{} {kv_type:?}", recipe.cols, recipe.rows);
            check(&expect, &by_oracle(&model, recipe, &prompt, GREEDY), &what);
            for workers in [2, 3] {
                let more = SessionConfig { workers, ..one.clone() };
                check(&on_wafer(&model, &more, &prompt, GREEDY).0, &expect, &format!("{what}, {workers} workers"));
            }
        }
    }
}

#[test]
fn concat_full_arenas_and_random_schedules_have_the_oracles_logits_too() {
    use plummer::math::checkpoint::Checkpoint;
    let model = model();
    let prompt = prompt(model.shape().vocab as u32);
    let base = config(Some((7, 9)), KvType::F16, prompt.len() + GREEDY, prompt.len());
    for (what, other) in [
        ("concat", SessionConfig { kv: Kv::Concat, ..base.clone() }),
        ("full arenas", SessionConfig { arena_full: true, ..base.clone() }),
        ("a random schedule", SessionConfig { random_schedule: Some(5), workers: 2, ..base.clone() }),
        ("one level", SessionConfig { k_tree: 1, ..base.clone() }),
    ] {
        let (found, recipe) = on_wafer(&model, &other, &prompt, GREEDY);
        check(&found, &by_oracle(&model, recipe, &prompt, GREEDY), what);
    }
}
