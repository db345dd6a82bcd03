//! The built command: flags that change nothing say so, advice in errors is true, and Ctrl-C leaves sums that agree.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::*;

#[test]
fn flags_without_effect_are_named_once() {
    let base = ["generate", "-p", "O", "-n", "1", "--mesh", "6x5"];
    for (more, says) in [
        (vec!["--seed", "3", "--top-k", "5"], "best token is taken; without effect: --seed, --top-k"),
        (vec!["--temp", "0", "--top-p", "0.5"], "without effect: --top-p"),
    ] {
        let text = stderr(&plummer(&[&base[..], &more].concat()));
        assert_eq!(text.lines().filter(|line| line.starts_with("warning: ")).count(), 1, "{text}");
        assert!(text.contains(says), "{text}");
    }
    for more in [vec!["--temp", "0.5", "--seed", "3", "--top-k", "5"], vec!["--seed", "3", "--quiet"]] {
        let text = stderr(&plummer(&[&base[..], &more].concat()));
        assert!(!text.contains("without effect"), "{text}");
    }
    let dry = ["generate", "--dry", "--prompt-tokens", "2", "-n", "2", "--mesh", "6x5", "--temp", "0.7", "--seed", "1"];
    let out = plummer(&dry);
    assert!(stderr(&out).contains("a dry run has no text") && out.status.success(), "{}", stderr(&out));
}

#[test]
fn more_stages_and_a_wider_head_change_the_mesh_and_cycles_and_no_bit() {
    let run = |more: &[&str]| -> Value {
        let args = ["generate", "-p", "O", "-n", "4", "--temp", "0", "--mesh", "16x16", "--json"];
        let out = plummer(&[&args[..], more].concat());
        assert!(out.status.success(), "{}", stderr(&out));
        serde_json::from_slice(&out.stdout).expect("one object")
    };
    let (least, spread) = (run(&[]), run(&["--stages", "1000", "--head-cols", "3"]));
    assert!(least["mesh"]["stages"].as_u64().expect("stages") < 4, "{}", least["mesh"]);
    let (stages, pes) = (4, 16 * (3 + 4 * 16)); // the model has four layers
    assert_eq!((&spread["mesh"]["stages"], &spread["mesh"]["pes"]), (&stages.into(), &pes.into()));
    assert_eq!((&least["token_ids"], &least["logits_sha256"]), (&spread["token_ids"], &spread["logits_sha256"]));
    assert_ne!(least["cycles"]["total"], spread["cycles"]["total"]);
}

#[test]
fn a_dry_run_beyond_the_trained_context_says_so() {
    let run = |tokens: &str| {
        let args = ["generate", "--dry", "--one-layer", "-m", "llama2-13b", "--mesh", "16x16", "-n", "1"];
        plummer(&[&args[..], &["--prefill", "token", "--prompt-tokens", tokens]].concat())
    };
    let long = run("5000");
    assert!(
        long.status.success() && stderr(&long).contains("5000 positions are timed; the model was trained for 4096")
    );
    assert_eq!(stderr(&run("4096")), "");
}

#[test]
fn group_counts_fit_their_lines_and_levels_or_are_refused() {
    for (more, says) in [
        (
            vec!["--groups", "3/3/1", "--k-tree", "3"],
            "--groups: 1 for each kind of line before the last, 1; --k-tree 3 needs 2",
        ),
        (vec!["--groups", "6/3/1"], "--groups: 6 groups along y of 5 at most (mesh 6x5, level 1)"),
        (vec!["--groups", "3/7/1"], "--groups: 7 groups along x of 6 at most (mesh 6x5, level 1)"),
        (vec!["--groups", "3/3/500"], "along x in the head of"),
        (
            vec!["--groups", "3,4/3,2/1,1", "--k-tree", "3"],
            "--groups: 4 groups along y of 3 at most (mesh 6x5, level 2)",
        ),
    ] {
        for kind in [&["-p", "O"][..], &["--dry", "--prompt-tokens", "2"]] {
            let args = [&["generate", "-n", "1", "--mesh", "6x5"], kind, &more].concat();
            refused(&args, says);
            assert_eq!(stderr(&plummer(&args)).lines().count(), 1, "no second sentence: {args:?}");
        }
    }
    let fits = ["generate", "-p", "O", "-n", "1", "--mesh", "6x5", "--groups", "5/6/1", "--quiet"];
    assert!(plummer(&fits).status.success());
}

