//! Arguments as typed, and what they resolve to.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::fabric::Chip;
use crate::host::{Kv, KvType, SessionConfig};
use crate::model::Model;
use crate::model::huggingface::EmbeddedModel;

/// Wafer-scale LLM inference, emulated core by core.
#[derive(Parser)]
#[command(name = "plummer", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Write text with a model that runs on the emulated wafer
    Generate(Box<Generate>),
    /// Say what a model is, what mesh it needs and how it would lie on the wafer
    Inspect(Inspect),
    /// List the chips, with the source of every constant
    Chips(Chips),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

/// Where the model, the chip and the mesh come from; shared by commands.
#[derive(Args)]
pub struct Where {
    /// Chip: wse2, wse3, bench, or a TOML file
    #[arg(long, default_value = "wse2")]
    pub chip: String,
    /// Columns x rows of a layer region, e.g. 12x16; without it the fewest PEs that fit
    #[arg(long, value_parser = parse_mesh)]
    pub mesh: Option<(u32, u32)>,
    /// How the KV cache grows over the rows
    #[arg(long, value_enum, default_value = "shift")]
    pub kv: KvArg,
    /// Number format of stored keys and values
    #[arg(long, value_enum, default_value = "f16")]
    pub kv_type: KvTypeArg,
    /// Levels of the K-tree allreduce
    #[arg(long, default_value_t = 2)]
    pub k_tree: usize,
}

#[derive(Args)]
pub struct Generate {
    /// Model: a Hugging Face directory, a .gguf file; default: the small embedded one
    #[arg(short, long)]
    pub model: Option<PathBuf>,
    /// Prompt
    #[arg(short, long, conflicts_with = "file")]
    pub prompt: Option<String>,
    /// Read the prompt from a file, `-` for standard input
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Tokens to write at most
    #[arg(short, long, default_value_t = 128)]
    pub n: usize,
    /// Positions to provide for; default: prompt + n
    #[arg(short, long)]
    pub ctx: Option<usize>,
    /// Seed of the sampler
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Temperature; 0 is greedy (default: 0, for the embedded model 0.7)
    #[arg(long, allow_negative_numbers = true)]
    pub temp: Option<f32>,
    /// Keep the k most likely tokens (0: all)
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// Keep the most likely tokens up to this mass
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Treat the prompt as a user's message, in the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Stop when this text appears (may be given several times); it is not printed
    #[arg(long)]
    pub stop: Vec<String>,
    #[command(flatten)]
    pub place: Where,
    /// Worker threads; default: the CPUs that are available
    #[arg(long)]
    pub workers: Option<usize>,
    /// Back only declared tiles, or all 48 KiB of every PE (poisoned)
    #[arg(long, value_enum, default_value = "packed")]
    pub arena: ArenaArg,
    /// Print the sha256 of all logits to stderr
    #[arg(long)]
    pub digest: bool,
    /// Write the logits of every generated step to a .npy file (f32, steps x vocabulary)
    #[arg(long)]
    pub logits: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// No progress and no report
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Inspect {
    /// Model; default: the small embedded one
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub place: Where,
    /// Positions to provide for
    #[arg(short, long, default_value_t = 512)]
    pub ctx: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Chips {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum KvArg {
    /// Balanced: every row holds its share of positions
    Shift,
    /// Generated positions pile up in the bottom row (baseline)
    Concat,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum KvTypeArg {
    F16,
    F32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArenaArg {
    Packed,
    Full,
}

fn parse_mesh(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(['x', 'X']);
    let number = |t: &str| t.parse::<u32>().ok().filter(|n| (1..=4096).contains(n));
    match parts.and_then(|(c, r)| Some((number(c)?, number(r)?))) {
        Some(mesh) => Ok(mesh),
        None => Err(format!("need COLSxROWS with 1 to 4096 each, found `{text}`")),
    }
}

static EMBEDDED: EmbeddedModel = EmbeddedModel {
    name: "weights (embedded)",
    config: include_bytes!("../../weights/config.json"),
    generation_config: Some(include_bytes!("../../weights/generation_config.json")),
    tokenizer: include_bytes!("../../weights/tokenizer.json"),
    weights: include_bytes!("../../weights/model.safetensors"),
};

/// Opens a model, or the embedded one.
///
/// # Errors
/// As `Model::open`.
pub fn open_model(path: Option<&Path>) -> anyhow::Result<Model> {
    match path {
        Some(path) => Ok(Model::open(path)?),
        None => Ok(Model::open_embedded(&EMBEDDED)?),
    }
}

impl Where {
    /// The chip by name or from its file.
    ///
    /// # Errors
    /// Unknown name, or what is wrong with the file.
    pub fn chip(&self) -> anyhow::Result<Chip> {
        if let Some(chip) = Chip::preset(&self.chip) {
            return Ok(chip);
        }
        let path = Path::new(&self.chip);
        if !path.exists() {
            bail!("--chip: need one of {} or a TOML file, found `{}`", Chip::PRESETS.join(", "), self.chip);
        }
        Ok(Chip::from_toml_file(path)?)
    }

    /// A session's configuration.
    ///
    /// # Errors
    /// As `chip`.
    pub fn session(&self, context: usize, prompt: usize, workers: usize) -> anyhow::Result<SessionConfig> {
        Ok(SessionConfig {
            chip: self.chip()?,
            mesh: self.mesh,
            kv: match self.kv {
                KvArg::Shift => Kv::Shift,
                KvArg::Concat => Kv::Concat,
            },
            kv_type: match self.kv_type {
                KvTypeArg::F16 => KvType::F16,
                KvTypeArg::F32 => KvType::F32,
            },
            k_tree: self.k_tree,
            context,
            prompt,
            workers,
            arena_full: false,
            random_schedule: None,
            kernels: None,
        })
    }
}

impl Generate {
    /// The prompt's text: `-p`, `-f`, or the embedded model's default.
    ///
    /// # Errors
    /// No prompt, or a file that cannot be read as UTF-8.
    pub fn prompt_text(&self) -> anyhow::Result<String> {
        match (&self.prompt, &self.file, &self.model) {
            (Some(text), _, _) => Ok(text.clone()),
            (None, Some(path), _) if path.as_os_str() == "-" => {
                std::io::read_to_string(std::io::stdin()).context("prompt from standard input")
            }
            (None, Some(path), _) => {
                std::fs::read_to_string(path).with_context(|| format!("prompt file {}", path.display()))
            }
            (None, None, None) => Ok("ROMEO:\n".to_owned()),
            (None, None, Some(_)) => bail!("no prompt: give -p TEXT or -f FILE"),
        }
    }

    /// Worker threads.
    ///
    /// # Errors
    /// Zero, or more than a thousand.
    pub fn workers(&self) -> anyhow::Result<usize> {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        match self.workers.unwrap_or(available) {
            n if (1..=1024).contains(&n) => Ok(n),
            n => bail!("--workers: need 1 to 1024, found {n}"),
        }
    }
}
