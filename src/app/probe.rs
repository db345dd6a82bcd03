//! `--trace`, `--links`, `--map`: what a run leaves for other tools.
//!
//! Invariant: each file is written whole or not at all, and a path that cannot be written is an error before the run.
//! Called by `generate` and `bench`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::cli::mesh;
use super::{say, whole::Whole};
use crate::exec::{Chosen, PassError, TraceOptions};
use crate::fabric::Chip;
use crate::host::Recorded;
use crate::host::trace::{Chrome, links_csv, map_csv};
use crate::units::Coord;

/// Most events of a trace: 48 bytes each while the run lasts.
const EVENTS_MAX: u64 = 100_000_000;

/// The flags.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// Write trace events in virtual time (open in Perfetto or chrome://tracing).
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
    /// Cores to trace: how many, evenly chosen, or a rectangle.
    #[arg(long, value_name = "N|COLSxROWS@COL,ROW", value_parser = chosen, default_value = "64", requires = "trace")]
    pub trace_pes: Chosen,
    /// Events to record, at most; the trace says how many were cut.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = events, requires = "trace")]
    pub trace_events: u64,
    /// Write bursts and wavelets of every directed link, unicast and multicast apart.
    #[arg(long, value_name = "FILE.csv")]
    pub links: Option<PathBuf>,
    /// Write the ledger of every core: code, weights, KV, buffers.
    #[arg(long, value_name = "FILE.csv")]
    pub map: Option<PathBuf>,
}

fn events(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| (1..=EVENTS_MAX).contains(n)).ok_or_else(|| format!("need 1 to {EVENTS_MAX}"))
}

fn chosen(text: &str) -> Result<Chosen, String> {
    if let Ok(n @ 1..=1_000_000) = text.parse::<usize>() {
        return Ok(Chosen::Evenly(n));
    }
    let rectangle = text.split_once('@').and_then(|(size, at)| {
        let (cols, rows) = mesh(size).ok()?;
        let (col, row) = at.split_once(',')?;
        let first = Coord::new(col.parse().ok()?, row.parse().ok()?);
        Some(Chosen::Rectangle { first, cols, rows })
    });
    rectangle.ok_or_else(|| "need a number of cores, or COLSxROWS@COL,ROW such as 4x4@0,0".to_owned())
}

/// The files of a run.
pub struct Probes {
    trace: Option<Whole>,
    links: Option<Whole>,
    map: Option<Whole>,
}

impl ProbeArgs {
    /// Is a file wanted?
    pub fn any(&self) -> bool {
        self.trace.is_some() || self.links.is_some() || self.map.is_some()
    }

    /// What to record.
    pub fn options(&self) -> Option<TraceOptions> {
        let options = TraceOptions { pes: self.trace_pes, spans_max: self.trace_events as usize };
        self.trace.as_ref().map(|_| options)
    }

    /// Is the rectangle of `--trace-pes` inside what a run uses? `cores` are those of the run, or the corners of the
    /// rectangles that they fill.
    ///
    /// # Errors
    /// The rectangle, and the columns and rows in use.
    pub fn check_cores(&self, cores: impl Iterator<Item = Coord>) -> Result<()> {
        let Chosen::Rectangle { first, cols, rows } = self.trace_pes else { return Ok(()) };
        let (have_cols, have_rows) = cores.fold((0, 0), |most, at| (at.col.max(most.0), at.row.max(most.1)));
        let inside = |first: u32, n: u32, last: u32| u64::from(first) + u64::from(n) <= u64::from(last) + 1;
        if inside(first.col, cols, have_cols) && inside(first.row, rows, have_rows) {
            return Ok(());
        }
        bail!(
            "--trace-pes {cols}x{rows}@{},{}: the run uses columns 0 to {have_cols} and rows 0 to {have_rows}",
            first.col,
            first.row
        )
    }

    /// Starts the files.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn open(&self) -> Result<Probes> {
        Ok(Probes {
            trace: Whole::of_flag("--trace", self.trace.as_deref())?,
            links: Whole::of_flag("--links", self.links.as_deref())?,
            map: Whole::of_flag("--map", self.map.as_deref())?,
        })
    }
}

impl Probes {
    /// Writes the files of a run that is over.
    ///
    /// # Errors
    /// What the operating system says; a worker that is gone.
    pub fn write(self, chip: &Chip, run: impl FnOnce() -> Result<Recorded, PassError>) -> Result<()> {
        if self.trace.is_none() && self.links.is_none() && self.map.is_none() {
            return Ok(());
        }
        let run = run()?;
        if let Some(file) = self.trace {
            let chrome = Chrome { chip, run: &run };
            file.finish(chrome.json().as_bytes())?;
            if chrome.cut() > 0 {
                say(&format!("warning: the trace is cut: {} events found no room (--trace-events)\n", chrome.cut()));
            }
        }
        if let Some(file) = self.links {
            file.finish(links_csv(&run.links).as_bytes())?;
        }
        if let Some(file) = self.map {
            file.finish(map_csv(&run.launches, chip).as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_a_number_or_a_rectangle() {
        assert_eq!(chosen("3"), Ok(Chosen::Evenly(3)));
        assert_eq!(chosen("4x2@1,7"), Ok(Chosen::Rectangle { first: Coord::new(1, 7), cols: 4, rows: 2 }));
        for bad in ["0", "-1", "4x2", "4x2@1", "0x2@1,1", "@1,1", "4x2@a,1", ""] {
            assert!(chosen(bad).unwrap_err().contains("COLSxROWS@COL,ROW"), "{bad}");
        }
    }
}
