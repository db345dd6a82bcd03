//! Points of a sweep for people: one line each, under one head.
//!
//! Invariant: the head comes with the first point, so what is printed before a point is finished is nothing.
//! Called by `sweep`.

use std::fmt::Write as _;

use crate::plan::rivals::Rivals;
use crate::plan::utilise::Utilisation;

use super::Point;

/// Characters of the longest bar.
const BAR: usize = 40;

/// Above the points.
pub(super) fn head(name: &str, is_priced: bool) -> String {
    let (unit, cost) = if is_priced { ("J and cost", format!(" {:>9}", "cost")) } else { ("J", String::new()) };
    let (shares, gap) = (heads(), " ".repeat(cost.len()));
    format!(
        "{unit} a token of the answer, the prompt's share included; in percent: MACs of the cores in use, cores busy,\n\
         cores on edges busy, bubbles (waits); WaferLLM's utilisation over T10's and Ladder's; --json has more\n\
         {:<66}{gap} | {:<38} | prefill\n\
         {name:<14} {:>9} {:>3} {:>10} {:>8} {:>8} {:>8}{cost} | {shares} | {shares}\n",
        "", "decode", "mesh", "n", "cycles", "tokens/s", "ms", "J",
    )
}

fn heads() -> String {
    format!("{:>5} {:>5} {:>5} {:>5} {:>6} {:>7}", "MACs", "busy", "edges", "waits", "/T10", "/Ladder")
}

/// One point.
pub(super) fn line(p: &Point, cost: Option<f64>) -> String {
    let (Some((cols, rows)), Some(stages), Some(cycles), Some((tpr, all)), Some(joules)) =
        (p.mesh, p.stages, p.token_cycles, p.tpr.zip(p.seconds), p.joules_per_token)
    else {
        return format!("{:<14} {}\n", p.value, p.refused.as_deref().unwrap_or_default());
    };
    let mut text = format!("{:<14} {:>9} {stages:>3} {cycles:>10} ", p.value, format!("{cols}x{rows}"));
    let _ = write!(text, "{tpr:>8.0} {:>8} {:>8}", digits(all * 1e3), digits(joules));
    if let Some(cost) = cost {
        let _ = write!(text, " {cost:>9.2e}");
    }
    for span in 0..2 {
        let u = p.utilisation.as_ref().map(|u| &u[span]);
        let r = p.rivals.and_then(|r| r[span]);
        let _ = write!(text, " | {}", shares(u, r));
    }
    text + "\n"
}

fn shares(u: Option<&Utilisation>, r: Option<Rivals>) -> String {
    let percent = |of: fn(&Utilisation) -> f64| u.map_or("-".to_owned(), |u| format!("{:.1}", 100.0 * of(u)));
    let over = |of: fn(&Rivals) -> f64| r.map_or("-".to_owned(), |r| digits(of(&r)));
    format!(
        "{:>5} {:>5} {:>5} {:>5} {:>6} {:>7}",
        percent(|u| u.mac),
        percent(|u| u.busy),
        percent(|u| u.edge_busy),
        percent(|u| u.bubbles),
        over(|r| r.over_t10),
        over(|r| r.over_ladder)
    )
}

/// About three digits.
fn digits(value: f64) -> String {
    let after = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    format!("{value:.after$}")
}

/// Tokens a second against the values.
pub(super) fn bars(points: &[Point]) -> String {
    let most = points.iter().filter_map(|p| p.tpr).fold(0.0, f64::max);
    let bar = |p: &Point| {
        let tpr = p.tpr?;
        let length = (tpr / most * BAR as f64).round() as usize;
        Some(format!("{:>12} |{} {tpr:.0}\n", p.value, "=".repeat(length)))
    };
    points.iter().filter_map(bar).collect()
}
