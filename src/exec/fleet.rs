//! A wafer in operation: worker threads that own the parts, commands from the host, answers back.
//!
//! crossbeam channels carry commands and answers, a few per pass; everything between PEs goes over links and rings.
//!
//! Invariant: between passes every worker waits for a command, so what the host reads is quiescent.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::arena::{Slab, Tile};
use crate::fabric::{Chip, Endpoints, Fleet, Layout, LayoutError, TileId, build};
use crate::link::{Ctrl, NONE, Net, Record, Schedule, SendRequest, Status, Work};
use crate::math::Kernels;
use crate::pe::{Fault, Kernel, Mark, Part};
use crate::units::Coord;

use super::counters::{Counters, Harvest, harvest};
use super::fill::fill_memories;
use super::idle::Idle;
use super::stall::StallReport;
use super::step::{Machine, run_pass};
use super::waits::{self, Remains, remains};

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
    /// Arithmetic level.
    pub kernels: Kernels,
}

impl RunOptions {
    /// Depth first on `workers` workers, with this host's arithmetic.
    pub fn new(workers: usize) -> Self {
        Self { workers, schedule: Schedule::DepthFirst, dry: false, full_arenas: false, kernels: Kernels::detect() }
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

enum Command {
    Pass { number: u64, injects: Vec<(u32, Inject)> },
    Read { tile: Tile },
    Clocks,
    Remains,
}

enum Answer {
    Pass { unfinished: bool, faults: Vec<Fault>, marks: Vec<Mark> },
    Words(Vec<u32>),
    Clocks(Box<Harvest>),
    Remains(Box<Remains>),
}

struct Hand {
    commands: Sender<Command>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

/// See the module.
pub struct Wafer {
    hands: Vec<Hand>,
    homes: Vec<(u16, u32)>,
    layout: Arc<Layout>,
    host: Vec<crate::fabric::HostLane>,
    tiles: Vec<Vec<Endpoints>>,
    idle: Arc<Idle>,
    pass: u64,
    marks: Vec<Mark>,
    /// Most colors at one PE.
    pub colors_max: u32,
}

impl Wafer {
    /// Checks the layout, fills the tiles through `fill(pe, tile, words)` and starts the workers.
    ///
    /// # Errors
    /// The first reason why this chip cannot run the layout.
    ///
    /// # Panics
    /// When the host has no address space or no threads left.
    pub fn launch<K: Kernel>(
        kernel: K,
        layout: Layout,
        chip: &Chip,
        options: &RunOptions,
        fill: impl Fn(Coord, TileId, &mut [u32]) + Sync,
    ) -> Result<Self, LayoutError> {
        let fleet = build(&layout, chip, options.workers, options.full_arenas)?;
        let Fleet { parts, homes, host, colors_max } = fleet;
        let kernel = Arc::new(kernel);
        let idle = Arc::new(Idle::new(options.workers));
        let tiles: Vec<Vec<Endpoints>> = parts.iter().map(|p| p.endpoints.clone()).collect();
        let memories = fill_memories(&parts, options, &fill);
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let mut hands = Vec::new();
        for (me, (part, memory)) in parts.into_iter().zip(memories).enumerate() {
            let (commands, inbox) = unbounded();
            let (outbox, answers) = unbounded();
            let (kernel, idle, options) = (Arc::clone(&kernel), Arc::clone(&idle), options.clone());
            let timing = chip.timing();
            // Pinned only where every worker has a core of its own.
            let core = (cores.len() >= options.workers && options.workers > 1).then(|| cores[me]);
            let thread = std::thread::Builder::new()
                .name(format!("worker {me}"))
                .spawn(move || {
                    if let Some(core) = core {
                        core_affinity::set_for_current(core);
                    }
                    let schedule = match options.schedule {
                        Schedule::Random(seed) => Schedule::Random(seed.wrapping_add(me as u64)),
                        other => other,
                    };
                    let net = Net::new(timing, schedule, options.dry, memory, part.net);
                    let part = Part::new(net, part.endpoints, options.kernels);
                    serve(&*kernel, &part, me, &idle, &inbox, &outbox);
                })
                .expect("the host starts a thread");
            hands.push(Hand { commands, answers, thread: Some(thread) });
        }
        Ok(Self { hands, homes, layout: Arc::new(layout), host, tiles, idle, pass: 0, marks: Vec::new(), colors_max })
    }

    /// Runs until nothing moves. Programs parked at the first receive of a pass count as finished.
    ///
    /// # Errors
    /// A deadlock, or the first fault.
    pub fn run(&mut self, injects: &[Inject]) -> Result<(), PassError> {
        self.pass += 1;
        // Before any command goes out: a worker that has its command early must not find the others still idle.
        (0..self.hands.len()).for_each(|worker| self.idle.leave(worker));
        let mut each: Vec<Vec<(u32, Inject)>> = vec![Vec::new(); self.hands.len()];
        for inject in injects {
            let lane = self.host[inject.lane];
            each[usize::from(lane.worker)].push((lane.port, *inject));
        }
        for (hand, injects) in self.hands.iter().zip(each) {
            hand.commands.send(Command::Pass { number: self.pass, injects }).map_err(|_| PassError::Lost)?;
        }
        let (mut stalled, mut first) = (false, Vec::new());
        for hand in &self.hands {
            let Ok(Answer::Pass { unfinished, faults, marks }) = hand.answers.recv() else {
                return Err(PassError::Lost);
            };
            stalled |= unfinished;
            first.extend(faults);
            self.marks.extend(marks);
        }
        if let Some(mut fault) = first.into_iter().min_by_key(Fault::key) {
            fault.name_tiles(&self.layout);
            return Err(PassError::Fault(fault));
        }
        if stalled {
            return Err(PassError::Stall(Box::new(self.stalls()?)));
        }
        Ok(())
    }

    /// Takes the phase marks of the passes so far.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// The words of a tile: an uncharged probe.
    ///
    /// # Errors
    /// `Lost` when there is no such tile or the worker is gone.
    pub fn read(&self, pe: Coord, tile: TileId) -> Result<Vec<u32>, PassError> {
        let at = self.layout.find(pe).ok_or(PassError::Lost)?;
        let (worker, local) = self.homes[at as usize];
        let tiles = &self.tiles[usize::from(worker)][local as usize].tiles;
        let &(_, place, words) = tiles.iter().find(|t| t.0 == tile).ok_or(PassError::Lost)?;
        let hand = &self.hands[usize::from(worker)];
        hand.commands.send(Command::Read { tile: Tile { place, words } }).map_err(|_| PassError::Lost)?;
        match hand.answers.recv() {
            Ok(Answer::Words(words)) => Ok(words),
            _ => Err(PassError::Lost),
        }
    }

    fn harvest(&self) -> Result<Vec<Harvest>, PassError> {
        for hand in &self.hands {
            hand.commands.send(Command::Clocks).map_err(|_| PassError::Lost)?;
        }
        let take = |hand: &Hand| match hand.answers.recv() {
            Ok(Answer::Clocks(h)) => Ok(*h),
            _ => Err(PassError::Lost),
        };
        self.hands.iter().map(take).collect()
    }

    fn stalls(&self) -> Result<StallReport, PassError> {
        for hand in &self.hands {
            hand.commands.send(Command::Remains).map_err(|_| PassError::Lost)?;
        }
        let take = |hand: &Hand| match hand.answers.recv() {
            Ok(Answer::Remains(r)) => Ok(*r),
            _ => Err(PassError::Lost),
        };
        let parts = self.hands.iter().map(take).collect::<Result<Vec<_>, _>>()?;
        Ok(waits::report(&self.layout, parts))
    }

    /// Totals since launch.
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn counters(&self) -> Result<Counters, PassError> {
        let mut sum = Counters::default();
        for h in self.harvest()? {
            let c = h.counters;
            sum.cycles = sum.cycles.max(c.cycles);
            sum.depth = sum.depth.max(c.depth);
            sum.hops += c.hops;
            sum.wavelets += c.wavelets;
            sum.bursts += c.bursts;
            sum.busy += c.busy;
        }
        Ok(sum)
    }

    /// Clock, busy cycles and depth of every PE, sorted by (row, col).
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn records(&self) -> Result<Vec<(Coord, Record)>, PassError> {
        let mut all: Vec<(Coord, Record)> = self.harvest()?.into_iter().flat_map(|h| h.records).collect();
        all.sort_by_key(|r| r.0);
        Ok(all)
    }

    /// Bursts and wavelets into every PE over links, sorted by (row, col).
    ///
    /// # Errors
    /// `Lost` when a worker is gone.
    pub fn link_traffic(&self) -> Result<Vec<(Coord, u64, u64)>, PassError> {
        let mut all: Vec<(Coord, u64, u64)> = self.harvest()?.into_iter().flat_map(|h| h.links).collect();
        all.sort_by_key(|l| l.0);
        Ok(all)
    }
}

impl Drop for Wafer {
    fn drop(&mut self) {
        for hand in &mut self.hands {
            let (closed, _) = unbounded();
            hand.commands = closed; // the worker's receive fails and it returns
            if let Some(thread) = hand.thread.take() {
                thread.join().ok();
            }
        }
    }
}

struct Worker<'a, F> {
    part: &'a Part,
    programs: Slab<F>,
}

impl<F: Future<Output = ()>> Machine for Worker<'_, F> {
    fn work(&mut self, budget: u32) -> bool {
        for _ in 0..budget {
            let next = self.part.net.borrow_mut().next_work();
            match next {
                None => return false,
                Some(Work::Moved) => {}
                Some(Work::Run(pe)) => {
                    if self.programs.poll(pe) {
                        self.part.net.borrow_mut().records[pe as usize].block(Status::Finished, NONE);
                    }
                }
            }
        }
        true
    }

    fn flush(&mut self) -> bool {
        self.part.net.borrow_mut().flush()
    }

    fn incoming(&self) -> bool {
        self.part.net.borrow().incoming()
    }

    fn poll(&mut self) -> u64 {
        self.part.net.borrow_mut().poll()
    }

    fn traffic(&self) -> (u64, u64) {
        self.part.net.borrow().traffic()
    }

    fn rest(&mut self) {
        self.part.net.borrow_mut().publish_reads();
    }
}

/// The life of a worker: programs are created once; each command is answered once.
fn serve<K: Kernel>(
    kernel: &K,
    part: &Part,
    me: usize,
    idle: &Idle,
    inbox: &Receiver<Command>,
    outbox: &Sender<Answer>,
) {
    let programs = Slab::new((0..part.pes()).map(|pe| kernel.program(part.handle(pe))));
    let mut worker = Worker { part, programs };
    while let Ok(command) = inbox.recv() {
        let answer = match command {
            Command::Pass { number, injects } => {
                let mut net = part.net.borrow_mut();
                let mut places = Vec::with_capacity(injects.len());
                for (port, inject) in injects {
                    let place = crate::link::Store::buffer(&mut net.store, 1, 1);
                    places.push(place);
                    crate::link::Store::words_mut(&mut net.store, place, 1)[0] = inject.word;
                    net.post_send(SendRequest {
                        pe: NONE,
                        port,
                        place,
                        words: 1,
                        ctrl: Some(inject.ctrl),
                        ready: inject.ready,
                        min_tail: 0,
                        depth: 0,
                    });
                }
                drop(net);
                run_pass(&mut worker, me, idle, number);
                let mut net = part.net.borrow_mut();
                // Quiescent: the commands were taken (or the session ends here with a stall).
                places.into_iter().for_each(|place| crate::link::Store::release(&mut net.store, place));
                let done = |r: &Record| matches!(r.status, Status::Finished | Status::OnPass);
                let unfinished = net.records.iter().any(|r| !done(r) && r.status != Status::Failed);
                Answer::Pass { unfinished, faults: part.faults(), marks: part.take_marks() }
            }
            Command::Read { tile } => Answer::Words(part.net.borrow().store.tile(tile).to_vec()),
            Command::Clocks => Answer::Clocks(Box::new(harvest(part))),
            Command::Remains => Answer::Remains(Box::new(remains(part))),
        };
        if outbox.send(answer).is_err() {
            return;
        }
    }
}
