//! The built command, driven as a user would: usage, numbers, refusals, `inspect`.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::*;

#[test]
fn wrong_usage_exits_2_and_says_why() {
    let huge = "99999999999999999999999";
    for (flags, says) in [
        (vec!["--mesh", "4"], "COLSxROWS"),
        (vec!["--mesh", "0x0"], "at least 1"),
        (vec!["--mesh", "99999999999x1"], "COLSxROWS"),
        (vec!["--mesh", "4000000000x4000000000"], "750x994"),
        (vec!["--mesh", "1x1"], "needs"),
        (vec!["--temp=-1"], "--temp"),
        (vec!["--temp", "nan"], "--temp"),
        (vec!["--top-p", "0"], "--top-p"),
        (vec!["--top-p", "1.5"], "--top-p"),
        (vec!["--top-k=-1"], "--top-k"),
        (vec!["--seed", "x"], "--seed"),
        (vec!["--stop", ""], "--stop"),
        (vec!["--workers", "0"], "--workers"),
        (vec!["--workers", "100000"], "1..=64"),
        (vec!["--k-tree", "0"], "1 to 8"),
        (vec!["--k-tree", "99999999999999999"], "1 to 8"),
        (vec!["--kv", "push"], "shift"),
        (vec!["--kv-type", "f8"], "f16"),
        (vec!["--arena", "half"], "packed"),
        (vec!["--chip", "wse9"], "wse9"),
        (vec!["-n", huge], "--n-predict"),
        (vec!["--n-predict=-1"], "--n-predict"),
        (vec!["-c", huge], "--ctx-size"),
        (vec!["-c", "18446744073709551615"], "256 positions"),
        (vec!["-c", "0"], "0 positions"),
        (vec!["-c", "2", "-p", "To be, or not to be, that is the question"], "the context has 2"),
        (vec!["-p", "a", "-f", "b"], "cannot be used with"),
        (vec!["-f", "no/such/file"], "no/such/file"),
        (vec!["-f", "."], "prompt file"),
        (vec!["-f", "-"], "prompt is empty"),
        (vec!["-p", ""], "prompt is empty"),
        (vec!["-m", "no/such/model", "-p", "x"], "no/such/model"),
        (vec!["-m", "weights"], "no prompt"),
        (vec!["--chat", "-p", "x"], "--chat"),
        (vec!["--logits", "no/such/dir/x.npy"], "no/such/dir"),
        (vec!["--logits", "."], "--logits"),
    ] {
        refused(&[vec!["generate"], flags].concat(), says);
    }
    refused(&["nonsense"], "nonsense");
    refused(&["inspect", "no/such/model"], "no/such/model");
}

#[test]
fn json_has_every_field_and_does_not_depend_on_workers_or_arenas() {
    let base = ["generate", "-n", "8", "--json", "--quiet", "--prefill", "mesh"];
    let run = |more: &[&str]| json_of(&[&base, more].concat(), 0);
    let (one, two, full) = (run(&["--workers", "1"]), run(&["--workers", "2"]), run(&["--arena", "full"]));
    for path in [
        "/schema",
        "/prompt_ids/0",
        "/token_ids/7",
        "/text",
        "/stop",
        "/logits_sha256",
        "/chip",
        "/mesh/cols",
        "/mesh/rows",
        "/mesh/stages",
        "/mesh/pes",
        "/workers",
        "/cycles/total",
        "/cycles/prompt",
        "/cycles/per_token",
        "/cycles/by_phase",
        "/hops",
        "/wavelets",
        "/arena/min",
        "/arena/median",
        "/arena/max",
        "/arena/budget",
        "/colors_max",
        "/prefill/chunk",
        "/prefill/cycles",
        "/prefill/hops",
        "/prefill/tpr",
        "/prefill/tpot_ms",
        "/prefill/transition_cycles",
        "/ttft_ms",
        "/tpr",
        "/tpot_ms",
        "/host/tokens_per_s",
        "/host/message_hops_per_s",
        "/host/seconds_load",
    ] {
        assert!(one.pointer(path).is_some_and(|v| !v.is_null()), "{path} is missing: {one}");
    }
    assert_eq!((&one["stop"], &one["workers"], &two["workers"]), (&json!("length"), &json!(1), &json!(2)));
    for field in ["token_ids", "text", "logits_sha256", "cycles", "hops", "wavelets", "arena", "colors_max", "prefill"]
    {
        assert_eq!(one[field], two[field], "{field}");
        assert_eq!(one[field], full[field], "{field} with whole arenas");
    }
}

