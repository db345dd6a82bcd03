//! A session beside its oracle: the same tokens through both, every logit compared in bits.
//!
//! Invariant: the oracle gets the plain numbers of the session's plan and nothing else of it.
//! Called by the tests on real models.

use plummer::fabric::Chip;
use plummer::host::{KvType, Session, SessionConfig, Token};
use plummer::math::reduce::argmax;
use plummer::model::Model;
use plummer::oracle::{Oracle, Recipe};

/// A configuration with the defaults of the command line.
pub fn config(mesh: Option<(u32, u32)>, kv_type: KvType, context: usize, prompt: usize) -> SessionConfig {
    SessionConfig { mesh, kv_type, context, prompt, ..SessionConfig::new(Chip::preset("wse2").expect("a preset")) }
}

/// The numbers that decide in which order a session adds.
pub fn recipe(session: &Session, config: &SessionConfig) -> Recipe {
    plummer::app::verify::recipe(&session.decode().plan, config)
}

/// Bits of the logits after every token of the prompt and of `n` greedy ones, and the greedy ids.
pub type Outcome = (Vec<Vec<u32>>, Vec<u32>);

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

/// `prompt` and `n` greedy tokens on the wafer.
pub fn on_wafer(model: &Model, config: &SessionConfig, prompt: &[u32], n: usize) -> (Outcome, Recipe) {
    let mut session = Session::new(model, config.clone()).unwrap_or_else(|e| panic!("{e}"));
    let (mut logits, mut ids) = (Vec::new(), Vec::new());
    for at in 0..prompt.len() + n - 1 {
        let token = prompt.get(at).map_or(Token::Own, |id| Token::Given(*id));
        let step = session.step(token, true).unwrap_or_else(|e| panic!("token {at}: {e}"));
        logits.push(bits(&session.logits().unwrap_or_else(|e| panic!("{e}"))));
        if at + 1 >= prompt.len() {
            ids.extend(step.argmax);
        }
    }
    ((logits, ids), recipe(&session, config))
}

/// The same by the oracle.
pub fn by_oracle(model: &Model, recipe: Recipe, prompt: &[u32], n: usize) -> Outcome {
    let mut oracle = Oracle::new(model, recipe).unwrap_or_else(|e| panic!("{e}"));
    let (mut logits, mut ids): (Vec<_>, Vec<u32>) = (Vec::new(), Vec::new());
    for at in 0..prompt.len() + n - 1 {
        let id = prompt.get(at).copied().unwrap_or_else(|| ids[ids.len() - 1]);
        let found = oracle.step(id, true).expect("wanted");
        logits.push(bits(&found));
        if at + 1 >= prompt.len() {
            ids.extend(argmax(&found).map(|best| best.1));
        }
    }
    (logits, ids)
}

/// Holds one outcome to another.
pub fn check(found: &Outcome, expect: &Outcome, what: &str) {
    assert_eq!(found.1, expect.1, "{what}: ids");
    assert_eq!(found.0.len(), expect.0.len(), "{what}: steps");
    for (step, (a, b)) in found.0.iter().zip(&expect.0).enumerate() {
        let differ = a.iter().zip(b).filter(|(a, b)| a != b).count();
        assert!(a.len() == b.len() && differ == 0, "{what}: step {step}: {differ} of {} logits differ", b.len());
    }
}
