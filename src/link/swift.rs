//! What most messages are, in one piece: a burst that is here is taken; a tile is sent on a port without other work.
//!
//! `take`, `send` and `push` do the same one after the other. Here every record, port and lane is looked up once and
//! little is carried from one to the next through memory. What is not as it mostly is, is left to them.
//!
//! Invariant: the caller has held the tile against open tickets. `None` changes nothing; anything else leaves behind
//! what `take`, `send` and `settle` would.
//! Called by `pe::ops` and `pe::post` before they do it step by step.

use super::burst::{Burst, Ctrl};
use super::emit::{SendRequest, Sent, departs};
use super::lane::{LaneFlags, SLOTS};
use super::net::{Net, Store};
use super::pump::passes;
use super::take::{Taken, Times, begins};
use super::ticket::{BY_PORT, NONE, Ticket, TicketState};

/// A tile of the store, in words.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where.
    pub place: u32,
    /// How many.
    pub words: u32,
}

impl Span {
    /// As tickets keep it.
    #[inline(always)]
    pub(super) fn of_ticket(self) -> (u32, u16) {
        (self.place, self.words as u16)
    }

    /// Do the two share a word?
    #[inline(always)]
    pub fn overlaps(self, other: Self) -> bool {
        self.place.max(other.place) < (self.place + self.words).min(other.place + other.words)
    }
}

/// A send without control words.
struct Parcel {
    port: u32,
    tile: Span,
    ready: u64,
    min_tail: u64,
    depth: u32,
    /// Of a posted one.
    ticket: u32,
}

impl<S: Store> Net<S> {
    /// A streaming combine: takes the burst at the front of lane `from`, lets `fold(store, place)` put its words into
    /// the tile, and sends the tile on `port`. The PE's clock is then where the send is ready.
    #[inline(always)]
    pub fn combine(
        &mut self,
        pe: u32,
        (from, port): (u32, u32),
        tile: Span,
        fold: impl FnOnce(&mut S, u32),
    ) -> Option<Sent> {
        if !self.is_plain(port) {
            return None;
        }
        let taken = self.take_front(pe, from, tile, true)?;
        self.consume(&taken, fold);
        let (ramp, stage) = (u64::from(self.timing.ramp), u64::from(self.timing.stage));
        let (ready, min_tail) = (taken.start + stage, taken.tail + 2 * ramp + stage);
        Some(self.dispatch(&Parcel { port, tile, ready, min_tail, depth: taken.depth + 1, ticket: NONE }))
    }

    /// A receive: as the first half of `combine`. The PE's clock is then at its end.
    #[inline(always)]
    pub fn receive(&mut self, pe: u32, from: u32, tile: Span, fold: impl FnOnce(&mut S, u32)) -> Option<()> {
        let taken = self.take_front(pe, from, tile, false)?;
        self.consume(&taken, fold);
        self.settle();
        Some(())
    }

    /// A blocking send: issue and departure. The PE's clock is then past the issue.
    #[inline(always)]
    pub fn send_tile(&mut self, pe: u32, port: u32, tile: Span) -> Option<Sent> {
        if !self.is_plain(port) {
            return None;
        }
        let (ready, depth) = self.issue(pe);
        Some(self.dispatch(&Parcel { port, tile, ready, min_tail: 0, depth, ticket: NONE }))
    }

    /// Posts a send: issue, ticket and departure.
    #[inline(always)]
    pub fn post_tile(&mut self, pe: u32, port: u32, tile: Span) -> Option<u32> {
        if !self.is_plain(port) {
            return None;
        }
        let (ready, depth) = self.issue(pe);
        let (place, words) = (tile.place, tile.words as u16);
        let request = SendRequest { pe, port, place, words, ctrl: None, ready, min_tail: 0, depth };
        let id = self.open_posted(pe, Ticket::of_send(&request));
        self.dispatch(&Parcel { port, tile, ready, min_tail: 0, depth, ticket: id });
        Some(id)
    }

