//! `plummer plan` and `plummer sweep`, driven as a user does, on small models and chips.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::*;

/// wse2 with another mesh, as a file.
fn chip(dir: &TempDir, cols: u32, rows: u32) -> String {
    let text = stdout(&plummer(&["chips", "wse2"]));
    let text = text.replace("cols = 750", &format!("cols = {cols}")).replace("rows = 994", &format!("rows = {rows}"));
    let text = text.replace("name = \"wse2\"", "name = \"small\"");
    assert!(text.contains(&format!("cols = {cols}")) && text.contains("\"small\""));
    let path: PathBuf = dir.path().join("small.toml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a UTF-8 path").to_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}

#[test]
fn a_plan_is_executed_drawn_and_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 60, 50);
    let svg = dir.path().join("plan.svg");
    let flags = ["plan", "--chip", &chip, "--prompt", "20", "--output", "10"];
    let plan = json_of(&[flags.as_slice(), &["--json", "--svg", svg.to_str().expect("UTF-8")]].concat(), 0);
    let reserved: Vec<_> = plan["results"].as_array().expect("results").iter().map(|r| &r["reserved_bytes"]).collect();
    assert_eq!(reserved, [8192, 26_624]);
    let best = &plan["results"][0]["best"];
    let mesh = format!("{}x{}", best["mesh"]["cols"], best["mesh"]["rows"]);
    let k_tree = best["k_tree"].to_string();
    // The layer is the one that a dry run of that mesh and those trees times.
    let mut dry = vec!["generate", "--dry", "--one-layer", "--chip", &chip, "--mesh", &mesh, "--k-tree", &k_tree];
    let groups = groups_of(best);
    if k_tree != "1" {
        dry.extend(["--groups", &groups]);
    }
    let dry = json_of(&[dry.as_slice(), &["-c", "30", "--prompt-tokens", "25", "-n", "1", "--json"]].concat(), 0);
    assert_eq!(dry["decode"][0]["cycles"], best["cycles"]["layer"], "{mesh}");
    let token = 4.0 * number(&best["cycles"]["layer"]) + number(&best["cycles"]["rest_closed_form"]);
    assert_eq!(number(&best["cycles"]["token"]), token);
    // As a real run has it, within the closed form of what is not a layer.
    let best_of_auto = {
        let flags = ["plan", "--chip", &chip, "--prompt", "9", "--output", "10", "--finalists", "3", "--json"];
        json_of(&flags, 0)["results"][0]["best"].clone()
    };
    let auto = ["generate", "--auto", "--temp", "0", "--chip", &chip, "-p", "ROMEO:\nWhat light", "-n", "10", "--json"];
    let auto = json_of(&auto, 0);
    assert_eq!(auto["mesh"]["cols"], best_of_auto["mesh"]["cols"]);
    assert!(auto["token_ids"].as_array().is_some_and(|ids| !ids.is_empty()));
    let ratio = number(&auto["cycles"]["per_token"]) / number(&best_of_auto["cycles"]["token"]);
    assert!((0.7..1.3).contains(&ratio), "{ratio}");
    // Shift holds as many times more positions as there are rows.
    let (shift, concat) = (number(&best["capacity"]["shift"]), number(&best["capacity"]["concat"]));
    assert_eq!(shift, concat * number(&best["mesh"]["rows"]));
    let drawing = std::fs::read_to_string(&svg).expect("the file is there");
    assert!(drawing.starts_with("<svg") && drawing.contains("head") && drawing.contains("layers 0.."));
    let text = stdout(&plummer(&flags));
    let needs = [
        "8 KiB of 48",
        "26 KiB of 48",
        "KV capacity",
        "executed",
        "#: head",
        "bubbles",
        "Ladder's",
        "by stage",
        "chosen       because --objective latency",
        "by events",
        "finalist 2",
        "under way",
    ];
    for need in needs {
        assert!(text.contains(need), "{need}: {text}");
    }
}

