//! A dry run needs sizes alone and gives the cycles and counters of the run with weights; a layer timed alone is the
//! layer of the whole model.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::*;

/// config.json of the embedded model after an edit, in a directory of its own.
fn config_dir(edit: impl FnOnce(&mut Value)) -> TempDir {
    let text = include_str!("../../weights/config.json");
    let mut config: Value = serde_json::from_str(text).expect("JSON");
    edit(&mut config);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("a file");
    dir
}

#[test]
fn dry_is_wet_on_the_embedded_model_token_by_token_and_in_chunks() {
    for (mesh, prefill, kv) in [("6x5", "token", "shift"), ("12x12", "mesh", "shift"), ("6x6", "token", "concat")] {
        let flags = ["--mesh", mesh, "--prefill", prefill, "--kv", kv, "-n", "7", "--workers", "2", "--json"];
        let wet = [&["generate", "-p", "KING RICHARD:\nMy lord", "--temp", "0"], flags.as_slice()].concat();
        let wet = json_of(&wet, 0);
        assert_eq!(wet["cycles"]["generated_steps"], 7, "{mesh}: the comparison needs all steps");
        let prompt = wet["prompt_ids"].as_array().expect("ids").len().to_string();
        let dry = json_of(&[&["generate", "--dry", "--prompt-tokens", &prompt], flags.as_slice()].concat(), 0);
        let dir = config_dir(|_| {});
        let alone = ["generate", "--dry", "-m", path(&dir), "--prompt-tokens", &prompt];
        let alone = json_of(&[&alone, flags.as_slice()].concat(), 0);
        for dry in [&dry, &alone] {
            let of_chip = ["hops", "wavelets", "arena", "colors_max", "chip", "tpr", "numerics"];
            for field in of_chip.into_iter().chain(["energy", "utilisation", "rivals"]) {
                assert_eq!(dry[field], wet[field], "{mesh} {prefill} {kv}: {field}");
            }
            for field in ["total", "prompt", "per_token", "by_phase", "by_part"] {
                assert_eq!(dry["cycles"][field], wet["cycles"][field], "{mesh} {prefill} {kv}: cycles {field}");
            }
            assert_eq!(dry["prefill"]["chunk"], wet["prefill"]["chunk"], "{mesh} {prefill}");
        }
    }
}

#[test]
fn a_layer_timed_alone_is_what_one_layer_more_adds_to_the_whole_model() {
    let flags = |n| ["--mesh", "9x8", "--prompt-tokens", "6", "-n", n, "-c", "8", "--json"];
    // The pass at position 7: what a third step adds to two.
    let token = |layers: u32| {
        let dir = config_dir(|c| c["num_hidden_layers"] = json!(layers));
        let total = |n| {
            let run = json_of(&[&["generate", "--dry", "-m", path(&dir)], flags(n).as_slice()].concat(), 0);
            assert_eq!(run["mesh"]["stages"], 1, "{layers} layers in one stage");
            run["cycles"]["total"].as_u64().expect("a number")
        };
        total("3") - total("2")
    };
    let alone = ["generate", "--dry", "--one-layer", "--mesh", "9x8", "--prompt-tokens", "7", "-n", "1", "-c", "8"];
    let alone = json_of(&[alone.as_slice(), &["--json"]].concat(), 0);
    let layer = &alone["decode"][0];
    assert_eq!((layer["position"].as_u64(), alone["layers"].as_u64()), (Some(7), Some(4)));
    let (three, two) = (token(3), token(2));
    assert_eq!(layer["cycles"].as_u64(), Some(three - two));
    let by_phase: u64 = layer["by_phase"].as_object().expect("phases").values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(by_phase), layer["cycles"].as_u64(), "phases sum to the layer");
}

#[test]
fn a_layer_of_a_prefill_counts_every_chunk() {
    let layer = |tokens: &str| {
        let args =
            ["generate", "--dry", "--one-layer", "--mesh", "9x8", "--prompt-tokens", tokens, "-n", "1", "--json"];
        json_of(&args, 0)["prefill"].clone()
    };
    let (short, long) = (layer("300"), layer("900"));
    let cycles = |l: &Value| l["cycles"].as_u64().expect("cycles");
    assert!(cycles(&long) > 3 * cycles(&short), "three times the positions, and longer rows of scores");
    for l in [&short, &long] {
        let share = |name: &str| l["utilisation"][name].as_f64().expect("a share");
        assert!(share("mac") < share("busy") && share("busy") < 1.0, "{l}");
    }
}

