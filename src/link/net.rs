//! The part of the fabric that one worker owns: lanes, ports, tickets and PE records, and the lists of what can move.
//!
//! Invariant: everything in a `Net` belongs to one thread; the only way in or out is a `Message` over a ring.
//! Invariant: a lane or port that can move is in `work`, or is being moved now; a PE that can run is in `ready`.

use std::collections::VecDeque;

use super::burst::{Burst, Timing};
use super::lane::{Lane, LaneFlags, SLOTS};
use super::load::Loads;
use super::message::{HEADER_WORDS, Message};
use super::ready::Ready;
use super::record::{Record, Status};
use super::ring::{Consumer, Producer};
use super::ticket::{BY_PORT, NONE, Port, Tickets};
use super::track::Tracks;
use super::warm::{Programs, vec_on_large_pages};

/// Where payload words live: the arenas and the bounded buffers beside them. Places are opaque to this room.
pub trait Store {
    /// `words` payload words at `place`.
    fn words(&self, place: u32, words: usize) -> &[u32];
    /// The same, to be written.
    fn words_mut(&mut self, place: u32, words: usize) -> &mut [u32];
    /// Copies words from one place to another, disjoint one.
    fn copy(&mut self, from: u32, to: u32, words: usize);
    /// A buffer outside the arenas that `readers` will read once each.
    fn buffer(&mut self, words: usize, readers: u32) -> u32;
    /// One reader of a buffer is done.
    fn release(&mut self, place: u32);
}

/// In which order ready work is taken up. Bits, cycles and counters do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Last in, first out, transit at once: what was just written is in cache when it is read.
    DepthFirst,
    /// Seeded random choice among everything that can move.
    Random(u64),
}

/// A unit of work that `Net` hands to the step loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Poll this PE's program.
    Run(u32),
    /// A router or port moved; nothing else to do.
    Moved,
}

/// Payloads that are kept for the next messages that find a ring full.
const SPARE_MAX: usize = 16;

pub(super) struct Outbox {
    producer: Producer,
    /// What found the ring full.
    spill: VecDeque<([u32; HEADER_WORDS], Vec<u32>)>,
    /// Payloads of messages that have left `spill`.
    spare: Vec<Vec<u32>>,
}

/// What a `Net` is made of; ids are indices.
#[derive(Default)]
pub struct NetBuilder {
    /// Lanes; on large pages (`vec_on_large_pages`) where they are many.
    pub lanes: Vec<Lane>,
    /// Ports; likewise.
    pub ports: Vec<Port>,
    /// PEs.
    pub pes: usize,
    /// Ring to each worker (`None` at the own index), by worker.
    pub producers: Vec<Option<Producer>>,
    /// Ring from each worker.
    pub consumers: Vec<Option<Consumer>>,
}

/// See the module.
pub struct Net<S> {
    /// Constants of the clock.
    pub timing: Timing,
    /// Lanes, by id.
    pub lanes: Vec<Lane>,
    /// Send ports, by id.
    pub ports: Vec<Port>,
    /// PE records, by id.
    pub records: Vec<Record>,
    /// Open operations.
    pub tickets: Tickets,
    /// Links of rings whose moves need neither ports nor lanes.
    pub(super) tracks: Tracks,
    /// While operations are posted on tiles that may be handed over: words of such a tile; 0 else.
    pub hands_over: u16,
    /// Payloads.
    pub store: S,
    /// Bursts carry no payload words.
    pub dry: bool,
    /// Slots of lanes beyond the first two, by lane.
    pub(super) deep: Vec<Burst>,
    pub(super) ready: Ready,
    pub(super) programs: Programs,
    work: Vec<u32>,
    pub(super) schedule: Schedule,
    /// A burst goes on at once while its way is free, unless every lane that it enters is to be seen.
    pub(super) runs_on: bool,
    /// Messages may go in one piece (`swift`): depth first, no slots beside the lanes, nobody looks at each step.
    pub(super) is_swift: bool,
    pub(super) loads: Option<Box<Loads>>,
    outboxes: Vec<Option<Outbox>>,
    inboxes: Vec<Option<Consumer>>,
    scratch: Vec<u32>,
    sent: u64,
    received: u64,
}

