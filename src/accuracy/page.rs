//! The accuracy page: a summary by set, then every point; as Markdown (also for a terminal), HTML and JSON.
//!
//! Invariant: the same on every host; nothing here is measured. Called by `app` and by the test that holds
//! `docs/accuracy.md`.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Errors, Set};
use crate::fabric::{Chip, FIELDS, Provenance};

/// Everything that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// In the order of the page.
    pub sets: Vec<Set>,
    /// The chips that ran.
    pub chips: Vec<Chip>,
}

/// Version of the JSON object.
const SCHEMA: u32 = 1;

const INTRO: &str = "How close is the emulated clock to silicon? Programs run on each preset, beside published \
                     formulas and points, in cycles. Error is emulated / published - 1; sizes of errors are \
                     means and maxima of its absolute value. Constants of a preset were fitted to calibration \
                     points alone: only validation points test it. Formulas are those that their authors hold \
                     against silicon, within the error stated with the set. Every primitive is run on \
                     every chip: where no run of it on that chip is published, its note says so, and it stands \
                     beside the formula with what is published of the chip's links and stages.";

/// Mean and largest error in percent; a dash without points.
fn errors(e: Errors) -> [String; 3] {
    if e.n == 0 {
        return ["-", "-", "-"].map(str::to_owned);
    }
    [e.n.to_string(), format!("{:.1} %", 100.0 * e.mean), format!("{:.1} %", 100.0 * e.max)]
}

fn summary(set: &Set) -> Vec<String> {
    let head = [set.chip.as_str(), set.name, set.evidence.name()].map(str::to_owned);
    head.into_iter().chain(errors(set.errors(false))).chain(errors(set.errors(true))).collect()
}

const SUMMARY: [&str; 9] = [
    "chip",
    "what",
    "published as",
    "validation points",
    "mean error",
    "largest",
    "calibration points",
    "mean error",
    "largest",
];
const POINTS: [&str; 5] = ["case", "published", "emulated", "error", "kind"];

fn rows(set: &Set) -> impl Iterator<Item = [String; 5]> {
    set.points.iter().map(|p| {
        let kind = if p.calibration { "calibration" } else { "validation" };
        let how = if p.closed_form { ", closed form" } else { "" };
        [
            p.case.clone(),
            format!("{:.0}", p.published),
            format!("{:.0}", p.emulated),
            format!("{:+.1} %", 100.0 * p.error()),
            format!("{kind}{how}"),
        ]
    })
}

/// Fitted and assumed constants of a preset, those of one source together: (provenance, fields, source).
fn uncertain(chip: &Chip) -> Vec<(Provenance, Vec<&'static str>, &str)> {
    let mut found: Vec<(Provenance, Vec<&'static str>, &str)> = Vec::new();
    for (field, _) in FIELDS.iter().filter(|f| !f.0.starts_with("energy")) {
        let Some(source) = chip.source(field) else { continue };
        match found.iter_mut().find(|c| (c.0, c.2) == (source.is, source.from.as_str())) {
            Some(known) => known.1.push(field),
            None => found.push((source.is, vec![field], &source.from)),
        }
    }
    found.retain(|c| matches!(c.0, Provenance::Fitted | Provenance::Assumed));
    found
}

fn markdown_table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(out, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    rows.for_each(|row| out.push_str(&format!("| {} |\n", row.join(" | "))));
    out.push('\n');
}

/// The page as Markdown.
pub fn markdown(page: &Page) -> String {
    let mut out = format!("# Accuracy\n\n{INTRO}\n\n");
    markdown_table(&mut out, &SUMMARY, page.sets.iter().map(summary));
    for set in &page.sets {
        let _ = writeln!(out, "## {}: {}\n\n{}: {}.\n", set.chip, set.name, set.source, set.note);
        markdown_table(&mut out, &POINTS, rows(set).map(Vec::from));
    }
    out += "## Fitted and assumed constants\n\n";
    for chip in &page.chips {
        let row = |(is, fields, from): (Provenance, Vec<&str>, &str)| {
            vec![fields.join(", "), is.to_string(), from.to_owned()]
        };
        let _ = writeln!(out, "### {}\n", chip.name);
        markdown_table(&mut out, &["constants", "known as", "from"], uncertain(chip).into_iter().map(row));
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn html_table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let _ = writeln!(out, "<table>\n<tr>{}</tr>", cells("th", &head));
    rows.for_each(|row| out.push_str(&format!("<tr>{}</tr>\n", cells("td", &row))));
    out.push_str("</table>\n");
}

/// The page as one HTML file without anything from elsewhere.
pub fn html(page: &Page) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Plummer: accuracy</title>\n<style>\n\
         body {{ font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }}\n\
         table {{ border-collapse: collapse; margin: 1em 0; }}\n\
         th, td {{ border: 1px solid #bbb; padding: 0.2em 0.6em; text-align: right; }}\n\
         th:first-child, td:first-child, td:last-child {{ text-align: left; }}\n</style>\n\
         <h1>Accuracy</h1>\n<p>{INTRO}</p>\n"
    );
    html_table(&mut out, &SUMMARY, page.sets.iter().map(summary));
    for set in &page.sets {
        let (source, note) = (escape(set.source), escape(&set.note));
        let _ = writeln!(out, "<h2>{}: {}</h2>\n<p>{source}: {note}.</p>", set.chip, set.name);
        html_table(&mut out, &POINTS, rows(set).map(Vec::from));
    }
    out + "</html>\n"
}

/// The page for programs: sets with both kinds of errors, points, constants that are fitted or assumed.
pub fn json(page: &Page) -> Value {
    let set = |s: &Set| {
        let points: Vec<Value> = s
            .points
            .iter()
            .map(|p| {
                json!({
                    "case": p.case, "unit": "cycles", "published": p.published, "emulated": p.emulated,
                    "error": p.error(), "calibration": p.calibration, "closed_form": p.closed_form,
                })
            })
            .collect();
        json!({
            "chip": s.chip, "name": s.name, "evidence": s.evidence, "source": s.source, "note": s.note,
            "validation": s.errors(false), "calibration": s.errors(true), "points": points,
        })
    };
    let constants: Vec<Value> = page
        .chips
        .iter()
        .flat_map(|chip| {
            let row = |(is, fields, from)| json!({"chip": chip.name, "fields": fields, "provenance": is, "from": from});
            uncertain(chip).into_iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    json!({ "schema": SCHEMA, "sets": page.sets.iter().map(set).collect::<Vec<_>>(), "constants": constants })
}
