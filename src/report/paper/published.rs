//! Published values that the reference pages state, all but the colors calibration cells (timing.md).
//!
//! Invariant: nothing else is known here: validation cells of the paper are left empty rather than recalled.

use super::measure::Method;

/// (table, model, method, mesh side or size, value): tokens/s a request in Tables 3 and 4, ms in Table 6.
const CELLS: [(&str, &str, Method, &str, f64); 21] = [
    ("3", "LLaMA3-8B", Method::WaferLlm, "480x480", 20320.6),
    ("3", "LLaMA3-8B", Method::WaferLlm, "600x600", 25037.2),
    ("3", "LLaMA3-8B", Method::WaferLlm, "720x720", 27686.5),
    ("3", "LLaMA3-8B", Method::T10, "480x480", 175.0),
    ("3", "LLaMA3-8B", Method::T10, "600x600", 156.6),
    ("3", "LLaMA3-8B", Method::T10, "720x720", 132.8),
    ("3", "LLaMA3-8B", Method::Ladder, "480x480", 61.8),
    ("3", "LLaMA3-8B", Method::Ladder, "600x600", 42.3),
    ("3", "LLaMA3-8B", Method::Ladder, "720x720", 31.3),
    ("3", "QWen2-72B", Method::T10, "600x600", 23.5),
    ("3", "QWen2-72B", Method::Ladder, "480x480", 16.8),
    ("4", "LLaMA3-8B", Method::WaferLlm, "420x420", 2699.9),
    ("4", "LLaMA3-8B", Method::WaferLlm, "540x540", 2501.5),
    ("4", "LLaMA3-8B", Method::WaferLlm, "660x660", 2243.3),
    ("4", "LLaMA3-8B", Method::T10, "420x420", 418.3),
    ("4", "LLaMA3-8B", Method::T10, "540x540", 339.4),
    ("4", "LLaMA3-8B", Method::T10, "660x660", 265.1),
    ("4", "LLaMA3-8B", Method::Ladder, "420x420", 14.6),
    ("4", "LLaMA3-8B", Method::Ladder, "540x540", 13.1),
    ("4", "LLaMA3-8B", Method::Ladder, "660x660", 11.4),
    ("6", "[1,16K] x [16K,16K]", Method::WaferLlm, "720x720", 0.0012),
];

/// Colors of the released decode's allreduces: 10 an axis (waferllm.md 2.3).
pub const RELEASED_COLORS: f64 = 20.0;

/// The published value of a cell, if it is stated.
pub fn published(table: &str, model: &str, method: Method, column: &str) -> Option<f64> {
    let same = |c: &&(&str, &str, Method, &str, f64)| c.0 == table && c.1 == model && c.2 == method && c.3 == column;
    CELLS.iter().find(same).map(|c| c.4)
}
