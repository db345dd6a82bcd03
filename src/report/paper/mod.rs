//! The WaferLLM paper's tables and figures: one cell each, published beside emulated.
//!
//! ```text
//!   tables::cells(table) --> Cell { what, published } --> Evaluator --> Cell { emulated, error }
//! ```
//! Invariant: published values are those of `published`, never recalled; what is not there is empty.
//! Called by `app::paper`.

mod assumptions;
mod measure;
mod published;
mod shares;
mod tables;

use serde::{Deserialize, Serialize};

pub use assumptions::assumptions;
pub use measure::{Evaluator, Method, Phase, What};
pub use tables::{TABLES, cells};

/// One number of a table. Field names are those of `plummer paper --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Number of the table, or name of the figure.
    pub table: String,
    /// Model, or size of a kernel.
    pub model: String,
    /// System or algorithm.
    pub method: String,
    /// Column: mesh, or lengths of prompt and output.
    pub column: String,
    /// Unit of both values.
    pub unit: String,
    /// As the paper has it, if the reference pages state it.
    pub published: Option<f64>,
    /// As this chip does it; empty for systems on other machines.
    pub emulated: Option<f64>,
    /// emulated / published - 1.
    pub error: Option<f64>,
    /// Was a constant fitted to it?
    pub calibration: bool,
    /// What is emulated.
    #[serde(skip)]
    pub what: Option<What>,
}

impl Cell {
    /// With the emulated value, and the error if there is something to compare.
    #[must_use]
    pub fn with(self, emulated: Option<f64>) -> Self {
        // Another coloring on purpose is no error.
        let compared = self.published.filter(|_| self.unit != "colors");
        let error = emulated.zip(compared).map(|(found, stated)| found / stated - 1.0);
        Self { emulated, error, ..self }
    }
}

/// How well calibrated cells are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Calibrated cells that were emulated.
    pub cells: usize,
    /// Mean of their absolute errors.
    pub mean: f64,
    /// Largest of them.
    pub max: f64,
}

impl Fit {
    /// Over the calibrated cells of a list.
    pub fn of(cells: &[Cell]) -> Self {
        let errors = cells.iter().filter(|c| c.calibration).filter_map(|c| c.error).map(f64::abs);
        let (cells, sum, max) = errors.fold((0, 0.0, 0.0_f64), |(n, sum, max), e| (n + 1, sum + e, max.max(e)));
        Self { cells, mean: if cells > 0 { sum / cells as f64 } else { 0.0 }, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_is_over_calibrated_cells_alone() {
        let cell = |published, emulated, calibration| {
            let text = String::new;
            let (table, model, method, column, unit) = (text(), text(), text(), text(), text());
            let (error, what) = (None, None);
            Cell { table, model, method, column, unit, published, emulated: None, error, calibration, what }
                .with(emulated)
        };
        let cells = [
            cell(Some(100.0), Some(102.0), true),
            cell(Some(100.0), Some(96.0), true),
            cell(Some(100.0), Some(150.0), false),
            cell(None, Some(1.0), false),
        ];
        let fit = Fit::of(&cells);
        assert_eq!(fit.cells, 2);
        assert!((fit.mean - 0.03).abs() < 1e-12 && (fit.max - 0.04).abs() < 1e-12, "{fit:?}");
        assert_eq!(cells[3].error, None);
    }
}
