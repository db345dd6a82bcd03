//! The built command, driven as a user would.

use std::process::{Command, Output};

use serde_json::Value;

fn plummer(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_plummer")).args(args).output().expect("the binary runs")
}

fn json(args: &[&str]) -> Value {
    let out = plummer(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

#[test]
fn wrong_usage_exits_2_and_says_why() {
    for (args, says) in [
        (vec!["generate", "--mesh", "4"], "COLSxROWS"),
        (vec!["generate", "--temp=-1"], "--temp"),
        (vec!["generate", "-p", "a", "-f", "b"], "cannot be used with"),
        (vec!["generate", "-f", "no/such/file"], "no/such/file"),
        (vec!["generate", "-m", "no/such/model", "-p", "x"], "no/such/model"),
        (vec!["generate", "--chip", "wse9"], "wse9"),
        (vec!["generate", "-p", ""], "prompt is empty"),
        (vec!["generate", "-c", "2", "-p", "To be, or not to be, that is the question"], "the context has 2"),
        (vec!["generate", "-c", "100000"], "256 positions"),
        (vec!["generate", "--chat", "-p", "x"], "--chat"),
        (vec!["nonsense"], "nonsense"),
    ] {
        let out = plummer(&args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?} should say {says}: {stderr}");
        assert!(out.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn json_has_every_field_and_does_not_depend_on_workers() {
    let run = |workers| json(&["generate", "-n", "8", "--json", "--quiet", "--workers", workers]);
    let (one, two) = (run("1"), run("2"));
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
        "/tpr",
        "/tpot_ms",
        "/host/tokens_per_s",
        "/host/message_hops_per_s",
        "/host/seconds_load",
    ] {
        assert!(one.pointer(path).is_some_and(|v| !v.is_null()), "{path} is missing: {one}");
    }
    assert_eq!(one["stop"], "length");
    for field in ["token_ids", "text", "logits_sha256", "cycles", "hops", "wavelets", "arena", "colors_max"] {
        assert_eq!(one[field], two[field], "{field}");
    }
}

#[test]
fn full_context_exits_2_after_valid_json() {
    let out = plummer(&["generate", "-p", "ROMEO:\n", "-c", "10", "-n", "50", "--json", "--quiet"]);
    assert_eq!(out.status.code(), Some(2));
    let value: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!(value["stop"], "context");
}

#[test]
fn chips_and_completions_print() {
    for (args, says) in [(vec!["chips"], "wse2"), (vec!["completions", "bash"], "generate")] {
        let out = plummer(&args);
        assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains(says), "{args:?}");
    }
}

#[test]
fn bench_gemv_rows_have_every_field_and_a_dry_run_gives_the_same() {
    let args = ["bench", "gemv", "--algo", "meshgemv,pipeline,ring", "--mesh", "4x4,3x9", "--size", "50x31", "--json"];
    for numerics in ["default", "paper"] {
        let wet = json(&[&args[..], &["--numerics", numerics]].concat());
        let dry = json(&[&args[..], &["--numerics", numerics, "--dry", "--workers", "2"]].concat());
        let (wet, dry) = (wet["rows"].as_array().unwrap(), dry["rows"].as_array().unwrap());
        assert_eq!((wet.len(), dry.len()), (6, 6));
        for (wet, dry) in wet.iter().zip(dry) {
            let fields = "algo mesh size numerics colors_per_core longest_hop depth arena_peak wavelets cycles \
                          compute_cycles comm_cycles closed_form_cycles";
            for field in fields.split_whitespace() {
                assert!(!wet[field].is_null() && wet[field] == dry[field], "{field}: {wet} {dry}");
            }
            assert!(wet["host_seconds"].is_f64() && wet["refused"].is_null(), "{wet}");
            assert_eq!((&wet["size"], &wet["numerics"]), (&Value::from("50x31"), &Value::from(numerics)));
            assert_eq!(wet["cycles"], wet["closed_form_cycles"], "{wet}");
        }
    }
}

#[test]
fn bench_gemv_refuses_what_the_chip_cannot_hold_and_says_so_in_the_row() {
    let value =
        json(&["bench", "gemv", "--algo", "pipeline", "--mesh", "1x1", "--size", "1000x1000", "--dry", "--json"]);
    let row = &value["rows"][0];
    assert!(row["refused"].as_str().is_some_and(|r| r.contains("over budget")), "{row}");
    assert!(row["cycles"].is_null() && row["arena_peak"].as_u64() > Some(49_152), "{row}");
    for (args, says) in [
        (["bench", "gemv", "--algo", "cannon"], "meshgemv"),
        (["bench", "gemv", "--size", "5"], "MxN"),
        (["bench", "gemv", "--mesh", "0x4"], "COLSxROWS"),
    ] {
        let out = plummer(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(says), "{args:?}");
    }
}
