//! Exchanges: a send and a receive posted together, in one piece.       (design.md section 2: `post_send`, `post_recv`)
//!
//! `post_tile` and `post_receive` do the same one after the other. Moves round a ring are made of nothing else, so here
//! the two tickets lie side by side, and a block that its taker already waits for does not stop in the lane.
//!
//! Invariant: what is left behind is what the two would leave behind, the send posted first. Where `exchange` gives
//! nothing, nothing was changed; `join` says what it has done.
//! Called by `pe::post` before it does it step by step; `take_passing` by every send (`swift`).

use super::burst::{Burst, Ctrl};
use super::emit::departs;
use super::lane::{LaneFlags, SLOTS};
use super::net::{Net, Store};
use super::pump::passes;
use super::record::{Record, Status};
use super::swift::Span;
use super::take::{Taken, Times, begins};
use super::ticket::{NONE, Ticket, TicketKind, TicketState};

/// What waiting for posted operations has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// All have ended.
    Ended,
    /// The PE waits.
    Waits,
    /// To be done step by step from here on: the next one is not as long as its tile, or every step is to be seen.
    StepByStep,
}

/// One end of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The port of what is given, the lane of what is taken.
    pub at: u32,
    /// The words.
    pub tile: Span,
    /// Words of the tile that may be handed over instead; 0 if it may not.
    pub hands_over: u16,
}

impl End {
    fn ticket(&self, kind: TicketKind, pe: u32, order: u32) -> Ticket {
        let Span { place, words } = self.tile;
        Ticket {
            pe,
            at: self.at,
            place,
            words: words as u16,
            order,
            hands_over: self.hands_over > 0,
            // Read only where the tile may be handed over.
            ctrl: Ctrl { kind_slot: place, position: u32::from(self.hands_over) },
            ..Ticket::new(kind)
        }
    }
}

impl Ticket {
    /// One that stands on a track, and has ended, is posted again; `size`: words that it may hand over.
    #[inline(always)]
    pub(super) fn renew(&mut self, (place, words): (u32, u16), size: u32, ready: u64, order: u32) {
        (self.state, self.awaited, self.hands_over) = (TicketState::Queued, false, size > 0);
        (self.place, self.words, self.order, self.ready) = (place, words, order, ready);
        self.ctrl = Ctrl { kind_slot: place, position: size };
    }
}

impl<S: Store> Net<S> {
    /// Posts a send and a receive: their tickets. Nothing where it is not as it mostly is: a long block to one taker on
    /// a track, or on a port without other work; tiles that no ticket is open on; two free tickets side by side.
    #[inline(always)]
    pub fn exchange(&mut self, pe: u32, out: &End, into: &End) -> Option<[u32; 2]> {
        let record = &self.records[pe as usize];
        let at = match record.open {
            open if open & 0b11 == 0 => 0,
            open if open & 0b1100 == 0 => 2,
            _ => return None,
        };
        let is_long = out.tile.words > self.timing.queue_wavelets && into.tile.words > 0;
        if !self.is_swift || !is_long || record.tickets == NONE || record.status == Status::Failed {
            return None;
        }
        if out.tile.overlaps(into.tile) || record.is_open() && self.any_open(record, [out.tile, into.tile]) {
            return None;
        }
        let (first, stands) = (record.tickets + at, record.standing >> at & 0b11 == 0b11);
        let [of_send, of_receive] = self.tickets.some_mut(first);
        let tracks = [of_send.track(), of_receive.track()];
        let is_pair = of_send.kind == TicketKind::Send && of_receive.kind == TicketKind::Receive;
        let is_same = stands && is_pair && of_send.at == out.at && of_receive.at == into.at;
        if !is_same || !self.are_last(tracks, first) {
            return self.exchange_anew(pe, first, out, into);
        }
        let (ready, depth) = self.issue(pe);
        let order = self.open_two(pe, at, out, into);
        let [of_send, of_receive] = self.tickets.some_mut(first);
        of_send.renew(out.tile.of_ticket(), u32::from(out.hands_over), ready, order);
        of_send.tally = depth;
        of_receive.renew(into.tile.of_ticket(), u32::from(into.hands_over), ready, order.wrapping_add(1));
        self.give_on(tracks[0], first);
        self.ask_on(tracks[1], first + 1, pe);
        self.settle();
        Some([first, first + 1])
    }