#[test]
fn advice_is_true() {
    let text = stderr(&plummer(&["generate", "-n", "1", "--mesh", "1x1"]));
    assert!(text.contains("use more columns or rows; no -c fits") && !text.contains("smaller"), "{text}");
    let model = tiny(|_| {});
    let text = stderr(&plummer(&["generate", "-m", path(&model), "-p", "the", "-c", "4000", "--mesh", "1x1"]));
    let fit: u64 = text.split_whitespace().find_map(|word| word.parse().ok()).expect("how many fit");
    assert!(text.contains("smaller -c") && (1..4000).contains(&fit), "{text}");
    let fits = fit.to_string();
    assert!(
        plummer(&["generate", "-m", path(&model), "-p", "the", "-n", "1", "-c", &fits, "--mesh", "1x1"])
            .status
            .success()
    );
    for args in [
        vec!["generate", "-m", "llama3-8b", "-p", "x"],
        vec!["inspect", "llama3-8b"],
        vec!["verify", "-m", "qwen2-72b"],
    ] {
        refused(&args, "generate --dry --prompt-tokens N");
    }
}

#[test]
fn one_of_a_thing_is_no_plural() {
    let text =
        stderr(&plummer(&["generate", "-p", "O", "-n", "2", "--mesh", "20x20", "--workers", "1", "--chunk", "1"]));
    assert!(text.contains(" 1 worker,") && text.contains("cores a stage, 1 stage,"), "{text}");
    assert!(text.contains("1 position at once") && !text.contains(" 1 workers"), "{text}");
}

#[test]
fn a_trace_that_is_cut_says_by_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("t.json");
    for (prefill, events) in [("token", "1"), ("token", "100"), ("mesh", "1"), ("mesh", "100"), ("mesh", "3000")] {
        let base = ["generate", "-p", "O, my", "-n", "2", "--mesh", "6x5", "--prefill", prefill, "--quiet"];
        let to = file.to_str().expect("a UTF-8 path");
        let out = plummer(&[&base[..], &["--trace", to, "--trace-events", events]].concat());
        let trace: Value = serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");
        let cut = trace["otherData"]["events_cut"].as_u64().expect("a count");
        assert!(cut > 0, "{prefill} {events}");
        assert!(stderr(&out).contains(&format!("the trace is cut: {cut} events found no room")), "{}", stderr(&out));
        // What was recorded and what was not are at least the run: phases are cut before they are joined.
        let whole = plummer(&[&base[..], &["--trace", to, "--trace-events", "10000000"]].concat());
        assert_eq!(stderr(&whole), "");
        let all: Value = serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");
        let spans = |trace: &Value| {
            let events = trace["traceEvents"].as_array().expect("events").iter();
            events.filter(|e| e["ph"] == "X" || e["ph"] == "b").count() as u64
        };
        assert!(spans(&trace) + cut >= spans(&all), "{prefill} {events}: {} + {cut} of {}", spans(&trace), spans(&all));
    }
}

