//! A wafer in operation: worker threads that own the parts, commands from the host, answers back.
//!
//! crossbeam channels carry commands and answers, a few per pass; everything between PEs goes over links and rings.
//!
//! Invariant: between passes every worker waits for a command, so what the host reads is quiescent.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::arena::{Memory, Slab, Tile};
use crate::fabric::{Chip, Endpoints, Fleet, Layout, LayoutError, TileId, build};
use crate::link::{Ctrl, NONE, Net, Record, Schedule, SendRequest, Status, TicketKind, Upstream, Work};
use crate::math::Kernels;
use crate::pe::{Fault, Kernel, Mark, Part};
use crate::units::{Color, Coord};

use super::idle::Idle;
use super::stall::{Blocked, StallReport};
use super::step::{Machine, run_pass};

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

/// Totals since launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Largest clock of any PE.
    pub cycles: u64,
    /// Bursts x links.
    pub hops: u64,
    /// Wavelets x links.
    pub wavelets: u64,
    /// Bursts that ramps sent.
    pub bursts: u64,
    /// Longest chain of dependent messages.
    pub depth: u32,
    /// Compute and issue cycles, all PEs.
    pub busy: u64,
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
}

enum Answer {
    Pass { unfinished: bool, faults: Vec<Fault>, marks: Vec<Mark> },
    Words(Vec<u32>),
    Clocks(Box<Harvest>),
}

struct Harvest {
    records: Vec<(Coord, Record)>,
    counters: Counters,
    links: Vec<(Coord, u64, u64)>,
    blocked: Vec<Blocked>,
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
        if let Some(fault) = first.into_iter().min_by_key(Fault::key) {
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
        let mut blocked: Vec<Blocked> = self.harvest()?.into_iter().flat_map(|h| h.blocked).collect();
        for b in &mut blocked {
            b.waits_for = self.other_ends(b);
        }
        Ok(StallReport::new(blocked))
    }

    /// Senders of a lane that is waited on, or sinks of a send.
    fn other_ends(&self, b: &Blocked) -> Vec<Coord> {
        use crate::fabric::Direction;
        let route = |c: Coord| {
            let at = self.layout.find(c)?;
            self.layout.pes[at as usize].routes.iter().find(|r| r.color == b.color).copied()
        };
        let step = |d: Direction, c: Coord| d.neighbour(c, u32::MAX, u32::MAX);
        if b.what == "receive" {
            let mut at = b.pe;
            while let Some(r) = route(at).filter(|r| !matches!(r.rx, Direction::Ramp | Direction::Host)) {
                let Some(next) = step(r.rx, at) else { break };
                at = next;
            }
            return vec![at];
        }
        let mut sinks = Vec::new();
        let mut open: Vec<Coord> =
            route(b.pe).iter().flat_map(|r| r.tx.links()).filter_map(|d| step(d, b.pe)).collect();
        while let Some(at) = open.pop() {
            let Some(r) = route(at) else { continue };
            if r.tx.has(Direction::Ramp) {
                sinks.push(at);
            }
            open.extend(r.tx.links().filter_map(|d| step(d, at)));
        }
        sinks.sort();
        sinks
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

/// Memory of every part, filled in parallel, one thread a part.
fn fill_memories(
    parts: &[crate::fabric::Part],
    options: &RunOptions,
    fill: &(impl Fn(Coord, TileId, &mut [u32]) + Sync),
) -> Vec<Memory> {
    let one = |part: &crate::fabric::Part| {
        let mut memory = Memory::new(part.tile_words, part.buffer_words, options.full_arenas)
            .expect("the host has address space for the declared tiles");
        for pe in part.endpoints.iter().filter(|_| !options.dry) {
            for &(id, place, words) in &pe.tiles {
                let [tile] = memory.tiles_mut([Tile { place, words }]);
                fill(pe.coord.unwrap_or(Coord::new(0, 0)), id, tile);
            }
        }
        memory
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || one(part))).collect();
        threads.into_iter().map(|t| t.join().expect("filling tiles does not panic")).collect()
    })
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
        };
        if outbox.send(answer).is_err() {
            return;
        }
    }
}

fn harvest(part: &Part) -> Harvest {
    let net = part.net.borrow();
    let records: Vec<(Coord, Record)> =
        (0..part.pes()).map(|pe| (part.coord(pe), net.records[pe as usize].clone())).collect();
    let mut counters = Counters::default();
    for (_, r) in &records {
        counters.cycles = counters.cycles.max(r.now);
        counters.depth = counters.depth.max(r.depth);
        counters.busy += r.busy;
    }
    let mut links: Vec<(Coord, u64, u64)> = records.iter().map(|r| (r.0, 0, 0)).collect();
    let is_host =
        |l: &crate::link::Lane| l.upstream_kind == Upstream::Port && net.ports[l.upstream as usize].pe == NONE;
    for lane in net.lanes.iter().filter(|l| !l.flags.has(crate::link::LaneFlags::REMOTE) && !is_host(l)) {
        counters.hops += u64::from(lane.bursts);
        counters.wavelets += lane.wavelets;
        let link = &mut links[lane.reader as usize];
        link.1 += u64::from(lane.bursts);
        link.2 += lane.wavelets;
    }
    counters.bursts = net.ports.iter().filter(|p| p.pe != NONE).map(|p| p.emitted).sum();
    Harvest { counters, links, blocked: blocked(part, &net, &records), records }
}

fn blocked(part: &Part, net: &Net<Memory>, records: &[(Coord, Record)]) -> Vec<Blocked> {
    let mut out = Vec::new();
    for (pe, (coord, r)) in records.iter().enumerate() {
        let ends = part.endpoints(pe as u32);
        let color_of = |list: &[(Color, u32)], id: u32| list.iter().find(|e| e.1 == id).map_or(Color(u8::MAX), |e| e.0);
        let (what, side, color, holds) = match r.status {
            Status::OnLane => {
                let held: Vec<_> = net.held(r.wait_on).map(|b| b.wavelets()).collect();
                (
                    "receive",
                    "from the ramp's lane",
                    color_of(&ends.rx, r.wait_on),
                    (held.len() as u32, held.iter().sum()),
                )
            }
            Status::OnTicket => {
                let t = net.tickets[r.wait_on];
                if t.kind == TicketKind::Receive {
                    ("receive", "from the ramp's lane", color_of(&ends.rx, t.at), (0, 0))
                } else {
                    ("send", "to its sinks", color_of(&ends.tx, t.at), (1, u32::from(t.words)))
                }
            }
            _ => continue,
        };
        let place = r.place.map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        out.push(Blocked { pe: *coord, since: r.now, what, color, side, place, waits_for: Vec::new(), holds });
    }
    out
}
