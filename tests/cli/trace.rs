//! Traces, link traffic and ledger maps: valid events, sums that are the counters', the same at every worker count.

use std::collections::BTreeMap;

use plummer::prelude::*;
use serde_json::Value;

use crate::command::*;

/// What the trace-event format asks of a file, and what ours promises beyond it.
fn check_events(text: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(text).expect("JSON");
    let events = json["traceEvents"].as_array().expect("traceEvents").clone();
    assert!(json["otherData"]["clock_hz"].is_number(), "{}", json["otherData"]);
    let mut last: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    let mut open: BTreeMap<u64, u64> = BTreeMap::new();
    for e in &events {
        let number = |field: &str| e[field].as_u64().unwrap_or_else(|| panic!("{field} is no count: {e}"));
        let thread = (number("pid"), number("tid"));
        assert!(e["name"].is_string() && e["args"].is_object(), "{e}");
        match e["ph"].as_str() {
            Some("M") => assert!(e["args"]["name"].is_string(), "{e}"),
            Some("X") => {
                let (ts, dur) = (number("ts"), number("dur"));
                let before = last.insert(thread, (ts, ts + dur)).unwrap_or((0, 0));
                assert!(dur > 0 && ts >= before.1, "overlaps {before:?}: {e}");
            }
            Some("b") => assert_eq!(open.insert(number("id"), number("ts")), None, "{e}"),
            Some("e") => assert!(open.remove(&number("id")).is_some_and(|start| start < number("ts")), "{e}"),
            _ => panic!("unknown phase: {e}"),
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
    events
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Runs a command with all three files; their texts and stdout as JSON.
fn probed(args: &[&str]) -> ([String; 3], Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let files = ["t.json", "l.csv", "m.csv"];
    let paths = files.map(|f| dir.path().join(f).display().to_string());
    let flags = ["--json", "--trace", &paths[0], "--links", &paths[1], "--map", &paths[2]];
    let json = json_of(&[args, &flags].concat(), 0);
    let left = std::fs::read_dir(dir.path()).expect("the directory").count();
    assert_eq!(left, files.len(), "no temporary file stays");
    (files.map(|f| read(&dir, f)), json)
}

fn rows(csv: &str) -> Vec<Vec<u64>> {
    csv.lines().skip(1).map(|l| l.split(',').map(|n| n.parse().expect("a number")).collect()).collect()
}

const GEMM: [&str; 8] = ["bench", "gemm", "--algo", "summa", "--mesh", "6x4", "--size", "60x52x44"];

#[test]
fn a_bench_s_files_agree_with_its_row_and_with_any_number_of_workers() {
    let (files, json) = probed(&[&GEMM[..], &["--workers", "1"]].concat());
    for workers in ["2", "3"] {
        assert_eq!(probed(&[&GEMM[..], &["--workers", workers]].concat()).0, files, "{workers} workers");
    }
    let row = &json["rows"][0];
    let events = check_events(&files[0]);
    let ends = events.iter().filter(|e| e["ph"] == "X").map(|e| e["ts"].as_u64().unwrap() + e["dur"].as_u64().unwrap());
    assert_eq!(ends.max(), row["cycles"].as_u64(), "24 of 24 cores are traced");
    let named = |part: &str| events.iter().any(|e| e["name"].as_str().unwrap().contains(part));
    for part in ["compute", "send color", "receive color", "wait: ", "product"] {
        assert!(named(part), "no event {part}");
    }
    let links = rows(&files[1]);
    assert_eq!(links.iter().map(|l| l[6] + l[8]).sum::<u64>(), row["wavelets"].as_u64().unwrap());
    assert!(links.iter().all(|l| l[0].abs_diff(l[2]) + l[1].abs_diff(l[3]) == 1), "links join neighbours");
    assert!(links.iter().any(|l| l[8] > 0) && links.iter().any(|l| l[6] > 0), "SUMMA has both kinds");
    let map = rows(&files[2]);
    assert_eq!(map.len(), 24);
    let tiles = map.iter().map(|m| m[3..8].iter().sum::<u64>());
    assert_eq!(tiles.max(), row["arena_peak"].as_u64());
    assert!(map.iter().all(|m| m[2..9].iter().sum::<u64>() == 49_152), "code, tiles and what is free fill the arena");
}

#[test]
fn tracing_changes_no_number_and_a_bound_cuts_the_same_everywhere() {
    let (files, traced) = probed(&[&GEMM[..], &["--trace-events", "240", "--workers", "1"]].concat());
    let plain = json_of(&[&GEMM[..], &["--json"]].concat(), 0);
    for field in ["cycles", "wavelets", "depth", "compute_cycles"] {
        assert_eq!(traced["rows"][0][field], plain["rows"][0][field], "{field}");
    }
    let json: Value = serde_json::from_str(&files[0]).expect("JSON");
    assert!(json["otherData"]["events_cut"].as_u64() > Some(0), "{}", json["otherData"]);
    check_events(&files[0]);
    assert_eq!(probed(&[&GEMM[..], &["--trace-events", "240", "--workers", "2"]].concat()).0, files);
}

#[test]
fn generate_traces_stages_and_chosen_cores() {
    let run = |workers| probed(&["generate", "-n", "3", "--quiet", "--workers", workers, "--trace-pes", "3x2@0,0"]);
    let (files, json) = run("1");
    assert_eq!(run("2").0, files);
    let events = check_events(&files[0]);
    let threads = |pid: u64| events.iter().filter(|e| e["name"] == "thread_name" && e["pid"] == pid).count() as u64;
    assert_eq!((threads(1), threads(2)), (json["mesh"]["stages"].as_u64().unwrap() + 1, 6));
    for phase in ["prefill QKV", "prefill attention", "prefill head", "transition", "QKV", "softmax", "FFN", "head"] {
        assert!(events.iter().any(|e| e["cat"] == "phase" && e["name"] == phase), "{phase}");
    }
    let links = rows(&files[1]);
    assert_eq!(links.iter().map(|l| l[5] + l[7]).sum::<u64>(), json["hops"].as_u64().unwrap());
    assert_eq!(links.iter().map(|l| l[6] + l[8]).sum::<u64>(), json["wavelets"].as_u64().unwrap());
    let map = rows(&files[2]);
    // Prefill is launch 1, decode launch 2; a core needs what it needs in the worse of them.
    let mut used: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for m in &map {
        let most = used.entry((m[0], m[1])).or_default();
        *most = (*most).max(m[2..8].iter().sum());
    }
    for launch in [1, 2] {
        let pes = map.iter().filter(|m| m[9] == launch).count() as u64;
        assert_eq!(pes, json["mesh"]["pes"].as_u64().unwrap(), "launch {launch}");
    }
    assert_eq!(used.values().max(), json["arena"]["max"].as_u64().as_ref());
    assert_eq!(used.values().min(), json["arena"]["min"].as_u64().as_ref());
    assert!(map.iter().any(|m| m[4] > 0), "some core holds KV");
}

#[test]
fn what_cannot_be_written_is_an_error_before_the_run_and_several_runs_have_no_one_trace() {
    for (args, says) in [
        (vec!["bench", "gemm", "--trace", "x.json", "--mesh", "2x2,4x4", "--algo", "summa"], "one --mesh"),
        (vec!["bench", "gemv", "--links", "x.csv"], "one --mesh"),
        (vec!["bench", "gemm", "--mesh", "2x2", "--algo", "summa", "--map", "no/such/x.csv"], "--map no/such/x.csv"),
        (vec!["generate", "--trace", "no/such/x.json"], "--trace no/such/x.json"),
        (vec!["bench", "gemm", "--plot", "x.gif"], ".svg or .png"),
        (
            vec!["bench", "gemm", "--mesh", "4x2", "--algo", "summa", "--trace", "x.json", "--trace-pes", "2x2@3,0"],
            "--trace-pes 2x2@3,0: the run uses columns 0 to 3 and rows 0 to 1",
        ),
        (vec!["bench", "gemv", "--mesh", "4x2", "--trace-pes", "1x1@0,0"], "--trace"),
        (vec!["generate", "-n", "1", "--trace", "x.json", "--trace-pes", "1x1@0,6"], "columns 0 to 26 and rows 0 to 3"),
    ] {
        let out = plummer(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(says), "{args:?} should say {says}: {}", stderr(&out));
    }
}

/// One pair: a long send whose sink comes late, then a receive that waits.
struct Late;

impl Kernel for Late {
    async fn program<'a>(&'a self, pe: Pe<'a>) {
        let tile = pe.tile(TileId(0));
        if pe.coord().col == 0 {
            pe.compute(Cycles(7), |_| {});
            pe.send(pe.tx(Color(0)), tile).await;
        } else {
            pe.compute(Cycles(100), |_| {});
            pe.recv(pe.rx(Color(0)), tile).await;
        }
    }
}

#[test]
fn spans_are_those_of_the_contract_s_rules() {
    let mut layout = Layout::default();
    let cores = layout.rectangle(2, 1);
    layout.words(&cores, TileId(0), "tile", Owner::Activations, 20);
    layout.line(Color(0), cores[0], cores[1], false).unwrap();
    let chip = Chip::preset("wse2").unwrap();
    let trace = TraceOptions { pes: Chosen::Evenly(2), spans_max: 100 };
    let options = RunOptions { trace: Some(trace), ..RunOptions::new(1) };
    let trial = Trial::run(Late, layout, &chip, &options, |_, _, _| {}).unwrap();
    let spans = |log: &Log| log.spans.iter().map(|s| (s.did, s.start, s.end)).collect::<Vec<_>>();
    let logs = trial.logs().unwrap();
    // 20 words leave from 7 on: head 9, tail 29, both 2 later at the router than at the core. The sink begins at 100:
    // the send ends 100 - T_R - path - head = 88 after 27. The take lasts 20 and one stage cycle.
    let (send, sink) = ((Did::Send, 7, 27), (Did::WaitSinks, 27, 115));
    assert_eq!(spans(&logs[0]), [(Did::Compute, 0, 7), send, sink]);
    assert_eq!(spans(&logs[1]), [(Did::Compute, 0, 100), (Did::Receive, 100, 121)]);
}
