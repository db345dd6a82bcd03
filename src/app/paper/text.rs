//! Tables for a terminal.
//!
//! Invariant: `*` marks a calibrated cell; `-` stands where there is no value. Called by `paper`.

use std::fmt::Write as _;

use crate::report::paper::{Cell, Fit};

/// A value with as many digits as its unit carries.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v != 0.0 && v.abs() < 1e-4 => format!("{v:.3e}"),
        Some(v) if v != 0.0 && v.abs() < 0.1 => format!("{v:.6}"),
        Some(v) if v.abs() < 1000.0 && v.fract() != 0.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.0}"),
    }
}

/// An error in percent.
pub fn percent(error: Option<f64>) -> String {
    error.map_or_else(|| "-".to_owned(), |e| format!("{:+.1} %", 100.0 * e))
}

/// What a table is about.
pub fn title(table: &str) -> &'static str {
    match table {
        "2" => "Table 2: end to end, prompt/output",
        "3" => "Table 3: prefill of 4096 tokens",
        "4" => "Table 4: decode at a context of 4096",
        "5" => "Table 5: KV capacity, concat and shift",
        "6" => "Table 6: MeshGEMV",
        "7" => "Table 7: energy of prefill",
        "8" => "Table 8: energy of decode",
        "fig6" => "Figure 6: GEMM algorithms",
        "utilisation" => "Utilisation: multiply-adds of what all cores could do, and what is left (meshes chosen here)",
        "fig8" => "Figure 8: GEMV algorithms",
        _ => "Decode graphs on the same chip and mesh (not in the paper)",
    }
}

/// The fit in a sentence.
pub fn fitted(fit: &Fit) -> String {
    if fit.cells == 0 {
        return "none of these cells was calibrated on".to_owned();
    }
    let (mean, max) = (100.0 * fit.mean, 100.0 * fit.max);
    format!("{} calibrated cells: mean error {mean:.1} %, largest {max:.1} %", fit.cells)
}

/// All tables, the fit, and what the numbers rest on.
pub fn tables(chip: &str, cells: &[Cell], fit: &Fit, notes: &[String]) -> String {
    let mut out =
        format!("WaferLLM's tables, measured on WSE-2, beside chip {chip}; * wse2 was calibrated on this cell\n");
    let mut table = "";
    for c in cells {
        if c.table != table {
            table = &c.table;
            let _ = writeln!(out, "\n{}", title(table));
            let _ = writeln!(
                out,
                "{:<20} {:<40} {:<22} {:>12} {:>12} {:>9}  unit",
                "model", "method", "column", "published", "emulated", "error"
            );
        }
        let mark = if c.calibration { "*" } else { " " };
        let (published, emulated) = (number(c.published), number(c.emulated));
        let _ = writeln!(
            out,
            "{:<20} {:<40} {:<22} {published:>12} {emulated:>12} {:>9}{mark} {}",
            c.model,
            c.method,
            c.column,
            percent(c.error),
            c.unit
        );
    }
    let _ = writeln!(out, "\n{}\n\nassumptions and constants", fitted(fit));
    for note in notes {
        let _ = writeln!(out, "  {note}");
    }
    out
}
