//! Rotations, their scalings and SentencePiece vocabularies in both formats, through the wafer, against a forward pass
//! in f64 that knows nothing of the crate (`model_forward`).
//!
//! Invariant: weights are exact in f16 and K and V are f32, so what remains is f32 rounding: 2e-4 of logits of order 1
//! to 10 (plain f32 arithmetic on SmolLM2, 15 times as deep, is 3e-5 off).

use plummer::fabric::Chip;
use plummer::host::{KvType, Session, SessionConfig, Token};
use plummer::model::Model;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_forward::{Frequencies, divided, encode, forward, linear, llama3_divisors, plain};
use crate::model_support::cases::*;
use crate::model_support::*;

const BASE: f64 = 10_000.0;
const TOLERANCE: f64 = 2e-4;
/// Of the wavelengths 6.3, 19.9, 62.8 .. this keeps the first, blends the second and divides the rest.
const LLAMA3: (f64, f64, f64, f64) = (8.0, 1.0, 4.0, 32.0);

/// Ids that walk over the vocabulary; 40 positions turn the slowest scaled pairs visibly.
fn ids() -> Vec<u32> {
    (0..40).map(|i| (i * 37 + 11) % 256).collect()
}

fn on_wafer(model: &Model, mesh: (u32, u32), ids: &[u32]) -> Vec<Vec<f32>> {
    let config = SessionConfig {
        mesh: Some(mesh),
        kv_type: KvType::F32,
        context: ids.len(),
        prompt: ids.len(),
        ..SessionConfig::new(Chip::preset("wse2").expect("a preset"))
    };
    let mut session = Session::new(model, config).unwrap_or_else(|e| panic!("{e}"));
    let mut step = |id: &u32| {
        session.step(Token::Given(*id), true).unwrap_or_else(|e| panic!("{e}"));
        session.logits().expect("logits")
    };
    ids.iter().map(&mut step).collect()
}

/// Largest distance over all positions.
fn distance(got: &[Vec<f32>], want: &[Vec<f64>]) -> f64 {
    assert_eq!(got.len(), want.len());
    let pairs = got.iter().flatten().zip(want.iter().flatten());
    pairs.map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max)
}

/// The wafer follows `frequencies`, and it does not follow `unscaled` ones.
fn check(label: &str, model: &Model, tensors: &Tensors, frequencies: &Frequencies, unscaled: Option<Frequencies>) {
    let ids = ids();
    let got = on_wafer(model, (3, 2), &ids);
    let off = distance(&got, &forward(tensors, frequencies, &ids));
    assert!(off <= TOLERANCE, "{label}: {off}");
    if let Some(unscaled) = unscaled {
        let off = distance(&got, &forward(tensors, &unscaled, &ids));
        assert!(off > 100.0 * TOLERANCE, "{label}: the scaling changes nothing ({off})");
    }
}

#[test]
fn hugging_face_rotations_and_their_scalings_equal_the_forward_pass() {
    let (factor, low, high, original) = LLAMA3;
    let llama3 = divided(BASE, &llama3_divisors(BASE, factor, low, high, original));
    let llama3_fields = json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": original as u32});
    let newer = json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 500_000.0});
    let cases: [(&str, &str, Value, Frequencies, Option<f64>); 6] = [
        ("plain", "rope_scaling", Value::Null, plain(BASE), None),
        (
            "linear, older spelling",
            "rope_scaling",
            json!({"type": "linear", "factor": 4.0}),
            linear(BASE, 4.0),
            Some(BASE),
        ),
        ("linear", "rope_scaling", json!({"rope_type": "linear", "factor": 2.5}), linear(BASE, 2.5), Some(BASE)),
        ("llama3", "rope_scaling", llama3_fields.clone(), llama3.clone(), Some(BASE)),
        ("llama3 in rope_parameters", "rope_parameters", llama3_fields, llama3, Some(BASE)),
        ("linear with its own base", "rope_parameters", newer, linear(500_000.0, 4.0), Some(500_000.0)),
    ];
    for (label, field, value, frequencies, scaled_base) in cases {
        let dir = hf_dir(|config, _| config[field] = value);
        check(label, &open(dir.path()), &weights(1, false), &frequencies, scaled_base.map(plain));
    }
}