impl<S: Store> Net<S> {
    /// A part at time zero; every PE is runnable, the last one first.
    pub fn new(timing: Timing, schedule: Schedule, dry: bool, store: S, parts: NetBuilder) -> Self {
        let deep = vec![Burst::default(); parts.lanes.len() * usize::from(timing.lane_depth).saturating_sub(SLOTS)];
        let mut records = vec_on_large_pages(parts.pes);
        records.resize(parts.pes, Record::new());
        let outbox = |p| Outbox { producer: p, spill: VecDeque::new(), spare: Vec::new() };
        let (n_lanes, n_ports) = (parts.lanes.len(), parts.ports.len());
        Self {
            timing,
            lanes: parts.lanes,
            ports: parts.ports,
            records,
            tickets: Tickets::of(parts.pes),
            tracks: Tracks::of(n_ports),
            hands_over: 0,
            store,
            dry,
            deep,
            ready: Ready::all(parts.pes),
            programs: Programs::default(),
            work: Vec::with_capacity(n_lanes.min(1 << 16)),
            schedule,
            runs_on: schedule == Schedule::DepthFirst,
            is_swift: schedule == Schedule::DepthFirst && usize::from(timing.lane_depth) <= SLOTS,
            loads: None,
            outboxes: parts.producers.into_iter().map(|p| p.map(outbox)).collect(),
            inboxes: parts.consumers,
            scratch: Vec::new(),
            sent: 0,
            received: 0,
        }
    }

    /// From now on every step is done by itself, so that it can be looked at.
    pub fn step_by_step(&mut self) {
        self.is_swift = false;
    }

    /// The next thing to do, or `None` when nothing here can move.
    #[inline]
    pub fn next_work(&mut self) -> Option<Work> {
        match &mut self.schedule {
            Schedule::DepthFirst => {
                self.settle();
                self.ready.pop().map(Work::Run)
            }
            Schedule::Random(state) => {
                let n = self.ready.len() + self.work.len();
                if n == 0 {
                    return None;
                }
                let pick = (split_mix(state) % n as u64) as usize;
                if pick < self.ready.len() {
                    return Some(Work::Run(self.ready.swap_remove(pick)));
                }
                let item = self.work.swap_remove(pick - self.ready.len());
                self.step(item);
                Some(Work::Moved)
            }
        }
    }

    /// Moves everything that routers can move (depth-first schedules only; random ones do it step by step).
    #[inline]
    pub fn settle(&mut self) {
        if !self.work.is_empty() {
            self.settle_all();
        }
    }

    #[inline(never)]
    fn settle_all(&mut self) {
        if matches!(self.schedule, Schedule::Random(_)) {
            return;
        }
        while let Some(item) = self.work.pop() {
            self.step(item);
        }
    }

    fn step(&mut self, item: u32) {
        if item & BY_PORT != 0 { self.emit(item & !BY_PORT) } else { self.pump(item) }
    }

    #[inline]
    pub(super) fn schedule_lane(&mut self, lane: u32) {
        self.work.push(lane);
    }

    #[inline]
    pub(super) fn schedule_port(&mut self, port: u32) {
        self.work.push(port | BY_PORT);
    }

    /// Makes a waiting PE runnable.
    #[inline]
    pub(super) fn wake(&mut self, pe: u32) {
        self.records[pe as usize].status = Status::Runnable;
        if self.ready.push(pe) {
            self.programs.warm(pe);
        }
    }

    /// The burst at the front of a lane, if its reader can take it.
    #[inline]
    pub fn front(&self, lane: u32) -> Option<&Burst> {
        let l = &self.lanes[lane as usize];
        (l.takeable() > 0).then(|| self.slot(lane, l.free_at))
    }

    /// What a PE waits for and since when: of two waits in one piece the first that is open. A program that is resumed
    /// for the second alone has not seen the end of the first yet.
    pub fn waits(&self, pe: u32) -> (Status, u32, u64) {
        let r = &self.records[pe as usize];
        if r.status == Status::OnTicket {
            return self.waits_for_tickets(pe);
        }
        if r.status != Status::OnLane || r.behind == NONE {
            return (r.status, r.wait_on, r.now);
        }
        match self.end_of(r.behind) {
            Some(end) => (r.status, r.wait_on, r.now.max(end)),
            None if r.behind & BY_PORT != 0 => (Status::OnSend, r.behind & !BY_PORT, r.now),
            None => (Status::OnTicket, r.behind, r.now),
        }
    }

    /// Every burst that a lane holds, oldest first.
    pub fn held(&self, lane: u32) -> impl Iterator<Item = &Burst> {
        let l = &self.lanes[lane as usize];
        let depth = self.timing.lane_depth;
        (0..l.used).map(move |i| self.slot(lane, (l.free_at + i) % depth))
    }

    /// Slot `at` of a lane.
    #[inline(always)]
    pub(super) fn slot(&self, lane: u32, at: u8) -> &Burst {
        match usize::from(at) {
            at @ 0..SLOTS => &self.lanes[lane as usize].slots[at],
            _ => &self.deep[deep_at(lane, at, self.timing.lane_depth)],
        }
    }

