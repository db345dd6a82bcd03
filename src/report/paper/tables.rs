//! Which cells a table has.
//!
//! | table       | rows                                             | columns                               |
//! |-------------|--------------------------------------------------|---------------------------------------|
//! | 2           | models x systems, tokens/s end to end            | prompt/output (lengths chosen here)   |
//! | 3           | models x systems, prefill of 4096                | 480, 600, 720                         |
//! | 4           | models x systems, decode at 4096                 | 420, 540, 660                         |
//! | 5           | models x (shift, concat), positions, and by ledgers | 240, 360 (meshes chosen here)      |
//! | 6           | GEMV sizes, ms and mJ                            | 720                                   |
//! | 7, 8        | models, J a token, and an A100's over it         | as 3 and 4                            |
//! | fig6        | GEMM algorithms on 2K matrices                   | 360 to 720                            |
//! | fig8        | GEMV algorithms on 16K matrices                  | 240 to 720                            |
//! | utilisation | models x systems, WaferLLM's over the others, and what it leaves | prefill at 600, decode at 420 |
//! | graphs      | decode graphs, LLaMA3-8B at 420 (not in paper)   | cycles, colors, tokens/s, gain, x TPR |
//!
//! Invariant: every model x method x mesh of Tables 3 and 4 is there. Called by `app::paper`.

use crate::kernels::gemm::Algo;
use crate::workloads::decode::{Graph, VARIANTS};
use crate::workloads::scaling::{GemmKind, GemvKind};
use crate::workloads::shape::MODELS;

use super::Cell;
use super::measure::{DECODE_SIDES, Method, POSITIONS, PREFILL_SIDES, Phase, What};
use super::published::{RELEASED_COLORS, published};
use super::shares::Share;

/// Names of tables, in order.
pub const TABLES: [&str; 11] = ["2", "3", "4", "5", "6", "7", "8", "fig6", "fig8", "utilisation", "graphs"];

const METHODS: [Method; 4] = [Method::WaferLlm, Method::T10, Method::Ladder, Method::Gpu];
/// Lengths of prompt and output.
const LENGTHS: [(usize, usize); 4] = [(2048, 128), (2048, 2048), (4096, 128), (4096, 4096)];
const GEMV_SIZES: [(&str, usize); 4] = [
    ("[1,4K] x [4K,4K]", 4096),
    ("[1,8K] x [8K,8K]", 8192),
    ("[1,16K] x [16K,16K]", 16384),
    ("[1,32K] x [32K,32K]", 32768),
];

fn mesh(p: usize) -> String {
    format!("{p}x{p}")
}

fn cell(table: &str, model: &str, method: &str, column: String, unit: &str, what: What) -> Cell {
    Cell {
        table: table.to_owned(),
        model: model.to_owned(),
        method: method.to_owned(),
        column,
        unit: unit.to_owned(),
        published: None,
        emulated: None,
        error: None,
        calibration: false,
        what: Some(what),
    }
}

/// A cell whose published value may be stated; all that are stated are calibrated on.
fn stated(table: &str, model: &str, method: Method, column: String, unit: &str, what: What) -> Cell {
    let published = published(table, model, method, &column);
    Cell { published, calibration: published.is_some(), ..cell(table, model, method.name(), column, unit, what) }
}

/// Cells of a table of `TABLES`.
pub fn cells(table: &str) -> Vec<Cell> {
    match table {
        "2" => end_to_end(),
        "3" => speeds(table, Phase::Prefill, &PREFILL_SIDES),
        "4" => speeds(table, Phase::Decode, &DECODE_SIDES),
        "5" => capacity(),
        "6" => gemv(),
        "7" => energy(table, Phase::Prefill, &PREFILL_SIDES),
        "8" => energy(table, Phase::Decode, &DECODE_SIDES),
        "fig6" => figure_6(),
        "fig8" => figure_8(),
        "utilisation" => utilisation(),
        _ => graphs(),
    }
}

fn end_to_end() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (model, method) in MODELS.iter().flat_map(|model| METHODS.map(|method| (model, method))) {
        for (prompt, output) in LENGTHS {
            let what = What::EndToEnd(*model, method, prompt, output);
            cells.push(stated("2", model.name, method, format!("{prompt}/{output}"), "tokens/s", what));
        }
    }
    cells
}

fn speeds(table: &str, phase: Phase, sides: &[usize]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (model, method) in MODELS.iter().flat_map(|model| METHODS.map(|method| (model, method))) {
        for &p in sides.iter().filter(|_| method != Method::Gpu) {
            let what = What::Speed(*model, method, phase, p, POSITIONS);
            cells.push(stated(table, model.name, method, mesh(p), "tokens/s", what));
        }
    }
    cells
}

fn capacity() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (model, p) in MODELS.iter().flat_map(|model| [240, 360].map(|p| (model, p))) {
        for (method, shift) in [("concat", false), ("shift", true)] {
            cells.push(cell("5", model.name, method, mesh(p), "positions", What::Capacity(*model, p, shift)));
        }
        for (method, shift) in [("concat, ledgers of the model", false), ("shift, ledgers of the model", true)] {
            let what = What::LedgerCapacity(*model, p, shift);
            cells.push(cell("5", model.name, method, mesh(p), "positions", what));
        }
    }
    cells
}

