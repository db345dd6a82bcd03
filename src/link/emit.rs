//! Sends at a compute element: at once where the way is free, queued at the port else; and how they end.
//!                                                                                 (design.md section 3: send, combine)
//!
//! Send:    head = max(ready, end of the previous send, credit) + T_R; tail = max(head + Ser, `min_tail`).
//!          A short one ends at tail - T_R; a rendezvous at tail - T_R + max over sinks (start - T_R - path - head).
//!
//! Invariant: a ticket's end is final when it is set; nothing here looks at a clock of the host.

use super::burst::{Burst, Ctrl, Timing, wavelets};
use super::message::Message;
use super::net::{Net, Schedule, Store};
use super::record::{Record, Status};
use super::swift::Span;
use super::ticket::{BY_PORT, NONE, Port, Ticket, TicketKind, TicketState};

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

impl SendRequest {
    /// Wavelets on a link, at least one.
    #[inline(always)]
    fn wavelets(&self) -> u32 {
        wavelets(self.words, self.ctrl.is_some())
    }
}

/// What became of a send.
#[derive(Clone, Copy, Debug)]
pub enum Sent {
    /// A short burst left at once: when the send ended. It needs no account.
    Ended(u64),
    /// Its port keeps the account: of a rendezvous that left, or of a send that waits for room.
    Left,
    /// Its ticket.
    Open(u32),
}

/// The rule of sends: head and tail of one that departs from a port, which counts it.
#[inline(always)]
pub(super) fn departs(
    port: &mut Port,
    (ready, min_tail): (u64, u64),
    credit: u64,
    ser: u64,
    timing: &Timing,
) -> (u64, u64) {
    port.emitted += 1;
    let head = ready.max(port.previous_end).max(credit) + u64::from(timing.ramp);
    (head, (head + ser).max(min_tail))
}

/// A burst as it leaves a port.
struct Departure {
    burst: Burst,
    tail: u64,
}

impl<S: Store> Net<S> {
    /// Queues a send of a posted operation; it is emitted as soon as its turn and credit have come.
    #[inline(never)]
    pub fn post_send(&mut self, r: SendRequest) -> u32 {
        let id = self.open_posted(r.pe, Ticket::of_send(&r));
        self.queue_send(&r, id);
        id
    }

    /// The same of a send that its program waits for, or of the host.
    #[inline(never)]
    pub fn open_send(&mut self, r: SendRequest) -> u32 {
        let id = self.tickets.open(Ticket::of_send(&r));
        self.queue_send(&r, id);
        id
    }

    fn queue_send(&mut self, r: &SendRequest, id: u32) {
        self.off_port(r.port);
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
    }

    /// A send that its program waits for: as `open_send`, with less work where the way is free.
    #[inline(always)]
    pub fn send(&mut self, r: SendRequest) -> Sent {
        let port = &self.ports[r.port as usize];
        let (outs, n_outs) = (port.outs, usize::from(port.n_outs));
        if !port.is_idle() || self.schedule != Schedule::DepthFirst {
            return Sent::Open(self.open_send(r));
        }
        let Some(credit) = self.credit(&outs[..n_outs]) else { return Sent::Open(self.open_send(r)) };
        let is_long = r.wavelets() > self.timing.queue_wavelets;
        if is_long && r.ctrl.is_some() {
            return Sent::Open(self.open_send(r));
        }
        let Departure { mut burst, tail } = self.depart(&r, credit);
        let port = &mut self.ports[r.port as usize];
        let sent = if is_long {
            port.account(Span { place: r.place, words: u32::from(r.words) }, burst.span);
            (burst.rendezvous, burst.payload) = (true, r.port | BY_PORT);
            Sent::Left
        } else {
            let (end, answers) = (tail - u64::from(self.timing.ramp), port.answers);
            port.previous_end = end;
            burst.payload = self.buffered(r.place, r.words, answers);
            Sent::Ended(end)
        };
        self.push_all(&outs[..n_outs], burst);
        self.settle();
        sent
    }

