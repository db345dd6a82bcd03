//! A wafer in operation: worker threads that own the parts, commands from the host, answers back.
//!
//! crossbeam channels carry commands and answers, a few per pass; everything between PEs goes over links and rings.
//!
//! Invariant: between passes every worker waits for a command, so what the host reads is quiescent.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::arena::{Memory, Tile};
use crate::fabric::{Backing, Chip, Endpoints, Fleet, HostLane, Layout, LayoutError, TileId, build};
use crate::link::{Ctrl, Net, Order, Schedule};
use crate::math::Kernels;
use crate::pe::{Fault, Kernel, Mark, Part, Probes};
use crate::units::Coord;

use super::arenas::Arenas;
use super::fill::{fill_memories, memories};
use super::idle::Idle;
use super::links::TraceOptions;
use super::stall::StallReport;
use super::worker::{Answer, Command, serve};

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads.
    pub workers: usize,
    /// Order of ready work.
    pub schedule: Schedule,
    /// Bursts without payloads.
    pub dry: bool,
    /// Back and poison whole arenas.
    pub full_arenas: bool,
    /// Note the order in which programs visit their large tiles.
    pub log_visits: bool,
    /// Arithmetic level.
    pub kernels: Kernels,
    /// Record what PEs do.
    pub trace: Option<TraceOptions>,
    /// Where copies of probed tiles go.
    pub probes: Option<Probes>,
    /// Count how busy links are in windows.
    pub link_windows: bool,
}

impl RunOptions {
    /// Depth first on `workers` workers, with this host's arithmetic.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            schedule: Schedule::DepthFirst,
            dry: false,
            full_arenas: false,
            log_visits: false,
            kernels: Kernels::detect(),
            trace: None,
            probes: None,
            link_windows: false,
        }
    }

    /// Visits are noted by place, so places must differ then.
    fn backing(&self) -> Backing {
        match (self.dry && !self.log_visits, self.full_arenas) {
            (true, _) => Backing::Dry,
            (false, true) => Backing::Full,
            (false, false) => Backing::Packed,
        }
    }
}

/// A burst from the host: at most the few words that start a pass.
#[derive(Clone, Copy, Debug)]
pub struct Inject {
    /// Index of the host lane.
    pub lane: usize,
    /// Control words.
    pub ctrl: Ctrl,
    /// One payload word.
    pub word: u32,
    /// Earliest time.
    pub ready: u64,
}

/// Why a wafer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The chip cannot run the layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No worker, or more than the engine is made for.
    #[error("workers: need 1 to {most}, found {found}")]
    Workers { found: usize, most: usize },
    /// The host gives no more address space.
    #[error("worker {worker}: need {need} B of address space for its tiles and buffers, the host gives none: {error}")]
    Memory { worker: usize, need: u64, error: std::io::Error },
    /// Places in a worker's memory are 32-bit word numbers.
    #[error("worker {worker}: its tiles and buffers are {need} words, a worker addresses {have} (use more workers)")]
    Words { worker: usize, need: u64, have: u64 },
    /// The host gives no more threads.
    #[error("need {need} worker threads, the host gives {have}: {error}")]
    Threads { need: usize, have: usize, error: std::io::Error },
}

/// Most worker threads: rings join every two of them (128 KiB each way, up to 1 MiB for chips with arenas of more than
/// 60 KB), so their memory grows with the square.
pub const WORKERS_MAX: usize = 64;

/// Why a pass did not complete.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassError {
    /// A deadlock.
    #[error("{0}")]
    Stall(Box<StallReport>),
    /// A PE was stopped.
    #[error("{0}")]
    Fault(Fault),
    /// A worker is gone (it panicked: a defect).
    #[error("a worker of the pool stopped unexpectedly")]
    Lost,
}

/// A worker's part, about to start, with all that the options ask to be counted or noted.
fn ready(mut net: Net<Memory>, order: Order, endpoints: Arc<Endpoints>, options: RunOptions) -> Part {
    if options.link_windows {
        net.count_loads();
    }
    if options.schedule == Schedule::DepthFirst {
        net.take_up(order);
    }
    let part = Part::new(net, endpoints, options.kernels).with_probes(options.probes);
    if options.log_visits {
        part.log_visits();
    }
    part
}