    /// `exchange` where the two tickets do not stand on the tracks of the two ends yet.
    #[inline(never)]
    fn exchange_anew(&mut self, pe: u32, first: u32, out: &End, into: &End) -> Option<[u32; 2]> {
        let on = self.track_of_port(out.at).and_then(|track| self.or_leave(track, 0));
        let ends_on = self.track_of_lane(into.at).and_then(|track| self.or_leave(track, 1));
        let port = &self.ports[out.at as usize];
        let is_plain = port.is_idle() && port.n_outs == 1 && port.answers == 1;
        if on.is_none() && !is_plain {
            return None;
        }
        let to = port.outs[0];
        let at = first - self.records[pe as usize].tickets;
        let (ready, depth) = self.issue(pe);
        let order = self.open_two(pe, at, out, into);
        let mut send = Ticket { ready, tally: depth, ..out.ticket(TicketKind::Send, pe, order) };
        let mut receive = Ticket { ready, ..into.ticket(TicketKind::Receive, pe, order.wrapping_add(1)) };
        let mut standing = 0;
        for (end, (track, ticket)) in [(on, &mut send), (ends_on, &mut receive)].into_iter().enumerate() {
            if let Some(track) = track {
                standing |= 1 << end;
                ticket.tail = u64::from(track);
            }
        }
        let record = &mut self.records[pe as usize];
        record.standing = record.standing & !(0b11 << at) | standing << at;
        *self.tickets.some_mut(first) = [send, receive];
        match on {
            Some(track) => self.give_on(track, first),
            None => self.give(first, to, depth),
        }
        match ends_on {
            Some(track) => self.ask_on(track, first + 1, pe),
            None => self.receive_posted(into.at, first + 1),
        }
        self.settle();
        Some([first, first + 1])
    }

    /// Are tickets `first` and the next one the last send and the last receive of these tracks? What is not open any
    /// more has been served.
    #[inline(always)]
    pub(super) fn are_last(&self, tracks: [u32; 2], first: u32) -> bool {
        self.tracks[tracks[0]].is_last(0, first) && self.tracks[tracks[1]].is_last(1, first + 1)
    }

    /// A track, unless something is posted at that end of it already, behind which another block queues as usual.
    fn or_leave(&mut self, track: u32, end: usize) -> Option<u32> {
        if self.tracks[track].is_posted(end) {
            self.leave(track);
            return None;
        }
        Some(track)
    }

    /// Opens tickets `at` and the one after it: the order of the first.
    #[inline(always)]
    fn open_two(&mut self, pe: u32, at: u32, out: &End, into: &End) -> u32 {
        let record = &mut self.records[pe as usize];
        record.cover(out.tile);
        record.open |= 0b11 << at;
        record.cover(into.tile);
        let order = self.tickets.posted;
        self.tickets.posted = order.wrapping_add(2);
        order
    }

    /// Waits for the ends of posted operations, given in the order in which they were posted; a `NONE` is nothing. Once
    /// all have ended they are closed, the PE's clock and depth move, and `lie` is where their tiles lie.
    #[inline(always)]
    pub fn join<const N: usize>(&mut self, pe: u32, ids: &[u32; N], lie: &mut [u32; N]) -> Joined {
        if !self.is_swift {
            return Joined::StepByStep;
        }
        let record = &self.records[pe as usize];
        let (mut now, mut depth, mut closed) = (record.now, record.depth, 0);
        for (&id, lie) in ids.iter().zip(lie) {
            if id == NONE {
                continue;
            }
            let t = &self.tickets[id];
            if t.state != TicketState::Done {
                self.await_all(pe, ids);
                return Joined::Waits;
            }
            *lie = t.lies();
            if t.kind == TicketKind::Receive {
                if t.next != u32::from(t.words) {
                    return Joined::StepByStep;
                }
                depth = depth.max(t.tally);
            }
            now = now.max(t.end);
            closed |= 1 << (id - record.tickets);
        }
        let record = &mut self.records[pe as usize];
        (record.now, record.depth) = (now, depth);
        record.open &= !closed;
        Joined::Ended
    }

