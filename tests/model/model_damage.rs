//! The loaders against damaged files that this test writes: one clear error for every kind of damage, naming the file
//! and the field, and never a panic.

use plummer::math::checkpoint::Checkpoint;
use plummer::model::Model;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_support::cases::*;
use crate::model_support::*;

#[test]
fn shards_give_what_one_file_gives_and_a_missing_one_is_named() {
    let whole = hf_dir(|_, _| {});
    let dir = hf_dir(|_, _| {});
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    let tensors = weights(1, false);
    let mut map = json!({});
    let mut shards = [Tensors::new(), Tensors::new()];
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map[&name] = json!(format!("model-{}.safetensors", i % 2));
        shards[i % 2].insert(name, tensor);
    }
    for (i, shard) in shards.iter().enumerate() {
        let (header, data) = safetensors(shard, "F16");
        let path = dir.path().join(format!("model-{i}.safetensors"));
        std::fs::write(path, safetensors_bytes(&header, &data)).expect("a shard");
    }
    let index = dir.path().join("model.safetensors.index.json");
    let write = |map: &Value| std::fs::write(&index, json!({"weight_map": map}).to_string()).expect("an index");
    write(&map);
    let (a, b) = (open(whole.path()), open(dir.path()));
    for id in matrices() {
        assert_eq!(a.matrix(id).bits, b.matrix(id).bits, "{id:?}");
    }
    for (shard, words) in [
        ("../model-0.safetensors", ["index.json", "lm_head.weight", "without a path"]),
        ("model-1.safetensors", ["model-1.safetensors", "tensor lm_head.weight", "missing"]),
        ("model-9.safetensors", ["model-9.safetensors", "lm_head.weight", "missing"]),
    ] {
        let mut lying = map.clone();
        lying["lm_head.weight"] = json!(shard);
        write(&lying);
        names_all(shard, &refusal(dir.path()), &words);
    }
}

type Edit = fn(&mut Value, &mut Vec<u8>);

#[test]
fn damaged_safetensors_name_file_and_field() {
    const Q: &str = "model.layers.0.self_attn.q_proj.weight";
    let cases: [(&str, Edit, &[&str]); 11] = [
        ("truncated data", |_, data| data.truncate(100), &["data_offsets", "100 bytes of data"]),
        ("data too long", |_, data| data.push(0), &["length of the data"]),
        ("overlap", |h, _| h[Q]["data_offsets"] = json!([0, 2048]), &["data_offsets", "to start at"]),
        ("end before start", |h, _| h[Q]["data_offsets"] = json!([9, 4]), &["data_offsets", Q]),
        ("beyond 2^63", |h, _| h[Q]["data_offsets"] = json!([0, u64::MAX]), &["data_offsets", Q]),
        ("shape overflow", |h, _| h[Q]["shape"] = json!([u64::MAX, 4]), &["shape", Q]),
        ("shape of another size", |h, _| h[Q]["shape"] = json!([32, 33]), &["data_offsets", Q, "2112"]),
        (
            "transposed",
            |h, _| h["lm_head.weight"]["shape"] = json!([32, 261]),
            &["shape", "lm_head.weight", "[261, 32]"],
        ),
        ("unknown dtype", |h, _| h[Q]["dtype"] = json!("F7"), &["dtype", Q, "F7"]),
        ("no shape", |h, _| h[Q]["shape"] = Value::Null, &["shape", Q]),
        ("integers", |h, _| h[Q]["dtype"] = json!("I16"), &["not supported", "dtype", Q, "I16"]),
    ];
    for (label, edit, words) in cases {
        let dir = hf_dir(|_, _| {});
        let (mut header, mut data) = safetensors(&weights(1, false), "F16");
        edit(&mut header, &mut data);
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, safetensors_bytes(&header, &data)).expect("a file");
        let message = refusal(dir.path());
        names_all(label, &message, words);
        assert!(message.starts_with(dir.path().to_str().expect("UTF-8")), "{label}: {message}");
    }
}

#[test]
fn safetensors_headers_that_lie_about_their_length_are_refused() {
    let dir = hf_dir(|_, _| {});
    let path = dir.path().join("model.safetensors");
    let whole = std::fs::read(&path).expect("the file");
    let mut cases =
        vec![(vec![], "8 bytes"), (whole[..5].to_vec(), "8 bytes"), (whole[..40].to_vec(), "header length")];
    for length in [u64::MAX, u64::MAX - 7, 1 << 40, whole.len() as u64] {
        let mut lying = whole.clone();
        lying[..8].copy_from_slice(&length.to_le_bytes());
        cases.push((lying, "header length"));
    }
    let mut not_json = whole.clone();
    not_json[8] = b'x';
    cases.push((not_json, "header"));
    for (bytes, word) in cases {
        std::fs::write(&path, bytes).expect("a file");
        names_all("header", &refusal(dir.path()), &["model.safetensors", word]);
    }
}

