//! SmolLM2's tokenizer and chat template, built from GGUF metadata, against ids recorded from llama.cpp.
//!
//! Needs the downloaded model: skipped loudly without it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plummer::math::checkpoint::Checkpoint;
use plummer::model::Model;
use plummer::model::chat::Message;
use serde_json::Value;

fn model() -> Option<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/smollm2");
    if path.exists() {
        return Some(Model::open(&path).unwrap_or_else(|e| panic!("{e}")));
    }
    // Not `eprintln!`: the test runner would hide it.
    writeln!(std::io::stderr(), "SKIPPED: SmolLM2 is not there; fetch it with weights/fetch-smollm2").ok();
    None
}

#[test]
fn ids_equal_the_recorded_ones_and_decode_to_the_text() {
    let Some(model) = model() else { return };
    let dir = std::env::var_os("PLUMMER_GOLDEN").map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    let file = std::fs::read(dir.join("smollm2_tokenizer_cases.json")).expect("golden file");
    let cases: Vec<Value> = serde_json::from_slice(&file).expect("JSON");
    assert!(!cases.is_empty());
    for case in &cases {
        let text = case["text"].as_str().expect("a text");
        let ids: Vec<u32> =
            case["ids"].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect();
        assert_eq!(model.tokenizer.encode(text).expect("ids"), ids, "{text:?}");
        assert_eq!(model.tokenizer.decode(&ids), text);
    }
    eprintln!("{} cases", cases.len());
}

#[test]
fn chat_text_is_chatml_with_the_template_own_system_message() {
    let Some(model) = model() else { return };
    let text = model.chat(&[Message::new("user", "What is gravity?")]).expect("a text");
    let want = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                <|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, want);
    let ids = model.tokenizer.encode_chat(&text).expect("ids");
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 3, "one <|im_start|> a message, no bos in front");
}

#[test]
fn summary_and_shape_are_those_of_the_published_model() {
    let start = Instant::now();
    let Some(model) = model() else { return };
    eprintln!("opened in {:?}", start.elapsed());
    let (shape, summary) = (model.shape(), model.summary());
    assert_eq!((shape.hidden, shape.n_layers, shape.n_heads, shape.n_kv_heads), (576, 30, 9, 3));
    assert_eq!((shape.head_dim, shape.ffn, shape.vocab, shape.tied), (64, 1536, 49152, true));
    assert_eq!(summary.parameters, 134_515_008);
    let counts: Vec<_> = summary.formats.iter().map(|count| (count.format, count.tensors)).collect();
    assert_eq!(counts, [("F32", 61), ("Q8_0", 1), ("Q4_1", 210)]);
    assert_eq!((model.config.bos, model.config.eos.as_slice()), (Some(1), [2].as_slice()));
    assert!(summary.has_chat_template);
}
