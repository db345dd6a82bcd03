//! `plummer paper` as a user types it: the object's fields, the fit, resuming, the page, refusals.

use std::fs;
use std::sync::OnceLock;

use serde_json::Value;

use crate::command::*;

const MODELS: [&str; 4] = ["LLaMA3-8B", "LLaMA2-13B", "CodeLLaMA-34B", "QWen2-72B"];

/// Tables 3 and 4 and both figures, emulated once for all tests.
fn tables() -> &'static Value {
    static TABLES: OnceLock<Value> = OnceLock::new();
    TABLES.get_or_init(|| json_of(&["paper", "--table", "3,4,fig6,fig8", "--json"], 0))
}

fn cells(value: &Value) -> &Vec<Value> {
    value["cells"].as_array().expect("cells")
}

#[test]
fn tables_3_and_4_have_every_cell_and_meet_what_was_calibrated_on() {
    let value = tables();
    let of_tables = cells(value).iter().filter(|c| c["table"] == "3" || c["table"] == "4").count();
    assert_eq!(of_tables, 4 * 3 * 3 * 2);
    for (table, sides) in [("3", ["480x480", "600x600", "720x720"]), ("4", ["420x420", "540x540", "660x660"])] {
        for (model, method) in MODELS.iter().flat_map(|m| ["WaferLLM", "T10", "Ladder"].map(|method| (m, method))) {
            for side in sides {
                let same = |c: &&Value| {
                    c["table"] == table && c["model"] == *model && c["method"] == method && c["column"] == side
                };
                let cell = cells(value).iter().find(same).expect("the cell");
                assert!(cell["emulated"].as_f64().is_some_and(|v| v > 1.0), "{cell}");
                assert_eq!(cell["unit"], "tokens/s");
                assert_eq!(cell["published"].is_null(), cell["error"].is_null(), "{cell}");
                assert!(cell["calibration"].is_boolean());
            }
        }
    }
    let fit = &value["fit"];
    assert_eq!(fit["cells"], 20);
    assert!(fit["mean"].as_f64().is_some_and(|e| e > 0.0 && e <= 0.03), "{fit}");
    assert!(fit["max"].as_f64().is_some_and(|e| e > 0.0 && e <= 0.06), "{fit}");
    let notes = value["assumptions"].as_array().expect("assumptions");
    assert!(notes.iter().any(|n| n.as_str().is_some_and(|n| n.contains("overheads.exchange") && n.contains("fitted"))));
}

/// What the paper's tables show as a whole, whatever the constants.
#[test]
fn orders_of_systems_and_meshes_are_the_papers() {
    let value = tables();
    let of = |table: &str, model: &str, method: &str, column: &str| {
        let same =
            |c: &&Value| c["table"] == table && c["model"] == model && c["method"] == method && c["column"] == column;
        cells(value).iter().find(same).and_then(|c| c["emulated"].as_f64()).expect("the cell")
    };
    for model in MODELS {
        let prefill = |method, side| of("3", model, method, side);
        let decode = |method, side| of("4", model, method, side);
        assert!(prefill("WaferLLM", "480x480") > 50.0 * prefill("T10", "480x480"), "{model}");
        assert!(prefill("T10", "600x600") > prefill("Ladder", "600x600"), "{model}");
        assert!(prefill("WaferLLM", "720x720") > prefill("WaferLLM", "480x480"), "{model}: rises with P");
        assert!(prefill("Ladder", "720x720") < prefill("Ladder", "480x480"), "{model}: falls with P");
        assert!(decode("WaferLLM", "420x420") > 4.0 * decode("T10", "420x420"), "{model}");
        assert!(decode("T10", "660x660") > 10.0 * decode("Ladder", "660x660"), "{model}");
    }
    assert!(of("4", "LLaMA3-8B", "WaferLLM", "660x660") < of("4", "LLaMA3-8B", "WaferLLM", "420x420"), "falls with P");
    let gemv = |method| of("fig8", "[1,16K] x [16K,16K]", method, "720x720");
    assert!((4.0..6.0).contains(&(gemv("pipeline") / gemv("MeshGEMV"))));
    let gemm = |method, side| of("fig6", "2K x 2K x 2K", method, side);
    assert!(gemm("MeshGEMM", "720x720") < 1.3 * gemm("MeshGEMM", "360x360"), "flat");
    for method in ["Cannon", "SUMMA, steps apart (not executed)"] {
        assert!(gemm(method, "720x720") > 1.5 * gemm(method, "360x360"), "{method}: worse");
    }
}

