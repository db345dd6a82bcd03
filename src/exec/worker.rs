//! A worker thread: the programs of its part, and what the host's commands make of them.
//!
//! Invariant: programs are created once; every command is answered once, and nothing runs between two commands.
//! Started by `fleet`; the loop of a pass is `step::run_pass`.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender};

use crate::arena::{Slab, Tile};
use crate::fabric::Region;
use crate::link::{NONE, Net, Order, Record, SendRequest, Status, Store, Work};
use crate::pe::{Fault, Kernel, Log, Mark, Part};

use super::fleet::Inject;
use super::harvest::{Harvest, harvest};
use super::idle::Idle;
use super::links::{Lanes, lanes};
use super::step::{Machine, run_pass};
use super::waits::{Remains, remains};

/// What the host asks of a worker.
pub(super) enum Command {
    Pass { injects: Vec<(u32, Inject)>, quiet_until: u64 },
    Read { tile: Tile },
    Clocks,
    Visits,
    Remains,
    Lanes,
    Logs,
}

/// What it gets.
pub(super) enum Answer {
    /// `host_reader`: the earliest clock of a PE here that reads from the host, where link windows are counted.
    Pass {
        unfinished: bool,
        faults: Vec<Fault>,
        marks: Vec<Mark>,
        host_reader: Option<u64>,
    },
    Words(Vec<u32>),
    Clocks(Box<Harvest>),
    Remains(Box<Remains>),
    Lanes(Box<Lanes>),
    Logs(Vec<Log>),
}

struct Worker<'a, F> {
    part: &'a Part,
    programs: Slab<F>,
    heat: Heat,
    order: Order,
}

/// Which regions were read ahead in this pass.
struct Heat {
    regions: Vec<Region>,
    /// By PE.
    region_of: Vec<u16>,
    warmed: Vec<bool>,
}

impl Heat {
    fn new(regions: Vec<Region>) -> Self {
        let of = |(i, r): (usize, &Region)| std::iter::repeat_n(i as u16, r.pes.len());
        let region_of = regions.iter().enumerate().flat_map(of).collect();
        let warmed = vec![false; regions.len()];
        Self { regions, region_of, warmed }
    }

    fn begin_pass(&mut self) {
        self.warmed.fill(false);
    }
}

impl<F: Future<Output = ()>> Worker<'_, F> {
    /// Reads the state of the region that `pe` is in, once a pass. Programs are asked for by `Net`, one by one: when
    /// they are woken, and when they are next.
    #[inline]
    fn warm(&mut self, pe: u32) {
        if self.heat.regions.len() < 2 {
            return; // in the cache if it fits, and nothing helps if it does not
        }
        let at = usize::from(self.heat.region_of[pe as usize]);
        if !std::mem::replace(&mut self.heat.warmed[at], true) {
            self.warm_region(at);
        }
    }

    /// The next thing to do. Asks for the state of the PE that runs after it, which comes in while this one computes.
    #[inline]
    fn next_work(&self) -> Option<Work> {
        let mut net = self.part.net.borrow_mut();
        let next = net.next_work();
        if let Some(Work::Run(pe)) = next {
            net.warm_next(pe);
        }
        next
    }

    #[cold]
    fn warm_region(&self, at: usize) {
        let range = |r: &Range<u32>| r.start as usize..r.end as usize;
        let region = &self.heat.regions[at];
        let net = self.part.net.borrow();
        net.warm(range(&region.pes), range(&region.lanes), range(&region.ports));
        net.store.warm(range(&region.tiles));
    }
}

impl<F: Future<Output = ()>> Machine for Worker<'_, F> {
    fn work(&mut self, budget: u32) -> bool {
        for _ in 0..budget {
            match self.next_work() {
                None => return false,
                Some(Work::Moved) => {}
                Some(Work::Run(pe)) => {
                    self.warm(pe);
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

    /// Behind a sweep's front others have work enough: a message may wait (256x256 cores, two workers: 3 % less time).
    fn budget(&self) -> u32 {
        match self.order {
            Order::DepthFirst => 8,
            Order::Sweep { .. } => 32,
        }
    }
}

/// The life of a worker: programs are created once; each command is answered once.
pub(super) fn serve<K: Kernel>(
    kernel: &K,
    part: &Part,
    regions: Vec<Region>,
    me: usize,
    idle: &Idle,
    inbox: &Receiver<Command>,
    outbox: &Sender<Answer>,
) {
    let programs = Slab::new((0..part.pes()).map(|pe| kernel.program(part.handle(pe))));
    part.net.borrow_mut().asks_for(programs.places());
    let mut worker = Worker { part, programs, heat: Heat::new(regions), order: kernel.order() };
    while let Ok(command) = inbox.recv() {
        let answer = match command {
            Command::Pass { injects, quiet_until } => {
                if let Some(loads) = part.net.borrow_mut().loads() {
                    loads.close(quiet_until);
                }
                pass(&mut worker, me, idle, injects)
            }
            Command::Read { tile } => Answer::Words(read(part, tile)),
            Command::Lanes => Answer::Lanes(Box::new(lanes(part))),
            Command::Logs => Answer::Logs(part.logs()),
            Command::Remains => Answer::Remains(Box::new(remains(part))),
            Command::Visits => Answer::Words(part.take_visits()),
            Command::Clocks => Answer::Clocks(Box::new(harvest(part))),
        };
        if outbox.send(answer).is_err() {
            return;
        }
    }
}

/// The words of a tile; in a dry run there are none, and they count as zeros.
fn read(part: &Part, tile: Tile) -> Vec<u32> {
    let net = part.net.borrow();
    if net.dry { vec![0; tile.words()] } else { net.store.tile(tile).to_vec() }
}

/// Sends the host's bursts, runs to quiescence, and says how that ended.
fn pass<F: Future<Output = ()>>(
    worker: &mut Worker<'_, F>,
    me: usize,
    idle: &Idle,
    injects: Vec<(u32, Inject)>,
) -> Answer {
    let part = worker.part;
    worker.heat.begin_pass();
    let mut net = part.net.borrow_mut();
    let mut places = Vec::with_capacity(injects.len());
    for (port, inject) in injects {
        let mut place = NONE;
        if !net.dry {
            place = Store::buffer(&mut net.store, 1, 1);
            places.push(place);
            Store::words_mut(&mut net.store, place, 1)[0] = inject.word;
        }
        net.open_send(SendRequest {
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
    run_pass(worker, me, idle);
    let mut net = part.net.borrow_mut();
    net.leave_tracks();
    // Quiescent: the commands were taken (or the session ends here with a stall).
    places.into_iter().for_each(|place| Store::release(&mut net.store, place));
    let done = |r: &Record| matches!(r.status, Status::Finished | Status::OnPass);
    let unfinished = net.records.iter().any(|r| !done(r) && r.status != Status::Failed);
    let host_reader = if net.loads().is_some() { host_reader(&net) } else { None };
    Answer::Pass { unfinished, faults: part.faults(), marks: part.take_marks(), host_reader }
}

/// The earliest clock of a PE that reads from the host.
pub(super) fn host_reader<S: Store>(net: &Net<S>) -> Option<u64> {
    let ports = net.ports.iter().filter(|port| port.pe == NONE);
    let lanes = ports.flat_map(|port| &port.outs[..usize::from(port.n_outs)]);
    lanes.map(|lane| net.records[net.lanes[*lane as usize].reader as usize].now).min()
}
