//! Receives at a compute element: takes from lanes, posted receives.                     (design.md section 3: receive)
//!
//! Receive: start = max(t, head + T_R, end of the previous take); end = max(start + Ser, tail + T_R) + stage.
//!
//! Invariant: bursts of a lane are taken in the order in which they came, by posted receives before any other.

use super::burst::{Burst, Ctrl, Timing};
use super::lane::{Lane, LaneFlags, SLOTS, Upstream};
use super::message::Message;
use super::net::{Net, Store, deep_at};
use super::record::Status;
use super::ticket::{BY_PORT, NONE, Port, Ticket, TicketKind, TicketState};

/// What a take gives.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When the compute element began.
    pub start: u64,
    /// When the last word was in the tile and the program may go on.
    pub end: u64,
    /// When the last wavelet reached the router.
    pub tail: u64,
    /// Dependent messages up to this one.
    pub depth: u32,
    /// Payload words.
    pub words: u16,
    /// Control words came in front.
    pub has_ctrl: bool,
    /// The control words.
    pub ctrl: Ctrl,
    /// Longer than the queues: the payload is in the sender's tile until `finish_take`.
    pub(super) rendezvous: bool,
    /// The buffer, or what names the send.
    pub(super) payload: u32,
    pub(super) path: u32,
}

/// When a take begins and ends, when the burst's last wavelet reached the router, since when its slot is free.
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) tail: u64,
    pub(super) freed: u64,
}

/// The rule of receives: a take at `t` at the earliest. The slot and the lane remember it.
#[inline(always)]
pub(super) fn begins(slot: &mut Burst, take_end: &mut u64, n_outs: u8, t: u64, timing: &Timing) -> Times {
    let (ramp, tail) = (u64::from(timing.ramp), slot.tail());
    let start = t.max(slot.head + ramp).max(*take_end);
    let end = (start + timing.ser(slot.wavelets())).max(tail + ramp) + u64::from(timing.stage);
    // Without another output nothing departs over a link: the slot is free as soon as the take begins.
    let freed = if n_outs > 0 { tail.max(start) } else { start };
    (slot.head, *take_end) = (freed, end);
    Times { start, end, tail, freed }
}

impl<S: Store> Net<S> {
    /// Queues a receive into `place`; a burst that is there is taken at once.
    pub fn post_receive(&mut self, pe: u32, lane_id: u32, place: u32, words: u16) -> u32 {
        let mut ticket = Ticket::new(TicketKind::Receive);
        ticket.pe = pe;
        ticket.at = lane_id;
        ticket.place = place;
        ticket.words = words;
        ticket.ready = self.records[pe as usize].now;
        let id = self.open_posted(pe, ticket);
        self.receive_posted(lane_id, id);
        self.settle();
        id
    }

    /// A receive that was posted goes to its lane, and takes what is there.
    #[inline(always)]
    pub(super) fn receive_posted(&mut self, lane_id: u32, id: u32) {
        let lane = &mut self.lanes[lane_id as usize];
        match lane.posted {
            NONE => lane.posted = id,
            oldest => return self.queue_behind(lane_id, oldest, id),
        }
        let lane = &mut self.lanes[lane_id as usize];
        if lane.takeable() > 0 {
            let reader = lane.reader;
            self.records[reader as usize].takeable -= 1;
            self.take_posted(lane_id);
        }
    }

    #[cold]
    fn queue_behind(&mut self, lane: u32, mut at: u32, id: u32) {
        if let Some(track) = self.track_of_lane(lane) {
            self.leave(track);
            return self.receive_posted(lane, id);
        }
        while self.tickets[at].next != NONE {
            at = self.tickets[at].next;
        }
        self.tickets[at].next = id;
    }

    /// Is a receive posted on a lane, which is on no track, that has not taken its burst?
    #[inline(always)]
    pub fn is_posted(&self, lane: u32) -> bool {
        self.lanes[lane as usize].posted != NONE
    }

    /// Begins the take of the burst at the front of a lane, at `t` at the earliest. `finish_take` must follow, once
    /// the payload was read.
    #[inline(always)]
    pub fn take(&mut self, lane_id: u32, t: u64) -> Taken {
        let reader = self.lanes[lane_id as usize].reader;
        self.records[reader as usize].takeable -= 1;
        self.take_off(lane_id, t)
    }

    /// The same of a burst that its reader has not been told of.
    #[inline(always)]
    fn take_off(&mut self, lane_id: u32, t: u64) -> Taken {
        let depth = self.timing.lane_depth;
        let lane = &mut self.lanes[lane_id as usize];
        debug_assert!(lane.takeable() > 0);
        let at = lane.release(depth);
        let slot = match usize::from(at) {
            at @ 0..SLOTS => &mut lane.slots[at],
            _ => &mut self.deep[deep_at(lane_id, at, depth)],
        };
        // Field by field: the slot may have been written in parts a moment ago.
        let (depth, words, rendezvous, payload) = (slot.depth, slot.words, slot.rendezvous, slot.payload);
        let (has_ctrl, ctrl) = (slot.has_ctrl, slot.ctrl);
        let Times { start, end, tail, freed } = begins(slot, &mut lane.take_end, lane.n_outs, t, &self.timing);
        let path = lane.path;
        // A writer here that was not held up needs no visit.
        if lane.flags.has(LaneFlags::STARVED | LaneFlags::FOREIGN) {
            self.tell_writer(lane_id, freed);
        }
        Taken { start, end, tail, depth, words, has_ctrl, ctrl, rendezvous, payload, path }
    }

