//! Can a program deadlock? The layout check, a dry run, and the strict dry run of what it recorded.
//!
//! ```text
//!   layout --refused--> LaunchError
//!     | dry run (this chip's queues) --stall--> Deadlock      --fault--> Fault
//!     | replay of the recorded operations without any buffering (`strict`)
//!     |   --stuck--> Buffered: completes here only because bursts wait in queues     --done--> Strict
//! ```
//! `Strict` holds under every schedule, at every lane depth and queue length: the replay knows none of them.
//!
//! Invariant: payload-free; no weights, no threads. The verdict of a program is a function of kernel, layout, chip and
//! passes. Called by `app` and by tests; kernels that users write get it through [`check`].

use std::collections::HashSet;
use std::fmt;

use crate::arena::{Memory, Slab};
use crate::fabric::{Backing, Chip, HostLane, Layout, build};
use crate::link::{LinkLoad, NONE, Net, Record, Schedule, SendRequest, Status, Work};
use crate::math::Kernels;
use crate::pe::{Fault, Kernel, Part};
use crate::units::Coord;

use super::fleet::{Inject, LaunchError};
use super::links::link_loads;
use super::stall::StallReport;
use super::strict::{Strict, shape_of};
use super::worker::host_reader;
use super::{strict_waits, waits};

/// What is known of a program.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Cannot deadlock, under any schedule, however little the fabric buffers.
    Strict,
    /// Completes on this chip under every schedule, but only because bursts wait in queues: who would wait for whom
    /// without them.
    Buffered(Box<StallReport>),
    /// Completes, but so many bursts that were sent are never taken.
    Left {
        /// Bursts.
        bursts: u32,
        /// A sender; `None`: the host.
        from: Option<Coord>,
    },
    /// Deadlocks on this chip, under every schedule.
    Deadlock(Box<StallReport>),
    /// A PE is stopped by an error.
    Fault(Box<Fault>),
}

impl Verdict {
    /// Its name in `--json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Buffered(_) => "buffered",
            Self::Left { .. } => "left",
            Self::Deadlock(_) => "deadlock",
            Self::Fault(_) => "fault",
        }
    }

    /// Is it proven that the program cannot deadlock?
    pub fn is_strict(&self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Does the program complete on this chip?
    pub fn completes(&self) -> bool {
        !matches!(self, Self::Deadlock(_) | Self::Fault(_))
    }
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// See `Verdict`.
    pub verdict: Verdict,
    /// PEs of the layout.
    pub pes: usize,
    /// Most colors at one PE.
    pub colors_max: u32,
    /// Passes that were run.
    pub passes: usize,
    /// Passes that ask different things of some PE: each was replayed.
    pub shapes: usize,
    /// Operations recorded, all passes together.
    pub operations: u64,
    /// Virtual time at the end.
    pub cycles: u64,
    /// Virtual time of the shortest and of the longest pass, a pass without bursts apart.
    pub pass_cycles: (u64, u64),
    /// How busy links are where their colors share them.
    pub load: LoadReport,
    /// Pass (from 0) that the verdict is about, if it is not about all of them.
    pub at_pass: Option<usize>,
}

/// Links in windows of `link::WINDOW` cycles, over all passes. Nothing arbitrates between colors in this model: where
/// windows are over, a chip takes longer than the cycles say, by at most the excess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Links with a window over what a link carries.
    pub links_over: u64,
    /// Such windows.
    pub windows_over: u64,
    /// Cycles beyond, all together.
    pub excess: u64,
    /// The link with the busiest window, the first in (row, col) order.
    pub busiest: Option<((Coord, Coord), LinkLoad)>,
}

impl LoadReport {
    fn of(mut links: Vec<((Coord, Coord), LinkLoad)>) -> Self {
        links.sort_unstable_by_key(|link| link.0);
        let over = || links.iter().filter(|link| link.1.over > 0);
        Self {
            links_over: over().count() as u64,
            windows_over: over().map(|link| link.1.over).sum(),
            excess: over().map(|link| link.1.excess).sum(),
            busiest: links.iter().copied().rev().max_by_key(|link| link.1.busiest),
        }
    }

