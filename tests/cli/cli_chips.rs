//! The built command and chips: presets, files, energy and cost.

use serde_json::{Value, json};

use crate::command::*;

#[test]
fn a_chip_file_is_a_preset_edited() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mine.toml");
    let to = file.to_str().expect("a UTF-8 path");
    let preset = stdout(&plummer(&["chips", "wse2"]));
    let run = |chip: &str| json_of(&["generate", "-n", "2", "--json", "--quiet", "--chip", chip], 0);
    std::fs::write(&file, preset.replace("name = \"wse2\"", "name = \"mine\"")).expect("a file");
    let (known, mine) = (run("wse2"), run(to));
    assert_eq!((&mine["chip"], &mine["cycles"]), (&json!("mine"), &known["cycles"]));
    std::fs::write(&file, preset.replace("alpha = 1\n", "alpha = 3\n")).expect("a file");
    let slower = run(to);
    assert_eq!((&slower["logits_sha256"], &slower["hops"]), (&known["logits_sha256"], &known["hops"]));
    assert!(slower["cycles"]["total"].as_u64() > known["cycles"]["total"].as_u64());
    for (old, new, says) in [
        ("alpha = 1\n", "alpha = 0\n", "mine.toml: chip `wse2`, field `alpha`: need 1 to 1000, found 0"),
        ("mac = 0.5\n", "mac = -0.5\n", "field `f16.mac`: need 0.000001 to 1000000, found -0.5"),
        ("mac = 0.5\n", "mac = 0.0\n", "field `f16.mac`: need 0.000001 to 1000000, found 0"),
        ("of = [\"power_watts\"]", "of = [\"volts\"]", "field `sources.of`: need a field of the chip, found `volts`"),
        ("reserved_bytes = 8192\n", "reserved_bytes = \"8K\"\n", "mine.toml"),
        ("ramp = 2\n", "ramp = 4000000000\n", "ramp"),
        ("power_watts = 15000.0", "power_watts = nan", "power_watts"),
        ("queue_wavelets = 8\n", "queue_wavelets = 4000000000\n", "queue_wavelets"),
        ("colors = 24\n", "", "colors"),
        ("alpha = 1\n", "alpha = 1\nbeta = 2\n", "beta"),
        ("colors = 24\n", "colors = 10\n", "colors"),
    ] {
        assert!(preset.contains(old), "{old}");
        std::fs::write(&file, preset.replace(old, new)).expect("a file");
        refused(&["generate", "--chip", to], says);
    }
}

#[test]
fn every_preset_prints_with_units_and_sources_reads_back_and_runs() {
    let listed = stdout(&plummer(&["chips"]));
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["wse2", "wse3", "wse3-sim", "dojo", "tenstorrent-blackhole", "bench"];
    assert_eq!(listed.lines().filter(|l| l.contains("unknown, assumed: ")).count(), names.len(), "{listed}");
    for name in names {
        let text = stdout(&plummer(&["chips", name]));
        assert!(listed.lines().any(|l| l == name) && text.contains("# cycles a hop\nalpha = "), "{name}");
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, text.replace(&format!("name = \"{name}\""), "name = \"mine\"")).expect("a file");
        let path = file.to_str().expect("a UTF-8 path");
        assert_eq!(stdout(&plummer(&["chips", path])).replace("\"mine\"", &format!("\"{name}\"")), text);
        let run = |chip: &str| json_of(&["generate", "-n", "2", "--json", "--quiet", "--chip", chip], 0);
        let (preset, mine) = (run(name), run(path));
        assert_eq!((&preset["cycles"], &preset["energy"]), (&mine["cycles"], &mine["energy"]), "{name}");
        for args in [vec!["inspect", "--chip", path], vec!["bench", "gemv", "--mesh", "4x4", "--chip", path]] {
            assert!(plummer(&args).status.success(), "{args:?}");
        }
    }
    refused(&["chips", "wse9"], "wse9");
}

