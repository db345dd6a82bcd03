//! One kernel on one chip, run once: what a user of the library needs to see what a kernel of their own does.
//!
//! ```text
//!   layout --check--> launch --fill--> run --> Trial { facts, wafer }
//! ```
//! Invariant: facts are measured, never computed from a formula. Called by examples, the guide and users' tests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::exec::{Counters, LaunchError, LinkUse, PassError, RunOptions, Wafer};
use crate::fabric::{Chip, Layout, Survey, TileId};
use crate::pe::{Kernel, Log};
use crate::units::Coord;

use super::recorded::Recorded;
use super::trace::Chrome;

/// What a kernel needed and took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Cycles, hops, wavelets, bursts, depth.
    pub counters: Counters,
    /// Colors per core, longest hop, bytes of tiles at the fullest core.
    pub survey: Survey,
    /// Most cycles that one core computed.
    pub compute_cycles: u64,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (c, s) = (&self.counters, &self.survey);
        let comm = c.cycles - self.compute_cycles;
        writeln!(f, "cycles   {} ({} computing, {comm} beside)", c.cycles, self.compute_cycles)?;
        writeln!(f, "traffic  {} bursts, {} hops, {} wavelet-hops, depth {}", c.bursts, c.hops, c.wavelets, c.depth)?;
        writeln!(f, "routes   {} colors a core, longest hop {}", s.colors_per_core, s.longest_hop)?;
        write!(f, "arena    {} of tiles at the fullest core", s.arena_peak)
    }
}

/// Why a trial gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The chip cannot run the layout.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A deadlock, or a PE that was stopped.
    #[error(transparent)]
    Pass(#[from] PassError),
}

/// A kernel that has run.
pub struct Trial {
    /// What it needed and took.
    pub facts: Facts,
    /// The wafer as it is now: read tiles from it.
    pub wafer: Wafer,
    /// What the run took of the host's time.
    pub host_seconds: f64,
    chip: Chip,
}

impl Trial {
    /// Checks the layout, fills tiles through `fill(core, tile, words)`, and runs every program to its end.
    ///
    /// # Errors
    /// Why the chip refuses the layout; a stall with its report; the first fault.
    pub fn run<K: Kernel>(
        kernel: K,
        layout: Layout,
        chip: &Chip,
        options: &RunOptions,
        fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
    ) -> Result<Self, TrialError> {
        Self::surveyed(Survey::of(&layout), kernel, layout, chip, options, fill)
    }

    /// `run` of a layout that was surveyed before.
    pub(super) fn surveyed<K: Kernel>(
        survey: Survey,
        kernel: K,
        layout: Layout,
        chip: &Chip,
        options: &RunOptions,
        fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
    ) -> Result<Self, TrialError> {
        let mut wafer = Wafer::launch(kernel, layout, chip, options, fill)?;
        let start = Instant::now();
        wafer.run(&[])?;
        let host_seconds = start.elapsed().as_secs_f64();
        let counters = wafer.counters()?;
        let compute_cycles = wafer.records()?.iter().map(|r| r.1.busy).max().unwrap_or(0);
        let facts = Facts { counters, survey, compute_cycles };
        Ok(Self { facts, wafer, host_seconds, chip: chip.clone() })
    }

    /// A tile as f32: an uncharged probe.
    ///
    /// # Errors
    /// When there is no such tile.
    pub fn f32(&self, core: Coord, tile: TileId) -> Result<Vec<f32>, PassError> {
        Ok(self.wafer.read(core, tile)?.into_iter().map(f32::from_bits).collect())
    }

    /// Traffic by directed link, (from, to).
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn links(&self) -> Result<BTreeMap<(Coord, Coord), LinkUse>, PassError> {
        self.wafer.link_use()
    }

    /// What the traced cores did; empty unless `RunOptions::trace` was set.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn logs(&self) -> Result<Vec<Log>, PassError> {
        self.wafer.trace()
    }

    /// The trace as Chrome's JSON.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn trace_json(&self) -> Result<String, PassError> {
        let run = Recorded::of(&self.wafer, Vec::new())?;
        Ok(Chrome { chip: &self.chip, run: &run }.json())
    }
}
