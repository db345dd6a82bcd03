//! The command line as typed.
//!
//! Invariant: parsing only; nothing here opens a file. `resolve` turns this into what is run.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::accuracy::AccuracyArgs;
use super::bench::BenchCommand;
use super::paper::PaperArgs;
use super::probe::ProbeArgs;
use crate::exec::WORKERS_MAX;
use crate::placement::Trees;

/// A wafer-scale chip in software: text from LLaMA-family models, computed by emulated cores with 48 KB each.
#[derive(Debug, Parser)]
#[command(name = "plummer", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write text with a model on the emulated wafer.
    Generate(Box<GenerateArgs>),
    /// Show a model file and how it would lie on the wafer.
    Inspect(InspectArgs),
    /// Run algorithms side by side on one mesh and say what each needed and took.
    Bench {
        /// Which kernel.
        #[command(subcommand)]
        what: BenchCommand,
    },
    /// Prove, without weights, that the programs of a model cannot deadlock on a mesh and chip.
    Check(CheckArgs),
    /// Compare the wafer with the serial oracle bit for bit, on this machine, in every way of running it.
    Verify(VerifyArgs),
    /// Choose mesh, stages and trees for a model, say what it would take, and draw the wafer.
    Plan(Box<super::plan::PlanArgs>),
    /// Plan a model again and again with another constant of the chip, or on another mesh.
    Sweep(Box<super::sweep::SweepArgs>),
    /// Run primitives and kernels on the wafer presets and say how far they are from what is published.
    Accuracy(AccuracyArgs),
    /// Print the WaferLLM paper's tables beside what this chip does.
    Paper(PaperArgs),
    /// List the chips that are known, with the source of every constant.
    Chips {
        /// Print this one (a preset or a TOML file) as a TOML file for `--chip`, to be edited.
        name: Option<String>,
        /// As JSON: the one that is named, else a list of all presets.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `--kv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvArg {
    /// Positions stay balanced over the rows.
    Shift,
    /// New positions pile up in the bottom row (baseline).
    Concat,
}

/// `--kv-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvTypeArg {
    /// Rounded to binary16.
    F16,
    /// As computed.
    F32,
}

/// `--prefill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrefillArg {
    /// In chunks of positions, as products of matrices; token by token where no chunk fits beside the weights.
    Mesh,
    /// Token by token, as decode.
    Token,
}

/// `--arena`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArenaArg {
    /// Back only the bytes in use.
    Packed,
    /// Back and poison all 48 KB of each PE.
    Full,
}

/// Placement flags that `generate` and `inspect` share.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// Positions to provide for [default: prompt + n; 256 in `inspect` and `check`, --tokens in `verify`; at most what
    /// the model was trained for].
    #[arg(short = 'c', long = "ctx-size", visible_alias = "ctx", value_name = "CTX", value_parser = whole)]
    pub context: Option<usize>,
    /// Chip: a preset (see `plummer chips`) or a TOML file.
    #[arg(long, default_value = "wse2", value_name = "NAME|FILE")]
    pub chip: String,
    /// Columns x rows of a stage [default: least estimated host time; with a prompt, of that and the answer].
    #[arg(long, value_name = "COLSxROWS", value_parser = mesh)]
    pub mesh: Option<(u32, u32)>,
    /// How the KV cache grows.
    #[arg(long, value_enum, default_value = "shift")]
    pub kv: KvArg,
    /// Format of K and V.
    #[arg(long, value_enum, default_value = "f16")]
    pub kv_type: KvTypeArg,
    /// Levels of the reduction trees.
    #[arg(long, default_value_t = 2, value_name = "K", value_parser = whole)]
    pub k_tree: usize,
    /// Their group counts along y, along x, and along x in the head, all levels but the last: 20/17/9 for K = 2,
    /// 60,8/50,7/20,4 for K = 3 [default: the fewest stages].
    #[arg(long, value_name = "Y/X/HEAD", value_parser = groups)]
    pub groups: Option<Trees>,
    /// Pipeline stages: so many or more, where the arenas need more; one a layer at most [default: as few as they
    /// need].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub stages: Option<u32>,
    /// Columns of the head region: so many or more, where the arenas need more; at most the chip's, and one a token of
    /// the vocabulary [default: as few as they need].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub head_cols: Option<u32>,
}