    /// As `slot`.
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, lane: u32, at: u8) -> &mut Burst {
        match usize::from(at) {
            at @ 0..SLOTS => &mut self.lanes[lane as usize].slots[at],
            _ => &mut self.deep[deep_at(lane, at, self.timing.lane_depth)],
        }
    }

    /// Schedules a port that may be able to emit.
    #[inline]
    pub(super) fn nudge(&mut self, port: u32) {
        let p = &self.ports[port as usize];
        if p.first != NONE && p.current == NONE {
            self.schedule_port(port);
        }
    }

    // -- other workers ------------------------------------------------------------------------------------------

    /// Sends a message to worker `to`; a burst's payload words are at `place`.
    pub(super) fn post(&mut self, to: u8, message: Message, place: u32) {
        self.sent += 1;
        let header = message.encode();
        let words = message.payload_words();
        let payload = if words == 0 { &[][..] } else { self.store.words(place, words) };
        let outbox = self.outboxes[usize::from(to)].as_mut().expect("a ring to every peer");
        if !outbox.spill.is_empty() || !outbox.producer.push(&header, payload) {
            let mut kept = if words == 0 { Vec::new() } else { outbox.spare.pop().unwrap_or_default() };
            kept.extend_from_slice(payload);
            outbox.spill.push_back((header, kept));
        }
    }

    /// Tries to pass on what found the rings full; `true` when nothing is left.
    pub fn flush(&mut self) -> bool {
        let mut clean = true;
        for outbox in self.outboxes.iter_mut().flatten() {
            while let Some((header, payload)) = outbox.spill.front() {
                if !outbox.producer.push(header, payload) {
                    clean = false;
                    break;
                }
                if let Some((_, mut payload)) = outbox.spill.pop_front()
                    && payload.capacity() > 0
                    && outbox.spare.len() < SPARE_MAX
                {
                    payload.clear();
                    outbox.spare.push(payload);
                }
            }
        }
        clean
    }

    /// Is there a message from another worker?
    pub fn incoming(&self) -> bool {
        self.inboxes.iter().flatten().any(Consumer::ready)
    }

    /// Takes in the messages that are there; how many.
    pub fn poll(&mut self) -> u64 {
        let before = self.received;
        for from in 0..self.inboxes.len() {
            while let Some(inbox) = self.inboxes[from].as_mut() {
                let Some(message) = inbox.pop(&mut self.scratch) else { break };
                self.received += 1;
                self.deliver(from as u8, message);
            }
        }
        self.settle();
        self.received - before
    }

    /// Gives read lines back to their writers; called before going idle.
    pub fn publish_reads(&mut self) {
        self.inboxes.iter_mut().flatten().for_each(Consumer::publish);
    }

    /// Messages sent and received so far.
    pub fn traffic(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    fn deliver(&mut self, from: u8, message: Message) {
        match message {
            Message::Freed { lane, time } => self.free(lane, time),
            Message::Answer { ticket, begun } => self.answer(ticket, begun),
            Message::Burst { lane, mut burst, answers: readers, wet } => {
                let mut place = NONE;
                if wet {
                    // A short burst is given back by each sink, a rendezvous once, by its stand-in.
                    let leases = if burst.rendezvous { 1 } else { readers };
                    place = self.store.buffer(usize::from(burst.words), leases);
                    let to = self.store.words_mut(place, usize::from(burst.words));
                    to.copy_from_slice(&self.scratch);
                }
                burst.payload = if burst.rendezvous {
                    self.open_stand_in(from, burst.payload, place, burst.words, readers)
                } else {
                    place
                };
                self.push(lane, burst);
            }
        }
    }

    /// The tile of an open send: a ticket, or a port and `BY_PORT`.
    #[inline(always)]
    pub(super) fn tile_of(&self, send: u32) -> u32 {
        match send & BY_PORT {
            0 => self.tickets[send].place,
            _ => self.ports[(send & !BY_PORT) as usize].place,
        }
    }

    /// Is the lane's reader on another worker?
    #[inline]
    pub(super) fn is_remote(&self, lane: u32) -> bool {
        self.lanes[lane as usize].flags.has(LaneFlags::REMOTE)
    }
}

/// Where slot `at` of a lane is among those of deep lanes.
#[inline]
pub(super) fn deep_at(lane: u32, at: u8, depth: u8) -> usize {
    lane as usize * (usize::from(depth) - SLOTS) + usize::from(at) - SLOTS
}

/// Steele, Lea and Flood's SplitMix64: the seeded choice of random schedules.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