#[test]
fn a_run_is_resumed_with_the_same_numbers_and_a_page_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, page) = (dir.path().join("cells"), dir.path().join("page.html"));
    let (kept, page) = (kept.to_str().unwrap(), page.to_str().unwrap());
    let first = json_of(&["paper", "--table", "6,5", "--resume", kept, "--json"], 0);
    // The last cell was cut off; one other value is changed, to see that it is taken from the file.
    let text = fs::read_to_string(kept).unwrap();
    let changed = text.replacen("0.0012", "9.9912", 1);
    assert_ne!(text, changed, "{text}");
    fs::write(kept, &changed[..changed.len() - 5]).unwrap();
    let again = json_of(&["paper", "--table", "5,6", "--resume", kept, "--html", page, "--json"], 0);
    let differ = cells(&first).iter().zip(cells(&again)).filter(|(a, b)| a != b).count();
    assert_eq!(differ, 1);
    assert!(fs::read_to_string(page).unwrap().contains("Table 6: MeshGEMV"));
    // What another build, or another chip, made is not taken, and stays.
    let (of, digits) = ("\"made_with\":\"", changed.find("made_with").unwrap() + 12);
    let theirs = changed.replace(&format!("{of}{}", &changed[digits..digits + 4]), &format!("{of}-"));
    assert_ne!(theirs, changed);
    fs::write(kept, &theirs).unwrap();
    let out = plummer(&["paper", "--table", "6,5", "--resume", kept, "--json"]);
    let said = stderr(&out);
    assert!(said.contains("another build") && said.contains(&format!("{} lines", theirs.lines().count())), "{said}");
    assert_eq!(cells(&serde_json::from_slice(&out.stdout).unwrap()), cells(&first));
    assert!(fs::read_to_string(kept).unwrap().starts_with(&theirs));
    fs::write(kept, "something else\n").unwrap();
    let out = plummer(&["paper", "--table", "6", "--resume", kept]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("something else"), "{}", stderr(&out));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (args, says) in [
        (vec!["paper", "--table", "9"], "fig6"),
        (vec!["paper", "--chip", "wse9"], "wse9"),
        (vec!["paper", "--chip", "dojo"], "720x720 cores"),
        (vec!["paper", "--table", "5", "--html", "/nowhere/x.html"], "--html /nowhere/x.html"),
        (vec!["paper", "--table", "5", "--resume", "/nowhere/x"], "--resume /nowhere/x"),
        (vec!["paper", "--table", "5", "--resume", "/dev/null"], "need a regular file"),
    ] {
        let out = plummer(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(says), "{args:?}: {}", stderr(&out));
    }
}

#[test]
fn the_table_for_people_marks_calibrated_cells_and_lists_assumptions() {
    let out = plummer(&["paper", "--table", "graphs,6"]);
    let text = stdout(&out);
    assert!(text.contains("Table 6") && text.contains("7 allreduces") && text.contains("calibrated cells"), "{text}");
    assert!(text.contains("%*") && text.contains("overheads.layer"), "{text}");
}

#[test]
fn graphs_gain_what_the_paper_asks_for() {
    let value = json_of(&["paper", "--table", "graphs", "--json"], 0);
    let gain = |method: &str| {
        let same = |c: &&Value| c["method"].as_str().is_some_and(|m| m.starts_with(method)) && c["unit"] == "gain";
        cells(&value).iter().find(same).and_then(|c| c["emulated"].as_f64()).expect("the cell")
    };
    assert_eq!(gain("measured"), 1.0);
    assert!(gain("released") > 1.1 && gain("this decode") > gain("released"));
    assert!(gain("7 allreduces, sum") >= 1.3 && gain("7 allreduces, K = 3") >= gain("7 allreduces, sum"));
}