#[test]
fn cycles_add_up() {
    let clock = 1.1e9; // wse2
    // The prompt ends in the first generated step.
    for (n, prefill, steps) in [("1", "token", 0.0), ("3", "token", 2.0), ("3", "mesh", 2.0)] {
        let run = json_of(&["generate", "-p", "JULIET:\n", "-n", n, "--json", "--quiet", "--prefill", prefill], 0);
        let number = |path: &str| run.pointer(path).and_then(Value::as_f64).expect("a number");
        assert_eq!(run["prefill"]["mode"], prefill);
        assert_eq!(number("/cycles/decode_steps"), steps);
        assert!((number("/ttft_ms") * 1e-3 * clock / number("/prefill/cycles") - 1.0).abs() < 1e-9, "{run}");
        let transition = run["cycles"]["by_phase"]["transition"].as_u64();
        assert_eq!(transition.is_some(), prefill == "mesh", "{run}");
        assert!(transition.unwrap_or(0) >= run["prefill"]["transition_cycles"].as_u64().unwrap_or(0), "{run}");
        let decode = number("/cycles/total") - number("/cycles/prompt");
        assert!(number("/cycles/prompt") > 0.0 && (decode > 0.0) == (steps > 0.0), "{run}");
        assert!((number("/cycles/per_token") * steps - decode).abs() < 1e-6, "{run}");
        if steps > 0.0 {
            assert!((number("/tpr") * number("/cycles/per_token") / clock - 1.0).abs() < 1e-9);
            assert!((number("/tpot_ms") * number("/tpr") - 1e3).abs() < 1e-6);
        }
        let phases = run["cycles"]["by_phase"].as_object().expect("phases");
        let sum: f64 = phases.values().filter_map(Value::as_f64).sum();
        assert_eq!(sum, number("/cycles/total"), "the phases are the critical path: {run}");
        if prefill == "mesh" {
            let of_prompt = phases.iter().filter(|p| p.0.starts_with("prefill ")).filter_map(|p| p.1.as_f64());
            assert_eq!(of_prompt.sum::<f64>(), number("/prefill/cycles"), "{run}");
        }
        let by_part = run["cycles"]["by_part"].as_object().expect("parts");
        for (phase, total) in phases.iter().filter(|p| p.1 != 0) {
            let parts = by_part.get(phase).and_then(Value::as_object).unwrap_or_else(|| panic!("{phase}: {run}"));
            let names: Vec<&str> = parts.keys().map(String::as_str).collect();
            assert_eq!(names, ["broadcast", "compute", "reduce", "wait"]);
            let cycles = |part: &str| parts[part].as_u64().expect("cycles");
            assert_eq!(Some(names.iter().map(|part| cycles(part)).sum()), total.as_u64(), "{phase}: {run}");
            let computes = !["hand-over", "transition"].iter().any(|without| phase.ends_with(without));
            assert!(!computes || cycles("compute") > 0, "{phase}: {run}");
        }
        assert!(number("/arena/min") <= number("/arena/median") && number("/arena/max") <= number("/arena/budget"));
    }
}

/// Rows of a NumPy file of f32.
fn npy(bytes: &[u8], cols: usize) -> (Vec<Vec<f32>>, &[u8]) {
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values: Vec<f32> =
        bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    (values.chunks_exact(cols).map(<[f32]>::to_vec).collect(), &bytes[start..])
}

#[test]
fn logits_of_every_generated_step_are_written_and_hashed_eos_included() {
    let model = tiny(|_| {});
    let base = ["generate", "-m", path(&model), "-p", "the", "--quiet", "--json"];
    let free = json_of(&[base.as_slice(), &["-n", "12"]].concat(), 0);
    let ids: Vec<u64> = free["token_ids"].as_array().expect("ids").iter().filter_map(Value::as_u64).collect();
    assert_eq!((ids.len(), &free["stop"]), (12, &json!("length")));
    // The last of the distinct ids becomes an eos.
    let at = (0..ids.len()).rev().find(|&i| !ids[..i].contains(&ids[i])).expect("a first id");
    let ending = tiny(|config| config["eos_token_id"] = json!([260, ids[at]]));
    let file = ending.path().join("logits.npy");
    let to = file.to_str().expect("a UTF-8 path");
    let run = json_of(&["generate", "-m", path(&ending), "-p", "the", "--quiet", "--json", "--logits", to], 0);
    assert_eq!((&run["stop"], &run["token_ids"]), (&json!("eos"), &json!(ids[..at])));
    let bytes = std::fs::read(&file).expect("the file");
    let (rows, data) = npy(&bytes, 261);
    let best = |row: &Vec<f32>| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a best");
    assert_eq!(rows.iter().map(|row| best(row) as u64).collect::<Vec<_>>(), ids[..=at]);
    let hash: String = Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(run["logits_sha256"], json!(hash));
    let out = plummer(&["generate", "-m", path(&ending), "-p", "the", "--quiet", "--digest"]);
    assert_eq!(stderr(&out), format!("logits sha256 {hash}\n"));
}