fn gemv() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (name, n) in GEMV_SIZES {
        cells.push(stated("6", name, Method::WaferLlm, mesh(720), "ms", What::GemvMs(n, 720)));
        cells.push(cell(
            "6",
            name,
            Method::WaferLlm.name(),
            format!("{}, energy", mesh(720)),
            "mJ",
            What::GemvMj(n, 720),
        ));
    }
    cells
}

fn energy(table: &str, phase: Phase, sides: &[usize]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (model, &p) in MODELS.iter().flat_map(|model| sides.iter().map(move |p| (model, p))) {
        let what = What::Energy(*model, phase, p);
        cells.push(cell(table, model.name, Method::WaferLlm.name(), mesh(p), "J/token", what));
        // Of the cell before it.
        let what = What::EnergyRatio(*model, phase);
        cells.push(cell(table, model.name, "SGLang A100 over WaferLLM", mesh(p), "energy ratio", what));
    }
    cells
}

fn figure_6() -> Vec<Cell> {
    let kinds = [
        ("MeshGEMM", GemmKind::Program(Algo::Mesh)),
        ("Cannon", GemmKind::Program(Algo::CannonLockstep)),
        ("SUMMA", GemmKind::Program(Algo::Summa)),
        ("SUMMA, steps apart (not executed)", GemmKind::SummaInStep),
        ("Allgather", GemmKind::Program(Algo::Allgather)),
    ];
    let sides = [360, 480, 600, 720];
    let of = |(name, kind), p| cell("fig6", "2K x 2K x 2K", name, mesh(p), "cycles", What::GemmCycles(kind, 2048, p));
    kinds.into_iter().flat_map(|kind| sides.map(|p| of(kind, p))).collect()
}

fn figure_8() -> Vec<Cell> {
    let kinds = [("MeshGEMV", GemvKind::Mesh), ("pipeline", GemvKind::Pipeline), ("ring", GemvKind::Ring)];
    let sides = [240, 360, 480, 600, 720];
    let of = |(name, kind), p| {
        cell("fig8", "[1,16K] x [16K,16K]", name, mesh(p), "cycles", What::GemvCycles(kind, 16384, p))
    };
    kinds.into_iter().flat_map(|kind| sides.map(|p| of(kind, p))).collect()
}

fn utilisation() -> Vec<Cell> {
    let mut cells = Vec::new();
    let methods = [Method::WaferLlm, Method::T10, Method::Ladder];
    for (model, method) in MODELS.iter().flat_map(|model| methods.map(|method| (model, method))) {
        for (phase, name, p) in [(Phase::Prefill, "prefill", 600), (Phase::Decode, "decode", 420)] {
            let what = What::Utilisation(*model, method, phase, p);
            let column = format!("{name}, {}", mesh(p));
            cells.push(cell("utilisation", model.name, method.name(), column.clone(), "% of peak", what));
            for (share, unit) in Share::ALL.into_iter().filter(|_| method == Method::WaferLlm) {
                let what = What::Share(*model, share, phase, p);
                cells.push(cell("utilisation", model.name, method.name(), column.clone(), unit, what));
            }
            if method != Method::WaferLlm {
                let over = format!("WaferLLM over {}", method.name());
                let what = What::UtilisationOver(*model, method, phase, p);
                cells.push(cell("utilisation", model.name, &over, column, "x", what));
            }
        }
    }
    cells
}

fn graphs() -> Vec<Cell> {
    let (model, p) = (MODELS[0], 420);
    let stated = published("4", model.name, Method::WaferLlm, &mesh(p));
    let mut cells = Vec::new();
    for (at, variant) in VARIANTS.iter().enumerate() {
        for (unit, what) in [
            ("cycles/layer", What::GraphCycles(model, p, at)),
            ("colors", What::GraphColors(model, p, at)),
            ("tokens/s", What::GraphSpeed(model, p, at)),
            ("gain", What::GraphGain(model, p, at)),
        ] {
            // The authors' trees are theirs in the released code too.
            let theirs = matches!(variant.graph, Graph::Measured | Graph::Released) && unit == "colors";
            let published = theirs.then_some(RELEASED_COLORS);
            let column = format!("{}, {unit}", mesh(p));
            cells.push(Cell { published, ..cell("graphs", model.name, variant.name, column, unit, what) });
        }
        if let Some(stated) = stated {
            let what = What::GraphOverPublished(model, p, at, stated);
            let column = format!("{}, over {stated}", mesh(p));
            cells.push(cell("graphs", model.name, variant.name, column, "x the paper's TPR", what));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stated_value_has_its_cell_and_tables_3_and_4_are_complete() {
        let all: Vec<Cell> = TABLES.iter().flat_map(|table| cells(table)).collect();
        assert_eq!(all.iter().filter(|c| c.calibration).count(), 21);
        let stated = |c: &Cell| c.published.is_some() && c.unit != "colors";
        assert!(all.iter().all(|c| c.calibration == stated(c)));
        for (table, sides) in [("3", PREFILL_SIDES), ("4", DECODE_SIDES)] {
            for (model, method, p) in MODELS
                .iter()
                .flat_map(|m| ["WaferLLM", "T10", "Ladder"].map(|method| (m, method)))
                .flat_map(|(m, method)| sides.map(|p| (m, method, p)))
            {
                let same =
                    |c: &&Cell| c.table == table && c.model == model.name && c.method == method && c.column == mesh(p);
                assert_eq!(all.iter().filter(same).count(), 1, "{table} {} {method} {p}", model.name);
            }
        }
    }
}
