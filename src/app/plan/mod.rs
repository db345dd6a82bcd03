//! `plummer plan`: the best mesh for a model on a chip, what it would take, and how it lies on the wafer.
//!
//! Invariant: prints what `plan` found, and says of every number whether it was executed, computed or assumed.
//! `told` words it, `object` is its JSON. Called by the command; `ask` and `auto` also by `sweep` and
//! `generate --auto`.

mod energy;
mod object;
pub mod shares;
mod told;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::cli::{GenerateArgs, KvTypeArg};
use super::dry::sizes;
use super::say;
use super::whole::Whole;
use crate::fabric::Chip;
use crate::host::{Kv, KvType, PrefillOptions, SessionConfig, SessionError};
use crate::model::sizes::Sizes;
use crate::placement::{InChunks, PlanError, Spread};
use crate::plan::ask::{Ask, Objective, with_reserve};
use crate::plan::confirm::{Choice, Step, Timed};
use crate::plan::draw;

/// Bytes of code and stack that a plan is made for, beside the chip's own: small kernels, and what released decode
/// kernels take.
const RESERVES: [u64; 2] = [8 << 10, 26 << 10];

/// A plan that takes no longer says nothing on its way.
const QUIET: Duration = Duration::from_secs(1);

/// `--objective`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveArg {
    /// Least time of one request, from the first token of its prompt to the last of its answer.
    Latency,
    /// Least joules of one request on the cores that the plan uses, each at its share of the chip's power, the others
    /// as if off: fewer cores for longer. (By the power of the whole chip the least time is the least energy; what
    /// events take is nearly the same for every plan and is printed beside.)
    Energy,
    /// Most tokens a second of the wafers: independent requests one behind the other in all stages, as many as the
    /// arenas hold K and V of, on as many copies of the placement as there is room for.
    Tokens,
}

/// What `plan` and `sweep` both ask.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// Model: llama3-8b, llama2-13b, codellama-34b, qwen2-72b, a config.json or its directory, or a GGUF file
    /// [default: the embedded one].
    #[arg(value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// The same as an option.
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    pub named: Option<PathBuf>,
    /// Chip: a preset (see `plummer chips`) or a TOML file.
    #[arg(long, default_value = "wse2", value_name = "wse2|wse3|FILE")]
    pub chip: String,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub prompt: u32,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 128, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub output: u32,
    /// Wafers, each with a run of consecutive layers.
    #[arg(long, default_value_t = 1, value_name = "W", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub wafers: u16,
    /// Microseconds from one wafer to the next: nobody has published any, so this is assumed.
    #[arg(long, default_value_t = 10.0, value_name = "US", allow_negative_numbers = true, value_parser = microseconds)]
    pub wafer_us: f64,
    /// Look at this mesh alone, COLSxROWS of a stage.
    #[arg(long, value_name = "COLSxROWS", value_parser = super::cli::mesh)]
    pub mesh: Option<(u32, u32)>,
    /// Look at this mesh alone for the prompt.
    #[arg(long, value_name = "COLSxROWS", value_parser = super::cli::mesh)]
    pub prefill_mesh: Option<(u32, u32)>,
    /// Format of K and V.
    #[arg(long, value_enum, default_value = "f16")]
    pub kv_type: KvTypeArg,
    /// What the best is the best at.
    #[arg(long, value_enum, default_value = "latency")]
    pub objective: ObjectiveArg,
}

fn microseconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(us) if (0.0..=1e6).contains(&us) => Ok(us),
        _ => Err("need a number from 0 to 1000000".to_owned()),
    }
}

/// `plummer plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// The question.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Meshes, each with another number of stages or levels, that are timed before one is chosen, and shown.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub finalists: u16,
    /// Price of one wafer and hour, in any currency: the plan then says what a token costs.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = super::cli::price)]
    pub price: Option<f64>,
    /// Draw the wafer to scale.
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The question that flags and a chip put.
pub fn ask(args: &AskArgs, sizes: &Sizes, chip: Chip, finalists: usize) -> Result<Ask> {
    let (prompt, output, wafers) = (args.prompt as usize, args.output as usize, usize::from(args.wafers));
    if wafers > sizes.config.shape.n_layers {
        bail!("--wafers {wafers}: the model has {} layers", sizes.config.shape.n_layers);
    }
    if wafers > 1 && args.prefill_mesh.is_some_and(|own| args.mesh != Some(own)) {
        bail!(
            "--prefill-mesh with --wafers {wafers}: only decode's --mesh; regions of its own are planned on one wafer"
        );
    }
    let wafer_cycles = (args.wafer_us * 1e-6 * chip.clock_hz).round() as u64;
    let config = SessionConfig {
        chip,
        mesh: args.mesh,
        kv: Kv::Shift,
        kv_type: match args.kv_type {
            KvTypeArg::F16 => KvType::F16,
            KvTypeArg::F32 => KvType::F32,
        },
        k_tree: 2,
        trees: None,
        context: prompt + output,
        prompt,
        workers: 1,
        arena_full: false,
        random_schedule: None,
        spread: Spread::default(),
        in_chunks: InChunks::default(),
        kernels: None,
    };
    let objective = match args.objective {
        ObjectiveArg::Latency => Objective::Latency,
        ObjectiveArg::Energy => Objective::Energy,
        ObjectiveArg::Tokens => Objective::Tokens,
    };
    let (shape, format) = (sizes.config.shape.clone(), sizes.format);
    let prefill_mesh = args.prefill_mesh;
    Ok(Ask { shape, format, config, prefill_mesh, prompt, output, wafers, wafer_cycles, objective, finalists })
}