#[test]
fn a_context_that_fills_exits_2_after_text_or_json() {
    let args = ["generate", "-p", "ROMEO:\n", "-c", "10", "-n", "50"];
    let value = json_of(&[args.as_slice(), &["--json", "--quiet"]].concat(), 2);
    assert_eq!(value["stop"], "context");
    let out = plummer(&args);
    assert_eq!(
        (out.status.code(), stdout(&out).trim_end()),
        (Some(2), value["text"].as_str().expect("text").trim_end())
    );
    let text = stderr(&out);
    assert!(text.starts_with("warning: ") && text.contains("10 fit"), "{text}");
    assert!(text.ends_with("error: the context is full: 10 tokens fit\n"), "{text}");
}

#[test]
fn arenas_that_fill_say_how_many_tokens_fit() {
    let model = tiny(|_| {});
    let place = ["-m", path(&model), "--mesh", "1x1"];
    let inspected = json_of(&["inspect", path(&model), "--mesh", "1x1", "--json"], 0);
    let fits = inspected["context_max"].as_u64().expect("a number");
    assert!((20..4000).contains(&fits), "{fits}");
    let says = format!("{fits} tokens fit");
    let more = (fits + 9).to_string();
    let out = plummer(&[&["generate", "-p", "the", "-n", &more], place.as_slice()].concat());
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.starts_with("warning: ") && text.ends_with(&format!("{says}\n")), "{text}");
    assert!(!out.stdout.is_empty());
    refused(&[&["generate", "-p", "the", "-c", &more], place.as_slice()].concat(), &says);
    let long = "a".repeat(fits as usize + 1);
    refused(&[&["generate", "-p", &long], place.as_slice()].concat(), &format!("{fits} fit in the arenas"));
    // A mesh that holds no position at all: what its fullest core would have to hold, and the mesh that would do.
    for part in ["on its fullest PE", "weights", "K and V", "no context fits; --mesh ", "would hold 17 positions"] {
        refused(&["generate", "-p", "KING:", "-n", "12", "--mesh", "2x2", "-c", "17"], part);
    }
}

#[test]
fn prompts_from_a_file_stdin_and_the_flag_are_the_same() {
    let model = tiny(|_| {});
    let file = model.path().join("prompt.txt");
    std::fs::write(&file, "the naïve\n").expect("a file");
    let base = ["generate", "-m", path(&model), "-n", "5", "--json", "--quiet"];
    let flag = json_of(&[base.as_slice(), &["-p", "the naïve\n"]].concat(), 0);
    let from_file = json_of(&[base.as_slice(), &["-f", file.to_str().expect("a UTF-8 path")]].concat(), 0);
    let stdin = std::fs::File::open(&file).expect("the file");
    let out = command(&[base.as_slice(), &["-f", "-"]].concat()).stdin(stdin).output().expect("the binary runs");
    let from_stdin: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    for other in [from_file, from_stdin] {
        assert_eq!((&flag["prompt_ids"], &flag["token_ids"]), (&other["prompt_ids"], &other["token_ids"]));
    }
    let none = json_of(&["generate", "-m", path(&model), "-p", "the", "-n", "0", "--json", "--quiet"], 0);
    assert_eq!((&none["token_ids"], &none["stop"]), (&json!([]), &json!("length")));
}

