//! PLMR, measured: which of P, L, M and R an algorithm breaks as the mesh grows, and `plummer bench plmr`.
//!
//! What is compared is the smallest and the largest mesh of one algorithm in the rows of one run:
//! ```text
//!   P  cycles that the busiest core computes, times cores, per multiply-add of the whole product, grow
//!   L  GEMM: the longest hop grows with the side of the mesh; GEMV (where some message must cross the mesh): the
//!      dependent software stages do
//!   M  a core holds more of the operands, measured in shares of 1 / cores, as the side grows; or the arena refused it
//!   R  colors per core grow
//! ```
//! "Grows" is: by at least half the factor by which the side grew. One mesh alone shows no growth, and is said so.
//! Invariant: read off measured rows alone; nothing here knows an algorithm. Called by `bench`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;

use crate::fabric::Chip;
use crate::kernels::{Row, Rows};

use super::{CommonArgs, Running, gemm, gemv, table};

/// `plummer bench plmr`.
#[derive(Clone, Debug, Args)]
pub struct PlmrArgs {
    /// Side of a core's tile: matrices grow with the mesh, as in the paper's tables.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub tile: u32,
    /// Flags of every benchmark.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What the paper says of an algorithm: (name here, routes, critical path, memory).
const FIGURE_6: [(&str, &str, &str, &str); 4] = [
    ("allgather", "O(N)", "O(N)", "O(1/N)"),
    ("summa", "O(N)", "O(N)", "O(1/N^2)"),
    ("cannon", "O(1)", "O(N)", "O(1/N^2)"),
    ("meshgemm", "O(1)", "O(1)", "O(1/N^2)"),
];
const FIGURE_8: [(&str, &str, &str, &str); 3] = [
    ("pipeline", "O(1)", "(a + b) N", "-"),
    ("ring", "O(1)", "(2a + b) N", "-"),
    ("ktree2", "O(K)", "a N + b K/2 N^(1/K)", "-"),
];

/// Runs both comparisons: the rows, the text, and the first wrong result.
///
/// # Errors
/// As those of GEMM and GEMV.
pub fn run(args: &PlmrArgs, chip: &Chip, running: &mut Running) -> Result<(Rows, String, Option<String>)> {
    let (mut rows, mut wrong) = (Rows::default(), None);
    let mut parts = [Vec::new(), Vec::new()];
    for &mesh in &args.common.mesh {
        let common = CommonArgs { mesh: vec![mesh], ..args.common.clone() };
        let side = (args.tile * mesh.0.max(mesh.1)) as usize;
        for (part, found) in [gemm::square(&common, side, chip, running)?, gemv::square(&common, side, chip, running)?]
            .into_iter()
            .enumerate()
        {
            wrong = wrong.or(found.1);
            parts[part].extend(found.0.rows);
        }
    }
    let mut text = String::new();
    for (part, (name, paper)) in
        [("Figure 6: GEMM", &FIGURE_6[..]), ("Figure 8: GEMV", &FIGURE_8[..])].iter().enumerate()
    {
        let _ = writeln!(text, "{name}, as published and as measured with tiles of {0} x {0} a core", args.tile);
        for (algo, routes, path, memory) in *paper {
            let _ = writeln!(text, "  {algo:<12} paper: routes {routes}, critical path {path}, memory {memory}");
        }
        let measured = Rows { rows: std::mem::take(&mut parts[part]) };
        text += &table(&measured, &chip.name);
        text.push('\n');
        rows.rows.extend(measured.rows);
    }
    Ok((rows, text, wrong))
}

/// Lines under a table: what each algorithm breaks, and why.
pub fn verdicts(rows: &[Row]) -> String {
    let mut algos: Vec<&str> = Vec::new();
    for row in rows {
        if !algos.contains(&&*row.algo) {
            algos.push(&row.algo);
        }
    }
    let mut text = "breaks PLMR (measured: smallest mesh against largest)\n".to_owned();
    for algo in algos {
        let all: Vec<&Row> = rows.iter().filter(|r| r.algo == algo).collect();
        let _ = writeln!(text, "  {algo:<18} {}", verdict(&all).unwrap_or_else(|| "nothing".to_owned()));
    }
    text
}

/// COLSxROWS and the like as numbers.
fn numbers(text: &str) -> Vec<f64> {
    text.split('x').filter_map(|n| n.parse().ok()).collect()
}

fn side(row: &Row) -> f64 {
    numbers(&row.mesh).into_iter().fold(1.0, f64::max)
}

fn cores(row: &Row) -> f64 {
    numbers(&row.mesh).into_iter().product()
}

/// Elements of the operands, and multiply-adds.
fn work(row: &Row) -> (f64, f64) {
    match numbers(&row.size)[..] {
        [m, k, n] => (m * k + k * n + m * n, m * k * n),
        [m, n] => (m * n, m * n),
        _ => (1.0, 1.0),
    }
}

/// How many times its share of the operands (in f16) the fullest core holds.
fn shares(row: &Row) -> f64 {
    row.arena_peak as f64 * cores(row) / (2.0 * work(row).0)
}

/// What an algorithm breaks, `None` if nothing.
fn verdict(rows: &[&Row]) -> Option<String> {
    let first = rows.iter().min_by(|a, b| side(a).total_cmp(&side(b)))?;
    let last = rows.iter().max_by(|a, b| side(a).total_cmp(&side(b)))?;
    let grown = side(last) / side(first);
    let is_gemm = numbers(&first.size).len() == 3;
    // Faster than the side to the power of 2/3: between the roots that are good and what grows with the side, and on
    // meshes that are nearly alike too.
    let grows = |from: f64, to: f64| grown > 1.0 && to > from && to / from.max(1.0) >= libm::pow(grown, 2.0 / 3.0);
    let at = |what: &str, from: f64, to: f64| format!("{what} {from:.0} at {}, {to:.0} at {}", first.mesh, last.mesh);
    let mut found = Vec::new();
    let compute = |r: &Row| r.compute_cycles.map(|c| c as f64 * cores(r) / work(r).1);
    if let (Some(from), Some(to)) = (compute(first), compute(last))
        && grows(from, to)
    {
        found.push(format!("P: core-cycles a multiply-add {from:.1} at {}, {to:.1} at {}", first.mesh, last.mesh));
    }
    let hops = (f64::from(first.longest_hop), f64::from(last.longest_hop));
    if is_gemm && grows(hops.0, hops.1) {
        found.push(format!("L: {}", at("longest hop", hops.0, hops.1)));
    }
    if let (false, Some(from), Some(to)) = (is_gemm, first.depth, last.depth)
        && grows(f64::from(from), f64::from(to))
    {
        found.push(format!("L: {}", at("dependent stages", f64::from(from), f64::from(to))));
    }
    let refused: Vec<&str> =
        rows.iter().filter(|r| r.refused.as_ref().is_some_and(|why| why.contains("arena"))).map(|r| &*r.mesh).collect();
    let held = (shares(first), shares(last));
    let by_arena =
        if refused.is_empty() { String::new() } else { format!("refused by the arena at {}", refused.join(", ")) };
    if grows(held.0, held.1) {
        let more = if refused.is_empty() { String::new() } else { format!(", {by_arena}") };
        found.push(format!("M: {} times its share{more}", at("a core holds", held.0, held.1)));
    } else if !refused.is_empty() {
        let why = if grown > 1.0 { "its share alone is too large" } else { "one mesh shows no growth" };
        found.push(format!("M there: {by_arena} ({why})"));
    }
    if last.colors_per_core > first.colors_per_core && grows(first.colors_per_core.into(), last.colors_per_core.into())
    {
        found.push(format!("R: {}", at("colors", first.colors_per_core.into(), last.colors_per_core.into())));
    }
    if grown == 1.0 {
        found.push("(L, M and R need two meshes)".to_owned());
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Numerics;

    fn row(mesh: &str, size: &str, (colors, hop, depth): (u32, u32, u32), arena: u64, refused: bool) -> Row {
        Row {
            algo: "x".to_owned(),
            mesh: mesh.to_owned(),
            size: size.to_owned(),
            numerics: Numerics::Default,
            colors_per_core: colors,
            longest_hop: hop,
            depth: Some(depth),
            arena_peak: arena,
            wavelets: None,
            cycles: None,
            compute_cycles: None,
            comm_cycles: None,
            closed_form_cycles: None,
            host_seconds: None,
            refused: refused.then(|| "arena of PE (0, 0) is over budget".to_owned()),
        }
    }

    fn of(rows: [Row; 2]) -> Option<String> {
        verdict(&[&rows[0], &rows[1]])
    }

    #[test]
    fn each_letter_is_broken_by_its_own_growth_alone() {
        // Tiles of 4 x 4: 16 elements an operand and core, 32 bytes each in f16.
        let gemm = |small, large, arena, refused| {
            of([row("4x4", "16x16x16", small, 96, false), row("16x16", "64x64x64", large, arena, refused)])
        };
        assert_eq!(gemm((12, 2, 9), (12, 2, 40), 96, false), None, "depth grows: no letter of GEMM");
        assert!(gemm((12, 3, 9), (12, 15, 9), 96, false).unwrap().starts_with("L: longest hop 3 at 4x4, 15 at 16x16"));
        assert!(gemm((6, 2, 9), (24, 2, 9), 96, false).unwrap().starts_with("R: colors 6 at 4x4, 24"));
        let held = gemm((6, 2, 9), (6, 2, 9), 960, true).unwrap();
        assert!(held.starts_with("M: a core holds 1 at 4x4, 10 at 16x16") && held.contains("refused"), "{held}");
        let full = gemm((6, 2, 9), (6, 2, 9), 96, true).unwrap();
        assert!(full.starts_with("M there: refused by the arena at 16x16 (its share"), "{full}");
        let gemv = |from, to| of([row("4x4", "16x16", from, 32, false), row("16x16", "64x64", to, 32, false)]);
        assert_eq!(gemv((5, 3, 4), (5, 15, 7)), None, "a message must cross the mesh");
        assert!(gemv((3, 3, 4), (3, 15, 16)).unwrap().starts_with("L: dependent stages 4"));
    }
}
