//! `plummer bench`: algorithms side by side, each run as programs on the same emulated mesh.
//!
//! One subcommand and one file a kernel; each makes rows (and says what was wrong with a result), which are printed
//! here as a table or as JSON.
//!
//! Invariant: a run with payloads checks its result; a mismatch is exit 1. Called by `app`.

mod gemm;
mod gemv;
mod letters;
mod plmr;
mod plot;
mod relay;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::exec::{RunOptions, WORKERS_MAX, Wafer};
use crate::fabric::Chip;
use crate::host::Recorded;
use crate::host::trace::Phase;
use crate::kernels::{Numerics, Row, Rows};
use crate::units::Coord;

use super::cli::mesh;
use super::probe::{ProbeArgs, Probes};
use super::progress::Progress;
use super::whole::Whole;
use gemm::GemmArgs;
use gemv::GemvArgs;

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// r = x W with the allreduces that the paper compares.
    Gemv(GemvArgs),
    /// C = A B with the algorithms that the paper compares, and C = A B^T.
    Gemm(GemmArgs),
    /// The same products as T10 and as Ladder would do them: every hop between cores is software.
    Relay(relay::RelayArgs),
    /// The paper's Figures 6 (GEMM) and 8 (GEMV) with measured numbers, and which of P, L, M, R an algorithm breaks.
    Plmr(plmr::PlmrArgs),
}

/// Flags of every benchmark.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Meshes, COLSxROWS each.
    #[arg(long, value_name = "COLSxROWS,..", value_delimiter = ',', value_parser = mesh, default_value = "8x8")]
    pub mesh: Vec<(u32, u32)>,
    /// Number formats [default: default; `bench relay` has paper alone].
    #[arg(long, value_enum)]
    pub numerics: Option<NumericsArg>,
    /// Bursts without payloads: the same cycles and counters, no result.
    #[arg(long)]
    pub dry: bool,
    /// Chip: a preset (see `plummer chips`) or a TOML file.
    #[arg(long, default_value = "wse2", value_name = "NAME|FILE")]
    pub chip: String,
    /// Worker threads [default: available CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    pub workers: Option<u16>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Draw cycles against the mesh, compute and communication shaded.
    #[arg(long, value_name = "FILE.svg|png")]
    pub plot: Option<PathBuf>,
    /// Files for other tools, of the one mesh and algorithm that then must be named.
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// `--numerics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumericsArg {
    /// f16 weights; f32 activations, transport and sums.
    Default,
    /// f16 storage, transport and accumulation.
    Paper,
}

/// Version of the JSON object.
const SCHEMA: u32 = 1;

/// Runs the command and prints rows as they are made, or one object at the end; the exit code.
///
/// # Errors
/// A chip that does not exist or is smaller than a mesh; a file that cannot be written; a deadlock or a stopped PE;
/// behind the rows, that all of them were refused.
pub fn run(command: &BenchCommand) -> Result<u8> {
    let (common, title) = match command {
        BenchCommand::Gemv(args) => (&args.common, "GEMV"),
        BenchCommand::Gemm(args) => (&args.common, "GEMM"),
        BenchCommand::Relay(args) => (&args.common, "relayed products"),
        BenchCommand::Plmr(args) => (&args.common, "GEMM and GEMV"),
    };
    if common.probe.any() && matches!(command, BenchCommand::Relay(_) | BenchCommand::Plmr(_)) {
        bail!("--trace, --links and --map are of one run, and this makes several: need `bench gemm` or `bench gemv`");
    }
    let chip = super::chips::open(&common.chip)?;
    if let Some((cols, rows)) = common.mesh.iter().find(|(cols, rows)| *cols > chip.cols || *rows > chip.rows) {
        bail!("mesh {cols}x{rows}: need at most the chip's {}x{}", chip.cols, chip.rows);
    }
    let cores = common.mesh.iter().flat_map(|mesh| [Coord::new(0, 0), Coord::new(mesh.0 - 1, mesh.1 - 1)]);
    common.probe.check_cores(cores)?;
    common.plot.as_deref().map_or(Ok(()), plot::check)?;
    let picture = Whole::of_flag("--plot", common.plot.as_deref())?;
    let by_rows = !matches!(command, BenchCommand::Plmr(_));
    let live = by_rows && !common.json;
    let head = live.then(|| heading(&chip.name));
    let mut running = Running { bar: Progress::new(None), live, head };
    let (rows, text, wrong) = match command {
        BenchCommand::Gemv(args) => with_verdicts(gemv::run(args, &chip, &mut running)?),
        BenchCommand::Gemm(args) => with_verdicts(gemm::run(args, &chip, &mut running)?),
        BenchCommand::Relay(args) => with_verdicts(relay::run(args, &chip, &mut running)?),
        BenchCommand::Plmr(args) => plmr::run(args, &chip, &mut running)?,
    };
    running.bar.finish();
    if let (Some(file), Some(path)) = (picture, &common.plot) {
        file.finish(&plot::picture(path, &rows.rows, title)?)?;
    }
    if common.json {
        let object = serde_json::json!({ "schema": SCHEMA, "chip": chip.name, "rows": rows.rows });
        super::print(format!("{object}\n").as_bytes())?;
    } else {
        super::print(text.as_bytes())?;
    }
    if let Some(wrong) = wrong {
        super::say(&format!("mismatch: {wrong}\n"));
        return Ok(1);
    }
    let refused: Option<Vec<&str>> = rows.rows.iter().map(|row| row.refused.as_deref()).collect();
    match refused.as_deref() {
        Some([first, ..]) => {
            bail!("every row is refused; the first: {}", first.lines().next().unwrap_or_default())
        }
        _ => Ok(0),
    }
}