#[test]
fn objectives_order_what_they_are_called_and_say_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 60, 50);
    let best = |objective: &str| {
        let args = ["plan", "--chip", &chip, "--prompt", "16", "--output", "16", "--objective", objective];
        let plan = json_of(&[args.as_slice(), &["--finalists", "6", "--json"]].concat(), 0);
        plan["results"][0]["best"].clone()
    };
    let all = ["latency", "energy", "tokens"].map(best);
    let names = [("seconds", -1.0), ("joules_of_cores_in_use", -1.0), ("tokens_per_s", 1.0)];
    for (own, (name, sign)) in all.iter().zip(names) {
        let value = |b: &Value| sign * number(&b["by_objective"][name]);
        // Finalists are chosen by closed forms, which are within a hundredth here.
        assert!(all.iter().all(|other| value(own) >= value(other) - 0.01 * value(other).abs()), "{name}");
        assert!(own["chosen_because"].as_str().is_some_and(|why| why.contains("--objective")), "{own}");
    }
    let [latency, energy, tokens] = &all;
    assert!(latency["mesh"] != energy["mesh"] && tokens["mesh"] != latency["mesh"]);
    // What is ranked is what is reported.
    let seconds = number(&energy["seconds"]);
    let used = 15_000.0 * number(&energy["pes"]) / (60.0 * 50.0) * seconds;
    assert!((number(&energy["energy"]["joules_of_cores_in_use"]) / used - 1.0).abs() < 1e-9);
    assert!((number(&energy["energy"]["joules"]) / (15_000.0 * seconds) - 1.0).abs() < 1e-9);
    let every = number(&tokens["cycles"]["total"]) / number(&tokens["by_objective"]["requests_under_way"]);
    let every = every.max(number(&tokens["by_objective"]["slowest_region_cycles"]));
    let rate = number(&tokens["by_objective"]["copies"]) * 16.0 * 1.1e9 / every;
    assert!((number(&tokens["by_objective"]["tokens_per_s"]) / rate - 1.0).abs() < 1e-9, "{tokens}");
    // Events are a part of the power's energy, each kind of them some.
    let events = &energy["energy"]["events"];
    let kinds = ["sram", "router", "wire", "flop"].map(|kind| number(&events[kind]));
    assert!(kinds.iter().all(|j| *j > 0.0) && number(&events["of_power"]) < 1.0, "{events}");
    assert!((kinds.iter().sum::<f64>() / number(&events["joules"]) - 1.0).abs() < 1e-9, "{events}");
}

/// As `--groups` has them.
fn groups_of(best: &Value) -> String {
    let counts = |axis: &str| {
        let list = best["groups"][axis].as_array().expect("counts");
        list[..list.len() - 1].iter().map(Value::to_string).collect::<Vec<_>>().join(",")
    };
    ["y", "x", "head"].map(counts).join("/")
}

#[test]
fn latency_adds_what_a_token_waits_for_and_rate_is_that_of_the_slowest_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 60, 50);
    let args = ["plan", "--chip", &chip, "--prompt", "20", "--output", "10", "--mesh", "10x12", "--json"];
    let best = &json_of(&args, 0)["results"][0]["best"];
    let layer = number(&best["cycles"]["layer"]);
    let stages: Vec<f64> = best["layers_per_stage"].as_array().expect("stages").iter().map(number).collect();
    let most = stages.iter().copied().fold(0.0, f64::max);
    let (slowest, token) = (number(&best["cycles"]["slowest_stage"]), number(&best["cycles"]["token"]));
    // Hops of the ways between regions are no stage's work.
    let (all, rest) = (stages.iter().sum::<f64>() * layer, number(&best["cycles"]["rest_closed_form"]));
    assert_eq!(token, all + rest);
    assert!(slowest >= most * layer && slowest < token, "{slowest} {token}");
    // Of one token in flight: a region waits while the others work.
    let bubbles = number(&best["utilisation"]["bubbles"]);
    assert!(bubbles >= 1.0 - slowest / token - 1e-9 && bubbles < 1.0, "{bubbles} {slowest} {token}");
    let prefill = &best["prefill"];
    let waits = 1.0 - number(&prefill["slowest_stage"]) / number(&prefill["cycles"]);
    assert!((number(&prefill["bubbles"]) - waits).abs() < 1e-6, "{prefill}");
    for rivals in [&best["rivals"]["decode"], &best["rivals"]["prefill"]] {
        assert!(number(&rivals["over_t10"]) > 0.0 && number(&rivals["over_ladder"]) > 1.0, "{rivals}");
    }
}

