//! Utilisation, energy and cost in every prediction, as a user gets them: shares of the counters, prices of the energy.

use serde_json::Value;

use crate::command::*;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Shares between 0 and 1, products among what cores are busy with.
fn check_shares(u: &Value, what: &str) {
    for share in ["mac", "mac_of_chip", "busy", "edge_busy", "edge_cores", "bubbles"] {
        assert!((0.0..=1.0).contains(&number(&u[share])), "{what}: {share} of {u}");
    }
    let regions = u["busy_by_region"].as_array().expect("regions");
    assert!(regions.iter().all(|busy| (0.0..=1.0).contains(&number(busy))), "{what}: {u}");
    assert!(number(&u["mac"]) > 0.0 && number(&u["mac"]) <= number(&u["busy"]), "{what}: {u}");
    assert!(number(&u["mac_of_chip"]) < number(&u["mac"]), "{what}: {u}");
}

#[test]
fn shares_of_a_run_are_those_of_its_counters() {
    let wet = ["generate", "-p", "KING RICHARD:\nMy lord", "--temp", "0", "--json", "--quiet"];
    let dry = ["generate", "--dry", "--prompt-tokens", "9", "--json"];
    let (token, apart) = (["--prefill", "token"], ["--prefill-mesh", "12x11"]);
    for (kind, more) in [(&wet[..], &token[..]), (&wet, &[]), (&wet, &apart), (&dry, &token), (&dry, &apart)] {
        let what = format!("{kind:?} {more:?}");
        let run = json_of(&[kind, &["-n", "5", "--mesh", "12x12"], more].concat(), 0);
        let [prefill, decode] = ["prefill", "decode"].map(|span| &run["utilisation"][span]);
        for u in [prefill, decode] {
            check_shares(u, &what);
        }
        // Busy share x cores x cycles are the busy cycles, in all and by region.
        let pes = number(&run["mesh"]["pes"]);
        let busy = number(&decode["busy"]) * pes * number(&decode["cycles"]);
        assert!(close(busy, number(&decode["busy_cycles"])), "{what}: {decode}");
        let stages = number(&run["mesh"]["stages"]) as usize;
        let by_region: Vec<f64> = decode["busy_by_region"].as_array().expect("regions").iter().map(number).collect();
        assert_eq!(by_region.len(), stages + 1, "{what}");
        let in_stages = 144.0 * by_region[1..].iter().sum::<f64>();
        let in_head = (pes - 144.0 * stages as f64) * by_region[0];
        assert!(close((in_stages + in_head) * number(&decode["cycles"]), number(&decode["busy_cycles"])), "{what}");
        assert!(
            close(number(&decode["mac_of_chip"]) * 750.0 * 994.0, number(&decode["mac"]) * pes),
            "{what}: {decode}"
        );
        // The two spans, and what lies between, are the run.
        let cycles = number(&prefill["cycles"]) + number(&decode["cycles"]);
        let between = number(&run["cycles"]["total"]) - cycles;
        assert!(if more == token { between == 0.0 } else { between > 0.0 }, "{what}: {between}");
        for span in ["prefill", "decode"] {
            assert!(number(&run["rivals"][span]["over_ladder"]) > 1.0, "{what}: {}", run["rivals"]);
        }
    }
    let none = json_of(&[&wet[..], &["-n", "1", "--mesh", "12x12"]].concat(), 0);
    assert!(none["utilisation"]["decode"].is_null(), "no pass of decode: {none}");
}

#[test]
fn the_report_for_people_names_both_spans() {
    for args in [
        vec!["generate", "-p", "O", "-n", "3", "--mesh", "6x5"],
        vec!["generate", "--dry", "--prompt-tokens", "4", "-n", "3", "--mesh", "6x5"],
    ] {
        let out = plummer(&args);
        let text = stdout(&out) + &stderr(&out);
        for says in ["utilisation  prefill: ", "decode: ", "by stage", "on an edge", "bubbles", "T10's", "Ladder's"] {
            assert!(text.contains(says), "{args:?} should say {says}: {text}");
        }
    }
}

#[test]
fn no_token_has_no_energy_and_no_price() {
    for kind in [&["-p", "O", "--quiet"][..], &["--dry", "--prompt-tokens", "3"]] {
        let args = [&["generate", "-n", "0", "--price", "5", "--mesh", "6x5"], kind].concat();
        let energy = &json_of(&[&args[..], &["--json"]].concat(), 0)["energy"];
        for field in ["/joules_per_token", "/events/joules_per_token", "/cost_per_token"] {
            assert!(energy.pointer(field).is_some_and(Value::is_null), "{field}: {energy}");
        }
        assert!(number(&energy["joules"]) > 0.0 && number(&energy["cost"]) > 0.0, "{energy}");
        let out = plummer(&args);
        assert!(!(stdout(&out) + &stderr(&out)).contains("a generated token"), "{args:?}");
    }
}

