//! What the tests of decode against the oracle share: a tiny model's session, its twin, and the comparison.

use plummer::fabric::Chip;
use plummer::host::{Session, SessionConfig, Token};
use plummer::math::random_checkpoint::RandomCheckpoint;
use plummer::oracle::{Oracle, Recipe};

/// Ids of the prompt.
pub const PROMPT: [u32; 4] = [3, 17, 0, 5];
/// Tokens that the wafer finds.
pub const GENERATED: usize = 5;

/// One worker on `wse2`, shift, f16.
pub fn config(mesh: (u32, u32)) -> SessionConfig {
    SessionConfig {
        mesh: Some(mesh),
        context: PROMPT.len() + GENERATED,
        prompt: PROMPT.len(),
        ..SessionConfig::new(Chip::preset("wse2").unwrap())
    }
}

/// Logits of every step that has them, ids, final cycles and counters.
pub type Outcome = (Vec<Vec<u32>>, Vec<u32>, u64, (u64, u64, u64));

/// Runs the session; its recipe.
pub fn on_wafer(model: &RandomCheckpoint, config: SessionConfig) -> (Outcome, Recipe) {
    let mut session = Session::new(model, config.clone()).unwrap_or_else(|e| panic!("{e}"));
    let recipe = plummer::app::verify::recipe(&session.decode().plan, &config);
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
