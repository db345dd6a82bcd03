//! The loaders against whole files that this test writes: equal weights, tokens and rotations whatever the format.

use plummer::math::checkpoint::{Checkpoint, Matrix, MatrixId, VectorId, WeightFormat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_support::cases::*;
use crate::model_support::*;

fn vectors(qkv_bias: bool) -> Vec<VectorId> {
    use VectorId::*;
    let layer = |l| match qkv_bias {
        true => vec![AttentionNorm(l), FfnNorm(l), QBias(l), KBias(l), VBias(l)],
        false => vec![AttentionNorm(l), FfnNorm(l)],
    };
    [FinalNorm].into_iter().chain((0..N_LAYERS).flat_map(layer)).collect()
}

fn values(matrix: &Matrix) -> Vec<f32> {
    (0..matrix.rows).flat_map(|r| (0..matrix.cols).map(move |c| (r, c))).map(|(r, c)| matrix.at(r, c)).collect()
}

#[test]
fn the_same_weights_load_to_the_same_numbers_from_every_format() {
    for (architecture, class, bias) in [
        ("llama", "LlamaForCausalLM", false),
        ("qwen2", "Qwen2ForCausalLM", true),
        ("llama", "MistralForCausalLM", false),
    ] {
        let tensors = weights(7, bias);
        let dir = TempDir::new().expect("a directory");
        let mut hf_config = config();
        hf_config["architectures"] = json!([class]);
        hf_config["sliding_window"] = Value::Null;
        let path = dir.path().join("tiny.gguf");
        std::fs::write(&path, gguf(&tensors, architecture).bytes()).expect("a file");
        let mut models = vec![open(&path)];
        for dtype in ["F16", "F32", "BF16"] {
            let hf = dir.path().join(dtype);
            write_hf(&hf, &hf_config, &tensors, dtype);
            models.push(open(&hf));
        }
        assert_eq!(models[3].matrix(MatrixId::Q(0)).format, WeightFormat::Bf16);
        for model in &models {
            assert_eq!(model.shape(), models[0].shape());
            for id in matrices() {
                assert_eq!(values(&model.matrix(id)), values(&models[0].matrix(id)), "{class} {id:?}");
            }
            for id in vectors(bias) {
                assert_eq!(model.vector(id), models[0].vector(id), "{class} {id:?}");
            }
        }
        let q = &tensors["model.layers.1.self_attn.q_proj.weight"].1;
        assert_eq!(&values(&models[0].matrix(MatrixId::Q(1))), q, "{class}: rows of Q in rotate-half order");
    }
}

#[test]
fn tied_models_answer_the_embedding_as_output_in_both_formats() {
    let dir = hf_dir(|config, tensors| {
        config["tie_word_embeddings"] = json!(true);
        tensors.remove("lm_head.weight");
    });
    let path = gguf_file(&dir, |file| file.tensors.retain(|tensor| tensor.name != "output.weight"));
    for model in [open(dir.path()), open(&path)] {
        assert!(model.shape().tied);
        assert_eq!(model.matrix(MatrixId::Output).bits, model.matrix(MatrixId::Embedding).bits);
    }
}

#[test]
fn quantised_matrices_load_within_half_a_step() {
    let dir = TempDir::new().expect("a directory");
    let tensors = weights(1, false);
    for (kind, bytes_per_block, bound) in [(8u32, 34usize, 0.005f32), (2, 18, 0.126), (3, 20, 0.07)] {
        let path = gguf_file(&dir, |file| {
            let tensor = file.tensor("blk.0.ffn_up.weight");
            let raw = tensors["model.layers.0.mlp.up_proj.weight"].1.as_slice();
            tensor.kind = kind;
            tensor.data = raw.chunks(32).flat_map(|block| quantise(kind, block)).collect();
            assert_eq!(tensor.data.len(), raw.len() / 32 * bytes_per_block);
        });
        let model = open(&path);
        let loaded = values(&model.matrix(MatrixId::Up(0)));
        for (got, want) in loaded.iter().zip(&tensors["model.layers.0.mlp.up_proj.weight"].1) {
            assert!((got - want).abs() <= bound, "type {kind}: {got} for {want}");
        }
    }
}

/// A plain quantiser for values in [-1, 1).
fn quantise(kind: u32, block: &[f32]) -> Vec<u8> {
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes().to_vec();
    let nibbles = |q: Vec<u8>| (0..16).map(|i| q[i] | (q[i + 16] << 4)).collect::<Vec<u8>>();
    let round = |x: f32, most: f32| x.round().clamp(0.0, most) as u8;
    match kind {
        8 => [half(1.0 / 127.0), block.iter().map(|x| (x * 127.0).round() as i8 as u8).collect()].concat(),
        2 => [half(0.125), nibbles(block.iter().map(|x| round(x * 8.0 + 8.0, 15.0)).collect())].concat(),
        _ => {
            let q = block.iter().map(|x| round((x + 1.0) * 7.5, 15.0)).collect();
            [half(2.0 / 15.0), half(-1.0), nibbles(q)].concat()
        }
    }
}

#[test]
fn rotations_scale_alike_in_both_formats() {
    let scaled = hf_dir(|config, _| config["rope_scaling"] = json!({"type": "linear", "factor": 4.0}));
    let dir = TempDir::new().expect("a directory");
    let path = gguf_file(&dir, |file| {
        file.set("llama.rope.scaling.type", gguf_text("linear"));
        file.set("llama.rope.scaling.factor", gguf_f32(4.0));
    });
    assert_eq!(open(scaled.path()).shape().inv_freq, open(&path).shape().inv_freq);
    let plain = open(hf_dir(|_, _| {}).path());
    let divisors: Vec<f32> = (0..8).map(|pair| 1.0 + pair as f32).collect();
    let add = |file: &mut GgufFile, divisors: &[f32]| {
        let data = divisors.iter().flat_map(|d| d.to_le_bytes()).collect();
        let dims = vec![divisors.len() as u64];
        file.tensors.push(GgufTensor { name: "rope_freqs.weight".into(), dims, kind: 0, offset: None, data });
    };
    let path = gguf_file(&dir, |file| add(file, &divisors));
    for (pair, got) in open(&path).shape().inv_freq.iter().enumerate() {
        assert_eq!(*got, plain.shape().inv_freq[pair] / (1.0 + pair as f64));
    }
    let path = gguf_file(&dir, |file| add(file, &divisors[1..]));
    names_all("short", &refusal(&path), &["shape of tensor rope_freqs.weight", "[8]", "[7]"]);
}

#[test]
fn tokenizers_of_both_formats_give_the_same_ids_and_texts() {
    let hf = hf_dir(|_, _| {});
    let dir = TempDir::new().expect("a directory");
    let path = gguf_file(&dir, |_| {});
    let models = [open(hf.path()), open(&path)];
    let cases: [(&str, Option<&[u32]>); 5] = [
        ("the the", Some(&[257, 258])),
        ("<s>the</s>", Some(&[BOS, 257, EOS])),
        ("", Some(&[])),
        ("naïve 日本 🙂\n", None),
        ("then", None),
    ];
    for (text, want) in cases {
        let ids = models.each_ref().map(|model| model.tokenizer.encode(text).unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(ids[0], ids[1], "{text:?}");
        assert!(want.is_none_or(|want| want == ids[0]), "{text:?}: {ids:?}");
        for model in &models {
            assert_eq!(model.tokenizer.decode(&ids[0]), text.replace("<s>", "").replace("</s>", ""));
        }
    }
    assert_eq!(models[0].config.eos, [EOS]);
    names_all("no template", &models[1].chat(&[]).expect_err("no template").to_string(), &["chat template"]);
}

#[test]
fn bos_is_added_when_asked_for_and_never_twice() {
    let dir = TempDir::new().expect("a directory");
    let path = gguf_file(&dir, |file| file.set("tokenizer.ggml.add_bos_token", vec![7, 0, 0, 0, 1]));
    let model = open(&path);
    for text in ["the", "<s>the"] {
        assert_eq!(model.tokenizer.encode(text).expect("ids"), [BOS, 257]);
    }
    assert_eq!(model.tokenizer.encode_chat("the").expect("ids"), [257]);
    let path = gguf_file(&dir, |file| {
        file.set("tokenizer.ggml.add_bos_token", vec![7, 0, 0, 0, 1]);
        file.unset("tokenizer.ggml.bos_token_id");
    });
    names_all("no bos", &refusal(&path), &["tokenizer.ggml.bos_token_id is missing"]);
}

#[test]
fn sentencepiece_vocabularies_with_scores_work_and_their_lengths_are_checked() {
    let pieces = ["<unk>", "<s>", "</s>", "\u{2581}", "a", "b", "ab", "\u{2581}ab"];
    let bytes: Vec<String> = (0..=252).map(|byte| format!("<0x{byte:02X}>")).collect();
    let all: Vec<&str> = pieces.into_iter().chain(bytes.iter().map(String::as_str)).collect();
    let types: Vec<i32> = (0..all.len()).map(|id| [2, 3, 3, 1, 1, 1, 1, 1].get(id).copied().unwrap_or(6)).collect();
    let scores: Vec<f32> = (0..all.len()).map(|id| -(id as f32)).collect();
    let dir = TempDir::new().expect("a directory");
    let spm = |file: &mut GgufFile, n_scores: usize| {
        file.unset("tokenizer.ggml.merges");
        file.set("tokenizer.ggml.model", gguf_text("llama"));
        file.set("tokenizer.ggml.tokens", gguf_texts(all.iter().copied()));
        file.set("tokenizer.ggml.token_type", gguf_numbers(&types));
        file.set("tokenizer.ggml.scores", gguf_floats(&scores[..n_scores]));
        file.set("tokenizer.ggml.bos_token_id", gguf_u32(1));
        file.set("tokenizer.ggml.eos_token_id", gguf_u32(2));
    };
    let model = open(&gguf_file(&dir, |file| spm(file, all.len())));
    let newline = 8 + 10;
    let ids = model.tokenizer.encode("ab\nab</s>").expect("ids");
    assert_eq!(ids, [1, 7, newline, 6, 2]);
    assert_eq!(model.tokenizer.decode(&ids), "ab\nab");
    let message = refusal(&gguf_file(&dir, |file| spm(file, 9)));
    names_all("scores", &message, &["tokenizer.ggml.scores", "one for each token", "found 9"]);
}

#[test]
fn eos_ids_come_from_every_place_that_names_them() {
    let dir = hf_dir(|_, _| {});
    std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [3, 260]}"#).expect("a file");
    let names = json!({"eos_token": {"content": "the"}, "bos_token": "<s>", "add_bos_token": true,
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}{{ eos_token }}"});
    std::fs::write(dir.path().join("tokenizer_config.json"), names.to_string()).expect("a file");
    let model = open(dir.path());
    assert_eq!(model.config.eos, [3, 257, 260]);
    assert_eq!(model.tokenizer.encode("the").expect("ids"), [BOS, 257]);
    let text = model.chat(&[plummer::model::chat::Message::new("user", "th")]).expect("a text");
    assert_eq!(text, "<s>ththe");
    assert_eq!(model.tokenizer.encode_chat(&text).expect("ids").first(), Some(&BOS));
}
