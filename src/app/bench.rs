//! `plummer bench`: algorithms side by side, each run as programs on the same emulated mesh.
//!
//! One subcommand a kernel; each makes rows, and `Rows` are printed here as a table or as JSON.
//! Invariant: a run with payloads checks its result; a mismatch is exit 1.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use half::f16;

use crate::collectives::RingOrder;
use crate::exec::RunOptions;
use crate::fabric::Chip;
use crate::host::bench;
use crate::kernels::gemv::{Gemv, GemvAlgo, GemvShape, Operands};
use crate::kernels::{Numerics, Row, Rows};

use super::bench_gemm::{GemmArgs, gemm};
use super::cli::mesh;

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// r = x W with the allreduces that the paper compares.
    Gemv(GemvArgs),
    /// C = A B with the algorithms that the paper compares.
    Gemm(GemmArgs),
}

/// Flags of every benchmark.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Meshes, COLSxROWS each.
    #[arg(long, value_name = "COLSxROWS,..", value_delimiter = ',', value_parser = mesh, default_value = "8x8")]
    pub mesh: Vec<(u32, u32)>,
    /// Number formats.
    #[arg(long, value_enum, default_value = "default")]
    pub numerics: NumericsArg,
    /// Bursts without payloads: the same cycles and counters, no result.
    #[arg(long)]
    pub dry: bool,
    /// Chip: a preset (see `plummer chips`) or a TOML file.
    #[arg(long, default_value = "wse2", value_name = "wse2|wse3|FILE")]
    pub chip: String,
    /// Worker threads [default: available CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `--numerics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumericsArg {
    /// f16 weights; f32 activations, transport and sums.
    Default,
    /// f16 storage, transport and accumulation.
    Paper,
}

/// `plummer bench gemv`.
#[derive(Clone, Debug, Args)]
pub struct GemvArgs {
    /// Algorithms: meshgemv (= ktree2), ktreeK with group counts chosen by cost, ktree:G1:G2.. with given ones, pipeline,
    /// ring, ring-interleaved.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = gemv_algo,
        default_value = "ktree1,ktree2,ktree3,pipeline,ring,ring-interleaved"
    )]
    pub algo: Vec<GemvChoice>,
    /// Length of x and of r.
    #[arg(long, value_name = "MxN", value_parser = size_2, default_value = "512x512")]
    pub size: (usize, usize),
    /// Flags of every benchmark.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `--algo` of GEMV, before group counts are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GemvChoice {
    /// K levels.
    KTree(usize),
    /// Group counts of the levels but the last.
    Groups(Vec<usize>),
    /// Pipeline.
    Pipeline,
    /// Ring.
    Ring(RingOrder),
}

fn gemv_algo(text: &str) -> Result<GemvChoice, String> {
    match text {
        "meshgemv" => return Ok(GemvChoice::KTree(2)),
        "pipeline" => return Ok(GemvChoice::Pipeline),
        "ring" => return Ok(GemvChoice::Ring(RingOrder::WrapAround)),
        "ring-interleaved" => return Ok(GemvChoice::Ring(RingOrder::Interleaved)),
        _ => {}
    }
    let rest = text.strip_prefix("ktree").unwrap_or_default();
    let given: Option<Vec<usize>> = rest.strip_prefix(':').and_then(|g| g.split(':').map(|g| g.parse().ok()).collect());
    match (rest.parse(), given) {
        (Ok(levels @ 1..=8), _) => Ok(GemvChoice::KTree(levels)),
        (_, Some(groups)) if groups.len() < 8 && !groups.contains(&0) => Ok(GemvChoice::Groups(groups)),
        _ => Err("need meshgemv, ktree1 to ktree8, ktree:G1:G2.., pipeline, ring or ring-interleaved".to_owned()),
    }
}

impl GemvChoice {
    fn algo(&self, shape: GemvShape, numerics: Numerics, chip: &Chip) -> GemvAlgo {
        match self {
            Self::KTree(levels) => GemvAlgo::ktree(*levels, shape, numerics, chip),
            Self::Groups(groups) => GemvAlgo::KTree([&groups[..], &[1]].concat()),
            Self::Pipeline => GemvAlgo::Pipeline,
            Self::Ring(order) => GemvAlgo::Ring(*order),
        }
    }
}

/// Longest side of a matrix: keeps element counts and byte sizes far inside 64 bits.
const SIDE_MAX: usize = 1 << 20;

fn size_2(text: &str) -> Result<(usize, usize), String> {
    let sides: Vec<usize> = text.split(['x', 'X']).map_while(|s| s.parse().ok()).collect();
    match sides[..] {
        [m, n] if text.matches(['x', 'X']).count() == 1 && [m, n].iter().all(|s| (1..=SIDE_MAX).contains(s)) => {
            Ok((m, n))
        }
        _ => Err(format!("need MxN, both from 1 to {SIDE_MAX}, such as 512x512")),
    }
}

/// Runs the command: what to print, and the exit code.
pub fn run(command: &BenchCommand) -> Result<(String, u8)> {
    let (common, rows, wrong) = match command {
        BenchCommand::Gemv(args) => {
            let (rows, wrong) = gemv(args)?;
            (&args.common, rows, wrong)
        }
        BenchCommand::Gemm(args) => {
            let (rows, wrong) = gemm(args)?;
            (&args.common, rows, wrong)
        }
    };
    let text = if common.json { format!("{}\n", serde_json::to_string(&rows)?) } else { table(&rows, &common.chip) };
    if let Some(wrong) = wrong {
        eprintln!("mismatch: {wrong}");
        return Ok((text, 1));
    }
    Ok((text, 0))
}