/// What is at work, on stderr; and rows on stdout as they are made.
pub struct Running {
    bar: Progress,
    live: bool,
    /// What is printed above the first row, once nothing in the flags is wrong.
    head: Option<String>,
}

impl Running {
    /// A run begins.
    ///
    /// # Errors
    /// As `done`.
    pub fn begins(&mut self, what: &str) -> io::Result<()> {
        self.bar.at(what);
        self.head.take().map_or(Ok(()), |head| self.bar.aside(|| super::print(head.as_bytes())))
    }

    /// A run gave its row.
    ///
    /// # Errors
    /// What the operating system says of stdout, a closed pipe excepted.
    pub fn done(&self, row: &Row) -> io::Result<()> {
        let mut text = String::new();
        line(&mut text, row);
        if self.live { self.bar.aside(|| super::print(text.as_bytes())) } else { Ok(()) }
    }
}

impl CommonArgs {
    /// How to run.
    pub fn options(&self) -> RunOptions {
        let available = || std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let workers = self.workers.map_or_else(available, usize::from);
        let link_windows = self.probe.links.is_some();
        RunOptions { dry: self.dry, trace: self.probe.options(), link_windows, ..RunOptions::new(workers) }
    }

    /// Starts the files of `--trace` and the like; `runs` is how many runs the flags name.
    ///
    /// # Errors
    /// More than one run; a path that cannot be written.
    fn probes(&self, runs: usize) -> Result<Option<Probes>> {
        if !self.probe.any() {
            return Ok(None);
        }
        if runs != 1 {
            bail!("--trace, --links and --map are of one run: need one --mesh and one --algo, found {runs} runs");
        }
        self.probe.open().map(Some)
    }

    /// Number formats.
    pub fn numerics(&self) -> Numerics {
        match self.numerics {
            None | Some(NumericsArg::Default) => Numerics::Default,
            Some(NumericsArg::Paper) => Numerics::Paper,
        }
    }
}

/// Writes the files of the one run.
fn write_probes(probes: &mut Option<Probes>, wafer: Option<&Wafer>, chip: &Chip, phases: Vec<Phase>) -> Result<()> {
    match (probes.take(), wafer) {
        (Some(probes), Some(wafer)) => probes.write(chip, || Recorded::of(wafer, phases)),
        _ => Ok(()),
    }
}

/// -1, 0 or 1, by a multiplicative hash: sums of such products are exact in every format, in any order.
pub fn ternary(index: usize) -> f32 {
    let hash = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 33) % 3) as f32 - 1.0
}

/// What the columns are, above the rows.
fn heading(chip: &str) -> String {
    let mut out = format!(
        "chip {chip}; hop max: links of the longest route; depth: dependent messages; arena B: tiles of the fullest \
         core,\nwithout code and stack; wavelets: x links; cycles as executed, beside the kernel's own formula\n"
    );
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
    out
}

fn with_verdicts((rows, wrong): (Rows, Option<String>)) -> (Rows, String, Option<String>) {
    let text = plmr::verdicts(&rows.rows);
    (rows, text, wrong)
}

/// Rows for people.
pub fn table(rows: &Rows, chip: &str) -> String {
    let mut out = heading(chip);
    rows.rows.iter().for_each(|row| line(&mut out, row));
    out + &plmr::verdicts(&rows.rows)
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