    /// The sums of both, the busiest of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let of = |busiest: &Option<((Coord, Coord), LinkLoad)>| busiest.map_or(0, |b| b.1.busiest);
        Self {
            links_over: self.links_over.max(other.links_over),
            windows_over: self.windows_over + other.windows_over,
            excess: self.excess + other.excess,
            busiest: if of(&other.busiest) > of(&self.busiest) { other.busiest } else { self.busiest },
        }
    }
}

/// Checks a kernel that runs once from its launch to its end.
///
/// # Errors
/// Why the chip cannot run the layout.
pub fn check<K: Kernel>(kernel: &K, layout: &Layout, chip: &Chip) -> Result<CheckReport, LaunchError> {
    check_passes(kernel, layout, chip, [Vec::new()])
}

/// Checks a kernel over passes: what the host sends in each. Programs parked at the first receive of a pass count as
/// finished between them.
///
/// # Errors
/// As `check`.
pub fn check_passes<K: Kernel>(
    kernel: &K,
    layout: &Layout,
    chip: &Chip,
    passes: impl IntoIterator<Item = Vec<Inject>>,
) -> Result<CheckReport, LaunchError> {
    let mut fleet = build(layout, chip, 1, Backing::Dry)?;
    let made = fleet.parts.remove(0);
    let memory = Memory::new(0, 0, false).map_err(|error| LaunchError::Memory { worker: 0, need: 0, error })?;
    let mut net = Net::new(chip.timing(), Schedule::DepthFirst, true, memory, made.net);
    net.count_loads();
    let strict = Strict::new(&net);
    let mut part = Part::new(net, made.endpoints.into(), Kernels::detect());
    part.record_steps();
    let report = CheckReport {
        verdict: Verdict::Strict,
        pes: layout.pes.len(),
        colors_max: fleet.colors_max,
        passes: 0,
        shapes: 0,
        operations: 0,
        cycles: 0,
        pass_cycles: (u64::MAX, 0),
        load: LoadReport::default(),
        at_pass: None,
    };
    let programs = Slab::new((0..part.pes()).map(|pe| kernel.program(part.handle(pe))));
    let mut run = Run { part: &part, layout, programs, host: &fleet.host, strict, seen: HashSet::new(), report };
    for injects in passes {
        if let Some(verdict) = run.pass(&injects) {
            run.report.verdict = verdict;
            run.report.at_pass = Some(run.report.passes - 1);
            return Ok(run.report);
        }
    }
    run.report.load = LoadReport::of(link_loads(&part, &mut part.net.borrow_mut()));
    if let Some(tree) = run.strict.left().next() {
        let bursts = run.strict.left().map(|t| t.asked - t.complete).sum();
        let from = (tree.pe != NONE).then(|| part.coord(tree.pe));
        run.report.verdict = Verdict::Left { bursts, from };
    }
    Ok(run.report)
}

struct Run<'a, F> {
    part: &'a Part,
    layout: &'a Layout,
    programs: Slab<F>,
    host: &'a [HostLane],
    strict: Strict,
    /// Shapes of passes that completed from a clean fabric.
    seen: HashSet<u64>,
    report: CheckReport,
}

