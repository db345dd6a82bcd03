//! SmolLM2's tokenizer and chat template, built from GGUF metadata, against ids recorded from llama.cpp.

use std::time::Instant;

use plummer::math::checkpoint::Checkpoint;
use plummer::model::chat::Message;

use crate::support::{golden, ids, smollm2};

#[test]
fn ids_equal_the_recorded_ones_and_decode_to_the_text() {
    let Some(model) = smollm2() else { return };
    let all = golden("smollm2_tokenizer_cases.json");
    let cases = all.as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let text = case["text"].as_str().expect("a text");
        let ids = ids(case, "ids");
        assert_eq!(model.tokenizer.encode(text).expect("ids"), ids, "{text:?}");
        assert_eq!(model.tokenizer.decode(&ids), text);
    }
    eprintln!("{} cases", cases.len());
}

#[test]
fn chat_text_is_chatml_with_the_template_own_system_message() {
    let Some(model) = smollm2() else { return };
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
    let Some(model) = smollm2() else { return };
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
