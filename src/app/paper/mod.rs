//! `plummer paper`: the WaferLLM paper's tables beside what this chip does, cell by cell.
//!
//! ```text
//!   cells of the tables --> (in the resume file? else emulate, append) --> table | JSON object | HTML page
//! ```
//! Invariant: a cell of a resume file was made by this program with the same chip and constants, else it is not used.
//! Called by `app`.

mod gpu;
mod html;
mod price;
mod text;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::report::paper::{Cell, Evaluator, Fit, TABLES, What, assumptions, cells};

use super::progress::Progress;
use super::resume::Resume;
use super::whole::Whole;
use gpu::Gpu;

/// `plummer paper`.
#[derive(Clone, Debug, Args)]
pub struct PaperArgs {
    /// Tables: 2 to 8, fig6, fig8, utilisation, graphs (decode graphs, not in the paper), or all.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = table, default_value = "all")]
    pub table: Vec<String>,
    /// Chip: a preset (see `plummer chips`) or a TOML file.
    #[arg(long, default_value = "wse2", value_name = "wse2|FILE")]
    pub chip: String,
    /// Speed of a model on GPUs (A100, 400 W each) for the energy ratios of Tables 7 and 8: tokens a second of prefill
    /// and of decode of one request, and how many GPUs; may be repeated.
    #[arg(long, value_name = "MODEL=PREFILL/DECODE/GPUS", value_parser = gpu::parse)]
    pub gpu: Vec<Gpu>,
    /// Price of one chip and hour, in any currency: Tables 7 and 8 then say what a token costs.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = super::cli::price)]
    pub price: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write a page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Keep finished cells in this file, and take from it those that are there.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

/// Version of the JSON object.
const SCHEMA: u32 = 1;

fn table(text: &str) -> Result<String, String> {
    if text == "all" || TABLES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("need {} or all", TABLES.join(", ")))
}

/// Runs the command.
///
/// # Errors
/// A chip that does not exist or refuses a layout; a file that cannot be read or written.
pub fn run(args: &PaperArgs) -> Result<()> {
    let chip = super::chips::open(&args.chip)?;
    let side = 720;
    if chip.cols < side || chip.rows < side {
        bail!("--chip {}: the paper's meshes need {side}x{side} cores, found {}x{}", args.chip, chip.cols, chip.rows);
    }
    let page = Whole::of_flag("--html", args.html.as_deref())?;
    let all = args.table.iter().any(|t| t == "all");
    let wanted = TABLES.iter().filter(|t| all || args.table.iter().any(|asked| asked == *t));
    let has_energy = wanted.clone().any(|t| ["7", "8"].contains(t));
    for flag in [(!args.gpu.is_empty()).then_some("--gpu"), args.price.map(|_| "--price")].into_iter().flatten() {
        if !has_energy {
            bail!("{flag} is for Tables 7 and 8, and neither is among --table {}", args.table.join(","));
        }
    }
    let planned: Vec<Cell> = wanted.flat_map(|t| cells(t)).collect();
    let notes = assumptions(&chip);
    let mut kept: Resume<Option<f64>> = Resume::open(args.resume.as_deref(), &format!("paper {chip:?} {notes:?}"))?;
    let (begin, bar) = (Instant::now(), Progress::new(Some(planned.len() as u64)));
    let (mut evaluator, mut done) = (Evaluator::new(&chip), Vec::<Cell>::new());
    for cell in planned {
        let name = format!("table {}, {}, {}, {}", cell.table, cell.model, cell.method, cell.column);
        bar.at(name.clone());
        let value = match (kept.find(&name).copied(), &cell.what) {
            (_, Some(What::EnergyRatio(model, phase))) => {
                let joules = done.iter().rev().find(|c| matches!(c.what, Some(What::Energy(..))));
                gpu::ratio(&args.gpu, &chip, model, *phase, joules)
            }
            (Some(value), _) => value,
            (None, None) => None,
            (None, Some(what)) => {
                let value = evaluator.value(what).with_context(|| name.clone())?;
                kept.keep(name, value)?;
                value
            }
        };
        let cell = cell.with(value);
        let priced = args.price.and_then(|price| price::cell(&cell, &chip, price));
        done.push(cell);
        done.extend(priced);
        bar.step();
    }
    let seconds = begin.elapsed().as_secs_f64();
    bar.finish();
    let fit = Fit::of(&done);
    if let Some(page) = page {
        page.finish(html::page(&chip.name, &done, &fit, &notes).as_bytes())?;
    }
    if args.json {
        let object = serde_json::json!({
            "schema": SCHEMA, "chip": chip.name, "cells": done, "fit": fit, "assumptions": notes,
            "host_seconds": seconds,
        });
        super::print(format!("{object}\n").as_bytes())?;
    } else {
        super::print(text::tables(&chip.name, &done, &fit, &notes).as_bytes())?;
        super::say(&format!("{} cells in {seconds:.1} s\n", done.len()));
    }
    Ok(())
}
