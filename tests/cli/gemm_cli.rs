//! `plummer bench gemm` as a user types it: one row a run, refusals as rows, a checked result.

use std::process::Command;

use serde_json::Value;

fn rows(args: &[&str], code: i32) -> Vec<Value> {
    let out =
        Command::new(env!("CARGO_BIN_EXE_plummer")).args(["bench", "gemm", "--json"]).args(args).output().unwrap();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    all["rows"].as_array().unwrap().clone()
}

#[test]
fn one_row_a_run_and_the_arena_decides_between_the_number_formats() {
    let found = rows(
        &[
            "--algo",
            "meshgemm,cannon,cannon-lockstep,summa,allgather,gemm-t",
            "--mesh",
            "3x4,6x6",
            "--size",
            "40x50x30",
        ],
        0,
    );
    assert_eq!(found.len(), 12);
    for row in &found {
        assert!(row["refused"].is_null() && row["cycles"].as_u64() > Some(0), "{row}");
        assert_eq!(row["closed_form_cycles"], row["cycles"], "{row}");
        let sum = row["compute_cycles"].as_u64().unwrap() + row["comm_cycles"].as_u64().unwrap();
        assert_eq!(row["cycles"].as_u64(), Some(sum), "{row}");
        assert_eq!(row["size"], "40x50x30");
    }
    for (numerics, fits) in [("paper", true), ("default", false)] {
        let args = ["--algo", "meshgemm", "--mesh", "8x8", "--size", "512x512x512", "--dry", "--numerics", numerics];
        let row = &rows(&args, if fits { 0 } else { 2 })[0];
        assert_eq!(row["refused"].is_null(), fits, "{row}");
        assert_eq!(row["arena_peak"], if fits { 40_960 } else { 49_152 });
    }
}
