//! Compute elements at their ramps: sends, receives, rendezvous ends.   (design.md section 3: send, receive, combine)
//!
//! Send:    head = max(ready, end of the previous send, credit) + T_R; tail = max(head + Ser, `min_tail`).
//!          A short one ends at tail - T_R; a rendezvous at tail - T_R + max over sinks (start - T_R - path - head).
//! Receive: start = max(t, head + T_R, end of the previous take); end = max(start + Ser, tail + T_R) + stage.
//!
//! Invariant: a ticket's end is final when it is set; nothing here looks at a clock of the host.

use super::burst::{Burst, Ctrl, Timing};
use super::message::Message;
use super::net::{Net, Schedule, Store};
use super::record::{Record, Status};
use super::ticket::{NONE, Ticket, TicketKind, TicketState};

/// A send as a program asks for it.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest {
    /// Owner PE, or `NONE` for the host.
    pub pe: u32,
    /// Port.
    pub port: u32,
    /// Payload, in the store's units.
    pub place: u32,
    /// Payload words.
    pub words: u16,
    /// Control words in front.
    pub ctrl: Option<Ctrl>,
    /// Earliest start.
    pub ready: u64,
    /// Earliest tail (combine); 0 otherwise.
    pub min_tail: u64,
    /// Depth of the message.
    pub depth: u32,
}

/// What a take gives.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When the compute element began.
    pub start: u64,
    /// When the last word was in the tile and the program may go on.
    pub end: u64,
    /// When the last wavelet reached the router.
    pub tail: u64,
    /// The burst, with its control words.
    pub burst: Burst,
    /// Where the payload is until `finish_take`.
    pub place: u32,
    path: u32,
}

impl<S: Store> Net<S> {
    /// Queues a send; it is emitted as soon as its turn and credit have come.
    #[inline(always)]
    pub fn post_send(&mut self, r: SendRequest) -> u32 {
        let mut ticket = Ticket::new(TicketKind::Send);
        ticket.pe = r.pe;
        ticket.at = r.port;
        ticket.place = r.place;
        ticket.words = r.words;
        ticket.has_ctrl = r.ctrl.is_some();
        ticket.ctrl = r.ctrl.unwrap_or_default();
        (ticket.ready, ticket.tail) = (r.ready, r.min_tail);
        ticket.tally = r.depth;
        let id = self.tickets.open(ticket);
        self.list_open(r.pe, id);
        let port = &mut self.ports[r.port as usize];
        if port.first == NONE {
            port.first = id;
            port.last = id;
            if port.current == NONE && self.schedule == Schedule::DepthFirst {
                self.emit(r.port);
            } else {
                self.nudge(r.port);
            }
        } else {
            self.tickets[port.last].next = id;
            port.last = id;
        }
        self.settle();
        id
    }

    /// Queues a receive into `place`; a burst that is there is taken at once.
    pub fn post_receive(&mut self, pe: u32, lane: u32, place: u32, words: u16) -> u32 {
        let mut ticket = Ticket::new(TicketKind::Receive);
        ticket.pe = pe;
        ticket.at = lane;
        ticket.place = place;
        ticket.words = words;
        ticket.ready = self.records[pe as usize].now;
        let id = self.tickets.open(ticket);
        self.list_open(pe, id);
        self.records[pe as usize].n_receives += 1;
        self.take_posted(pe, lane);
        self.settle();
        id
    }

    fn list_open(&mut self, pe: u32, id: u32) {
        if pe == NONE {
            return;
        }
        let (record, ticket) = (&mut self.records[pe as usize], &mut self.tickets[id]);
        let [from, to] = [ticket.place, ticket.place + u32::from(ticket.words)];
        record.hull = match record.n_open {
            0 => [from, to],
            _ => [record.hull[0].min(from), record.hull[1].max(to)],
        };
        ticket.next_open = record.open;
        record.open = id;
        record.n_open += 1;
        // Posted ones, and the one blocking operation.
        debug_assert!(record.n_open <= Record::OPEN_MAX + 1);
    }