/// Names of all fields, and of what they hold.
fn fields(value: &Value, at: &str, all: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    for (name, value) in object {
        let at = format!("{at}.{name}");
        if name == "rivals" {
            continue; // null where the skeleton's tiles do not fit
        }
        if name == "by_part" {
            all.push(at); // null where a prompt is timed in lockstep
            continue;
        }
        fields(value.get(0).unwrap_or(value), &at, all);
        all.push(at);
    }
}

#[test]
fn a_layer_in_lockstep_says_what_an_executed_one_says() {
    let run = |mesh: &str, more: &[&str]| {
        let args = ["generate", "--dry", "--one-layer", "-m", "llama3-8b", "--prompt-tokens", "64", "-n", "3"];
        plummer(&[args.as_slice(), &["--mesh", mesh], more].concat())
    };
    let said = |mesh| {
        let out = run(mesh, &["--json"]);
        let out: Value = serde_json::from_slice(&out.stdout).expect("one object");
        let executed = [&out["decode"][0], &out["decode"][1], &out["prefill"]].map(|t| t["executed"].as_bool());
        let mut all = Vec::new();
        fields(&out, "", &mut all);
        (executed, all)
    };
    // 25,600 cores are more than are executed.
    let (executed, timed) = (said("16x20"), said("160x160"));
    assert_eq!((executed.0, timed.0), ([Some(true); 3], [Some(false); 3]));
    assert_eq!(executed.1, timed.1);
    assert!(executed.1.iter().any(|name| name == ".decode.pass.depth"), "{:?}", executed.1);
    let rows = |mesh| {
        let text = stdout(&run(mesh, &[]));
        // Rows without a name; without numbers, and without how it was timed and compared.
        let line = |l: &str| l.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let is_row = |l: &&str| l.starts_with("             ");
        let is_same = |l: &&str| !l.contains("executed") && !l.contains("WaferLLM");
        text.lines().filter(is_row).filter(is_same).map(line).collect::<Vec<_>>()
    };
    assert_eq!(rows("16x20"), rows("160x160"));
}

#[test]
fn built_in_models_are_timed_and_what_no_wafer_holds_is_said() {
    let flags = ["--prompt-tokens", "64", "-n", "4", "--json"];
    let one = |model: &str, mesh: &str| {
        let args = ["generate", "--dry", "--one-layer", "-m", model, "--mesh", mesh];
        json_of(&[&args, flags.as_slice()].concat(), 0)
    };
    for (model, layers, fits) in [("llama3-8b", 32, false), ("qwen2-72b", 80, false)] {
        let run = one(model, "40x40");
        assert_eq!(run["layers"], layers);
        assert!(run["arena"]["need"].as_u64() > run["arena"]["budget"].as_u64(), "{model}: 1600 cores are too few");
        assert_eq!(run["whole_model"].is_null(), fits);
        let cycles = run["cycles_per_token"].as_f64().expect("a number");
        assert!((run["tpr"].as_f64().expect("a number") * cycles / 1.1e9 - 1.0).abs() < 1e-9);
        let u = &run["decode"][0]["utilisation"];
        let share = |name: &str| u[name].as_f64().expect("a share");
        assert!(share("mac") > share("mac_of_chip") && share("busy") > share("mac") && share("busy") < 1.0, "{u}");
    }
    let whole = plummer(&[["generate", "--dry", "-m", "qwen2-72b"].as_slice(), &flags[..4]].concat());
    assert_eq!(whole.status.code(), Some(2));
    let text = stderr(&whole);
    assert!(text.contains("--one-layer") && text.contains("no mesh holds"), "{text}");
}

#[test]
fn wrong_flags_of_a_dry_run_are_one_error() {
    for (args, need) in [
        (["-m", "llama4-1b", "--prompt-tokens", "3", "-n", "1"], "llama3-8b"),
        (["-m", "llama3-8b", "--prompt-tokens", "0", "-n", "1"], "at least 1"),
        (["-m", "llama3-8b", "-p", "text", "-n", "1"], "llama3-8b"),
    ] {
        let out = plummer(&[["generate", "--dry"].as_slice(), &args].concat());
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.lines().count() == 1 && text.contains(need), "{args:?}: {text}");
    }
}
