//! Receives at a compute element: takes from lanes, posted receives.                     (design.md section 3: receive)
//!
//! Receive: start = max(t, head + T_R, end of the previous take); end = max(start + Ser, tail + T_R) + stage.
//!
//! Invariant: bursts of a lane are taken in the order in which they came, by posted receives before any other.

use super::burst::Burst;
use super::lane::{Lane, LaneFlags, SLOTS, Upstream};
use super::message::Message;
use super::net::{Net, Store};
use super::record::Status;
use super::ticket::{NONE, Ticket, TicketKind, TicketState};

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

    /// Begins the take of the burst at the front of a lane, at `t` at the earliest. `finish_take` must follow, once
    /// the payload was read.
    #[inline(always)]
    pub fn take(&mut self, lane_id: u32, t: u64) -> Taken {
        let (ramp, stage) = (u64::from(self.timing.ramp), u64::from(self.timing.stage));
        let lane = &self.lanes[lane_id as usize];
        debug_assert!(lane.takeable() > 0);
        let burst = *self.slot(lane_id, lane.free_at);
        let lane = &mut self.lanes[lane_id as usize];
        let tail = burst.tail();
        let start = t.max(burst.head + ramp).max(lane.take_end);
        let end = (start + self.timing.ser(burst.wavelets())).max(tail + ramp) + stage;
        lane.take_end = end;
        // Without another output nothing departs over a link: the slot is free as soon as the take begins.
        let freed = if lane.n_outs > 0 { tail.max(start) } else { start };
        let (path, reader) = (lane.path, lane.reader);
        self.records[reader as usize].takeable -= 1;
        let place = self.place_of(&burst);
        self.free(lane_id, freed);
        Taken { start, end, tail, burst, place, path }
    }

    /// Frees the oldest slot of a lane at `time` and lets its writer know.
    #[inline(always)]
    pub(super) fn free(&mut self, lane_id: u32, time: u64) {
        let depth = self.timing.lane_depth;
        let lane = &mut self.lanes[lane_id as usize];
        let at = lane.release(depth);
        let kind = lane.upstream_kind;
        match usize::from(at) {
            at @ 0..SLOTS => lane.slots[at].head = time,
            _ => self.slot_mut(lane_id, at).head = time,
        }
        // A writer here that was not held up needs no visit.
        if kind == Upstream::Worker || self.lanes[lane_id as usize].flags.has(LaneFlags::STARVED) {
            self.tell_writer(lane_id, time);
        }
    }

    /// A slot of a lane is free: its writer is on another worker, or found no room before.
    #[inline(never)]
    fn tell_writer(&mut self, lane: u32, time: u64) {
        let Lane { upstream, upstream_kind, peer, ref mut flags, .. } = self.lanes[lane as usize];
        flags.0 &= !LaneFlags::STARVED;
        match upstream_kind {
            Upstream::Lane => self.schedule_lane(upstream),
            Upstream::Port => self.nudge(upstream),
            Upstream::Worker => self.post(peer, Message::Freed { lane: upstream, time }, NONE),
        }
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

    /// A burst became takeable: posted receives take it, oldest first; what they leave wakes the waiting reader.
    #[inline(always)]
    pub(super) fn arrived(&mut self, lane: u32, reader: u32) {
        let record = &mut self.records[reader as usize];
        record.takeable += 1;
        if record.n_receives > 0 {
            self.take_posted(reader, lane);
            if self.lanes[lane as usize].takeable() == 0 {
                return;
            }
        }
        let record = &self.records[reader as usize];
        if record.wait_on == lane && matches!(record.status, Status::OnLane | Status::OnPass) {
            self.wake(reader);
        }
    }

    /// Serves the posted receives of `pe` on `lane`, oldest first, while bursts last.
    #[inline(never)]
    fn take_posted(&mut self, pe: u32, lane: u32) {
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
