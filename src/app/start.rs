//! From a job to a wafer that is ready: the context that the arenas hold, and the warning if that is too little.
//!
//! Invariant: a prompt that cannot fit is refused before anything runs; a run that may outgrow the arenas is announced.
//! Called by `generate`.

use anyhow::{Result, bail};

use super::cli::GenerateArgs;
use super::resolve::HiArgs;
use crate::exec::LaunchError;
use crate::fabric::LayoutError;
use crate::host::{Session, SessionConfig, SessionError};

/// Starts the session; why it goes token by token, if not because it was asked to. Without `-c`, a context that does
/// not fit shrinks to the largest that does.
pub fn start(args: &GenerateArgs, job: &mut HiArgs) -> Result<(Session, Option<String>)> {
    let error = match open(args, job, &job.session) {
        Err(SessionError::Plan(error)) if !error.is_of_request() => error,
        Err(error) if job.session.mesh.is_none() && needs_colors(&error) => {
            let less = "a --mesh of fewer rows and a lower --k-tree take fewer colors";
            bail!("{error}\nthe mesh is chosen by time and memory; {less}")
        }
        other => return Ok(other?),
    };
    let fits = Session::context_max(&job.model, &job.session);
    let prompt = job.prompt_ids.len();
    if fits == 0 {
        bail!("{error}\nno context fits; {}", mesh_for(job));
    }
    if prompt > fits {
        bail!("the prompt has {prompt} tokens; {fits} fit in the arenas; {}\n{error}", mesh_for(job));
    }
    if let Some(context) = args.place.context {
        bail!("-c {context}: {fits} tokens fit in the arenas; {}\n{error}", mesh_for(job));
    }
    (job.context, job.session.context) = (fits, fits);
    Ok(open(args, job, &job.session)?)
}

/// Has the chip too few colors for the ways of a launch?
fn needs_colors(error: &SessionError) -> bool {
    use LayoutError::Colors;
    matches!(error, SessionError::Layout(Colors { .. }) | SessionError::Launch(LaunchError::Layout(Colors { .. })))
}

/// What to say of flags that draw ids where none is drawn: the best is taken, or (dry) there is none.
pub fn idle(args: &GenerateArgs, temperature: f64) -> Option<String> {
    let named = [
        ("--seed", args.seed.is_some()),
        ("--top-k", args.top_k != 0),
        ("--top-p", args.top_p < 1.0),
        ("--temp", args.dry && temperature > 0.0),
        ("--stop", args.dry && !args.stop.is_empty()),
    ];
    let flags: Vec<&str> = named.into_iter().filter(|f| f.1).map(|f| f.0).collect();
    let flags = flags.join(", ");
    match (flags.is_empty(), args.dry, temperature > 0.0) {
        (true, ..) | (_, false, true) => None,
        (_, true, _) => {
            Some(format!("a dry run has no text, its cycles are those of --temp 0; without effect: {flags}"))
        }
        (_, false, false) => Some(format!("at temperature 0 the best token is taken; without effect: {flags}")),
    }
}

/// What to say of flags that asked for more than there can be, each with what is used.
pub fn reduced(args: &GenerateArgs, session: &Session) -> Option<String> {
    let placed = session.placement();
    let asked = [
        ("--stages", args.place.stages, Some(placed.stages)),
        ("--head-cols", args.place.head_cols, Some(placed.head_cols)),
        ("--chunk", args.chunk, session.chunk().map(|chunk| chunk as u32)),
    ];
    let less = asked.into_iter().filter_map(|(flag, asked, used)| Some((flag, asked?, used?)));
    let flags: Vec<String> = less
        .filter(|(_, asked, used)| asked > used)
        .map(|(flag, asked, used)| format!("{flag} {asked} ({used} in use)"))
        .collect();
    (!flags.is_empty()).then(|| format!("more than there can be: {}", flags.join(", ")))
}

/// The mesh with the fewest PEs that holds what was asked for.
fn mesh_for(job: &HiArgs) -> String {
    let (context, chip) = (job.session.context, &job.session.chip.name);
    match Session::smallest(&job.model, &job.session) {
        Ok(plan) => format!("--mesh {}x{} would hold {context} positions", plan.cols, plan.rows),
        Err(_) => format!("no mesh on {chip} holds {context} positions"),
    }
}

/// A session that begins as the job has it, or token by token where the arenas hold no chunk.
fn open(args: &GenerateArgs, job: &HiArgs, config: &SessionConfig) -> Result<(Session, Option<String>), SessionError> {
    let mut refused = None;
    if let Some(how) = job.prefill {
        match Session::with_prefill(&job.model, config.clone(), how, args.probe.options(), args.probe.links.is_some()) {
            Err(SessionError::Prefill(reason)) => refused = Some(reason.to_string()),
            other => return Ok((other?, None)),
        }
    }
    Ok((Session::traced(&job.model, config.clone(), args.probe.options(), args.probe.links.is_some())?, refused))
}

/// Positions that the run may use, and what to say before it starts if it may need more.
pub fn limit(args: &GenerateArgs, job: &HiArgs, session: &Session) -> Result<(usize, Option<String>)> {
    let limit = session.capacity().min(job.context);
    let prompt = job.prompt_ids.len();
    if prompt > limit {
        bail!("the prompt has {prompt} tokens; {limit} fit in the arenas");
    }
    let needed = prompt.saturating_add(args.n.saturating_sub(1)); // the last token is not fed back
    if needed <= limit {
        return Ok((limit, None));
    }
    let reason = match args.place.context {
        Some(_) => "-c",
        None if limit == job.model.config.context => "what the model was trained for",
        None => "what the arenas of this mesh hold",
    };
    let n = args.n;
    let text = format!("{prompt} prompt tokens and {n} to generate need {needed} positions; {limit} fit ({reason})");
    Ok((limit, Some(text)))
}