#[test]
fn the_report_names_its_numbers_and_quiet_says_nothing() {
    let out = plummer(&["generate", "-n", "3"]);
    let text = stderr(&out);
    for part in [
        "wse2",
        "f16 weights, f32 sums",
        "TPR",
        "TPOT",
        "FFN",
        "wavelet-hops",
        "colors",
        "J:",
        "assumed",
        "median",
        "M message hops/s",
        "round trips",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let out = plummer(&["generate", "-n", "3", "--quiet"]);
    assert_eq!((out.status.code(), stderr(&out).as_str()), (Some(0), ""));
    assert!(!out.stdout.is_empty());
}

#[test]
fn inspect_shows_the_model_its_place_and_the_smallest_mesh() {
    let value = json_of(&["inspect", "--mesh", "12x8", "--json"], 0);
    assert_eq!((&value["mesh"]["cols"], &value["mesh"]["rows"]), (&json!(12), &json!(8)));
    assert_eq!((&value["parameters"], &value["unsupported"]), (&json!(1_771_200), &json!([])));
    let pes = |mesh: &str| value[mesh]["pes"].as_u64().expect("a number");
    assert!(pes("smallest_mesh") <= pes("mesh"));
    let out = plummer(&["inspect"]);
    let text = stdout(&out);
    for part in [
        "llama, 4 layers",
        "hidden 192",
        "tokenizer",
        "byte-level BPE",
        "smallest",
        "this mesh",
        "stage 0",
        "fullest head PE",
        "code and stack",
        "of 49152",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let out = plummer(&["inspect", "--mesh", "1x1"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stdout(&out).contains("hidden 192") && stderr(&out).contains("1x1"), "{}", stderr(&out));
}

#[test]
fn inspect_lists_all_that_is_unsupported_at_once() {
    let model = tiny(|config| {
        config["hidden_act"] = json!("gelu");
        config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 2.0});
        config["num_local_experts"] = json!(8);
    });
    let out = plummer(&["inspect", path(&model)]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2));
    for part in ["hidden_act", "gelu", "yarn", "num_local_experts"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let value = json_of(&["inspect", path(&model), "--json"], 2);
    assert_eq!(value["unsupported"].as_array().map(Vec::len), Some(3), "{value}");
}

#[test]
fn check_says_of_every_launch_that_it_cannot_deadlock() {
    let model = tiny(|_| {});
    let base = ["check", "-m", path(&model), "--mesh", "4x3", "-c", "12"];
    let launches = |more: &[&str]| {
        let value = json_of(&[base.as_slice(), &["--json"], more].concat(), 0);
        assert_eq!((&value["verdict"], &value["cannot_deadlock"]), (&json!("strict"), &json!(true)));
        assert_eq!(value["prefill"]["refused"], Value::Null);
        let all = value["launches"].as_array().expect("launches").clone();
        for launch in &all {
            assert_eq!(launch["cannot_deadlock"], true, "{launch}");
            for field in ["colors", "shapes", "passes"] {
                assert!(launch[field].as_u64().is_some_and(|n| n > 0), "{field}: {launch}");
            }
            assert!(launch["arena"]["max"].as_u64() <= launch["arena"]["budget"].as_u64(), "{launch}");
        }
        let names = all.iter().map(|l| l["launch"].as_str().expect("a name").to_owned());
        (value["prefill"]["prompts"].clone(), names.collect::<Vec<_>>())
    };
    let (prompts, names) = launches(&["--chunk", "5"]);
    assert_eq!(prompts, json!([12, 6, 5, 1]), "full chunks and a ragged one, one more than a chunk, a chunk, one");
    let expect: Vec<String> = [(12, 5), (6, 5), (5, 5), (1, 1)]
        .iter()
        .flat_map(|(n, chunk)| [format!("prefill of {n}, {chunk} at once"), format!("decode from position {n}")])
        .filter(|name| name != "decode from position 12") // no position is left
        .collect();
    assert_eq!(names, expect);
    let (prompts, names) = launches(&["--prompt", "7", "--prefill-mesh", "2x5"]);
    assert_eq!((prompts, names.last().map(String::as_str)), (json!([7]), Some("decode from position 7")));
    assert!(names.iter().any(|name| name.starts_with("transition 1 of ")), "{names:?}");
    let text = stdout(&plummer(&base));
    assert!(text.contains("launch     prefill of 12, 12 at once: cannot deadlock; "), "{text}");
    assert!(text.ends_with("verdict    cannot deadlock on this shape, under any schedule\n"), "{text}");
    refused(&[base.as_slice(), &["--prompt", "13"]].concat(), "12 positions are checked");
}

/// The shell's limit on address space is lower than the whole arenas of this mesh.
#[cfg(target_os = "linux")]
#[test]
fn a_host_without_memory_for_the_arenas_is_told_so() {
    let run = format!(
        "ulimit -v 450000; exec {} generate -n 1 --workers 1 --arena full --mesh 96x100",
        env!("CARGO_BIN_EXE_plummer")
    );
    let out = std::process::Command::new("sh").args(["-c", &run]).output().expect("sh runs");
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("address space") && text.contains("worker 0"), "{text}");
}