    /// Where the payload of a burst that is being taken is, until `finish_take`.
    #[inline(always)]
    pub fn place_of(&self, taken: &Taken) -> u32 {
        if taken.rendezvous { self.tile_of(taken.payload) } else { taken.payload }
    }

    /// Frees the oldest slot of a lane at `time` and lets its writer know.
    #[inline(always)]
    pub(super) fn free(&mut self, lane_id: u32, time: u64) {
        let lane = &mut self.lanes[lane_id as usize];
        let (at, flags) = (lane.release(self.timing.lane_depth), lane.flags);
        self.slot_mut(lane_id, at).head = time;
        if flags.has(LaneFlags::STARVED | LaneFlags::FOREIGN) {
            self.tell_writer(lane_id, time);
        }
    }

    /// A slot of a lane is free: its writer is on another worker, or found no room before.
    #[inline(never)]
    pub(super) fn tell_writer(&mut self, lane: u32, time: u64) {
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
        if taken.rendezvous {
            self.answer(taken.payload, taken.start - u64::from(taken.path));
        } else if taken.payload != NONE {
            self.store.release(taken.payload);
        }
    }

    /// A sink (or all sinks behind a crossing) of a rendezvous began at `begun` = start of take - path.
    #[inline(always)]
    pub(super) fn answer(&mut self, id: u32, begun: u64) {
        if id & BY_PORT == 0 {
            return self.answer_ticket(id, begun);
        }
        let port = &mut self.ports[(id & !BY_PORT) as usize];
        debug_assert_eq!(port.current, Port::DIRECT);
        port.previous_end = port.previous_end.max(begun);
        port.tally -= 1;
        if port.tally == 0 {
            port.previous_end = port.previous_end + u64::from(port.span) - 2 * u64::from(self.timing.ramp);
            port.current = NONE;
            if port.awaited {
                port.awaited = false;
                let pe = port.pe;
                self.wake(pe);
            }
        }
    }

    /// A burst became takeable: the oldest posted receive takes it, or it wakes the waiting reader.
    #[inline(always)]
    pub(super) fn arrived(&mut self, lane: u32, reader: u32, posted: u32) {
        if posted != NONE {
            return self.take_posted(lane);
        }
        let record = &mut self.records[reader as usize];
        record.takeable += 1;
        if record.wait_on == lane && matches!(record.status, Status::OnLane | Status::OnPass) {
            self.wake(reader);
        }
    }

    /// Where both ends allow it the tiles change owners and nothing is copied: the receive gets the sender's, which
    /// both may read, the sender gets the one that was to be written.
    #[inline(always)]
    fn hand_over(&mut self, taken: &Taken, id: u32) -> bool {
        let receive = &self.tickets[id];
        if !receive.hands_over || !taken.rendezvous || taken.payload & BY_PORT != 0 {
            return false;
        }
        let send = &self.tickets[taken.payload];
        if !send.hands_over || send.ctrl.position != receive.ctrl.position {
            return false;
        }
        let places = (send.place, receive.place);
        self.tickets[id].ctrl.kind_slot = places.0;
        self.tickets[taken.payload].ctrl.kind_slot = places.1;
        true
    }

    /// The oldest receive that is posted on a lane takes the one burst there, which its reader has not been told of.
    #[inline(never)]
    fn take_posted(&mut self, lane_id: u32) {
        let lane = &mut self.lanes[lane_id as usize];
        let id = lane.posted;
        let t = &self.tickets[id];
        lane.posted = t.next;
        let taken = self.take_off(lane_id, t.ready);
        self.hand(id, &taken);
    }

    /// Posted receive `id` has what was taken for it.
    #[inline(always)]
    pub(super) fn hand(&mut self, id: u32, taken: &Taken) {
        let t = &self.tickets[id];
        let (pe, place, words) = (t.pe, t.place, t.words);
        if taken.words == words && !self.dry && words > 0 && !self.hand_over(taken, id) {
            self.store.copy(self.place_of(taken), place, usize::from(words));
        }
        self.finish_take(taken);
        let t = &mut self.tickets[id];
        (t.state, t.next) = (TicketState::Done, u32::from(taken.words));
        (t.end, t.tally) = (taken.end, taken.depth);
        if !t.hands_over {
            t.ctrl = taken.ctrl;
        }
        match t.awaited {
            true if taken.words == words => self.ended(pe),
            // The program has to see this, whatever else it waits for.
            true if self.records[pe as usize].status == Status::OnTicket => self.wake(pe),
            _ => {}
        }
    }
}