impl<F: Future<Output = ()>> Run<'_, F> {
    /// One pass: dry, then strict; the verdict if it is bad.
    fn pass(&mut self, injects: &[Inject]) -> Option<Verdict> {
        self.report.passes += 1;
        self.close_windows();
        let ports: Vec<u32> = injects.iter().map(|inject| self.host[inject.lane].port).collect();
        self.dry(injects, &ports);
        if let Some(mut fault) = self.part.faults().into_iter().min_by_key(Fault::key) {
            fault.name_tiles(self.layout);
            return Some(Verdict::Fault(Box::new(fault)));
        }
        let done = |r: &Record| matches!(r.status, Status::Finished | Status::OnPass);
        if !self.part.net.borrow().records.iter().all(done) {
            let stall = waits::report(self.layout, vec![waits::remains(self.part)]);
            return Some(Verdict::Deadlock(Box::new(stall)));
        }
        self.replay(&ports)
    }

    /// Everything in a pass follows from what the host sends, so from the clocks of those that read it.
    fn close_windows(&self) {
        let mut net = self.part.net.borrow_mut();
        if let Some(by) = host_reader(&net) {
            net.loads().into_iter().for_each(|loads| loads.close(by));
        }
    }

    /// Runs until nothing moves.
    fn dry(&mut self, injects: &[Inject], ports: &[u32]) {
        for (inject, port) in injects.iter().zip(ports) {
            self.part.net.borrow_mut().open_send(SendRequest {
                pe: NONE,
                port: *port,
                place: NONE, // a dry run moves no words
                words: 1,
                ctrl: Some(inject.ctrl),
                ready: inject.ready,
                min_tail: 0,
                depth: 0,
            });
        }
        loop {
            let next = self.part.net.borrow_mut().next_work();
            match next {
                None => break,
                Some(Work::Moved) => {}
                Some(Work::Run(pe)) => {
                    if self.programs.poll(pe) {
                        self.part.net.borrow_mut().records[pe as usize].block(Status::Finished, NONE);
                    }
                }
            }
        }
        self.part.take_marks();
        let net = self.part.net.borrow();
        let now = (0..self.part.pes()).map(|pe| net.waits(pe).2).max().unwrap_or(0);
        drop(net);
        if now > self.report.cycles {
            let (least, most) = self.report.pass_cycles;
            let took = now - self.report.cycles;
            self.report.pass_cycles = (least.min(took), most.max(took));
        }
        self.report.cycles = now;
    }

    /// Replays what the pass recorded, unless an equal one was replayed before.
    fn replay(&mut self, ports: &[u32]) -> Option<Verdict> {
        let mut trace = self.part.trace()?.borrow_mut();
        let steps = &trace.steps;
        self.report.operations += steps.iter().map(|s| s.len() as u64).sum::<u64>();
        let shape = shape_of(steps, ports);
        if !(self.strict.is_clean() && self.seen.contains(&shape)) {
            let clean = self.strict.is_clean();
            self.report.shapes += 1;
            self.strict.run(steps, ports);
            if self.strict.actors.iter().zip(steps).any(|(actor, steps)| actor.at < steps.len()) {
                let stall = strict_waits::report(&self.strict, self.part, self.layout, steps);
                return Some(Verdict::Buffered(Box::new(stall)));
            }
            if clean && self.strict.is_clean() {
                self.seen.insert(shape);
            }
        }
        trace.clear();
        None
    }
}

/// Operations of a wait cycle that are printed.
const CYCLE_MAX: usize = 12;

/// The waits of a stuck strict dry run: the shortest cycle, one line a PE.
pub struct WaitCycle<'a>(pub &'a StallReport);

impl fmt::Display for WaitCycle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StallReport { blocked, cycle } = self.0;
        let listed: Vec<Coord> = match cycle.is_empty() {
            true => blocked.iter().map(|b| b.pe).collect(),
            false => cycle.clone(),
        };
        match cycle.len() {
            0 => writeln!(f, "no cycle of waits; {} PEs wait for one that has ended:", blocked.len())?,
            n => writeln!(f, "shortest cycle of waits, {n} of {} PEs that wait:", blocked.len())?,
        }
        for (i, pe) in listed.iter().enumerate().take(CYCLE_MAX) {
            let Some(b) = blocked.iter().find(|b| b.pe == *pe) else { continue };
            let what = if b.sends { "send" } else { "receive" };
            write!(f, "  PE {pe}: {what} on {} {} at {}, waits for ", b.color, b.port, b.place)?;
            let next = if cycle.is_empty() { b.waits_for.first() } else { cycle.get((i + 1) % cycle.len()) };
            match next {
                Some(next) => writeln!(f, "PE {next}")?,
                None => writeln!(f, "the host")?,
            }
        }
        if listed.len() > CYCLE_MAX {
            writeln!(f, "  ... {} more", listed.len() - CYCLE_MAX)?;
        }
        Ok(())
    }
}