/// The emulated value of a cell.
fn emulated(value: &Value, [table, model, method, column, unit]: [&str; 5]) -> Option<f64> {
    let text = |c: &Value, field: &str, is: &str| c[field] == is;
    let same = |c: &&Value| {
        let names = [("table", table), ("model", model), ("column", column), ("unit", unit)];
        c["method"].as_str().is_some_and(|m| m == method) && names.iter().all(|(field, is)| text(c, field, is))
    };
    cells(value).iter().find(same).unwrap_or_else(|| panic!("{table} {model} {method} {column} {unit}"))["emulated"]
        .as_f64()
}

#[test]
fn the_best_graph_makes_more_than_1_3_times_the_papers_tokens() {
    let value = json_of(&["paper", "--table", "graphs", "--json"], 0);
    let over = |method| {
        emulated(&value, ["graphs", "LLaMA3-8B", method, "420x420, over 2699.9", "x the paper's TPR"]).expect("a ratio")
    };
    let tpr = |method| emulated(&value, ["graphs", "LLaMA3-8B", method, "420x420, tokens/s", "tokens/s"]).expect("TPR");
    for method in ["measured graph, 13 allreduces", "7 allreduces, sum with A V, best groups"] {
        assert!((over(method) * 2699.9 / tpr(method) - 1.0).abs() < 1e-9, "{method}");
    }
    assert!((0.95..1.05).contains(&over("measured graph, 13 allreduces")));
    assert!(over("7 allreduces, sum with A V, best groups") >= 1.3 && over("7 allreduces, K = 3 along y") >= 1.3);
}

#[test]
fn utilisation_is_compared_and_energy_with_gpus_that_the_user_quotes() {
    let run = |more: &[&str]| json_of(&[&["paper", "--table", "8,utilisation", "--json"], more].concat(), 0);
    let (bare, quoted) = (run(&[]), run(&["--gpu", "llama3-8b=1000/100/2"]));
    let u =
        |method, unit| emulated(&bare, ["utilisation", "QWen2-72B", method, "decode, 420x420", unit]).expect("a value");
    let by_hand = u("WaferLLM", "% of peak") / u("Ladder", "% of peak");
    assert!((u("WaferLLM over Ladder", "x") / by_hand - 1.0).abs() < 1e-9 && by_hand > 100.0);
    let ratio = |value, model| emulated(value, ["8", model, "SGLang A100 over WaferLLM", "420x420", "energy ratio"]);
    assert_eq!([ratio(&bare, "LLaMA3-8B"), ratio(&quoted, "QWen2-72B")], [None, None], "nothing is recalled");
    // Two GPUs of 400 W, 100 tokens/s: 8 J a token.
    let own = emulated(&bare, ["8", "LLaMA3-8B", "WaferLLM", "420x420", "J/token"]).expect("joules");
    assert!((ratio(&quoted, "LLaMA3-8B").expect("a ratio") * own / 8.0 - 1.0).abs() < 1e-9);
    refused(&["paper", "--gpu", "LLaMA3-8B=0/1/1"], "MODEL=PREFILL/DECODE/GPUS");
}

#[test]
fn bench_relay_rows_are_right_and_take_the_cycles_of_the_formula() {
    let value = json_of(&["bench", "relay", "--mesh", "5x5,2x2", "--tile", "3x4x6", "--json"], 0);
    let rows = value["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|r| r["cycles"].is_u64() && r["cycles"] == r["closed_form_cycles"]), "{value}");
    assert!(rows.iter().all(|r| r["numerics"] == "paper") && rows.iter().any(|r| r["algo"] == "ladder-gemv"));
    let named = json_of(&["bench", "relay", "--mesh", "2x2", "--tile", "3x4x6", "--numerics", "paper", "--json"], 0);
    assert_eq!((named["rows"].as_array().map(Vec::len), &named["rows"][0]["cycles"]), (Some(4), &rows[4]["cycles"]));
    for (args, says) in [
        (["--mesh", "4x5"], "as many rows"),
        (["--tile", "9999x1x1"], "at most 1024"),
        (["--numerics", "default"], "need --numerics paper"),
    ] {
        let out = plummer(&[&["bench", "relay"], &args[..]].concat());
        assert_eq!(out.status.code(), Some(2));
        assert!(stderr(&out).contains(says), "{}", stderr(&out));
    }
}