#[test]
fn energy_is_power_times_time_and_a_price_gives_the_cost_of_a_token() {
    let args = ["generate", "-n", "3", "--json", "--quiet", "--temp", "0"];
    let value = json_of(&[&args[..], &["--price", "36"]].concat(), 0);
    let number = |path: &str| value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {value}"));
    let seconds = number("/cycles/total") / 1.1e9;
    let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} is not {b}");
    close(number("/energy/joules"), 15_000.0 * seconds);
    close(number("/energy/joules_per_token"), 15_000.0 * seconds / 3.0);
    close(number("/energy/cost_per_token"), 36.0 / 3600.0 * seconds / 3.0);
    let parts: f64 =
        ["sram", "router", "wire", "flop"].map(|part| number(&format!("/energy/events/{part}"))).iter().sum();
    close(number("/energy/events/joules"), parts);
    assert!(parts > 0.0 && parts < number("/energy/joules"), "{value}");
    assert!(json_of(&args, 0)["energy"]["cost"].is_null());
    refused(&["generate", "--price", "-1"], "price");
    refused(&["generate", "--dry", "--price", "x"], "--price");
    // Dry, the same: the whole model, one layer, a plan.
    let prompt = value["prompt_ids"].as_array().expect("ids").len().to_string();
    let dry = ["generate", "--dry", "--prompt-tokens", &prompt, "-n", "3", "--price", "36", "--json"];
    assert_eq!(json_of(&dry, 0)["energy"], value["energy"]);
    let layer = json_of(&[&dry[..], &["--one-layer", "--mesh", "6x4"]].concat(), 0);
    let plan = json_of(&["plan", "--prompt", "6", "--output", "3", "--price", "36", "--json"], 0);
    let token = layer["cycles_per_token"].as_f64().expect("cycles");
    close(layer["energy"]["cost_per_token"].as_f64().expect("a cost"), 36.0 / 3600.0 * token / 1.1e9);
    let best = &plan["results"][0]["best"];
    let planned = best["energy"]["cost_per_token"].as_f64().expect("a cost");
    close(planned, 36.0 / 3600.0 * best["seconds"].as_f64().expect("seconds") / 3.0);
    let text = stdout(&plummer(&["plan", "--prompt", "6", "--output", "3", "--price", "36"]));
    assert!(text.contains("a generated token at 36 a chip-hour"), "{text}");
}

#[test]
fn energies_of_events_are_called_assumed_where_they_are_borrowed() {
    for (chip, assumed) in [("wse2", false), ("dojo", true), ("tenstorrent-blackhole", true)] {
        let out = plummer(&["generate", "-n", "1", "--temp", "0", "--chip", chip]);
        assert_eq!(stderr(&out).contains("by events (assumed) "), assumed, "{}", stderr(&out));
        let value = json_of(&["generate", "-n", "1", "--temp", "0", "--chip", chip, "--json", "--quiet"], 0);
        assert_eq!(value["energy"]["events"]["assumed"], assumed);
        let listed = value["assumed"].as_array().expect("names");
        assert_eq!(listed.iter().any(|name| name.as_str().is_some_and(|n| n.starts_with("energy"))), assumed);
    }
}

/// Every command that takes a chip.
const COMMANDS: [&[&str]; 13] = [
    &["generate", "-n", "1", "--quiet"],
    &["generate", "--dry", "--prompt-tokens", "3", "-n", "1"],
    &["inspect"],
    &["check", "-c", "4", "--mesh", "6x5"],
    &["verify", "--tokens", "1", "--mesh", "6x5"],
    &["plan", "--prompt", "8", "--output", "8"],
    &["sweep", "--prompt", "8", "--output", "8", "--mesh", "12x12", "--vary", "ramp=2,3"],
    &["bench", "gemv", "--mesh", "4x4"],
    &["bench", "gemm", "--mesh", "4x4", "--size", "64x64x64"],
    &["bench", "relay", "--mesh", "4x4"],
    &["bench", "plmr", "--mesh", "4x4"],
    &["paper", "--table", "5"],
    &["accuracy", "--against", "wse2"],
];

