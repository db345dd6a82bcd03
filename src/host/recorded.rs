//! What the launches of a run leave for the files of `trace`: layouts, records of traced PEs, traffic, phases.
//!
//! Invariant: launches are in the order in which they ran; `from` is the session's clock where one begins.
//! Called by `session`, and by `app` for runs of a single launch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::exec::{LinkUse, PassError, Wafer};
use crate::fabric::Layout;
use crate::pe::Log;
use crate::units::Coord;

use super::session::Session;
use super::trace::{Phase, stage_phases};

/// One launch.
#[derive(Clone, Debug)]
pub struct Launched {
    /// Routes and tiles.
    pub layout: Arc<Layout>,
    /// By traced PE, in cycles since the launch.
    pub logs: Vec<Log>,
    /// Cycle at which the launch began.
    pub from: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// At least one, once a run is over.
    pub launches: Vec<Launched>,
    /// Traffic of all launches by directed link, (from, to).
    pub links: BTreeMap<(Coord, Coord), LinkUse>,
    /// By stage, in the session's clock.
    pub phases: Vec<Phase>,
    /// Phases that found no room.
    pub phases_cut: u64,
}

impl Recorded {
    /// A run of one launch.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn of(wafer: &Wafer, phases: Vec<Phase>) -> Result<Self, PassError> {
        let mut all = Self { phases, ..Self::default() };
        all.add(wafer, 0, true)?;
        Ok(all)
    }

    /// Adds a launch that is over and began at `from`; traffic only if somebody will read it.
    fn add(&mut self, wafer: &Wafer, from: u64, with_links: bool) -> Result<(), PassError> {
        self.launches.push(Launched { layout: wafer.shared_layout(), logs: wafer.trace()?, from });
        if !with_links {
            return Ok(());
        }
        for (link, more) in wafer.link_use()? {
            let sum = self.links.entry(link).or_default();
            let plus = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
            *sum = LinkUse {
                colors: sum.colors.max(more.colors),
                unicast: plus(sum.unicast, more.unicast),
                multicast: plus(sum.multicast, more.multicast),
                load: sum.load.then(more.load, from),
            };
        }
        Ok(())
    }

    /// Spans recorded so far.
    pub(super) fn spans(&self) -> usize {
        self.launches.iter().flat_map(|l| &l.logs).map(|log| log.spans.len()).sum()
    }
}

impl Session {
    /// Everything recorded so far, the launch in operation included.
    ///
    /// # Errors
    /// When a worker is gone.
    pub fn recorded(&self) -> Result<Recorded, PassError> {
        let mut all = self.past.clone();
        self.record_launch(&mut all)?;
        Ok(all)
    }

    /// Cores of the launch in operation, and the far corner of every region of decode.
    pub fn cores(&self) -> Vec<Coord> {
        let plan = &self.decode.plan;
        let corners = plan.floor.regions.iter().map(|place| place.at(place.cols - 1, plan.rows - 1));
        self.wafer.shared_layout().pes.iter().map(|pe| pe.coord).chain(corners).collect()
    }

    /// Moves what the launch in operation recorded to the past ones.
    pub(super) fn bank(&mut self) -> Result<(), PassError> {
        let mut past = std::mem::take(&mut self.past);
        self.record_launch(&mut past)?;
        self.past = past;
        Ok(())
    }

    fn record_launch(&self, all: &mut Recorded) -> Result<(), PassError> {
        all.add(&self.wafer, self.before.cycles, self.options.link_windows)?;
        all.phases.extend(stage_phases(&self.kept.1, self.points, self.before.cycles));
        all.phases.sort_by_key(|p| p.track);
        all.phases_cut += self.kept.2;
        Ok(())
    }
}