    /// Forgets a ticket that is done; its end.
    pub fn close(&mut self, pe: u32, id: u32) -> u64 {
        let ticket = &self.tickets[id];
        debug_assert_eq!(ticket.state, TicketState::Done);
        let (end, next_open) = (ticket.end, ticket.next_open);
        if pe != NONE {
            let mut at = self.records[pe as usize].open;
            if at == id {
                self.records[pe as usize].open = next_open;
            } else {
                while self.tickets[at].next_open != id {
                    at = self.tickets[at].next_open;
                }
                self.tickets[at].next_open = next_open;
            }
            self.records[pe as usize].n_open -= 1;
        }
        self.tickets.close(id);
        end
    }

    /// Emits the first queued send of a port if nothing is in flight and all outputs have room.
    pub(super) fn emit(&mut self, port_id: u32) {
        let port = &self.ports[port_id as usize];
        if port.first == NONE || port.current != NONE {
            return;
        }
        let (outs, n_outs) = (port.outs, usize::from(port.n_outs));
        let Some(credit) = self.credit(&outs[..n_outs]) else { return };
        let (port, Timing { alpha, ramp, .. }) = (&mut self.ports[port_id as usize], self.timing);
        let (id, answers) = (port.first, port.answers);
        let t = &mut self.tickets[id];
        let mut burst = Burst {
            words: t.words,
            has_ctrl: t.has_ctrl,
            ctrl: t.ctrl,
            depth: t.tally,
            payload: NONE,
            ..Burst::default()
        };
        let wavelets = burst.wavelets();
        let head = t.ready.max(port.previous_end).max(credit) + u64::from(ramp);
        let tail = (head + self.timing.ser(wavelets)).max(t.tail);
        burst.rendezvous = wavelets > self.timing.queue_wavelets;
        burst.head = head + u64::from(alpha);
        burst.span = (tail - head) as u32;
        port.first = t.next;
        port.emitted += 1;
        t.tail = tail;
        if burst.rendezvous {
            (t.state, t.next, t.tally) = (TicketState::InFlight, burst.span, answers);
            (port.current, burst.payload) = (id, id);
        } else {
            let place = t.place;
            if !self.dry && burst.words > 0 {
                burst.payload = self.store.buffer(usize::from(burst.words), answers);
                self.store.copy(place, burst.payload, usize::from(burst.words));
            }
            self.end_send(id, port_id, tail - u64::from(ramp));
        }
        // The last line first: its readers run after those of the first.
        for &out in outs[..n_outs].iter().rev() {
            self.push(out, burst);
        }
    }

    fn end_send(&mut self, id: u32, port: u32, end: u64) {
        let t = &mut self.tickets[id];
        (t.state, t.end) = (TicketState::Done, end);
        let (pe, awaited) = (t.pe, t.awaited);
        let p = &mut self.ports[port as usize];
        p.previous_end = end;
        p.current = NONE;
        self.nudge(port);
        if pe == NONE {
            self.tickets.close(id);
        } else if awaited {
            self.ended(pe);
        }
    }

    /// A sink (or all sinks behind a crossing) of a rendezvous began at `begun` = start of take - path.
    pub(super) fn answer(&mut self, id: u32, begun: u64) {
        let t = &mut self.tickets[id];
        t.end = t.end.max(begun);
        t.tally -= 1;
        if t.tally > 0 {
            return;
        }
        let (pe, at, place, end, span) = (t.pe, t.at, t.place, t.end, t.next);
        if t.kind == TicketKind::StandIn {
            if place != NONE {
                self.store.release(place);
            }
            self.tickets.close(id);
            self.post(pe as u16, Message::Answer { ticket: at, begun: end }, NONE);
        } else {
            let ramp = u64::from(self.timing.ramp);
            let ends = end + u64::from(span) - 2 * ramp;
            self.end_send(id, at, ends);
        }
    }

