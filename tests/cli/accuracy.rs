//! The accuracy page: docs/accuracy.md is what the command prints, and its errors are as small as they are said to be.

use std::sync::OnceLock;

use serde_json::Value;

use crate::command::*;

#[test]
fn the_page_in_the_repository_is_what_the_command_prints() {
    let dir = tempfile::tempdir().expect("a directory");
    let html = dir.path().join("page.html");
    let printed = stdout(&plummer(&["accuracy", "--html", html.to_str().expect("a UTF-8 path")]));
    let kept = include_str!("../../docs/accuracy.md");
    assert!(printed == kept, "docs/accuracy.md is old: write it anew with `plummer accuracy > docs/accuracy.md`");
    let page = std::fs::read_to_string(html).expect("the page");
    for part in ["<!doctype html>", "wse3: MeshGEMM", "wse3-sim: store-and-forward relay", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http"), "the page needs nothing from elsewhere");
}

/// The object, made once for all tests.
fn page() -> &'static Value {
    static PAGE: OnceLock<Value> = OnceLock::new();
    PAGE.get_or_init(|| json_of(&["accuracy", "--json"], 0))
}

/// (chip, set) -> most that the mean and the largest error of its validation points may be.
const VALIDATION: [(&str, &str, f64, f64); 19] = [
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
    ("wse2", "store-and-forward relay", 0.03, 0.09),
    ("wse3", "chain reduce", 0.28, 0.30),
    ("wse3", "two-tree allreduce", 0.07, 0.11),
    ("wse3", "store-and-forward relay", 0.06, 0.13),
    ("wse3-sim", "two-tree allreduce", 0.02, 0.04),
    ("wse3-sim", "MeshGEMV", 0.03, 0.05),
    ("wse3-sim", "MeshGEMM", 0.04, 0.13),
];

#[test]
fn errors_are_those_of_the_points_and_small_where_nothing_was_fitted() {
    let page = page();
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

/// What every chip has: the primitives and kernels that the page is about.
const EVERYWHERE: [&str; 12] = [
    "chain reduce",
    "tree reduce",
    "two-phase reduce",
    "broadcast",
    "2-D multicast",
    "2-D reduce",
    "ring allreduce",
    "pipeline allreduce",
    "two-tree allreduce",
    "store-and-forward relay",
    "MeshGEMV",
    "MeshGEMM",
];

#[test]
fn every_primitive_and_kernel_has_its_points_on_every_chip() {
    let page = page();
    for (chip, name) in ["wse2", "wse3", "wse3-sim"].into_iter().flat_map(|chip| EVERYWHERE.map(|name| (chip, name))) {
        let of = |s: &&Value| s["chip"] == chip && s["name"] == name;
        let sets: Vec<&Value> = page["sets"].as_array().expect("sets").iter().filter(of).collect();
        assert_eq!(sets.len(), 1, "{chip} {name}");
        assert!(sets[0]["points"].as_array().is_some_and(|points| points.len() >= 4), "{chip} {name}");
        // A formula that no run on the chip stands behind says so.
        let note = sets[0]["note"].as_str().expect("a note");
        let bare = chip != "wse2" && sets[0]["evidence"] == "formula";
        assert!(!bare || note.contains("is published"), "{chip} {name}: {note}");
    }
}

/// Two publications on one chip: what was profiled inside a decode, and the fit of MeshGEMV runs.
#[test]
fn ten_allreduces_are_ten_of_mesh_gemv_though_a_profiled_layer_takes_longer() {
    let sets = page()["sets"].as_array().expect("sets");
    let errors = |name: &str| -> Vec<f64> {
        let set = sets.iter().find(|s| s["chip"] == "wse3" && s["name"] == name).expect(name);
        set["points"].as_array().expect("points").iter().filter_map(|p| p["error"].as_f64()).collect()
    };
    assert!(errors("decode allreduces, as MeshGEMV").iter().all(|e| e.abs() < 0.01));
    let profiled = errors("decode allreduces, profiled");
    assert!(profiled[..2].iter().all(|e| (-0.3..-0.2).contains(e)), "{profiled:?}");
    assert!(profiled[2].abs() < 0.15, "what a larger mesh adds: {profiled:?}");
}

#[test]
fn another_chip_is_held_against_what_is_published_of_a_preset() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mine.toml");
    let preset = stdout(&plummer(&["chips", "wse3"]));
    let slower = preset.replace("name = \"wse3\"", "name = \"mine\"").replace("\ncall = 90\n", "\ncall = 190\n");
    assert_ne!(slower, preset);
    std::fs::write(&file, slower).expect("a file");
    let mine = json_of(&["accuracy", "--chip", file.to_str().expect("a UTF-8 path"), "--against", "wse3", "--json"], 0);
    let sets = mine["sets"].as_array().expect("sets");
    assert!(sets.iter().all(|s| s["chip"] == "mine") && mine["constants"].as_array().is_some_and(|c| !c.is_empty()));
    let known = page()["sets"].as_array().expect("sets");
    for set in sets {
        let same = known.iter().find(|s| s["chip"] == "wse3" && s["name"] == set["name"]).expect("the preset's");
        let points = set["points"].as_array().expect("points").iter().zip(same["points"].as_array().expect("points"));
        let more = if set["name"] == "MeshGEMV" { 100.0 } else { 0.0 };
        if !set["name"].as_str().is_some_and(|name| name.starts_with("decode")) {
            points.for_each(|(a, b)| assert_eq!(a["emulated"].as_f64(), b["emulated"].as_f64().map(|v| v + more)));
        }
    }
    refused(&["accuracy", "--chip", "dojo"], "need --against one of wse2, wse3, wse3-sim");
    refused(&["accuracy", "--chip", "dojo", "--against", "wse4"], "`wse4`");
    refused(&["accuracy", "--chip", "dojo", "--against", "wse2"], "accuracy");
    refused(&["accuracy", "--against", "wse2"], "--chip");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_runs() {
    let out = plummer(&["accuracy", "--html", "/no-such-directory/page.html"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--html /no-such-directory/page.html") && out.stdout.is_empty());
}