/// The host's ends of one worker.
pub(super) struct Hand {
    pub(super) commands: Sender<Command>,
    pub(super) answers: Receiver<Answer>,
    thread: Option<JoinHandle<Memory>>,
}

/// Tells the others when a worker's thread unwinds, so that they do not wait for it.
struct Guard(Arc<Idle>, usize);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon(self.1);
        }
    }
}

/// See the module.
pub struct Wafer {
    pub(super) hands: Vec<Hand>,
    homes: Vec<(u16, u32)>,
    pub(super) layout: Arc<Layout>,
    host: Vec<HostLane>,
    ends: Vec<Arc<Endpoints>>,
    idle: Arc<Idle>,
    marks: Vec<Mark>,
    /// No burst of the next pass departs before this cycle.
    quiet_until: u64,
    /// Most colors at one PE.
    pub colors_max: u32,
}

impl Wafer {
    /// Checks the layout, fills the tiles through `fill(pe, tile, words)` and starts the workers.
    ///
    /// # Errors
    /// The first reason why this chip cannot run the layout, or what the host does not give.
    pub fn launch<K: Kernel>(
        kernel: K,
        layout: Layout,
        chip: &Chip,
        options: &RunOptions,
        fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
    ) -> Result<Self, LaunchError> {
        if !(1..=WORKERS_MAX).contains(&options.workers) {
            return Err(LaunchError::Workers { found: options.workers, most: WORKERS_MAX });
        }
        let fleet = build(&layout, chip, options.workers, options.backing())?;
        let Fleet { parts, homes, host, colors_max } = fleet;
        let kernel = Arc::new(kernel);
        let idle = Arc::new(Idle::new(options.workers));
        let memories = memories(&parts, options)?;
        let memories = fill_memories(&parts, memories, options, &fill)?;
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let traced = options.trace.map(|trace| Arc::new(trace.choose(&layout)));
        let (mut hands, mut ends) = (Vec::new(), Vec::new());
        for (me, (part, memory)) in parts.into_iter().zip(memories).enumerate() {
            let (commands, inbox) = unbounded();
            let (outbox, answers) = unbounded();
            let (kernel, idle, options) = (Arc::clone(&kernel), Arc::clone(&idle), options.clone());
            let traced = traced.clone();
            let endpoints = Arc::new(part.endpoints);
            ends.push(Arc::clone(&endpoints));
            let need = options.workers;
            let timing = chip.timing();
            // Pinned only where every worker has a core of its own.
            let core = (cores.len() >= options.workers && options.workers > 1).then(|| cores[me]);
            let work = move || {
                let _guard = Guard(Arc::clone(&idle), me);
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                let regions = part.regions.into_iter().map(|r| r.1).collect();
                let schedule = match options.schedule {
                    Schedule::Random(seed) => Schedule::Random(seed.wrapping_add(me as u64)),
                    other => other,
                };
                let net = Net::new(timing, schedule, options.dry, memory, part.net);
                let mut part = ready(net, kernel.order(), endpoints, options);
                if let Some((chosen, spans_max)) = traced.as_deref() {
                    part.record(|at| chosen.contains(&at), *spans_max);
                }
                serve(&*kernel, &part, regions, me, &idle, &inbox, &outbox);
                part.into_memory()
            };
            let thread = std::thread::Builder::new().name(format!("worker {me}")).spawn(work);
            let thread = thread.map_err(|error| LaunchError::Threads { need, have: me, error })?;
            hands.push(Hand { commands, answers, thread: Some(thread) });
        }
        Ok(Self {
            hands,
            homes,
            layout: Arc::new(layout),
            host,
            ends,
            idle,
            marks: Vec::new(),
            quiet_until: 0,
            colors_max,
        })
    }