/// The chip that a flag names.
pub fn chip(name: &str) -> Result<Chip> {
    match Chip::preset(name) {
        Some(chip) => Ok(chip),
        None if Path::new(name).is_file() => Ok(Chip::from_toml_file(Path::new(name))?),
        None => bail!("--chip {name}: neither a file nor one of {}", Chip::PRESETS.join(", ")),
    }
}

impl CommonArgs {
    /// How to run.
    pub fn options(&self) -> RunOptions {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        RunOptions { dry: self.dry, ..RunOptions::new(self.workers.map_or_else(available, usize::from)) }
    }

    /// Number formats.
    pub fn numerics(&self) -> Numerics {
        match self.numerics {
            NumericsArg::Default => Numerics::Default,
            NumericsArg::Paper => Numerics::Paper,
        }
    }
}

/// -1, 0 or 1, by a multiplicative hash: sums of such products are exact in every format, in any order.
pub fn ternary(index: usize) -> f32 {
    let hash = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 33) % 3) as f32 - 1.0
}

fn gemv(args: &GemvArgs) -> Result<(Rows, Option<String>)> {
    let (chip, options, numerics) = (chip(&args.common.chip)?, args.common.options(), args.common.numerics());
    let (m, n) = args.size;
    let x: Vec<f32> = (0..m).map(ternary).collect();
    let value = |k: usize, i: usize| ternary(m + k * n + i);
    let w = |k: usize, i: usize| f16::from_f32(value(k, i)).to_bits();
    let naive: Vec<f32> =
        if args.common.dry { Vec::new() } else { (0..n).map(|i| (0..m).map(|k| x[k] * value(k, i)).sum()).collect() };
    let (mut rows, mut wrong) = (Rows::default(), None);
    for &(cols, mesh_rows) in &args.common.mesh {
        let shape = GemvShape { cols: cols as usize, rows: mesh_rows as usize, m, n };
        for choice in &args.algo {
            let algo = choice.algo(shape, numerics, &chip);
            let kernel = Gemv { shape, algo, numerics, chip: chip.clone() };
            let what = || format!("{} on {cols}x{mesh_rows}", bench::gemv_name(&kernel.algo));
            let (row, wafer) = bench::gemv(&kernel, &options, &Operands { x: &x, w: &w }).with_context(what)?;
            if let (Some(wafer), false) = (wafer, args.common.dry) {
                for at in [0, shape.rows - 1] {
                    if bench::gemv_result(&kernel, &wafer, at)? != naive {
                        wrong = wrong.or_else(|| Some(format!("{}, row {at} of the mesh: not x W", what())));
                    }
                }
            }
            rows.rows.push(row);
        }
    }
    Ok((rows, wrong))
}

/// Rows for people.
pub fn table(rows: &Rows, chip: &str) -> String {
    let mut out = format!("chip {chip}; cycles as executed, beside the kernel's own closed form\n");
    let _ = writeln!(
        out,
        "{:<18} {:>9} {:>15} {:>8} {:>6} {:>7} {:>6} {:>8} {:>12} {:>10} {:>10} {:>10} {:>10} {:>9}",
        "algo",
        "mesh",
        "size",
        "numerics",
        "colors",
        "hop max",
        "depth",
        "arena B",
        "wavelets",
        "cycles",
        "compute",
        "comm",
        "formula",
        "host s"
    );
    rows.rows.iter().for_each(|row| line(&mut out, row));
    out
}

fn line(out: &mut String, r: &Row) {
    let n = |v: Option<u64>| v.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let _ = writeln!(
        out,
        "{:<18} {:>9} {:>15} {:>8} {:>6} {:>7} {:>6} {:>8} {:>12} {:>10} {:>10} {:>10} {:>10} {:>9}",
        r.algo,
        r.mesh,
        r.size,
        r.numerics.name(),
        r.colors_per_core,
        r.longest_hop,
        n(r.depth.map(u64::from)),
        r.arena_peak,
        n(r.wavelets),
        n(r.cycles),
        n(r.compute_cycles),
        n(r.comm_cycles),
        n(r.closed_form_cycles),
        r.host_seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.4}")),
    );
    if let Some(reason) = &r.refused {
        let _ = writeln!(out, "  refused: {}", reason.lines().next().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_algorithms_parse_or_say_what_they_need() {
        assert_eq!(size_2("16x9"), Ok((16, 9)));
        for bad in ["16", "x", "0x4", "4x4x4", "4xa", "4x4x", "99999999x1"] {
            assert!(size_2(bad).unwrap_err().contains("MxN"), "{bad}");
        }
        assert_eq!(gemv_algo("meshgemv"), Ok(GemvChoice::KTree(2)));
        assert_eq!(gemv_algo("ktree5"), Ok(GemvChoice::KTree(5)));
        assert_eq!(gemv_algo("ktree:16:4"), Ok(GemvChoice::Groups(vec![16, 4])));
        for bad in ["ktree:", "ktree:0", "ktree:4:x", "ktree0", "ktree9", "ktree", "cannon"] {
            assert!(gemv_algo(bad).unwrap_err().contains("meshgemv"), "{bad}");
        }
    }
}
