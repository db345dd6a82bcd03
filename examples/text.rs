//! Text from the wafer: the small model in `weights/`, mmapped, its layers spread over cores of 48 KB.
//!
//! `Model::open` checks and maps the files; `Session` plans the placement, packs the weights into the arenas and runs
//! one token a pass. The ids are checked against those of a plain float64 forward pass (`weights/golden.py`).
//!
//! Run: `cargo run --release --example text`

use std::path::Path;

use plummer::fabric::Chip;
use plummer::host::{KvType, Session, SessionConfig, Token};
use plummer::model::Model;

/// `tests/data/embedded_greedy.json`.
#[derive(serde::Deserialize)]
struct Golden {
    prompt: String,
    prompt_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
}

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let golden: Golden = serde_json::from_str(include_str!("../tests/data/embedded_greedy.json"))?;
    let expect = golden.greedy_ids;
    let model = Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("weights"))?;
    let prompt = model.tokenizer.encode(&golden.prompt)?;
    assert_eq!(prompt, golden.prompt_ids, "the prompt's ids");
    let config = SessionConfig {
        kv_type: KvType::F32,
        context: prompt.len() + expect.len(),
        prompt: prompt.len(),
        workers: 2,
        ..SessionConfig::new(Chip::preset("wse2").ok_or("the preset is there")?)
    };
    let mut session = Session::new(&model, config)?;
    let mut found = Vec::new();
    for (at, &id) in prompt.iter().enumerate() {
        let last = at + 1 == prompt.len();
        found.extend(session.step(Token::Given(id), last)?.argmax);
    }
    while found.len() < expect.len() {
        // Greedy: the wafer goes on with the id that it found itself.
        found.extend(session.step(Token::Own, true)?.argmax);
    }
    let report = session.report();
    println!("{}{}", golden.prompt, model.tokenizer.decode(&found));
    println!("{} cores, {} cycles, {} hops", session.placement().pes, report.cycles_total, report.hops);
    assert_eq!(found, expect, "ids differ from the float64 forward pass");
    println!("PASS");
    Ok(())
}