#[test]
fn a_prompt_goes_the_way_that_is_fastest_and_on_the_mesh_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 60, 50);
    let plan = |more: &[&str]| {
        let args = ["plan", "--chip", &chip, "--prompt", "64", "--output", "4", "--json"];
        json_of(&[args.as_slice(), more].concat(), 0)["results"][0]["best"].clone()
    };
    let (free, apart) = (plan(&[]), plan(&["--mesh", "20x20", "--prefill-mesh", "12x12"]));
    assert_eq!((&apart["prefill"]["how"], &apart["prefill"]["mesh"]["cols"]), (&"mesh apart".into(), &12.into()));
    assert!(number(&apart["cycles"]["transition"]) > 0.0);
    assert!(number(&free["cycles"]["total"]) <= number(&apart["cycles"]["total"]));
    // The transition is the one that a run without payloads has.
    let mesh = |b: &Value| format!("{}x{}", b["mesh"]["cols"], b["mesh"]["rows"]);
    let (to, k_tree) = (mesh(&apart), apart["k_tree"].to_string());
    let groups = groups_of(&apart);
    let mut dry = vec!["generate", "--dry", "--chip", &chip, "--mesh", &to, "--prefill-mesh", "12x12", "-n", "1"];
    dry.extend(["--k-tree", &k_tree, "--prompt-tokens", "64", "-c", "68", "--json"]);
    if k_tree != "1" {
        dry.extend(["--groups", &groups]);
    }
    let dry = json_of(&dry, 0);
    assert_eq!(apart["prefill"]["transition_executed"], true);
    let (found, need) = (number(&apart["cycles"]["transition"]), number(&dry["cycles"]["by_phase"]["transition"]));
    assert!((found / need - 1.0).abs() < 0.02, "{found} {need}");
}

#[test]
fn a_mesh_that_cannot_hold_the_model_is_told_once_which_one_can() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 60, 50);
    let flags = ["plan", "--chip", &chip, "--prompt", "20", "--output", "10", "--mesh"];
    let ask = |mesh: &str, more: &[&str]| plummer(&[flags.as_slice(), &[mesh], more].concat());
    let out = ask("1x1", &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stdout(&out).is_empty(), "{}", stdout(&out));
    let text = stderr(&out);
    assert!(text.contains("--mesh ") && !text.contains("wafers (--wafers"), "{text}");
    assert_eq!(text.matches("8 KiB of 48").count(), 1, "{text}");
    // What it says does hold it.
    let result = &json_of(&[flags.as_slice(), &["1x1", "--json"]].concat(), 2)["results"][0];
    let nearest = format!("{}x{}", result["nearest_mesh"]["cols"], result["nearest_mesh"]["rows"]);
    assert!(result["wafers_needed"].is_null(), "{result}");
    assert_eq!(ask(&nearest, &[]).status.code(), Some(0), "{nearest}");
    let out = ask("61x4", &[]);
    let text = stderr(&out);
    assert_eq!((out.status.code(), text.matches("60x50").count()), (Some(2), 1), "{text}");
}

#[test]
fn a_prefill_mesh_that_cannot_be_is_answered_with_prefill_meshes_alone() {
    let out = plummer(&["plan", "--prompt", "20", "--output", "10", "--prefill-mesh", "1x1"]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2));
    assert!(text.contains("--prefill-mesh ") && text.contains("holds it"), "{text}");
    assert!(!text.contains("budget ") && !text.contains("layers fit"), "{text}");
    let near = text.split("--prefill-mesh ").nth(1).and_then(|t| t.split(' ').next()).expect("a mesh");
    let out = plummer(&["plan", "--prompt", "20", "--output", "10", "--prefill-mesh", near]);
    assert_eq!(out.status.code(), Some(0), "{near}: {}", stderr(&out));
    let out = plummer(&["plan", "--prefill-mesh", "4000x4"]);
    assert!(stderr(&out).contains("--prefill-mesh: mesh 4000x4"), "{}", stderr(&out));
    let out = plummer(&["plan", "--wafers", "2", "--prefill-mesh", "40x40"]);
    assert!(stderr(&out).contains("--wafers 2"), "{}", stderr(&out));
}

#[test]
fn a_model_that_fits_no_wafer_is_told_what_would() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 8, 8);
    let flags = ["plan", "--chip", &chip, "--prompt", "20", "--output", "10", "--json"];
    let plan = json_of(&flags, 2);
    let result = &plan["results"][0];
    assert!(result["error"].as_str().is_some_and(|e| e.contains("needs") || e.contains("take")), "{result}");
    let (wafers, layers) = (number(&result["wafers_needed"]), number(&result["layers_that_fit"]));
    assert!(wafers > 1.0 && layers < 4.0, "{result}");
    let wafers = wafers.to_string();
    let plan = json_of(&[flags.as_slice(), &["--wafers", &wafers]].concat(), 0);
    assert!(plan["results"][0]["best"].is_object());
    assert_eq!(number(&plan["wafer_us_assumed"]).round(), 10.0);
    let out = plummer(&["plan", "--chip", &chip, "--wafers", "9"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("4 layers"), "{}", stderr(&out));
}