#[test]
fn damaged_configurations_name_the_field() {
    let cases: [(&str, Value, &str); 16] = [
        ("hidden_size", Value::Null, "missing"),
        ("hidden_size", json!(0), "1 to"),
        ("hidden_size", json!(-3), "-3"),
        ("hidden_size", json!("wide"), "wide"),
        ("vocab_size", json!(u64::MAX), "18446744073709551615"),
        ("vocab_size", json!(1000), "model.embed_tokens.weight"),
        ("num_hidden_layers", json!(4_000_000_000u64), "4000000000"),
        ("num_hidden_layers", json!(3), "model.layers.2."),
        ("num_attention_heads", json!(3), "num_attention_heads"),
        ("num_key_value_heads", json!(5), "num_key_value_heads"),
        ("head_dim", json!(1u64 << 40), "head_dim"),
        ("intermediate_size", json!(65), "mlp.gate_proj"),
        ("rms_norm_eps", json!(-1.0), "rms_norm_eps"),
        ("rope_theta", json!(0), "rope_theta"),
        ("eos_token_id", json!([1, 261]), "261"),
        ("rope_scaling", json!({"rope_type": "linear"}), "rope_scaling.factor"),
    ];
    for (field, value, word) in cases {
        let dir = hf_dir(|config, _| config[field] = value.clone());
        names_all(field, &refusal(dir.path()), &[word]);
    }
}

#[test]
fn everything_unsupported_is_listed_at_once() {
    let dir = hf_dir(|config, tensors| {
        config["architectures"] = json!(["FalconForCausalLM"]);
        for (field, value) in [
            ("hidden_act", json!("gelu")),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("num_local_experts", json!(8)),
            ("sliding_window", json!(16)),
            ("head_dim", json!(15)),
            ("quantization_config", json!({"bits": 4})),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ] {
            config[field] = value;
        }
        tensors.insert("model.layers.0.self_attn.o_proj.bias".into(), (vec![32], vec![0.0; 32]));
    });
    let words = [
        "FalconForCausalLM",
        "gelu",
        "attention_bias",
        "mlp_bias",
        "num_local_experts is 8",
        "sliding_window is 16",
        "head_dim is 15",
        "quantization_config",
        "yarn",
    ];
    names_all("all", &refusal(dir.path()), &words);
    let dir = hf_dir(|_, tensors| {
        tensors.insert("model.layers.0.self_attn.o_proj.bias".into(), (vec![32], vec![0.0; 32]));
    });
    names_all("left over", &refusal(dir.path()), &["self_attn.o_proj.bias", "not part of the architecture"]);
    let file = gguf_file(&dir, |file| {
        file.set("llama.expert_count", gguf_u32(8));
        file.set("tokenizer.ggml.pre", gguf_text("poro-chat"));
        file.set("llama.rope.scaling.type", gguf_text("yarn"));
        file.tensor("blk.0.ffn_up.weight").kind = 12;
        file.tensor("blk.1.ffn_up.weight").kind = 99;
    });
    let words = ["expert_count is 8", "poro-chat", "yarn", "blk.0.ffn_up.weight is Q4_K", "unknown type 99"];
    names_all("gguf", &refusal(&file), &words);
}

#[test]
fn weights_that_cannot_be_computed_with_name_tensor_and_element() {
    const NAME: &str = "model.layers.1.mlp.down_proj.weight";
    for (dtype, bad, words) in [
        ("F16", f32::NAN, ["element 77", "NaN"]),
        ("BF16", f32::INFINITY, ["element 77", "inf"]),
        ("F32", f32::NEG_INFINITY, ["element 77", "-inf"]),
        ("F32", -70000.0, ["element 77", "-70000: a weight must fit f16"]),
    ] {
        let dir = TempDir::new().expect("a directory");
        let mut tensors = weights(1, false);
        tensors.get_mut(NAME).expect("a tensor").1[77] = bad;
        write_hf(dir.path(), &config(), &tensors, dtype);
        let message = refusal(dir.path());
        names_all(dtype, &message, &words);
        names_all(dtype, &message, &["model.safetensors", NAME]);
    }
    let dir = hf_dir(|_, tensors| tensors.get_mut("model.norm.weight").expect("a norm").1[3] = f32::NAN);
    names_all("norm", &refusal(dir.path()), &["model.norm.weight, element 3 is NaN"]);
    let path = gguf_file(&dir, |file| {
        file.tensor("blk.0.ffn_up.weight").data[10..12].copy_from_slice(&0x7c00u16.to_le_bytes());
    });
    names_all("gguf", &refusal(&path), &["tiny.gguf", "blk.0.ffn_up.weight, element 5 is inf"]);
}