    /// The end of an open send (a ticket, or a port and `BY_PORT`), if it is known.
    #[inline(always)]
    pub fn end_of(&self, send: u32) -> Option<u64> {
        if send & BY_PORT != 0 {
            let port = &self.ports[(send & !BY_PORT) as usize];
            return (!port.is_direct()).then_some(port.previous_end);
        }
        let ticket = &self.tickets[send];
        (ticket.state == TicketState::Done).then_some(ticket.end)
    }

    /// The program of the port's PE waits for the end of the send that the port keeps the account of.
    #[inline(always)]
    pub fn await_port(&mut self, pe: u32, port: u32) {
        self.ports[port as usize].awaited = true;
        self.records[pe as usize].block(Status::OnSend, port);
    }

    /// Opens a ticket of a posted operation.
    #[inline(always)]
    pub(super) fn open_posted(&mut self, pe: u32, mut ticket: Ticket) -> u32 {
        let record = &mut self.records[pe as usize];
        debug_assert!(record.may_post());
        if record.tickets == NONE {
            record.tickets = self.tickets.grow(Record::OPEN_MAX);
        }
        record.cover(Span { place: ticket.place, words: u32::from(ticket.words) });
        if self.hands_over > 0 {
            ticket.hands_over = true;
            ticket.ctrl = Ctrl { kind_slot: ticket.place, position: u32::from(self.hands_over) };
        }
        let at = (!record.open).trailing_zeros();
        record.open |= 1 << at;
        record.standing &= !(1 << at);
        let id = record.tickets + at;
        ticket.order = self.tickets.posted;
        self.tickets.posted = ticket.order.wrapping_add(1);
        self.tickets[id] = ticket;
        id
    }

    /// Forgets a ticket that is done; its end.
    #[inline]
    pub fn close(&mut self, pe: u32, id: u32) -> u64 {
        let ticket = &self.tickets[id];
        debug_assert_eq!(ticket.state, TicketState::Done);
        let end = ticket.end;
        let record = &mut self.records[pe as usize];
        match id.checked_sub(record.tickets) {
            Some(at @ 0..Record::OPEN_MAX) => record.open &= !(1 << at),
            _ => self.tickets.close(id),
        }
        end
    }

    /// Emits the first queued send of a port if nothing is in flight and all outputs have room.
    pub(super) fn emit(&mut self, port_id: u32) {
        let port = &self.ports[port_id as usize];
        if port.first == NONE || port.current != NONE {
            return;
        }
        if port.first == Port::DIRECT {
            return self.emit_kept(port_id);
        }
        let (outs, n_outs, id, answers) = (port.outs, usize::from(port.n_outs), port.first, port.answers);
        let Some(credit) = self.credit(&outs[..n_outs]) else { return };
        let t = &self.tickets[id];
        let request = SendRequest {
            pe: t.pe,
            port: port_id,
            place: t.place,
            words: t.words,
            ctrl: t.has_ctrl.then_some(t.ctrl),
            ready: t.ready,
            min_tail: t.tail,
            depth: t.tally,
        };
        let next = t.next;
        let Departure { mut burst, tail } = self.depart(&request, credit);
        self.ports[port_id as usize].first = next;
        let t = &mut self.tickets[id];
        t.tail = tail;
        if request.wavelets() > self.timing.queue_wavelets {
            (t.state, t.next, t.tally) = (TicketState::InFlight, burst.span, answers);
            self.ports[port_id as usize].current = id;
            (burst.rendezvous, burst.payload) = (true, id);
        } else {
            burst.payload = self.buffered(request.place, request.words, answers);
            self.end_send(id, port_id, tail - u64::from(self.timing.ramp));
        }
        self.push_all(&outs[..n_outs], burst);
    }