#[test]
fn gguf_rotations_and_their_scalings_equal_the_forward_pass() {
    let (factor, low, high, original) = LLAMA3;
    let divisors: Vec<f32> = llama3_divisors(BASE, factor, low, high, original).into_iter().map(|d| d as f32).collect();
    let rounded: Vec<f64> = divisors.iter().map(|d| f64::from(*d)).collect();
    type Edit = Box<dyn Fn(&mut GgufFile)>;
    let cases: [(&str, Edit, Frequencies, bool); 4] = [
        ("plain", Box::new(|_| {}), plain(BASE), false),
        (
            "linear",
            Box::new(|file| {
                file.set("llama.rope.scaling.type", gguf_text("linear"));
                file.set("llama.rope.scaling.factor", gguf_f32(4.0));
            }),
            linear(BASE, 4.0),
            true,
        ),
        (
            "linear, older spelling",
            Box::new(|file| file.set("llama.rope.scale_linear", gguf_f32(2.5))),
            linear(BASE, 2.5),
            true,
        ),
        (
            "llama3 as rope_freqs",
            Box::new(move |file| {
                let (data, dims) =
                    (divisors.iter().flat_map(|d| d.to_le_bytes()).collect(), vec![divisors.len() as u64]);
                file.tensors.push(GgufTensor { name: "rope_freqs.weight".into(), dims, kind: 0, offset: None, data });
            }),
            divided(BASE, &rounded),
            true,
        ),
    ];
    let dir = TempDir::new().expect("a directory");
    for (label, edit, frequencies, is_scaled) in cases {
        let model = open(&gguf_file(&dir, edit));
        check(label, &model, &weights(1, false), &frequencies, is_scaled.then(|| plain(BASE)));
    }
}

#[test]
fn mistral_and_qwen2_equal_the_forward_pass_in_both_formats() {
    let dir = TempDir::new().expect("a directory");
    for (class, architecture, bias, window) in [
        ("MistralForCausalLM", "llama", false, Value::Null),
        ("MistralForCausalLM", "llama", false, json!(64)),
        ("Qwen2ForCausalLM", "qwen2", true, json!(8)),
    ] {
        let tensors = weights(5, bias);
        let mut fields = config();
        fields["architectures"] = json!([class]);
        fields["sliding_window"] = window;
        let hf = dir.path().join("hf");
        write_hf(&hf, &fields, &tensors, "F16");
        check(class, &open(&hf), &tensors, &plain(BASE), None);
        let path = dir.path().join("tiny.gguf");
        std::fs::write(&path, gguf(&tensors, architecture).bytes()).expect("a file");
        check(architecture, &open(&path), &tensors, &plain(BASE), None);
    }
}

/// Pieces whose merges compete; the rest of the tiny vocabulary is bytes.
fn sentence_pieces() -> Vec<(String, f32)> {
    let listed = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("\u{2581}", -9.0),
        ("a", -8.0),
        ("b", -8.5),
        ("c", -9.5),
        ("ab", -2.0),
        ("ba", -2.0),
        ("abc", -3.0),
        ("\u{2581}a", -2.5),
        ("\u{2581}ab", -4.0),
        ("bc", -1.5),
        ("aba", -0.5),
        ("\u{2581}\u{2581}", -6.0),
        ("cab", -1.0),
    ];
    let mut pieces: Vec<(String, f32)> = listed.iter().map(|(p, s)| ((*p).to_owned(), *s)).collect();
    let bytes = tokens().len() - pieces.len();
    assert!(bytes > 0xE3, "the bytes of the texts below are tokens");
    pieces.extend((0..bytes).map(|byte| (format!("<0x{byte:02X}>"), 0.0)));
    pieces
}

#[test]
fn sentencepiece_models_from_gguf_encode_naively_merged_ids_and_compute_the_forward_pass() {
    let pieces = sentence_pieces();
    let types: Vec<i32> =
        (0..pieces.len()).map(|id| [2, 3, 3].get(id).copied().unwrap_or(1 + 5 * i32::from(id > 15))).collect();
    let scores: Vec<f32> = pieces.iter().map(|p| p.1).collect();
    let dir = TempDir::new().expect("a directory");
    let model = open(&gguf_file(&dir, |file| {
        file.unset("tokenizer.ggml.merges");
        file.set("tokenizer.ggml.model", gguf_text("llama"));
        file.set("tokenizer.ggml.tokens", gguf_texts(pieces.iter().map(|p| p.0.as_str())));
        file.set("tokenizer.ggml.token_type", gguf_numbers(&types));
        file.set("tokenizer.ggml.scores", gguf_floats(&scores));
        file.set("tokenizer.ggml.bos_token_id", gguf_u32(1));
        file.set("tokenizer.ggml.eos_token_id", gguf_u32(2));
    }));
    let mut texts: Vec<String> = ["abab", "abcabc cab", "  ba", "né\n日a", "a"].map(str::to_owned).to_vec();
    let mut state = 17u32;
    for length in 1..60 {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ['a', 'b', 'c', ' '][(state >> 30) as usize]
        };
        texts.push((0..length).map(|_| next()).collect());
    }
    for text in &texts {
        let want: Vec<u32> = std::iter::once(1).chain(encode(&pieces, text)).collect();
        let ids = model.tokenizer.encode(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ids, want, "{text:?}");
        assert_eq!(model.tokenizer.decode(&ids), *text, "{text:?}");
    }
    let ids = model.tokenizer.encode("abcabc cab né").expect("ids");
    let off = distance(&on_wafer(&model, (2, 2), &ids), &forward(&weights(1, false), &plain(BASE), &ids));
    assert!(off <= TOLERANCE, "{off}");
}
