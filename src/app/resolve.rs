//! From flags as typed to a job that can run: model opened, prompt encoded, chip read, context decided.
//!
//! Invariant: every refusal that does not need a wafer happens here, before anything runs. Called by `generate`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::cli::{ArenaArg, GenerateArgs, KvArg, KvTypeArg, PlaceArgs, PrefillArg};
use super::sample::SampleOptions;
use crate::exec::WORKERS_MAX;
use crate::host::{Kv, KvType, PrefillOptions, SessionConfig};
use crate::model::Model;
use crate::model::chat::Message;
use crate::placement::{InChunks, Spread};

/// A run, decided.
pub struct HiArgs {
    /// The model.
    pub model: Model,
    /// Ids of the prompt; at least one.
    pub prompt_ids: Vec<u32>,
    /// The session to start.
    pub session: SessionConfig,
    /// Positions that may be used.
    pub context: usize,
    /// How the prompt goes through the wafer; `None`: token by token.
    pub prefill: Option<PrefillOptions>,
    /// How to choose tokens.
    pub sample: SampleOptions,
    /// Price of a chip-hour.
    pub price: Option<f64>,
}

const PROMPT: &str = "ROMEO:\n";
const TEMPERATURE: f64 = 0.7;
const SEED: u64 = 1;
/// Most bytes of a prompt: a context of a million tokens holds less, to encode it takes some hundred bytes of memory
/// for each, and `-f` may name a device without an end.
const PROMPT_BYTES_MAX: u64 = 16 << 20;

/// Opens, reads, encodes and checks.
pub fn resolve(args: &GenerateArgs) -> Result<HiArgs> {
    let is_nothing = |path: &&Path| !path.exists() && !super::model::is_preset(path);
    if let Some(path) = args.placed.as_deref().filter(is_nothing).filter(|_| args.prompt.is_none()) {
        bail!("model {}: no such file or directory (a prompt goes behind -p)", path.display());
    }
    let model = super::model::open(args.path())?;
    let given = prompt(args)?;
    let bare = args.path().is_none() && given.is_none();
    let text = match given {
        Some(text) => text,
        None if bare => PROMPT.to_owned(),
        None => bail!("no prompt: give one with -p TEXT or -f FILE"),
    };
    let prompt_ids = if args.chat {
        model.tokenizer.encode_chat(&model.chat(&[Message::new("user", &text)])?)?
    } else {
        model.tokenizer.encode(&text)?
    };
    if prompt_ids.is_empty() {
        let of = args.file.as_ref().map_or(String::new(), |file| format!(" (-f {})", file.display()));
        bail!("the prompt is empty{of}: need at least 1 token");
    }
    let most = model.config.context;
    let wanted = prompt_ids.len().saturating_add(args.n);
    let context = args.place.context.unwrap_or_else(|| wanted.min(most).max(1)); // at least the prompt, else refused
    if context > most {
        bail!("-c {context}: the model was trained for {most} positions");
    }
    if prompt_ids.len() > context {
        bail!("the prompt has {} tokens; the context has {context} positions", prompt_ids.len());
    }
    let mut session = session(&args.place, context, prompt_ids.len())?;
    session.arena_full = args.arena == ArenaArg::Full;
    session.workers = args.workers.map_or(session.workers, usize::from);
    let mut prefill = prefill(args);
    session.in_chunks = in_chunks(prefill, prompt_ids.len(), args.n);
    if args.auto {
        let sizes = super::dry::sizes(args.path())?;
        prefill = super::plan::auto(&sizes, &mut session, args)?;
    }
    let sample = SampleOptions {
        temperature: args.temp.unwrap_or(if bare { TEMPERATURE } else { 0.0 }),
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed.unwrap_or(SEED),
    };
    Ok(HiArgs { model, prompt_ids, session, context, prefill, sample, price: args.price })
}

/// How the prompt goes by the flags alone.
pub fn prefill(args: &GenerateArgs) -> Option<PrefillOptions> {
    let how = PrefillOptions { chunk: args.chunk.map(|n| n as usize), mesh: args.prefill_mesh };
    (args.prefill == PrefillArg::Mesh).then_some(how)
}

/// What of a prompt goes in chunks on decode's regions, before so many tokens.
pub fn in_chunks(prefill: Option<PrefillOptions>, positions: usize, answer: usize) -> InChunks {
    let here = prefill.filter(|how| how.mesh.is_none());
    here.map_or(InChunks::default(), |how| InChunks { positions, at_once: how.chunk.unwrap_or(0), answer })
}

/// The session that placement flags describe.
pub fn session(place: &PlaceArgs, context: usize, prompt: usize) -> Result<SessionConfig> {
    if context == 0 {
        bail!("-c 0: need at least 1 position");
    }
    Ok(SessionConfig {
        mesh: place.mesh,
        kv: match place.kv {
            KvArg::Shift => Kv::Shift,
            KvArg::Concat => Kv::Concat,
        },
        kv_type: match place.kv_type {
            KvTypeArg::F16 => KvType::F16,
            KvTypeArg::F32 => KvType::F32,
        },
        k_tree: place.k_tree,
        trees: place.groups.clone(),
        spread: Spread { stages: least(place.stages), head_cols: least(place.head_cols) },
        context,
        prompt,
        workers: std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
        ..SessionConfig::new(super::chips::open(&place.chip)?)
    })
}

/// A least number in a plan, where 0 leaves it open.
fn least(flag: Option<u32>) -> usize {
    flag.map_or(0, |n| n as usize)
}

fn prompt(args: &GenerateArgs) -> Result<Option<String>> {
    let Some(path) = &args.file else { return Ok(args.prompt.clone()) };
    if path.as_os_str() == "-" {
        super::files::reads(Path::new("/dev/stdin")).context("prompt from stdin")?;
        return read_text(std::io::stdin().lock()).context("prompt from stdin").map(Some);
    }
    super::files::reads(path).with_context(|| format!("prompt file {}", path.display()))?;
    let read = std::fs::File::open(path).map_err(anyhow::Error::from).and_then(read_text);
    read.with_context(|| format!("prompt file {}", path.display())).map(Some)
}

/// All of a text, within `PROMPT_BYTES_MAX`.
fn read_text(from: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    from.take(PROMPT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > PROMPT_BYTES_MAX {
        bail!("need at most {PROMPT_BYTES_MAX} bytes of text, found more");
    }
    Ok(text)
}