#[test]
fn a_layer_has_an_account_of_events_times_the_layers() {
    let args = ["generate", "--dry", "--one-layer", "-m", "llama3-8b", "--mesh", "16x16", "--prompt-tokens", "20"];
    let run = json_of(&[&args[..], &["-n", "1", "--price", "36", "--json"]].concat(), 0);
    let energy = &run["energy"];
    // Matrices of a layer, and scores and values of 21 positions; two operations of 30 pJ each.
    let macs = 32.0 * (218_103_808.0 + 2.0 * 4096.0 * 21.0);
    assert!(close(number(&energy["events"]["flop"]), macs * 60e-12), "{energy}");
    let prompt: f64 = (1..=20).map(|seen| 218_103_808.0 + 2.0 * 4096.0 * f64::from(seen)).sum();
    assert!(close(number(&energy["prefill"]["events"]["flop"]), 32.0 * prompt * 60e-12), "{energy}");
    for (events, joules) in [(&energy["events"], "joules_per_token"), (&energy["prefill"]["events"], "joules")] {
        let parts: f64 = ["sram", "router", "wire", "flop"].map(|part| number(&events[part])).iter().sum();
        assert!(close(parts, number(&events["joules"])), "{events}");
        let of = if joules == "joules" { &energy["prefill"] } else { energy };
        assert!(close(number(&events["share_of_power"]), parts / number(&of[joules])), "{energy}");
    }
    assert!(close(number(&energy["core_cycle_pj"]["by_power"]), 15e3 / 1.1e9 / (750.0 * 994.0) * 1e12), "{energy}");
    // 36 an hour is a hundredth a second.
    let seconds = number(&run["cycles_per_token"]) / 1.1e9;
    assert!(close(number(&energy["cost_per_token"]), seconds / 100.0), "{energy}");
    let parts = run["decode"][0]["by_part"]["FFN"].as_object().expect("parts");
    let sum: u64 = parts.values().filter_map(Value::as_u64).sum();
    assert_eq!(Some(sum), run["decode"][0]["by_phase"]["FFN"].as_u64());
    let text = stdout(&plummer(&[&args[..], &["-n", "1"]].concat()));
    assert!(text.contains("by events") && text.contains("times 32 layers") && text.contains("pJ a core"), "{text}");
}

#[test]
fn a_sweep_is_a_line_a_point_and_knows_energy_and_price() {
    let args = ["sweep", "--prompt", "8", "--output", "8", "--mesh", "12x12", "--vary", "alpha=1,2", "--price", "36"];
    let points = json_of(&[&args[..], &["--json"]].concat(), 0);
    for point in points["points"].as_array().expect("points") {
        let seconds = number(&point["seconds"]);
        assert!(close(number(&point["joules_per_token"]), seconds * 15e3 / 8.0), "{point}");
        assert!(close(number(&point["cost_per_token"]), seconds / 8.0 / 100.0), "{point}");
        for span in ["decode", "prefill"] {
            check_shares(&point["utilisation"][span], span);
        }
    }
    let text = stdout(&plummer(&args));
    let widest = text.lines().skip(2).map(|line| line.chars().count()).max().expect("lines");
    // Two lines on what the columns are, two of their names, two points, two bars.
    assert!(text.lines().count() == 8 && widest <= 160, "{widest}: {text}");
    assert!(text.contains("cost") && !stdout(&plummer(&args[..9])).contains(" cost "), "{text}");
}

/// The emulated value of a cell.
fn cell(value: &Value, [table, model, method, column, unit]: [&str; 5]) -> f64 {
    let cells = value["cells"].as_array().expect("cells");
    let is = [("table", table), ("model", model), ("method", method), ("column", column), ("unit", unit)];
    let found = cells.iter().find(|c| is.iter().all(|(field, is)| c[*field] == *is));
    number(&found.unwrap_or_else(|| panic!("{is:?}"))["emulated"])
}

#[test]
fn the_paper_s_cells_have_shares_ledgers_and_prices() {
    let value = json_of(&["paper", "--table", "5,8,utilisation", "--price", "36", "--json"], 0);
    for (model, column) in [("LLaMA3-8B", "decode, 420x420"), ("QWen2-72B", "prefill, 600x600")] {
        let of = |unit| cell(&value, ["utilisation", model, "WaferLLM", column, unit]);
        let (macs, busy, edges) = (of("% of peak"), of("% cores busy"), of("% edges busy"));
        assert!(0.0 < macs && macs < busy && busy < 100.0 && edges < 100.0, "{model}: {macs} {busy} {edges}");
        // Equal tiles everywhere, no broadcast at a root: an edge has about as much to do.
        assert!((edges / busy - 1.0).abs() < 0.2, "{model}: {edges} {busy}");
        assert!((0.0..100.0).contains(&of("% bubbles")) && (0.0..2.0).contains(&of("% cores on edges")));
    }
    // 15.6 GB of weights in regions of 7.2 GB: three.
    let bubbles = cell(&value, ["utilisation", "LLaMA3-8B", "WaferLLM", "decode, 420x420", "% bubbles"]);
    assert!(close(bubbles, 200.0 / 3.0), "{bubbles}");
    let at = "420x420";
    let joules = cell(&value, ["8", "LLaMA3-8B", "WaferLLM", at, "J/token"]);
    assert!(close(
        cell(&value, ["8", "LLaMA3-8B", "WaferLLM", at, "cost/token, 36 a chip-hour"]),
        joules / 15e3 / 100.0
    ));
    for (side, column) in [(240.0, "240x240"), (360.0, "360x360")] {
        for (ledgers, model) in [("", "LLaMA3-8B"), (", ledgers of the model", "LLaMA3-8B")] {
            let of = |method: &str| cell(&value, ["5", model, &format!("{method}{ledgers}"), column, "positions"]);
            // Beside a head region, two of 360 columns do not fit in a band.
            let fits = ledgers.is_empty() || side == 240.0;
            assert_eq!(of("concat") > 0.0, fits, "{model} {column}{ledgers}");
            assert_eq!(of("shift"), side * of("concat"), "{model} {column}{ledgers}");
        }
        // No wafer holds it.
        assert_eq!(cell(&value, ["5", "QWen2-72B", "shift, ledgers of the model", column, "positions"]), 0.0);
    }
}

#[test]
fn what_has_no_table_to_be_in_is_refused() {
    refused(&["paper", "--table", "5,6", "--gpu", "LLaMA3-8B=1/1/1"], "--gpu is for Tables 7 and 8");
    refused(&["paper", "--table", "utilisation", "--price", "3"], "--price is for Tables 7 and 8");
}