#[test]
fn a_chip_file_works_in_every_command_and_a_bad_one_is_refused_in_every_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let preset = stdout(&plummer(&["chips", "wse2"])).replace("name = \"wse2\"", "name = \"mine\"");
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.to_str().expect("a UTF-8 path").to_owned()
    };
    let good = write("good.toml", &preset);
    let bad = [
        (
            write("range.toml", &preset.replace("ramp = 2\n", "ramp = 2000000\n")),
            "range.toml: chip `mine`, field `ramp`",
        ),
        (write("toml.toml", "cols = ["), "toml.toml"),
        (dir.path().join("absent.toml").to_str().expect("a UTF-8 path").to_owned(), "absent.toml"),
    ];
    for command in COMMANDS {
        // All of accuracy takes seconds: tests/cli/accuracy.rs runs it.
        if command[0] != "accuracy" {
            let out = plummer(&[command, &["--chip", &good]].concat());
            assert!(out.status.success(), "{command:?}: {}", stderr(&out));
        }
        for (file, says) in &bad {
            refused(&[command, &["--chip", file]].concat(), says);
        }
    }
}

#[test]
fn chips_and_completions_print() {
    let mut cases = vec![(vec!["chips"], "wse2")];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        cases.push((vec!["completions", shell], "kv-type"));
    }
    for (args, says) in cases {
        let out = plummer(&args);
        assert!(out.status.success() && stdout(&out).contains(says), "{args:?}");
    }
}

#[test]
fn chips_for_programs_are_the_fields_of_their_files() {
    let all = json_of(&["chips", "--json"], 0);
    let one = json_of(&["chips", "wse3", "--json"], 0);
    assert_eq!((one["name"].as_str(), one["colors"].as_u64()), (Some("wse3"), Some(24)));
    assert!(all.as_array().is_some_and(|all| all.len() > 4 && all.contains(&one)), "{all}");
}

#[test]
fn a_chip_with_few_colors_is_refused_by_all_that_plan() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("few.toml");
    let to = file.to_str().expect("a UTF-8 path");
    let preset = stdout(&plummer(&["chips", "wse2"]));
    let says = "routing resource exhaustion: plans provide 14 colors for a layer with trees of one level";
    for colors in [4, 15, 16] {
        std::fs::write(&file, preset.replace("colors = 24\n", &format!("colors = {colors}\n"))).expect("a file");
        refused(&["generate", "--auto", "-p", "hi", "--chip", to], says);
        for more in [&[][..], &["--prefill-mesh", "6x8"]] {
            let out = plummer(&[&["plan", "--chip", to], more].concat());
            assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
            let text = stdout(&out) + &stderr(&out);
            assert!(text.contains(says) && !text.contains("prefill mesh"), "{text}");
        }
        // What the refusal names.
        let one_row = ["generate", "-p", "hi", "-n", "1", "--quiet", "--k-tree", "1", "--mesh", "26x1", "--chip", to];
        assert_eq!(plummer(&one_row).status.code(), Some(if colors > 4 { 0 } else { 2 }), "{colors}");
    }
    let sweep = json_of(&["sweep", "--vary", "colors=16,24", "--json"], 0);
    let refused = |at: usize| sweep["points"][at]["refused"].as_str().unwrap_or_default().to_owned();
    assert!(refused(0).contains(says) && refused(1).is_empty(), "{sweep}");
}

#[test]
fn too_few_colors_for_the_mesh_that_is_chosen_are_refused_with_what_takes_fewer() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("few.toml");
    let to = file.to_str().expect("a UTF-8 path");
    let preset = stdout(&plummer(&["chips", "wse2"]));
    std::fs::write(&file, preset.replace("colors = 24\n", "colors = 17\n")).expect("a file");
    refused(&["generate", "-p", "hi", "-n", "2", "--chip", to], "a --mesh of fewer rows and a lower --k-tree");
    for less in [["--k-tree", "1"], ["--mesh", "26x1"]] {
        let out = plummer(&[&["generate", "-p", "hi", "-n", "2", "--quiet", "--chip", to], &less[..]].concat());
        assert_eq!(out.status.code(), Some(0), "{less:?}: {}", stderr(&out));
    }
}
