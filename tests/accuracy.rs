//! The accuracy page: docs/accuracy.md is what the command prints, and its errors are as small as they are said to be.

mod command;
mod model_support;

use command::*;
use serde_json::Value;

#[test]
fn the_page_in_the_repository_is_what_the_command_prints() {
    let dir = tempfile::tempdir().expect("a directory");
    let html = dir.path().join("page.html");
    let printed = stdout(&plummer(&["accuracy", "--html", html.to_str().expect("a UTF-8 path")]));
    let kept = include_str!("../docs/accuracy.md");
    assert!(printed == kept, "docs/accuracy.md is old: write it anew with `plummer accuracy > docs/accuracy.md`");
    let page = std::fs::read_to_string(html).expect("the page");
    for part in ["<!doctype html>", "wse3: MeshGEMM", "wse3-sim: links and relay", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http"), "the page needs nothing from elsewhere");
}

/// (chip, set) -> most that the mean and the largest error of its validation points may be.
const VALIDATION: [(&str, &str, f64, f64); 12] = [
    ("wse2", "chain reduce", 0.0, 0.0),
    ("wse2", "broadcast", 0.0, 0.0),
    ("wse2", "2-D multicast", 0.0, 0.0),
    ("wse2", "2-D reduce", 0.0, 0.0),
    ("wse2", "two-phase reduce", 0.04, 0.10),
    ("wse2", "tree reduce", 0.25, 0.47),
    ("wse2", "ring allreduce", 0.01, 0.02),
    ("wse2", "two-tree allreduce", 0.02, 0.04),
    ("wse2", "MeshGEMV", 0.02, 0.02),
    ("wse2", "MeshGEMM", 0.03, 0.03),
    ("wse3", "MeshGEMV", 0.03, 0.05),
    ("wse3", "MeshGEMM", 0.03, 0.05),
];

#[test]
fn errors_are_those_of_the_points_and_small_where_nothing_was_fitted() {
    let page = json_of(&["accuracy", "--json"], 0);
    let sets = page["sets"].as_array().expect("sets");
    for set in sets {
        for (kind, calibration) in [("validation", false), ("calibration", true)] {
            let all = set["points"].as_array().expect("points").iter();
            let of_kind: Vec<&Value> = all.filter(|p| p["calibration"] == calibration).collect();
            assert_eq!(set[kind]["n"], of_kind.len());
            let mut most: f64 = 0.0;
            for p in of_kind {
                let [published, emulated, error] = ["published", "emulated", "error"].map(|k| p[k].as_f64().unwrap());
                assert!((emulated / published - 1.0 - error).abs() < 1e-12 && published > 0.0, "{p}");
                most = most.max(error.abs());
            }
            assert!((set[kind]["max"].as_f64().unwrap() - most).abs() < 1e-12, "{}", set["name"]);
        }
        let simulated = set["chip"] == "wse3-sim";
        let most = set["calibration"]["mean"].as_f64().unwrap();
        assert!(most <= if simulated { 0.07 } else { 0.03 }, "{} {}: {most}", set["chip"], set["name"]);
    }
    for (chip, name, mean, max) in VALIDATION {
        let set = sets.iter().find(|s| s["chip"] == chip && s["name"] == name).expect(name);
        let found = ["mean", "max"].map(|k| set["validation"][k].as_f64().unwrap());
        assert!(found[0] <= mean + 1e-12 && found[1] <= max + 1e-12, "{chip} {name}: {found:?}");
        assert!(set["validation"]["n"].as_u64() >= Some(4), "{chip} {name}");
    }
    let constants = page["constants"].as_array().expect("constants");
    assert!(constants.iter().any(|c| c["provenance"] == "fitted") && constants.iter().all(|c| c["from"] != ""));
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_runs() {
    let out = plummer(&["accuracy", "--html", "/no-such-directory/page.html"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--html /no-such-directory/page.html") && out.stdout.is_empty());
}