    /// A PE waits for posted operations, not all of which have ended: up to one that ends in a fault.
    #[inline(never)]
    pub fn await_all(&mut self, pe: u32, ids: &[u32]) {
        let (mut awaits, mut first) = (0, NONE);
        for &id in ids {
            if id == NONE {
                continue;
            }
            let t = &mut self.tickets[id];
            // One that has ended too: what the PE waits for must not depend on when the host looked.
            t.awaited = true;
            if t.state != TicketState::Done {
                awaits += 1;
                first = if first == NONE { id } else { first };
            } else if t.kind == TicketKind::Receive && t.next != u32::from(t.words) {
                break;
            }
        }
        let record = &mut self.records[pe as usize];
        debug_assert_ne!(first, NONE);
        record.block(Status::OnTicket, first);
        record.awaits = awaits;
    }

    /// Is a ticket open on words of one of the tiles?
    #[inline(always)]
    fn any_open(&self, record: &Record, tiles: [Span; 2]) -> bool {
        self.tickets.any_open(record, |t| {
            let of = Span { place: t.place, words: u32::from(t.words) };
            tiles[0].overlaps(of) || tiles[1].overlaps(of)
        })
    }

    /// The send of ticket `id` departs on its port, which has nothing else to do, into lane `to`; or waits for room.
    #[inline(always)]
    pub(super) fn give(&mut self, id: u32, to: u32, depth: u32) {
        let (timing, lane, t) = (&self.timing, &mut self.lanes[to as usize], &mut self.tickets[id]);
        let port = &mut self.ports[t.at as usize];
        let Some(credit) = lane.credit(timing.lane_depth) else {
            lane.flags.0 |= LaneFlags::STARVED;
            (port.first, port.last) = (id, id);
            return;
        };
        let wavelets = u32::from(t.words);
        let ser = timing.ser(wavelets);
        let (head, tail) = departs(port, (t.ready, 0), credit, ser, timing);
        port.current = id;
        let burst = Burst {
            head: head + u64::from(timing.alpha),
            span: (tail - head) as u32,
            payload: id,
            depth,
            words: t.words,
            has_ctrl: false,
            rendezvous: true,
            ctrl: Ctrl::default(),
        };
        (t.state, t.next, t.tally, t.tail) = (TicketState::InFlight, burst.span, 1, tail);
        self.enter(to, burst, wavelets, ser);
    }

    /// A burst comes to a lane that ends here, in which nothing else is, and on which receive `id` is posted: it is
    /// taken as it comes.
    #[inline(always)]
    pub(super) fn take_passing(&mut self, to: u32, id: u32, mut burst: Burst, ser: u64) {
        let lane = &mut self.lanes[to as usize];
        let (departure, tail) = passes((burst.head, burst.tail()), lane.tail_departure, 0, ser);
        lane.tail_departure = tail;
        lane.count(burst.wavelets());
        (burst.head, burst.span) = (departure, (tail - departure) as u32);
        let t = &self.tickets[id];
        let Times { start, end, tail, freed } = begins(&mut burst, &mut lane.take_end, 0, t.ready, &self.timing);
        let at = lane.skip(self.timing.lane_depth);
        lane.slots[usize::from(at) % SLOTS].head = freed;
        lane.posted = t.next;
        let Burst { payload, depth, words, has_ctrl, rendezvous, ctrl, .. } = burst;
        let path = lane.path;
        self.hand(id, &Taken { start, end, tail, depth, words, has_ctrl, ctrl, rendezvous, payload, path });
    }
}
