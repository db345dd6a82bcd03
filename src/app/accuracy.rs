//! `plummer accuracy`: how close the emulated clock is to what is published.
//!
//! Invariant: prints what `accuracy` measured; the same on every host. Called by the command.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::ProgressBar;

use super::whole::Whole;
use crate::accuracy::{html, json, markdown, measure};

/// `plummer accuracy`.
#[derive(Clone, Debug, Args)]
pub struct AccuracyArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write the page as one HTML file too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Runs everything; the text for stdout: Markdown, or one JSON object.
///
/// # Errors
/// A file that cannot be written; a program that the presets cannot run.
pub fn run(args: &AccuracyArgs) -> Result<String> {
    let file = Whole::of_flag("--html", args.html.as_deref())?;
    let bar = ProgressBar::new_spinner();
    let page = measure(|at, of| bar.set_message(format!("set {} of {of}", at + 1))).context("accuracy")?;
    bar.finish_and_clear();
    if let Some(file) = file {
        file.finish(html(&page).as_bytes())?;
    }
    Ok(if args.json { format!("{}\n", json(&page)) } else { markdown(&page) })
}