fn send_interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Waits until the process handles SIGINT.
#[cfg(target_os = "linux")]
fn listens(child: &Child) {
    let end = Instant::now() + Duration::from_secs(60);
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
        caught.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
    };
    while !handles() {
        assert!(Instant::now() < end, "no handler of SIGINT");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Phases are all cycles, and rates of the prompt are of the positions that passed.
fn sums_agree(run: &Value) {
    let number = |at: &str| run.pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("{at}: {run}"));
    let phases = run["cycles"]["by_phase"].as_object().expect("phases");
    assert_eq!(phases.values().filter_map(Value::as_f64).sum::<f64>(), number("/cycles/total"), "{run}");
    let (positions, cycles) = (number("/prefill/positions"), number("/prefill/cycles"));
    assert_eq!(cycles > 0.0, positions > 0.0, "{run}");
    assert!((number("/prefill/tpot_ms") * 1.1e6 * positions - cycles).abs() <= 1e-6 * cycles, "{run}");
    let prompt = run["prompt_ids"].as_array().expect("ids").len() as f64;
    assert!(positions <= prompt, "{run}");
    assert_eq!(run["ttft_ms"].is_null(), positions < prompt, "{run}");
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_before_the_first_pass_still_reports() {
    let mut command = command(&["generate", "-f", "-", "-n", "40", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    listens(&child);
    send_interrupt(&child);
    child.stdin.take().expect("stdin").write_all(b"ROMEO:\n").expect("a prompt");
    let out = child.wait_with_output().expect("the binary ends");
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let run: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!((run["stop"].as_str(), run["prefill"]["positions"].as_u64()), (Some("interrupt"), Some(0)));
    sums_agree(&run);
    assert!(stderr(&out).contains("interrupted: ends when it is ready to run"), "{}", stderr(&out));
}

#[test]
fn ctrl_c_within_a_prompt_leaves_sums_that_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let prompt = "To be, or not to be, that is the question: ".repeat(6);
    for (prefill, wait) in [("token", 0), ("token", 25), ("token", 90), ("mesh", 5)] {
        let file = dir.path().join(format!("{prefill}{wait}.npy"));
        let to = file.to_str().expect("a UTF-8 path");
        let args = ["generate", "-p", &prompt, "-n", "40", "--json", "--workers", "1", "--prefill", prefill];
        let child =
            spawn(&[&args[..], &["--chunk", "4", "--logits", to][if prefill == "token" { 2 } else { 0 }..]].concat());
        let end = Instant::now() + Duration::from_secs(120);
        // The unfinished logits file is there when the wafer is about to run.
        while std::fs::read_dir(dir.path())
            .expect("a directory")
            .filter_map(Result::ok)
            .all(|f| !f.file_name().to_string_lossy().starts_with(&format!("{prefill}{wait}")))
        {
            assert!(Instant::now() < end, "the run does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        send_interrupt(&child);
        let out = child.wait_with_output().expect("the binary ends");
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let run: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
        assert!(run["stop"] == "interrupt" || run["stop"] == "length", "{run}");
        sums_agree(&run);
        assert_eq!(run["prefill"]["mode"], prefill);
    }
}

/// Whether the second one ends the process or comes too late for that.
#[test]
fn a_second_ctrl_c_leaves_no_part_of_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = || -> Vec<String> {
        let files = std::fs::read_dir(dir.path()).expect("a directory").filter_map(Result::ok);
        files.map(|f| f.file_name().to_string_lossy().into_owned()).collect()
    };
    let logits = dir.path().join("l.npy").display().to_string();
    let prompt = "To be, or not to be, that is the question: ".repeat(6);
    let args = ["generate", "-p", &prompt, "-n", "40", "--workers", "1", "--prefill", "mesh", "--logits", &logits];
    let child = spawn(&args);
    let end = Instant::now() + Duration::from_secs(120);
    while names().is_empty() {
        assert!(Instant::now() < end, "the run does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    send_interrupt(&child);
    send_interrupt(&child);
    let out = child.wait_with_output().expect("the binary ends");
    assert!(matches!(out.status.code(), Some(0 | 130)), "{}", stderr(&out));
    assert!(names().iter().all(|name| name == "l.npy"), "{:?}", names());
}

#[test]
fn a_number_below_zero_is_refused_with_its_flag() {
    for (command, flag) in [
        ("generate", "--workers"),
        ("generate", "--k-tree"),
        ("generate", "--stages"),
        ("generate", "--temp"),
        ("plan", "--prompt"),
        ("check", "--prompt"),
    ] {
        let out = plummer(&[command, flag, "-1"]);
        assert_eq!(out.status.code(), Some(2), "{command} {flag}");
        let text = stderr(&out);
        assert!(text.contains("'-1'") && text.contains(flag) && !text.contains("unexpected"), "{command}: {text}");
    }
}