type GgufEdit = fn(&mut GgufFile);

#[test]
fn damaged_gguf_files_name_file_and_field() {
    let cases: [(&str, GgufEdit, &[&str]); 22] = [
        ("version 1", |f| f.version = 1, &["GGUF version is 1"]),
        ("big-endian", |f| f.version = 3u32.swap_bytes(), &["big-endian"]),
        ("tensor count", |f| f.counts.0 = Some(u64::MAX), &["tensor count", "18446744073709551615"]),
        ("one tensor more", |f| f.counts.0 = Some(f.tensors.len() as u64 + 1), &["tensor"]),
        ("metadata count", |f| f.counts.1 = Some(1 << 50), &["metadata count"]),
        ("key twice", |f| f.metadata.push(f.metadata[1].clone()), &["llama.block_count", "twice"]),
        ("no architecture", |f| f.unset("general.architecture"), &["general.architecture is missing"]),
        ("no layers", |f| f.unset("llama.block_count"), &["llama.block_count is missing"]),
        ("zero heads", |f| f.set("llama.attention.head_count", gguf_u32(0)), &["llama.attention.head_count"]),
        ("text as number", |f| f.set("llama.block_count", gguf_text("2")), &["llama.block_count", "whole number"]),
        ("alignment", |f| f.set("general.alignment", gguf_u32(33)), &["general.alignment", "power of two"]),
        ("unaligned", |f| f.tensor("output.weight").offset = Some(3), &["offset of tensor output.weight"]),
        ("beyond the file", |f| f.tensor("output.weight").offset = Some(1 << 40), &["tensor output.weight", "of data"]),
        ("offset overflow", |f| f.tensor("output.weight").offset = Some(u64::MAX - 31), &["tensor output.weight"]),
        ("overlap", |f| f.tensor("token_embd.weight").offset = Some(0), &["no overlap with tensor"]),
        (
            "five dimensions",
            |f| f.tensor("output.weight").dims = vec![1; 5],
            &["dimension count of tensor output.weight"],
        ),
        ("zero dimension", |f| f.tensor("output.weight").dims = vec![0, 4], &["dimensions of tensor output.weight"]),
        ("huge", |f| f.tensor("output.weight").dims = vec![1 << 40; 4], &["tensor output.weight", "2^64"]),
        (
            "torn block",
            // Same bytes under a type whose blocks its rows do not fill.
            |f| (f.tensor("output.weight").kind, f.tensor("output.weight").dims) = (8, vec![16, 522]),
            &["dimensions of tensor output.weight", "multiple of 32"],
        ),
        ("wrong shape", |f| f.tensor("blk.0.attn_q.weight").dims = vec![16, 64], &["shape of tensor blk.0.attn_q"]),
        (
            "missing",
            |f| f.tensors.retain(|t| t.name != "blk.1.attn_v.weight"),
            &["tensor blk.1.attn_v.weight is missing"],
        ),
        ("twice", |f| f.tensors.push(f.tensors[0].clone()), &["twice"]),
    ];
    let dir = TempDir::new().expect("a directory");
    for (label, edit, words) in cases {
        let path = gguf_file(&dir, edit);
        let Err(e) = Model::open(&path) else { panic!("{label}: opened") };
        let message = e.to_string();
        names_all(label, &message, words);
        names_all(label, &message, &["tiny.gguf"]);
    }
}

#[test]
fn damaged_tokenizer_metadata_names_the_key() {
    let types = |n: usize| gguf_numbers(&vec![1; n]);
    let lying_array = || {
        let mut bytes = gguf_numbers(&[1]);
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes
    };
    let lying_text = || {
        let mut bytes = gguf_text("gpt2");
        bytes[4..12].copy_from_slice(&(1u64 << 60).to_le_bytes());
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("tokenizer.ggml.token_type", types(3), "one for each token"),
        ("tokenizer.ggml.token_type", lying_array(), "18446744073709551615 elements"),
        ("tokenizer.ggml.model", lying_text(), "1152921504606846976 bytes"),
        ("tokenizer.ggml.model", gguf_text("bert"), "supported: gpt2, llama"),
        ("tokenizer.ggml.merges", gguf_texts(["t h", "zzz q"].into_iter()), "merges[1]"),
        ("tokenizer.ggml.merges", gguf_texts(["th"].into_iter()), "merges[0]"),
        ("tokenizer.ggml.tokens", gguf_texts(["a", "a"].into_iter()), "tokenizer.ggml.t"),
        ("tokenizer.ggml.eos_token_id", gguf_u32(5000), "5000"),
    ];
    let dir = TempDir::new().expect("a directory");
    for (key, value, word) in cases {
        let message = refusal(&gguf_file(&dir, |file| file.set(key, value.clone())));
        names_all(key, &message, &["tiny.gguf", word]);
    }
}

