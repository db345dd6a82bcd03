//! `plummer bench` as a user types it: fields, refusals in rows, and refusals before any row.

use serde_json::Value;

use crate::command::*;

#[test]
fn bench_gemv_rows_have_every_field_and_a_dry_run_gives_the_same() {
    let args = ["bench", "gemv", "--algo", "meshgemv,pipeline,ring", "--mesh", "4x4,3x9", "--size", "50x31", "--json"];
    for numerics in ["default", "paper"] {
        let wet = json_of(&[&args[..], &["--numerics", numerics]].concat(), 0);
        let dry = json_of(&[&args[..], &["--numerics", numerics, "--dry", "--workers", "2"]].concat(), 0);
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
fn bench_refuses_a_tile_of_more_than_32_bits_in_the_row() {
    for (kernel, algo, size) in
        [("gemm", "meshgemm", "1048576x1048576x1048576"), ("gemv", "meshgemv", "1048576x1048576")]
    {
        let value = json_of(&["bench", kernel, "--algo", algo, "--size", size, "--json"], 2);
        let row = &value["rows"][0];
        assert!(row["refused"].as_str().is_some_and(|r| r.contains("over budget")), "{row}");
        assert_eq!(value["chip"], "wse2");
    }
}

#[test]
fn bench_of_which_every_row_is_refused_is_an_error_and_of_which_some_are_is_none() {
    let gemm = ["bench", "gemm", "--size", "512x512x512", "--dry"];
    for (flags, code) in [
        (["--algo", "meshgemm,summa", "--mesh", "4x4,6x6"], 2),
        (["--algo", "allgather,summa", "--mesh", "4x4"], 2),
        (["--algo", "meshgemm", "--mesh", "4x4,16x16"], 0),
    ] {
        let out = plummer(&[&gemm[..], &flags].concat());
        let (text, error) = (stdout(&out), stderr(&out));
        assert_eq!(out.status.code(), Some(code), "{flags:?}: {text}{error}");
        assert!(text.contains("refused: "), "the row says why: {text}");
        assert_eq!(error.contains("every row is refused") && error.contains("over budget"), code == 2, "{error}");
    }
    let relay = ["bench", "relay", "--mesh", "4x4", "--tile", "1000x1000x1000", "--json"];
    assert!(json_of(&relay, 2)["rows"][3]["refused"].is_string());
}

#[test]
fn bench_prints_no_head_above_an_error_in_its_flags() {
    for (args, says) in [
        (vec!["bench", "relay", "--numerics", "default"], "need --numerics paper"),
        (vec!["bench", "relay", "--mesh", "4x5"], "as many rows"),
        (vec!["bench", "gemm", "--mesh", "2x2,4x4", "--trace", "x.json"], "one --mesh"),
        (vec!["bench", "gemv", "--mesh", "2x2,4x4", "--links", "x.csv"], "one --mesh"),
    ] {
        refused(&args, says);
    }
}

#[test]
fn bench_gemv_refuses_what_the_chip_cannot_hold_and_says_so_in_the_row() {
    let value =
        json_of(&["bench", "gemv", "--algo", "pipeline", "--mesh", "1x1", "--size", "1000x1000", "--dry", "--json"], 2);
    let row = &value["rows"][0];
    assert!(row["refused"].as_str().is_some_and(|r| r.contains("over budget")), "{row}");
    assert!(row["cycles"].is_null() && row["arena_peak"].as_u64() > Some(49_152), "{row}");
    for (args, says) in [
        (["bench", "gemv", "--algo", "cannon"], "meshgemv"),
        (["bench", "gemv", "--size", "5"], "MxN"),
        (["bench", "gemv", "--mesh", "0x4"], "COLSxROWS"),
        (["bench", "gemv", "--mesh", "1000x1000"], "750x994"),
        (["bench", "gemv", "--mesh", "4294967295x3"], "750x994"),
        (["bench", "gemv", "--workers", "65"], "1..=64"),
    ] {
        let out = plummer(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(says), "{args:?}");
    }
}