/// `plummer generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// Model: a Hugging Face directory or a GGUF file [default: the embedded one].
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// The same by place.
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub placed: Option<PathBuf>,
    /// Prompt.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "file")]
    pub prompt: Option<String>,
    /// Prompt from a file; `-` is stdin.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Tokens to generate, at most.
    #[arg(short, long = "n-predict", default_value_t = 128, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = whole)]
    pub n: usize,
    /// Placement.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Seed of the sampler [default: 1].
    #[arg(long, value_name = "SEED", allow_negative_numbers = true, value_parser = seed)]
    pub seed: Option<u64>,
    /// Temperature; 0 is greedy [default: 0; 0.7 for the embedded model without a prompt].
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub temp: Option<f64>,
    /// Keep the K best; 0: all, of which the 256 best are looked at.
    #[arg(long, default_value_t = 0, value_name = "K", allow_negative_numbers = true, value_parser = whole)]
    pub top_k: usize,
    /// Keep the fewest best with this probability together.
    #[arg(long, default_value_t = 1.0, value_name = "P", value_parser = probability)]
    pub top_p: f64,
    /// Wrap the prompt in the model's chat template.
    #[arg(long)]
    pub chat: bool,
    /// End before this text; may be repeated.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// How the prompt goes through the wafer.
    #[arg(long, value_enum, default_value = "mesh")]
    pub prefill: PrefillArg,
    /// Columns x rows of a stage in the prefill; weights, K and V then move over links [default: as in decode].
    #[arg(long, value_name = "COLSxROWS", value_parser = mesh)]
    pub prefill_mesh: Option<(u32, u32)>,
    /// Positions of the prompt that go at once, at most what arenas hold [default: as many; the report says if fewer
    /// are predicted to take less of the chip's time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Worker threads [default: available CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    pub workers: Option<u16>,
    /// Memory behind the arenas.
    #[arg(long, value_enum, default_value = "packed")]
    pub arena: ArenaArg,
    /// Print the sha256 of all logits, on stderr.
    #[arg(long)]
    pub digest: bool,
    /// Write the logits of each generated step, one row each, in NumPy's format.
    #[arg(long, value_name = "FILE.npy")]
    pub logits: Option<PathBuf>,
    /// Time the run without weights and text; the model may then be a config.json, its directory, or one of
    /// llama3-8b, llama2-13b, codellama-34b, qwen2-72b.
    #[arg(long, conflicts_with_all = ["logits", "digest", "trace", "links", "map"])]
    pub dry: bool,
    /// Tokens of the prompt, where there is no text to count.
    #[arg(long, value_name = "N", requires = "dry", conflicts_with_all = ["prompt", "file"])]
    pub prompt_tokens: Option<usize>,
    /// Run on the meshes, stages, head and trees of the best plan for latency, its prompt as that plan has it (see
    /// `plummer plan`).
    #[arg(long, conflicts_with_all = ["mesh", "k_tree", "groups", "stages", "head_cols", "prefill_mesh", "one_layer"])]
    pub auto: bool,
    /// Time one layer on --mesh alone and multiply, whatever the wafer holds; with --prefill mesh a layer of that too.
    #[arg(long, requires_all = ["dry", "mesh"])]
    #[arg(conflicts_with_all = ["chunk", "prefill_mesh", "stages", "head_cols"])]
    pub one_layer: bool,
    /// Price of one chip and hour, in any currency: the report then says what a token costs.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = price)]
    pub price: Option<f64>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// No progress and no report.
    #[arg(long)]
    pub quiet: bool,
    /// Files for other tools.
    #[command(flatten)]
    pub probe: ProbeArgs,
}

impl GenerateArgs {
    /// The model that is named, either way.
    pub fn path(&self) -> Option<&Path> {
        self.model.as_deref().or(self.placed.as_deref())
    }
}

/// `plummer inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Model: a Hugging Face directory or a GGUF file [default: the embedded one].
    pub model: Option<PathBuf>,
    /// The same as an option.
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub named: Option<PathBuf>,
    /// Placement.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `plummer check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Model: a preset of sizes, a config.json or its directory, or a GGUF file [default: the embedded one].
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// The same by place.
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub placed: Option<PathBuf>,
    /// Placement.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Positions of the prompt whose prefill is checked [default: 1, one chunk, one more, as many as are checked].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt: Option<u32>,
    /// Positions of a prompt that go at once, at most what arenas hold [default: as many].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Columns x rows of a stage in the prefill; the transition is then checked too [default: as in decode].
    #[arg(long, value_name = "COLSxROWS", value_parser = mesh)]
    pub prefill_mesh: Option<(u32, u32)>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `plummer verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Model: a Hugging Face directory or a GGUF file [default: the embedded one].
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// The same by place.
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub placed: Option<PathBuf>,
    /// Tokens to run, each with all its logits.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub tokens: u16,
    /// Placement.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// COLSxROWS.
pub(super) fn mesh(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once(['x', 'X']).and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    match parsed {
        Some((cols, rows)) if cols > 0 && rows > 0 => Ok((cols, rows)),
        _ => Err("need COLSxROWS, both at least 1, such as 4x8".to_owned()),
    }
}

/// Y/X/HEAD, counts of the levels before the last.
fn groups(text: &str) -> Result<Trees, String> {
    let list = |text: &str| {
        let counts = text.split(',').map(|n| n.parse().ok().filter(|n| *n > 0));
        counts.chain([Some(1)]).collect::<Option<Vec<usize>>>()
    };
    let lists: Option<Vec<_>> = text.split('/').map(list).collect();
    match lists.map(<[Vec<usize>; 3]>::try_from) {
        Some(Ok([y, x, head])) if y.len() == x.len() && y.len() == head.len() => Ok(Trees { y, x, head }),
        _ => Err("need counts along y, x and the head's x, as many for each, such as 20/17/9".to_owned()),
    }
}

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("need a whole number from 0 to {}", usize::MAX))
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("need a whole number from 0 to {}", u64::MAX))
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if t == 0.0 || (1e-3..=1e3).contains(&t) => Ok(t.abs()),
        _ => Err("need 0 or a number from 0.001 to 1000".to_owned()),
    }
}

pub(super) fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if (0.0..=1e12).contains(&p) => Ok(p),
        _ => Err("need a number from 0 to 1e12".to_owned()),
    }
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("need a number above 0 and at most 1".to_owned()),
    }
}
