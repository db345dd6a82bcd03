//! `plummer bench`: algorithms side by side, each run as programs on the same emulated mesh.
//!
//! One subcommand and one file a kernel; each makes rows (and says what was wrong with a result), which are printed
//! here as a table or as JSON.
//!
//! Invariant: a run with payloads checks its result; a mismatch is exit 1. Called by `app`.

mod gemm;
mod gemv;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::exec::RunOptions;
use crate::fabric::Chip;
use crate::kernels::{Numerics, Row, Rows};

use super::cli::mesh;
use gemm::GemmArgs;
use gemv::GemvArgs;

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// r = x W with the allreduces that the paper compares.
    Gemv(GemvArgs),
    /// C = A B with the algorithms that the paper compares, and C = A B^T.
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

/// Runs the command: what to print, and the exit code.
pub fn run(command: &BenchCommand) -> Result<(String, u8)> {
    let (common, rows, wrong) = match command {
        BenchCommand::Gemv(args) => {
            let (rows, wrong) = gemv::run(args)?;
            (&args.common, rows, wrong)
        }
        BenchCommand::Gemm(args) => {
            let (rows, wrong) = gemm::run(args)?;
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
