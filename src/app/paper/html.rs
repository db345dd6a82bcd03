//! The tables as one page without scripts or links.
//!
//! Invariant: text of cells and notes is escaped. Called by `paper`.

use std::fmt::Write as _;

use crate::report::paper::{Cell, Fit};

use super::text::{fitted, number, percent, title};

const STYLE: &str = "body{font:14px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}\
                     td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}td.n{text-align:right}\
                     tr.fit{background:#eef4ff}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The page.
pub fn page(chip: &str, cells: &[Cell], fit: &Fit, notes: &[String]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>WaferLLM on {0}</title>\n\
         <style>{STYLE}</style>\n<h1>WaferLLM's tables on chip {0}</h1>\n\
         <p>{1}. Published values were measured on WSE-2; on rows in blue the wse2 preset was calibrated.</p>\n",
        escape(chip),
        escape(&fitted(fit))
    );
    let mut table = "";
    for c in cells {
        if c.table != table {
            out += if table.is_empty() { "" } else { "</table>\n" };
            table = &c.table;
            let _ = writeln!(
                out,
                "<h2>{}</h2>\n<table>\n<tr><th>model<th>method<th>column<th>published<th>emulated<th>error<th>unit",
                escape(title(table))
            );
        }
        let class = if c.calibration { " class=\"fit\"" } else { "" };
        let _ = writeln!(
            out,
            "<tr{class}><td>{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}",
            escape(&c.model),
            escape(&c.method),
            escape(&c.column),
            number(c.published),
            number(c.emulated),
            percent(c.error),
            escape(&c.unit)
        );
    }
    out += "</table>\n<h2>Assumptions and constants</h2>\n<ul>\n";
    notes.iter().for_each(|note| out += &format!("<li>{}\n", escape(note)));
    out + "</ul>\n</html>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paper::cells;

    #[test]
    fn every_cell_has_a_row_and_markup_is_escaped() {
        let all = cells("4");
        let page = page("a<b", &all, &Fit::default(), &["x & y".to_owned()]);
        assert_eq!(page.matches("<tr").count(), all.len() + 1);
        assert!(page.contains("a&lt;b") && page.contains("x &amp; y") && page.contains("class=\"fit\""));
    }
}
