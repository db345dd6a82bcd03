//! `plummer accuracy`: how close the emulated clock is to what is published.
//!
//! Invariant: prints what `accuracy` measured; the same on every host. Called by the command.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::chips::open;
use super::progress::Progress;
use super::whole::Whole;
use crate::accuracy::{PRESETS, html, json, markdown, measure};
use crate::fabric::Chip;

/// `plummer accuracy`.
#[derive(Clone, Debug, Args)]
pub struct AccuracyArgs {
    /// Run this chip alone, a preset or a TOML file [default: the three presets of which something is published].
    #[arg(long, value_name = "NAME|FILE")]
    pub chip: Option<String>,
    /// Hold --chip against what is published of this preset: wse2, wse3 or wse3-sim [default: --chip].
    #[arg(long, value_name = "PRESET", requires = "chip")]
    pub against: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write the page as one HTML file too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The chips to run, each with the preset that it is held against.
fn chips(args: &AccuracyArgs) -> Result<Vec<(&str, Chip)>> {
    let Some(name) = &args.chip else {
        return PRESETS.into_iter().map(|preset| Ok((preset, open(preset)?))).collect();
    };
    let chip = open(name)?;
    let against = args.against.as_ref().unwrap_or(name);
    if !PRESETS.contains(&against.as_str()) {
        bail!("chip `{name}`: nothing is published of `{against}`; need --against one of {}", PRESETS.join(", "));
    }
    Ok(vec![(against.as_str(), chip)])
}

/// Runs everything; the text for stdout: Markdown, or one JSON object.
///
/// # Errors
/// A file that cannot be written; a program that the presets cannot run.
pub fn run(args: &AccuracyArgs) -> Result<String> {
    let chips = chips(args)?;
    let file = Whole::of_flag("--html", args.html.as_deref())?;
    let bar = Progress::new(None);
    let page = measure(chips, |at, of| bar.at(format!("set {} of {of}", at + 1))).context("accuracy")?;
    bar.finish();
    if let Some(file) = file {
        file.finish(html(&page).as_bytes())?;
    }
    Ok(if args.json { format!("{}\n", json(&page)) } else { markdown(&page) })
}