/// How a session is to begin by the best plan for latency: its mesh, levels and group counts in `config`, and how the
/// prompt goes through the wafer (`None`: token by token). What was typed of the prompt stays as it was typed.
///
/// # Errors
/// What does not fit.
pub fn auto(
    sizes: &Sizes,
    config: &mut SessionConfig,
    args: &GenerateArgs,
) -> Result<Option<PrefillOptions>, SessionError> {
    let ask = Ask {
        shape: sizes.config.shape.clone(),
        format: sizes.format,
        config: SessionConfig { mesh: None, ..config.clone() },
        prefill_mesh: None,
        prompt: config.prompt,
        output: args.n.max(1),
        wafers: 1,
        wafer_cycles: 0,
        objective: Objective::Latency,
        finalists: 3,
    };
    let best = &ask.choose(&mut Timed::default())?[0];
    config.mesh = Some((best.plan.cols as u32, best.plan.rows as u32));
    (config.k_tree, config.trees) = (best.k_tree, Some(best.plan.trees()));
    config.spread = Spread { stages: best.plan.stages.len(), head_cols: best.plan.head_cols };
    let mesh = best.prompt.apart.as_ref().map(|p| (p.cols as u32, p.rows as u32));
    let typed = super::resolve::prefill(args);
    let planned = (best.prompt.chunk > 0).then_some(PrefillOptions { chunk: Some(best.prompt.chunk), mesh });
    Ok(match typed {
        Some(PrefillOptions { chunk: Some(chunk), .. }) => Some(PrefillOptions { chunk: Some(chunk), mesh }),
        Some(_) => planned,
        None => None,
    })
}

impl AskArgs {
    /// The model that is named, either way.
    pub fn sizes(&self) -> Result<Sizes> {
        sizes(self.model.as_deref().or(self.named.as_deref()))
    }

    /// Says so where the model was trained for fewer positions than are asked for; the last token is not fed back.
    pub fn say_beyond(&self, sizes: &Sizes) {
        let (asked, trained) = ((self.prompt + self.output) as usize - 1, sizes.config.context);
        if asked > trained {
            say(&format!("note: {asked} positions, the model was trained for {trained}\n"));
        }
    }
}

/// Runs the command: text for stdout and the exit code.
pub fn run(args: &PlanArgs) -> Result<(String, u8)> {
    let sizes = args.ask.sizes()?;
    args.ask.say_beyond(&sizes);
    let chip = super::chips::open(&args.ask.chip)?;
    let picture = Whole::of_flag("--svg", args.svg.as_deref())?;
    let (mut results, mut svg, mut timed) = (Vec::new(), None, Timed::watched(watch()));
    // The chip's own first: what is drawn.
    let others = RESERVES.into_iter().filter(|r| *r != chip.reserved_bytes);
    let reserves: Vec<u64> = std::iter::once(chip.reserved_bytes).chain(others).collect();
    for reserve in reserves.into_iter().filter(|r| *r < chip.arena_bytes) {
        let ask = ask(&args.ask, &sizes, with_reserve(&chip, reserve), usize::from(args.finalists))?;
        let outcome = ask.choose(&mut timed);
        match &outcome {
            Err(SessionError::Plan(error @ PlanError::OffMesh { .. })) => bail!("--mesh: {error}"),
            Err(SessionError::PrefillMesh(error @ PlanError::OffMesh { .. })) => bail!("--prefill-mesh: {error}"),
            _ => {}
        }
        if let Ok(choices) = &outcome {
            svg = svg.or_else(|| Some(picture_of(&sizes, &ask, &choices[0])));
        }
        results.push((ask, outcome));
    }
    if results.is_empty() {
        bail!("chip {}: an arena of {} bytes is smaller than any code", chip.name, chip.arena_bytes);
    }
    if let (Some(file), Some(svg)) = (picture, &svg) {
        file.finish(svg.as_bytes())?;
    }
    let fits = results.iter().any(|r| r.1.is_ok());
    let text = || {
        results.iter().map(|(ask, outcome)| told::text(&sizes, args.price, ask, outcome)).collect::<Vec<_>>().join("\n")
    };
    Ok(match (args.json, fits) {
        (true, _) => (format!("{}\n", object::object(&sizes, args.price, &results)), if fits { 0 } else { 2 }),
        (false, true) => (text(), 0),
        // Said once, where errors go.
        (false, false) => bail!("no plan\n{}", text().trim_end()),
    })
}

/// Says on stderr, on a terminal or not, what is begun, once planning takes longer than `QUIET`.
fn watch() -> impl FnMut(Step) {
    let begin = Instant::now();
    move |step| {
        let what = match step {
            Step::Rank(meshes) => format!("{meshes} meshes are ranked by closed forms"),
            Step::Layer((cols, rows)) => format!("a layer of decode is timed on {cols}x{rows} cores"),
            Step::Prompt((cols, rows)) => format!("a layer of the prompt is executed for {cols}x{rows} cores"),
        };
        if begin.elapsed() >= QUIET {
            super::say(&format!("plan: {what}\n"));
        }
    }
}

fn picture_of(sizes: &Sizes, ask: &Ask, choice: &Choice) -> String {
    let chip = &ask.config.chip;
    let [stage, head] = choice.arena.map(|bytes| bytes as f64 / chip.arena_bytes as f64);
    let title = format!("{} on {}: {}x{} a stage", sizes.name, chip.name, choice.plan.cols, choice.plan.rows);
    draw::svg(&choice.plan, choice.prompt.apart.as_ref(), chip, &title, [head, stage])
}
