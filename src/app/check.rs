//! `plummer check`: layout check and strict dry run of a model's programs, without weights.
//!
//! Invariant: exit 0 exactly when it is proven that no pass can deadlock; 1 when one would, on this chip or where the
//! fabric buffers less. Called by `app`.

use anyhow::Result;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::cli::CheckArgs;
use super::resolve::session;
use crate::exec::{CheckReport, LoadReport, StallReport, Verdict, WINDOW, WaitCycle};
use crate::host::{PlacementSummary, Session, SessionConfig, check_decode};

/// Positions that are checked when `-c` is absent.
const CONTEXT: usize = 256;

/// Runs `plummer check`: the text for stdout, and the exit code.
pub fn run(args: &CheckArgs) -> Result<(String, u8)> {
    let model = super::model::open(args.model.as_deref())?;
    let context = args.place.context.unwrap_or(model.config.context.min(CONTEXT));
    let config = session(&args.place, context, 1)?;
    let (decode, layout) = Session::plan_only(&model, &config)?;
    let placed = Session::summarise(&decode, &layout);
    let positions = context.min(placed.capacity);
    let bar = ProgressBar::new(2 * positions as u64);
    let report = check_decode(&decode, &layout, positions, || bar.inc(1))?;
    bar.finish_and_clear();
    let text = match args.json {
        true => format!("{}\n", object(&config, &placed, positions, &report)),
        false => text(&config, &placed, positions, &report),
    };
    Ok((text, u8::from(!report.verdict.is_strict())))
}

fn waits(stall: &StallReport) -> Vec<Value> {
    let member = |pe| stall.blocked.iter().find(|b| b.pe == pe);
    let one = |b: &crate::exec::Blocked| {
        let waits_for: Vec<[u32; 2]> = b.waits_for.iter().map(|c| [c.col, c.row]).collect();
        json!({
            "pe": [b.pe.col, b.pe.row], "operation": if b.sends { "send" } else { "receive" }, "color": b.color.0,
            "port": b.port, "place": b.place, "waits_for": waits_for,
        })
    };
    stall.cycle.iter().filter_map(|pe| member(*pe)).map(one).collect()
}

fn object(config: &SessionConfig, placed: &PlacementSummary, positions: usize, r: &CheckReport) -> Value {
    let a = placed.arena;
    let mut value = json!({
        "schema": 1, "verdict": r.verdict.name(), "cannot_deadlock": r.verdict.is_strict(),
        "completes_on_this_chip": r.verdict.completes(), "chip": config.chip.name,
        "mesh": {"cols": placed.cols, "rows": placed.rows, "stages": placed.stages, "pes": r.pes},
        "positions": positions, "passes": r.passes, "shapes": r.shapes, "operations": r.operations,
        "colors": {"max": r.colors_max, "budget": config.chip.colors - config.chip.colors_reserved},
        "arena": {"min": a.min, "median": a.median, "max": a.max, "budget": a.budget},
        "cycles": {"shortest_pass": r.pass_cycles.0, "longest_pass": r.pass_cycles.1},
        "links": {
            "window": WINDOW, "links_over": r.load.links_over, "windows_over": r.load.windows_over,
            "excess": r.load.excess,
        },
    });
    if let Some(((from, to), busiest)) = r.load.busiest {
        let of = json!({
            "from": [from.col, from.row], "to": [to.col, to.row], "at": busiest.at, "cycles": busiest.busiest,
        });
        value["links"]["busiest"] = of;
    }
    match &r.verdict {
        Verdict::Buffered(stall) | Verdict::Deadlock(stall) => {
            value["cycle"] = json!(waits(stall));
            value["waiting_pes"] = json!(stall.blocked.len());
        }
        Verdict::Fault(fault) => value["fault"] = json!(fault.to_string()),
        Verdict::Left { bursts, .. } => value["bursts_left"] = json!(bursts),
        Verdict::Strict => {}
    }
    value
}

fn text(config: &SessionConfig, placed: &PlacementSummary, positions: usize, r: &CheckReport) -> String {
    let (a, chip) = (placed.arena, &config.chip);
    let rows = [
        ("chip", chip.name.clone()),
        ("mesh", format!("{}x{} cores a stage, {} stages, {} cores", placed.cols, placed.rows, placed.stages, r.pes)),
        ("layout", "every lane traces back to one ramp or the host, every burst reaches its sinks".to_owned()),
        ("colors", format!("{} at most at a core, of {}", r.colors_max, chip.colors - chip.colors_reserved)),
        ("arena", format!("{} min, {} median, {} max of {} bytes", a.min, a.median, a.max, a.budget)),
        ("passes", format!("{positions} positions, with and without logits: {} distinct shapes", r.shapes)),
        ("recorded", format!("{} operations in {} passes", r.operations, r.passes)),
        ("cycles", format!("{} shortest, {} longest pass", r.pass_cycles.0, r.pass_cycles.1)),
        ("links", links(&r.load)),
    ];
    let table: String = rows.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    table + &format!("{:<10} {}\n", "verdict", verdict(r))
}

/// Where colors ask more of a link than it carries: nothing arbitrates between them in the model.
fn links(load: &LoadReport) -> String {
    let Some(((from, to), busiest)) = load.busiest else { return "no traffic".to_owned() };
    let (cycles, at) = (busiest.busiest, busiest.at);
    let busiest = format!("the busiest, {from} to {to} at cycle {at}, is taken for {cycles}");
    if load.windows_over == 0 {
        return format!("no window of {WINDOW} cycles is over what a link carries; {busiest}");
    }
    let (links, windows, excess) = (load.links_over, load.windows_over, load.excess);
    format!("{windows} windows of {WINDOW} cycles on {links} links are over by {excess} cycles in all; {busiest}")
}

fn verdict(r: &CheckReport) -> String {
    let at = r.at_pass.map_or(String::new(), |pass| format!(" (first in pass {pass})"));
    match &r.verdict {
        Verdict::Strict => "cannot deadlock on this shape, under any schedule".to_owned(),
        Verdict::Buffered(stall) => format!(
            "completes on this chip under any schedule, but only thanks to buffering{at}; without it:\n{}",
            WaitCycle(stall)
        ),
        Verdict::Left { bursts, from } => {
            let from = from.map_or("the host".to_owned(), |pe| format!("PE {pe}"));
            format!("completes, but {bursts} bursts are never taken, the first from {from}")
        }
        Verdict::Deadlock(stall) => format!("deadlocks, under any schedule{at}:\n{}{stall}", WaitCycle(stall)),
        Verdict::Fault(fault) => format!("a core is stopped{at}: {fault}"),
    }
}