    /// Runs until nothing moves. Programs parked at the first receive of a pass count as finished.
    ///
    /// # Errors
    /// A deadlock, or the first fault.
    pub fn run(&mut self, injects: &[Inject]) -> Result<(), PassError> {
        // Before any command goes out: a worker that has its command early must not find the others still idle.
        self.idle.begin();
        let mut each: Vec<Vec<(u32, Inject)>> = vec![Vec::new(); self.hands.len()];
        for inject in injects {
            let lane = self.host[inject.lane];
            each[usize::from(lane.worker)].push((lane.port, *inject));
        }
        for (hand, injects) in self.hands.iter().zip(each) {
            let quiet_until = self.quiet_until;
            hand.commands.send(Command::Pass { injects, quiet_until }).map_err(|_| PassError::Lost)?;
        }
        let (mut stalled, mut first, mut quiet_until) = (false, Vec::new(), u64::MAX);
        for hand in &self.hands {
            let Ok(Answer::Pass { unfinished, faults, marks, host_reader }) = hand.answers.recv() else {
                return Err(PassError::Lost);
            };
            stalled |= unfinished;
            first.extend(faults);
            self.marks.extend(marks);
            quiet_until = quiet_until.min(host_reader.unwrap_or(u64::MAX));
        }
        // Everything in a pass follows from what the host sends.
        self.quiet_until = if quiet_until < u64::MAX { quiet_until } else { self.quiet_until };
        if let Some(mut fault) = first.into_iter().min_by_key(Fault::key) {
            fault.name_tiles(&self.layout);
            return Err(PassError::Fault(fault));
        }
        if stalled {
            return Err(PassError::Stall(Box::new(self.stalls()?)));
        }
        Ok(())
    }

    /// Tiles in the order in which the programs of each worker visited them, since launch or the last call; worker by
    /// worker. Empty unless the launch was asked to note it.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn take_visits(&self) -> Result<Vec<(Coord, TileId)>, PassError> {
        let mut order = Vec::new();
        for (hand, ends) in self.hands.iter().zip(&self.ends) {
            hand.commands.send(Command::Visits).map_err(|_| PassError::Lost)?;
            let Ok(Answer::Words(places)) = hand.answers.recv() else { return Err(PassError::Lost) };
            let tiles = ends.iter().flat_map(|pe| pe.tiles.iter().map(move |t| (t.1, (pe.coord, t.0))));
            let owners: std::collections::HashMap<u32, (Coord, TileId)> = tiles.collect();
            order.extend(places.iter().filter_map(|place| owners.get(place)));
        }
        Ok(order)
    }

    /// Takes the phase marks of the passes so far.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// The words of a tile: an uncharged probe. In a dry run they are zeros.
    ///
    /// # Errors
    /// `Lost` when there is no such tile or the worker is gone.
    pub fn read(&self, pe: Coord, tile: TileId) -> Result<Vec<u32>, PassError> {
        let at = self.layout.find(pe).ok_or(PassError::Lost)?;
        let (worker, local) = self.homes[at as usize];
        let tiles = self.ends[usize::from(worker)].of(local).tiles;
        let &(_, place, words) = tiles.iter().find(|t| t.0 == tile).ok_or(PassError::Lost)?;
        let hand = &self.hands[usize::from(worker)];
        hand.commands.send(Command::Read { tile: Tile { place, words } }).map_err(|_| PassError::Lost)?;
        match hand.answers.recv() {
            Ok(Answer::Words(words)) => Ok(words),
            _ => Err(PassError::Lost),
        }
    }
}

impl Wafer {
    /// Ends the launch; its arenas stay.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn into_arenas(mut self) -> Result<Arenas, PassError> {
        let memories = self.stop().ok_or(PassError::Lost)?;
        Ok(Arenas::new(
            memories,
            Arc::clone(&self.layout),
            std::mem::take(&mut self.homes),
            std::mem::take(&mut self.ends),
        ))
    }

    /// Ends the workers; their memories, unless one of them panicked.
    fn stop(&mut self) -> Option<Vec<Memory>> {
        let mut memories = Vec::new();
        for hand in &mut self.hands {
            let (closed, _) = unbounded();
            hand.commands = closed; // the worker's receive fails and it returns
            memories.extend(hand.thread.take().and_then(|thread| thread.join().ok()));
        }
        (memories.len() == self.hands.len()).then_some(memories)
    }
}

impl Drop for Wafer {
    fn drop(&mut self) {
        self.stop();
    }
}
