//! The built command: no output takes the place of an input or of another output, and commands agree on what a model
//! is, how long it may run and on how many cores.

use std::fs;

use serde_json::Value;

use crate::command::*;

#[test]
fn an_output_that_has_the_name_of_an_input_or_of_another_output_is_refused_before_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (prompt, csv, chip) = (at("prompt.txt"), at("m.csv"), at("chip.toml"));
    fs::write(&prompt, "The king said").expect("written");
    fs::write(&chip, stdout(&plummer(&["chips", "wse2"]))).expect("written");
    let (model, weights) = (at("model"), concat!(env!("CARGO_MANIFEST_DIR"), "/weights/"));
    fs::create_dir(&model).expect("a directory");
    for name in ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(format!("{weights}{name}"), format!("{model}/{name}")).expect("copied");
    }
    let (tokenizer, tensors) = (format!("{model}/tokenizer.json"), format!("{model}/model.safetensors"));
    let generate = ["generate", "-n", "1", "--mesh", "6x5"];
    let bench = ["bench", "gemm", "--algo", "meshgemm", "--mesh", "4x4"];
    for (command, more) in [
        (&generate[..], vec!["-f", &prompt, "--trace", &prompt]),
        (&generate[..], vec!["-p", "O", "--chip", &chip, "--logits", &chip]),
        (&generate[..], vec!["-p", "O", "--map", &csv, "--links", &csv]),
        (&generate[..], vec!["-p", "O", "-m", &tensors, "--logits", &tokenizer]),
        (&generate[..], vec!["-p", "O", "-m", &model, "--trace", &tensors]),
        (&bench[..], vec!["--map", &csv, "--links", &csv]),
        (&["paper", "--table", "2"][..], vec!["--html", &csv, "--resume", &csv]),
    ] {
        let out = plummer(&[command, &more].concat());
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", stderr(&out));
        assert!(stdout(&out).is_empty() && stderr(&out).contains("name"), "{more:?}: {}", stderr(&out));
        let found: Vec<_> = fs::read_dir(dir.path()).expect("a directory").flatten().map(|f| f.file_name()).collect();
        assert_eq!(found.len(), 3, "{more:?} left {found:?}");
    }
    assert_eq!(fs::read_to_string(&prompt).expect("kept"), "The king said");
    let kept = |path: &str| fs::metadata(path).expect("kept").len();
    assert_eq!(kept(&tokenizer), kept(&format!("{weights}tokenizer.json")));
    let beside = format!("{model}/tokenizer_logits.npy");
    for _twice in 0..2 {
        let out = plummer(&[&generate[..], &["-p", "O", "-m", &model, "--logits", &beside]].concat());
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    }
}