#[test]
fn parts_of_a_tokenizer_that_its_crate_would_panic_on_are_refused() {
    let a = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = |single: Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [a], "special_tokens": {"<s>": {
            "id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}})
    };
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let two = json!({"type": "Sequence", "processors": [template(json!([a])), template(json!([a]))]});
    let cases: [(&str, Value, &[&str]); 7] = [
        (
            "post_processor",
            template(json!([special("<x>"), a])),
            &["post_processor.single[0]", "<x>", "special_tokens"],
        ),
        ("post_processor", template(json!([{"Sequence": {"id": "B", "type_id": 0}}])), &["single[0]", "sequence A"]),
        ("post_processor", template(json!("$A")), &["post_processor.single", "a list"]),
        ("post_processor", two, &["post_processor", "one TemplateProcessing"]),
        ("post_processor", json!({"type": "BertProcessing"}), &["not supported", "BertProcessing"]),
        ("pre_tokenizer", json!({"type": "FixedLength", "length": 0}), &["not supported", "FixedLength"]),
        ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": ""}), &["not supported", "Precompiled"]),
    ];
    let open = |section: &str, part: &Value| {
        let dir = hf_dir(|_, _| {});
        let mut json = tokenizer();
        json[section] = part.clone();
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).expect("a file");
        Model::open(dir.path())
    };
    for (section, part, words) in cases {
        let Err(e) = open(section, &part) else { panic!("{part}: opened") };
        names_all(section, &e.to_string(), words);
    }
    let model = open("post_processor", &template(json!([special("<s>"), a]))).expect("a template as others have it");
    assert_eq!(model.tokenizer.encode("a").expect("ids"), [BOS, u32::from(b'a')]);
}

#[test]
fn every_truncation_of_a_gguf_file_is_an_error() {
    let dir = TempDir::new().expect("a directory");
    let whole = gguf(&weights(1, false), "llama").bytes();
    let path = dir.path().join("tiny.gguf");
    for length in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..length]).expect("a file");
        names_all("truncated", &refusal(&path), &["tiny.gguf"]);
    }
}

#[test]
fn paths_that_hold_no_model_say_so() {
    let dir = TempDir::new().expect("a directory");
    names_all("empty", &refusal(dir.path()), &["config.json"]);
    names_all("absent", &refusal(&dir.path().join("nowhere")), &["nowhere", "cannot read"]);
    let told = anyhow::Error::from(Model::open(&dir.path().join("nowhere")).expect_err("nothing is there"));
    assert_eq!(format!("{told:#}").matches("os error").count(), 1, "the system's answer once: {told:#}");
    std::fs::write(dir.path().join("notes.txt"), "x").expect("a file");
    names_all("text", &refusal(&dir.path().join("notes.txt")), &["notes.txt", ".gguf or a .safetensors file"]);
    std::fs::write(dir.path().join("a.gguf"), "GGUF").expect("a file");
    std::fs::write(dir.path().join("b.gguf"), "GGUF").expect("a file");
    names_all("two", &refusal(dir.path()), &["one .gguf file", "2 of them"]);
    let dir = hf_dir(|_, _| {});
    std::fs::remove_file(dir.path().join("tokenizer.json")).expect("removed");
    names_all("no tokenizer", &refusal(dir.path()), &["tokenizer.json is missing"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_gguf_files_never_panic(edits in proptest::collection::vec((0usize..12_000, any::<u8>()), 1..6)) {
        let dir = TempDir::new().expect("a directory");
        let mut bytes = gguf(&weights(1, false), "llama").bytes();
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let path = dir.path().join("tiny.gguf");
        std::fs::write(&path, bytes).expect("a file");
        if let Err(e) = Model::open(&path) {
            prop_assert!(e.to_string().contains("tiny.gguf"));
        }
    }

    #[test]
    fn mutated_huggingface_files_never_panic(
        which in 0usize..3,
        edits in proptest::collection::vec((0usize..6_000, any::<u8>()), 1..6),
    ) {
        let dir = hf_dir(|_, _| {});
        let path = dir.path().join(["config.json", "tokenizer.json", "model.safetensors"][which]);
        let mut bytes = std::fs::read(&path).expect("the file");
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        std::fs::write(&path, bytes).expect("a file");
        if let Ok(model) = Model::open(dir.path()) {
            let _ = model.tokenizer.encode("the the naïve <s>");
        }
    }
}