#[test]
fn a_sweep_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let chip = chip(&dir, 40, 40);
    let kept = dir.path().join("points");
    let kept = kept.to_str().expect("UTF-8");
    let sweep = |values: &str, more: &[&str]| {
        let args = ["sweep", "--chip", &chip, "--prompt", "8", "--output", "8", "--vary", values, "--json"];
        json_of(&[args.as_slice(), more].concat(), 0)
    };
    let whole = sweep("alpha=1,2,9", &[]);
    let points = whole["points"].as_array().expect("points");
    let cycles: Vec<f64> = points.iter().map(|p| number(&p["token_cycles"])).collect();
    assert!(cycles[0] < cycles[1] && cycles[1] < cycles[2], "slower links make slower tokens: {cycles:?}");
    sweep("alpha=1,2", &["--resume", kept]);
    let text = std::fs::read_to_string(kept).expect("the file is there");
    assert_eq!(text.lines().count(), 2);
    // What is there is taken as it is.
    let marked = text.replace(&format!("\"token_cycles\":{}", cycles[0]), "\"token_cycles\":7");
    assert_ne!(marked, text);
    std::fs::write(kept, &marked).expect("a file");
    let resumed = sweep("alpha=1,2,9", &["--resume", kept]);
    assert_eq!(resumed["points"][0]["token_cycles"], 7);
    assert_eq!(resumed["points"].as_array().expect("points")[1..], points[1..]);
    assert_eq!(std::fs::read_to_string(kept).expect("the file").lines().count(), 3);
    // Another question does not use them.
    assert_ne!(sweep("ramp=1", &["--resume", kept])["points"][0]["token_cycles"], 7);
    let meshes = sweep("mesh=12,16x10,1", &[]);
    assert_eq!(meshes["points"][1]["mesh"], serde_json::json!([16, 10]));
    assert!(meshes["points"][2]["refused"].is_string(), "one core holds no layer");
    let point = &meshes["points"][1];
    for phase in ["decode", "prefill"] {
        assert!(number(&point["utilisation"][phase]["mac"]) > 0.0, "{point}");
        assert!(number(&point["rivals"][phase]["over_ladder"]) > 1.0, "{point}");
    }
}

#[test]
fn ctrl_c_keeps_the_finished_points() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("points");
    let values = (1..=40).map(|alpha| alpha.to_string()).collect::<Vec<_>>().join(",");
    let vary = format!("alpha={values}");
    let file = kept.to_str().expect("UTF-8");
    let mut child = spawn(&["sweep", "llama3-8b", "--mesh", "512x293", "--vary", &vary, "--resume", file]);
    let mut first = [0; 1];
    child.stdout.as_mut().expect("stdout").read_exact(&mut first).expect("the first point");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let out = child.wait_with_output().expect("the binary ends");
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let points = std::fs::read_to_string(&kept).expect("the file is there").lines().count();
    assert!((1..40).contains(&points), "{points} points");
    assert!(stderr(&out).contains(&format!("{} of 40 points are left", 40 - points)), "{}", stderr(&out));
}

#[test]
fn wrong_values_of_a_sweep_are_one_error_before_anything_runs() {
    for (vary, need) in [("alpha=1,0", "alpha"), ("nothing=1", "need mesh or one of alpha, "), ("mesh=4x", "COLSxROWS")]
    {
        let out = plummer(&["sweep", "--vary", vary]);
        assert_eq!(out.status.code(), Some(2), "{vary}");
        assert!(stdout(&out).is_empty() && stderr(&out).contains(need), "{vary}: {}", stderr(&out));
    }
}

#[test]
fn a_short_answer_is_planned_as_well_as_a_mesh_that_is_asked_for() {
    let total = |more: &[&str]| {
        let out = plummer(&[&["plan", "--prompt", "20", "--output", "1", "--json"], more].concat());
        let object: Value = serde_json::from_slice(&out.stdout).expect("one object");
        object["results"][0]["best"]["cycles"]["total"].as_u64().expect("cycles")
    };
    let (free, asked) = (total(&[]), total(&["--mesh", "64x39"]));
    assert!(free <= asked + asked / 50, "{free} by the plan, {asked} on 64x39");
}