    /// The times of a burst that leaves now, as one that is buffered; the port's count of it.
    #[inline(always)]
    fn depart(&mut self, r: &SendRequest, credit: u64) -> Departure {
        let timing = &self.timing;
        let port = &mut self.ports[r.port as usize];
        let (head, tail) = departs(port, (r.ready, r.min_tail), credit, timing.ser(r.wavelets()), timing);
        let burst = Burst {
            head: head + u64::from(timing.alpha),
            span: (tail - head) as u32,
            payload: NONE,
            depth: r.depth,
            words: r.words,
            has_ctrl: r.ctrl.is_some(),
            rendezvous: false,
            ctrl: r.ctrl.unwrap_or_default(),
        };
        Departure { burst, tail }
    }

    /// The payload of a short burst, out of its tile.
    #[inline(always)]
    pub(super) fn buffered(&mut self, place: u32, words: u16, readers: u32) -> u32 {
        if self.dry || words == 0 {
            return NONE;
        }
        let buffer = self.store.buffer(usize::from(words), readers);
        self.store.copy(place, buffer, usize::from(words));
        buffer
    }

    /// The last line first: its readers run after those of the first.
    #[inline(always)]
    fn push_all(&mut self, outs: &[u32], burst: Burst) {
        for &out in outs.iter().rev() {
            self.push(out, burst);
        }
    }

    #[inline(always)]
    fn end_send(&mut self, id: u32, port: u32, end: u64) {
        let t = &mut self.tickets[id];
        (t.state, t.end) = (TicketState::Done, end);
        let (pe, awaited) = (t.pe, t.awaited);
        let p = &mut self.ports[port as usize];
        p.previous_end = end;
        p.current = NONE;
        if p.first != NONE {
            self.schedule_port(port);
        }
        if pe == NONE {
            self.tickets.close(id);
        } else if awaited {
            self.ended(pe);
        }
    }

    /// As `answer`, of a send that has a ticket.
    #[inline(always)]
    pub(super) fn answer_ticket(&mut self, id: u32, begun: u64) {
        let t = &mut self.tickets[id];
        t.end = t.end.max(begun);
        t.tally -= 1;
        match (t.tally, t.kind) {
            (1.., _) => {}
            (0, TicketKind::StandIn) => self.answered_from_afar(id),
            // The last sink of a rendezvous has begun.
            _ => {
                let (port, end) = (t.at, t.end + u64::from(t.next) - 2 * u64::from(self.timing.ramp));
                self.end_send(id, port, end);
            }
        }
    }

    /// The last sink here of a rendezvous that came from another worker has begun.
    #[inline(never)]
    fn answered_from_afar(&mut self, id: u32) {
        let t = &self.tickets[id];
        let (to, theirs, place, begun) = (t.pe as u8, t.at, t.place, t.end);
        if place != NONE {
            self.store.release(place);
        }
        self.tickets.close(id);
        self.post(to, Message::Answer { ticket: theirs, begun }, NONE);
    }

    /// One of the tickets that a PE waits for has ended.
    #[inline]
    pub(super) fn ended(&mut self, pe: u32) {
        let record = &mut self.records[pe as usize];
        // A program that is to see a fault runs already.
        if record.status == Status::OnTicket {
            record.awaits -= 1;
            if record.awaits == 0 {
                self.wake(pe);
            }
        }
    }

    /// The stand-in of the send `theirs` of worker `from`, whose payload was copied to `place`. The buffer is given
    /// back once, when the last of `answers` has come.
    pub(super) fn open_stand_in(&mut self, from: u8, theirs: u32, place: u32, words: u16, answers: u32) -> u32 {
        let mut ticket = Ticket::new(TicketKind::StandIn);
        ticket.state = TicketState::InFlight;
        ticket.pe = u32::from(from);
        ticket.at = theirs;
        ticket.place = place;
        ticket.words = words;
        ticket.tally = answers;
        self.tickets.open(ticket)
    }
}