#[test]
fn a_sweep_of_which_nothing_fits_is_an_error() {
    for more in [&[][..], &["--json"]] {
        let out = plummer(&[&["sweep", "qwen2-72b", "--vary", "alpha=1,2"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        assert!(stderr(&out).contains("every point is refused; the first: "), "{}", stderr(&out));
    }
    let out = plummer(&["sweep", "--vary", "mesh=10", "--mesh", "5x5"]);
    assert!(out.status.code() == Some(2) && stderr(&out).contains("--vary mesh"), "{}", stderr(&out));
    let out = plummer(&["sweep", "--vary", "nosuch=1"]);
    assert!(stderr(&out).contains("--vary nosuch") && stderr(&out).contains("f32.mac"), "{}", stderr(&out));
}

#[test]
fn check_takes_sizes_and_agrees_with_inspect_on_cores_and_context() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/config.json");
    let object = |args: &[&str]| -> Value {
        let out = plummer(args);
        assert_eq!(out.status.code(), Some(0), "{args:?}: {}", stderr(&out));
        serde_json::from_slice(&out.stdout).expect("one object")
    };
    // A small wafer, where a stage turns back: some cores only route.
    let (dir, preset) = (tempfile::tempdir().expect("a directory"), stdout(&plummer(&["chips", "wse2"])));
    let chip = dir.path().join("small.toml").display().to_string();
    fs::write(&chip, preset.replace("cols = 750", "cols = 20").replace("rows = 994", "rows = 10")).expect("written");
    let base = ["--chip", &chip, "-c", "3", "--json"];
    let checked = object(&[&["check", "-m", model], &base[..]].concat());
    assert_eq!(checked["mesh"], object(&[&["check"], &base[..]].concat())["mesh"]);
    assert_eq!(checked["mesh"]["pes"], object(&[&["inspect"], &base[..]].concat())["mesh"]["pes"]);
    // A configuration that does not say whether the head is tied: the tensors do.
    let (weights, silent) = (concat!(env!("CARGO_MANIFEST_DIR"), "/weights/"), dir.path().join("silent"));
    fs::create_dir(&silent).expect("a directory");
    for name in ["generation_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(format!("{weights}{name}"), silent.join(name)).expect("copied");
    }
    let config = fs::read_to_string(format!("{weights}config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config.as_object_mut().expect("an object").remove("tie_word_embeddings").expect("said in weights/");
    fs::write(silent.join("config.json"), config.to_string()).expect("written");
    let silent = silent.display().to_string();
    assert_eq!(object(&[&["check", "-m", &silent], &base[..]].concat())["mesh"], checked["mesh"]);
    let dry =
        |model: &[&str]| object(&[&["generate", "--dry", "--prompt-tokens", "2", "-n", "2"], model, &base].concat());
    assert_eq!(dry(&["-m", &silent])["mesh"], dry(&[])["mesh"]);
    let out = plummer(&["check", "-c", "257"]);
    assert!(stderr(&out).contains("-c 257: the model was trained for 256 positions"), "{}", stderr(&out));
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn verify_says_what_it_compared() {
    let args = ["verify", "--tokens", "1", "--mesh", "6x5"];
    let out = plummer(&args);
    let head = stdout(&out).lines().next().unwrap_or_default().to_owned();
    assert!(head.starts_with("embedded model on wse2: 6x5 cores a stage, "), "{head}");
    let json: Value = serde_json::from_slice(&plummer(&[&args[..], &["--json"]].concat()).stdout).expect("one object");
    assert_eq!((&json["chip"], &json["mesh"]["cols"], &json["mesh"]["rows"]), (&"wse2".into(), &6.into(), &5.into()));
}

#[test]
fn numbers_below_what_a_flag_takes_are_named() {
    for (flag, value) in [("-n", "-1"), ("--top-k", "-1"), ("--stages", "0"), ("--head-cols", "0")] {
        let out = plummer(&["generate", "-p", "O", flag, value]);
        assert_eq!(out.status.code(), Some(2), "{flag}");
        let text = stderr(&out);
        assert!(text.contains("invalid value") && text.contains(value), "{flag}: {text}");
    }
}

#[test]
fn a_model_is_named_by_place_or_by_flag() {
    let nowhere = "no/such/model";
    for command in [
        &["generate", "-p", "O"][..],
        &["generate", "--dry", "--prompt-tokens", "2"],
        &["inspect"],
        &["check"],
        &["verify"],
        &["plan"],
        &["sweep", "--vary", "alpha=1"],
    ] {
        let with = |model: &[&str]| plummer(&[command, model].concat());
        for model in [&[nowhere][..], &["-m", nowhere], &["--model", nowhere]] {
            let out = with(model);
            assert_eq!(out.status.code(), Some(2), "{command:?} {model:?}");
            assert!(stderr(&out).contains(nowhere), "{command:?} {model:?}: {}", stderr(&out));
        }
        let both = with(&[nowhere, "-m", nowhere]);
        assert_eq!(both.status.code(), Some(2), "{command:?}");
        assert!(stderr(&both).contains("cannot be used with"), "{command:?}: {}", stderr(&both));
    }
    let out = plummer(&["generate", "hello"]);
    assert!(stderr(&out).contains("hello") && stderr(&out).contains("a prompt goes behind -p"), "{}", stderr(&out));
    let [placed, named] = [&["generate", "llama3-8b"][..], &["generate", "-m", "llama3-8b"]].map(plummer);
    assert_eq!(stderr(&placed), stderr(&named), "what takes sizes alone");
    assert_eq!(stdout(&plummer(&["inspect", "weights"])), stdout(&plummer(&["inspect", "-m", "weights"])));
}

#[test]
fn a_plan_beyond_what_the_model_was_trained_for_says_so() {
    let run = |output| plummer(&["plan", "--mesh", "6x5", "--prompt", "128", "--output", output]);
    assert!(stderr(&run("130")).contains("note: 257 positions, the model was trained for 256"));
    assert_eq!(stderr(&run("129")), "");
}

#[test]
fn what_was_asked_beyond_what_there_can_be_is_said() {
    let run = |flags: &[&str]| plummer(&[&["generate", "-p", "ROMEO:", "-n", "1", "--mesh", "6x5"], flags].concat());
    let out = run(&["--stages", "9", "--chunk", "99"]);
    assert!(stderr(&out).contains("more than there can be: --stages 9 (4 in use), --chunk 99 ("), "{}", stderr(&out));
    assert!(!stderr(&run(&["--stages", "4", "--chunk", "2"])).contains("more than"));
}

#[test]
fn groups_that_a_column_does_not_have_are_named() {
    let run = |algo| plummer(&["bench", "gemv", "--mesh", "4x8", "--size", "64x64", "--dry", "--algo", algo]);
    for (algo, why) in [
        ("ktree:9", "level 1 of a column of 8 has 8 members, found 9 groups"),
        ("ktree:4:5", "level 2 of a column of 8 has 4 members, found 5 groups"),
    ] {
        let out = run(algo);
        assert_eq!(out.status.code(), Some(2), "{algo}");
        assert!(stderr(&out).contains(why), "{algo}: {}", stderr(&out));
    }
    assert_eq!(run("ktree:8:4").status.code(), Some(0));
    // A row like any other that a mesh refuses, where another mesh has them.
    let out =
        plummer(&["bench", "gemv", "--mesh", "4x8,4x16", "--size", "64x64", "--dry", "--algo", "ktree:9", "--json"]);
    let rows: Value = serde_json::from_slice(&out.stdout).expect("one object");
    let refused = |at: usize| rows["rows"][at]["refused"].as_str().unwrap_or_default().to_owned();
    assert!(refused(0).contains("has 8 members, found 9 groups") && refused(1).is_empty(), "{rows}");
}