    /// Charges a send: when it is ready, and its depth.
    #[inline(always)]
    pub(super) fn issue(&mut self, pe: u32) -> (u64, u32) {
        let issue = u64::from(self.timing.issue);
        let record = &mut self.records[pe as usize];
        record.now += issue;
        record.busy += issue;
        (record.now, record.depth + 1)
    }

    /// Does a send on this port find it without other work, and enter one lane?
    #[inline(always)]
    fn is_plain(&self, port: u32) -> bool {
        let port = &self.ports[port as usize];
        self.is_swift && port.is_idle() && port.n_outs == 1
    }

    /// Begins to take the burst at the front of a lane, if it has the tile's words and no control words, and no posted
    /// receive is to have it. The PE's clock moves to where it sends on, or to the end of the take; its depth becomes
    /// the larger one, which is what `Taken` then says.
    #[inline(always)]
    fn take_front(&mut self, pe: u32, from: u32, tile: Span, sends_on: bool) -> Option<Taken> {
        let record = &mut self.records[pe as usize];
        if !self.is_swift || record.takeable == 0 {
            return None;
        }
        let lane = &mut self.lanes[from as usize];
        let slot = &mut lane.slots[usize::from(lane.free_at) % SLOTS];
        let (words, rendezvous, payload) = (slot.words, slot.rendezvous, slot.payload);
        let is_here = lane.used > lane.unforwarded && lane.posted == NONE;
        if !is_here || u32::from(words) != tile.words || slot.has_ctrl {
            return None;
        }
        let Times { start, end, tail, freed } = begins(slot, &mut lane.take_end, lane.n_outs, record.now, &self.timing);
        record.now = if sends_on { start + u64::from(self.timing.stage) } else { end };
        record.takeable -= 1;
        record.depth = record.depth.max(slot.depth);
        let (depth, path) = (record.depth, lane.path);
        lane.release(self.timing.lane_depth);
        if lane.flags.has(LaneFlags::STARVED | LaneFlags::FOREIGN) {
            self.tell_writer(from, freed);
        }
        Some(Taken {
            start,
            end,
            tail,
            depth,
            words,
            has_ctrl: false,
            ctrl: Ctrl::default(),
            rendezvous,
            payload,
            path,
        })
    }

    /// The words go into the tile, and the sender or the buffer is done with them.
    #[inline(always)]
    fn consume(&mut self, taken: &Taken, fold: impl FnOnce(&mut S, u32)) {
        if !self.dry && taken.words > 0 {
            let place = self.place_of(taken);
            fold(&mut self.store, place);
        }
        self.finish_take(taken);
    }

    /// A send departs, or is kept by its port until the lane that it enters has room.
    #[inline(always)]
    fn dispatch(&mut self, p: &Parcel) -> Sent {
        let lane = &mut self.lanes[self.ports[p.port as usize].outs[0] as usize];
        let sent = match lane.credit(self.timing.lane_depth) {
            Some(credit) => self.depart_now(p, credit),
            None => {
                lane.flags.0 |= LaneFlags::STARVED;
                let port = &mut self.ports[p.port as usize];
                match p.ticket {
                    NONE => port.keep(p.tile, p.min_tail.saturating_sub(p.ready)),
                    id => (port.first, port.last) = (id, id),
                }
                Sent::Left
            }
        };
        self.settle();
        sent
    }

    #[inline(always)]
    fn depart_now(&mut self, p: &Parcel, credit: u64) -> Sent {
        let timing = &self.timing;
        let wavelets = p.tile.words.max(1);
        let (ser, rendezvous) = (timing.ser(wavelets), wavelets > timing.queue_wavelets);
        let port = &mut self.ports[p.port as usize];
        let (head, tail) = departs(port, (p.ready, p.min_tail), credit, ser, timing);
        let (to, answers, end) = (port.outs[0], port.answers, tail - u64::from(timing.ramp));
        let mut burst = Burst {
            head: head + u64::from(timing.alpha),
            span: (tail - head) as u32,
            payload: p.port | BY_PORT,
            depth: p.depth,
            words: p.tile.words as u16,
            has_ctrl: false,
            rendezvous,
            ctrl: Ctrl::default(),
        };
        let sent = match (rendezvous, p.ticket) {
            (true, NONE) => {
                port.account(p.tile, burst.span);
                Sent::Left
            }
            (true, id) => {
                (port.current, burst.payload) = (id, id);
                let t = &mut self.tickets[id];
                (t.state, t.next, t.tally, t.tail) = (TicketState::InFlight, burst.span, answers, tail);
                Sent::Open(id)
            }
            (false, id) => {
                port.previous_end = end;
                burst.payload = self.buffered(p.tile.place, burst.words, answers);
                if id != NONE {
                    let t = &mut self.tickets[id];
                    (t.state, t.end, t.tail) = (TicketState::Done, end, tail);
                }
                Sent::Ended(end)
            }
        };
        self.enter(to, burst, wavelets, ser);
        sent
    }

