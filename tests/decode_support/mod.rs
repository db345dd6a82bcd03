//! What the tests of decode against the oracle share: a tiny model's session, its twin, and the comparison.

use plummer::fabric::Chip;
use plummer::host::{Kv, KvType, Session, SessionConfig, Token};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::oracle::{self, KvMode, Oracle, Recipe};

/// Ids of the prompt.
pub const PROMPT: [u32; 4] = [3, 17, 0, 5];
/// Tokens that the wafer finds.
pub const GENERATED: usize = 5;

/// One worker on `wse2`, shift, f16.
pub fn config(mesh: (u32, u32)) -> SessionConfig {
    SessionConfig {
        chip: Chip::preset("wse2").unwrap(),
        mesh: Some(mesh),
        kv: Kv::Shift,
        kv_type: KvType::F16,
        k_tree: 2,
        context: PROMPT.len() + GENERATED,
        prompt: PROMPT.len(),
        workers: 1,
        arena_full: false,
        random_schedule: None,
        kernels: None,
    }
}

/// Logits of every step that has them, ids, final cycles and counters.
pub type Outcome = (Vec<Vec<u32>>, Vec<u32>, u64, (u64, u64, u64));

/// Runs the session; its recipe.
pub fn on_wafer(model: &RandomCheckpoint, config: SessionConfig) -> (Outcome, Recipe) {
    let (kv, kv_type, prompt) = (config.kv, config.kv_type, config.prompt);
    let mut session = Session::new(model, config).unwrap_or_else(|e| panic!("{e}"));
    let plan = session.decode().plan.clone();
    let recipe = Recipe {
        cols: plan.cols,
        rows: plan.rows,
        head_cols: plan.head_cols,
        groups_y: plan.groups_y,
        groups_x: plan.groups_x,
        groups_head: plan.groups_head,
        kv: match kv {
            Kv::Shift => KvMode::Shift,
            Kv::Concat => KvMode::Concat { prompt },
        },
        kv_type: match kv_type {
            KvType::F16 => oracle::KvType::F16,
            KvType::F32 => oracle::KvType::F32,
        },
    };
    let (mut logits, mut ids) = (Vec::new(), Vec::new());
    let mut cycles = 0;
    for i in 0..PROMPT.len() + GENERATED {
        let token = PROMPT.get(i).map_or(Token::Own, |id| Token::Given(*id));
        let want = i + 1 >= PROMPT.len();
        let step = session.step(token, want).unwrap_or_else(|e| panic!("{e}"));
        cycles = step.cycles;
        if want {
            logits.push(session.logits().unwrap().iter().map(|l| l.to_bits()).collect());
            ids.push(step.argmax.unwrap());
        }
    }
    let r = session.report();
    ((logits, ids, cycles, (r.hops, r.wavelets, r.cycles_total)), recipe)
}

fn by_oracle(model: &RandomCheckpoint, recipe: Recipe) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut oracle = Oracle::new(model, recipe).unwrap();
    let (mut logits, mut ids) = (Vec::new(), Vec::new());
    for i in 0..PROMPT.len() + GENERATED {
        let id = PROMPT.get(i).copied().unwrap_or_else(|| ids[ids.len() - 1]);
        if let Some(l) = oracle.step(id, i + 1 >= PROMPT.len()) {
            ids.push(plummer::math::reduce::argmax(&l).unwrap().1);
            logits.push(l.iter().map(|x| x.to_bits()).collect());
        }
    }
    (logits, ids)
}

/// Runs the session and its twin; every logit and id must have the same bits.
pub fn check(model: &RandomCheckpoint, config: SessionConfig, what: &str) -> Outcome {
    let (outcome, recipe) = on_wafer(model, config);
    let (logits, ids) = by_oracle(model, recipe);
    assert_eq!(outcome.1, ids, "{what}: ids");
    assert!(outcome.0 == logits, "{what}: logits differ in bits");
    outcome
}