    /// The stand-in of ticket `theirs` of worker `from`, whose payload was copied to `place`. The buffer is given
    /// back once, when the last of `answers` has come.
    pub(super) fn open_stand_in(&mut self, from: u16, theirs: u32, place: u32, words: u16, answers: u32) -> u32 {
        let mut ticket = Ticket::new(TicketKind::StandIn);
        ticket.state = TicketState::InFlight;
        ticket.pe = u32::from(from);
        ticket.at = theirs;
        ticket.place = place;
        ticket.words = words;
        ticket.tally = answers;
        self.tickets.open(ticket)
    }

    /// Begins the take of the burst at the front of a lane, at `t` at the earliest. `finish_take` must follow, once
    /// the payload was read.
    #[inline(always)]
    pub fn take(&mut self, lane_id: u32, t: u64) -> Taken {
        let lane = &self.lanes[lane_id as usize];
        debug_assert!(lane.takeable() > 0);
        let (path, free_at, previous, reader) = (lane.path, lane.free_at, lane.take_end, lane.reader);
        let burst = *self.slot(lane_id, free_at);
        let ramp = u64::from(self.timing.ramp);
        let start = t.max(burst.head + ramp).max(previous);
        let ser = self.timing.ser(burst.wavelets());
        let end = (start + ser).max(burst.tail() + ramp) + u64::from(self.timing.stage);
        // Without another output nothing departs over a link: the slot is free as soon as the take begins.
        let departs = self.lanes[lane_id as usize].n_outs > 0;
        let freed = if departs { burst.tail().max(start) } else { start };
        self.lanes[lane_id as usize].take_end = end;
        self.records[reader as usize].takeable -= 1;
        let place = self.place_of(&burst);
        self.free(lane_id, freed);
        Taken { start, end, tail: burst.tail(), burst, place, path }
    }

    /// Ends a take: the payload is no longer needed by this sink.
    #[inline(always)]
    pub fn finish_take(&mut self, taken: &Taken) {
        if taken.burst.rendezvous {
            self.answer(taken.burst.payload, taken.start - u64::from(taken.path));
        } else if taken.place != NONE {
            self.store.release(taken.place);
        }
    }

    /// Serves the posted receives of `pe` on `lane`, oldest first, while bursts last.
    pub(super) fn take_posted(&mut self, pe: u32, lane: u32) {
        while self.lanes[lane as usize].takeable() > 0 {
            let Some(id) = self.oldest_receive(pe, lane) else { return };
            let t = &self.tickets[id];
            let (ready, place, words) = (t.ready, t.place, t.words);
            let taken = self.take(lane, ready);
            if taken.burst.words == words && !self.dry && words > 0 {
                self.store.copy(taken.place, place, usize::from(words));
            }
            self.finish_take(&taken);
            let t = &mut self.tickets[id];
            (t.state, t.next) = (TicketState::Done, u32::from(taken.burst.words));
            (t.end, t.tally, t.ctrl) = (taken.end, taken.burst.depth, taken.burst.ctrl);
            let (awaited, fits) = (t.awaited, taken.burst.words == words);
            self.records[pe as usize].n_receives -= 1;
            match awaited {
                true if fits => self.ended(pe),
                // The program has to see this, whatever else it waits for.
                true if self.records[pe as usize].status == Status::OnTicket => self.wake(pe),
                _ => {}
            }
        }
    }

    /// The oldest queued receive of `pe` on `lane` (the open list is newest first).
    pub fn oldest_receive(&self, pe: u32, lane: u32) -> Option<u32> {
        let mut found = None;
        let mut at = self.records[pe as usize].open;
        while at != NONE {
            let t = &self.tickets[at];
            if t.kind == TicketKind::Receive && t.state == TicketState::Queued && t.at == lane {
                found = Some(at);
            }
            at = t.next_open;
        }
        found
    }
}