    /// A burst enters a lane that has room; as `push`, shorter where the lane ends at a ramp.
    #[inline(always)]
    pub(super) fn enter(&mut self, mut to: u32, mut burst: Burst, wavelets: u32, ser: u64) {
        let depth = self.timing.lane_depth;
        if self.lanes[to as usize].is_way(depth) {
            self.pass(&mut to, &mut burst, wavelets, ser);
        }
        let lane = &mut self.lanes[to as usize];
        if lane.n_outs > 0 || lane.unforwarded > 0 || lane.flags.has(LaneFlags::REMOTE) {
            return self.push_on(to, burst);
        }
        if lane.posted != NONE {
            let id = lane.posted;
            return self.take_passing(to, id, burst, ser);
        }
        let (departure, tail) = passes((burst.head, burst.tail()), lane.tail_departure, 0, ser);
        lane.tail_departure = tail;
        let at = usize::from(lane.next_slot(depth)) % SLOTS;
        lane.slots[at] = Burst { head: departure, span: (tail - departure) as u32, ..burst };
        lane.used += 1;
        lane.count(wavelets);
        let reader = lane.reader;
        self.arrived(to, reader, NONE);
    }

    /// A burst goes on over an empty way while there is room behind it: to the lane where it has to stop.
    #[inline(always)]
    fn pass(&mut self, at: &mut u32, burst: &mut Burst, wavelets: u32, ser: u64) {
        let depth = self.timing.lane_depth;
        let out = self.lanes[*at as usize].outs[0];
        let next = &self.lanes[out as usize];
        if next.is_way(depth) {
            (*at, burst.head, burst.span) = self.transit(*at, (burst.head, burst.span), wavelets);
        } else if let Some(credit) = next.credit(depth) {
            let lane = &mut self.lanes[*at as usize];
            let (departure, tail) = passes((burst.head, burst.tail()), lane.tail_departure, credit, ser);
            lane.depart(tail);
            lane.count(wavelets);
            let turn = if lane.flags.has(LaneFlags::TURN0) { self.timing.turn } else { 0 };
            (burst.head, burst.span) = (departure + u64::from(self.timing.alpha + turn), (tail - departure) as u32);
            *at = out;
        }
    }

    #[inline(never)]
    fn push_on(&mut self, to: u32, burst: Burst) {
        self.push(to, burst);
    }

    /// The send that a port keeps departs, if the lane that it enters has room now.
    #[inline(never)]
    pub(super) fn emit_kept(&mut self, id: u32) {
        let port = &self.ports[id as usize];
        let (pe, tile) = (port.pe, Span { place: port.place, words: u32::from(port.words) });
        let lane = &mut self.lanes[port.outs[0] as usize];
        let Some(credit) = lane.credit(self.timing.lane_depth) else {
            lane.flags.0 |= LaneFlags::STARVED;
            return;
        };
        // Its program waits, so the PE's clock and depth are still those of the send.
        let record = &self.records[pe as usize];
        let (ready, depth) = (record.now, record.depth + 1);
        let min_tail = ready + u64::from(port.span);
        self.ports[id as usize].first = NONE;
        let sent = self.depart_now(&Parcel { port: id, tile, ready, min_tail, depth, ticket: NONE }, credit);
        let port = &mut self.ports[id as usize];
        if matches!(sent, Sent::Ended(_)) && std::mem::take(&mut port.awaited) {
            self.wake(pe);
        }
    }
}
