//! Routers: transit, multicast and arrival.                                      (design.md section 3: transit, credit)
//!
//! departure = max(head, tail departure of the previous burst in the lane, credit of all outputs);
//! tail departure = max(departure + Ser, tail in); each output adds alpha, and the turn where there is one.
//!
//! Invariant: a burst leaves a lane when every output has a free slot, or not at all.

use super::burst::{Burst, Timing};
use super::lane::{Lane, LaneFlags, SLOTS};
use super::message::Message;
use super::net::{Net, Store};
use super::record::Status;
use super::ticket::NONE;
use super::warm::ask;

/// The rule of transit: when a burst departs from a lane behind the tail that left at `last`, and its own tail.
#[inline(always)]
pub(super) fn passes((head, tail): (u64, u64), last: u64, credit: u64, ser: u64) -> (u64, u64) {
    let departure = head.max(last).max(credit);
    (departure, (departure + ser).max(tail))
}

impl<S: Store> Net<S> {
    /// Puts a burst into a lane that has room. Depth-first, it goes on at once while the way is free: what a stop and a
    /// later `pump` would do, without the stop.
    ///
    /// Inlined, and its times are apart from the rest, so that they stay in registers: a copy of what was just written
    /// in parts would wait for the parts to reach the cache.
    #[inline(always)]
    pub(super) fn push(&mut self, mut id: u32, burst: Burst) {
        let depth = self.timing.lane_depth;
        let wavelets = burst.wavelets();
        let ser = self.timing.ser(wavelets);
        let (mut head, mut span) = (burst.head, burst.span);
        loop {
            if self.lanes[id as usize].flags.has(LaneFlags::RAMP) {
                match self.drop_off((id, head, span), &burst, wavelets, ser) {
                    Some(there) => (id, head, span) = there,
                    None => return,
                }
            }
            let lane = &self.lanes[id as usize];
            let (out, flags, n_outs) = (lane.outs[0], lane.flags, lane.n_outs);
            if !self.runs_on || lane.unforwarded > 0 || n_outs > 1 || flags.has(LaneFlags::REMOTE) {
                return self.stop(id, Burst { head, span, ..burst });
            }
            let (mut credit, mut goes_on) = (0, false);
            if n_outs > 0 {
                let next = &self.lanes[out as usize];
                if !next.has_room(depth) {
                    return self.stop(id, Burst { head, span, ..burst });
                }
                goes_on = next.is_way(depth);
                credit = self.room_since(out);
                self.warm_after(out);
            }
            let lane = &mut self.lanes[id as usize];
            let (departure, tail) = passes((head, head + u64::from(span)), lane.tail_departure, credit, ser);
            (head, span) = (departure, (tail - departure) as u32);
            lane.count(wavelets);
            if flags.has(LaneFlags::RAMP) {
                let (at, reader, posted) = (lane.next_slot(depth), lane.reader, lane.posted);
                lane.tail_departure = tail;
                lane.used += 1;
                let slot = match usize::from(at) {
                    at @ 0..SLOTS => &mut lane.slots[at],
                    _ => self.slot_mut(id, at),
                };
                *slot = Burst { head, span, ..burst };
                self.arrived(id, reader, posted);
            } else {
                lane.depart(tail);
                if flags.has(LaneFlags::FOREIGN) || usize::from(depth) > SLOTS {
                    lane.used += 1;
                    self.free(id, tail);
                }
                // Else it left no trace but its times; the writer is here, and was not held up.
            }
            if n_outs == 0 {
                return;
            }
            let turn = if flags.has(LaneFlags::TURN0) { self.timing.turn } else { 0 };
            head = departure + u64::from(self.timing.alpha) + u64::from(turn);
            id = out;
            if goes_on {
                (id, head, span) = self.transit(id, (head, span), wavelets);
            }
        }
    }

    /// A burst that has the credit of lane `id` is left at one compute element after the other while no more than that
    /// is to be done: the lane where more is, and its times there; nothing if it has come to its end.
    #[inline(never)]
    fn drop_off(
        &mut self,
        (mut id, mut head, mut span): (u32, u64, u32),
        burst: &Burst,
        wavelets: u32,
        ser: u64,
    ) -> Option<(u32, u64, u32)> {
        let Timing { alpha, turn, lane_depth: depth, .. } = self.timing;
        if !self.runs_on || usize::from(depth) > SLOTS {
            return Some((id, head, span));
        }
        let (lanes, records, ready) = (&mut self.lanes[..], &mut self.records[..], &mut self.ready);
        loop {
            let lane = &lanes[id as usize];
            let (out, flags, n_outs) = (lane.outs[0], lane.flags, lane.n_outs);
            let ends_here = flags.0 & (LaneFlags::RAMP | LaneFlags::REMOTE) == LaneFlags::RAMP;
            if !ends_here || n_outs > 1 || lane.unforwarded > 0 || lane.posted != NONE {
                return Some((id, head, span));
            }
            let mut credit = 0;
            if n_outs > 0 {
                let next = &lanes[out as usize];
                match next.credit(depth) {
                    Some(time) => credit = time,
                    None => return Some((id, head, span)),
                }
                ask(lanes.as_ptr().wrapping_add(out as usize + 1));
            }
            let lane = &mut lanes[id as usize];
            let (departure, tail) = passes((head, head + u64::from(span)), lane.tail_departure, credit, ser);
            lane.tail_departure = tail;
            lane.count(wavelets);
            let at = usize::from(lane.next_slot(depth)) % SLOTS;
            lane.slots[at] = Burst { head: departure, span: (tail - departure) as u32, ..*burst };
            lane.used += 1;
            let record = &mut records[lane.reader as usize];
            record.takeable += 1;
            if record.wait_on == id && matches!(record.status, Status::OnLane | Status::OnPass) {
                record.status = Status::Runnable;
                ready.push(lane.reader);
            }
            if n_outs == 0 {
                return None;
            }
            head = departure + u64::from(alpha) + if flags.has(LaneFlags::TURN0) { u64::from(turn) } else { 0 };
            (id, span) = (out, (tail - departure) as u32);
        }
    }

    /// A burst that has the credit of lane `id`, an empty way (`Lane::is_way`), runs on from lane to lane between
    /// routers while the next one has room: the lane where it has to stop or where more is to be done than to pass on,
    /// and its times there.
    #[inline(never)]
    pub(super) fn transit(&mut self, mut id: u32, (mut head, mut span): (u64, u32), wavelets: u32) -> (u32, u64, u32) {
        let (Timing { alpha, turn, lane_depth: depth, .. }, ser) = (self.timing, self.timing.ser(wavelets));
        let (alpha, turn, is_double) = (u64::from(alpha), u64::from(turn), usize::from(depth) == SLOTS);
        let lanes = &mut self.lanes[..];
        let Lane { outs: [mut out, ..], mut flags, mut tail_departure, .. } = lanes[id as usize];
        loop {
            let next = &lanes[out as usize];
            let (goes_on, after) = (next.is_way(depth), (next.outs[0], next.flags, next.tail_departure));
            // An empty way: `Lane::since`.
            let credit = match goes_on {
                true if is_double => next.take_end,
                true => next.tail_departure,
                false => match next.credit(depth) {
                    Some(time) => time,
                    None => break,
                },
            };
            ask(lanes.as_ptr().wrapping_add(out as usize + 1));
            let lane = &mut lanes[id as usize];
            let (departure, tail) = passes((head, head + u64::from(span)), tail_departure, credit, ser);
            lane.depart(tail);
            lane.count(wavelets);
            head = departure + alpha + if flags.has(LaneFlags::TURN0) { turn } else { 0 };
            span = (tail - departure) as u32;
            (id, out, flags, tail_departure) = (out, after.0, after.1, after.2);
            if !goes_on {
                break;
            }
        }
        (id, head, span)
    }

    /// A burst stays in a lane until a `pump` moves it, or crosses to another worker.
    #[inline(never)]
    fn stop(&mut self, id: u32, burst: Burst) {
        let depth = self.timing.lane_depth;
        let lane = &mut self.lanes[id as usize];
        let at = lane.next_slot(depth);
        lane.count(burst.wavelets());
        (lane.used, lane.unforwarded) = (lane.used + 1, lane.unforwarded + 1);
        *self.slot_mut(id, at) = burst;
        self.note_load(id, &burst);
        if self.is_remote(id) { self.cross(id, burst) } else { self.schedule_lane(id) }
    }

    /// Forwards what a lane can forward.
    pub(super) fn pump(&mut self, id: u32) {
        let depth = self.timing.lane_depth;
        while self.lanes[id as usize].unforwarded > 0 {
            let lane = &self.lanes[id as usize];
            let (outs, n_outs, flags, reader) = (lane.outs, usize::from(lane.n_outs), lane.flags, lane.reader);
            let Some(credit) = self.credit(&outs[..n_outs]) else { return };
            let lane = &mut self.lanes[id as usize];
            let at = lane.next_forward(depth);
            lane.unforwarded -= 1;
            let mut burst = *self.slot(id, at);
            let lane = &mut self.lanes[id as usize];
            let ser = self.timing.ser(burst.wavelets());
            let (departure, tail) = passes((burst.head, burst.tail()), lane.tail_departure, credit, ser);
            if flags.has(LaneFlags::RAMP) {
                lane.tail_departure = tail
            } else {
                lane.depart(tail)
            }
            burst.span = (tail - departure) as u32;
            if flags.has(LaneFlags::RAMP) {
                let slot = self.slot_mut(id, at);
                (slot.head, slot.span) = (departure, burst.span);
            }
            for (at, &out) in outs[..n_outs].iter().enumerate() {
                let turn = if flags.has(LaneFlags::TURN0 << at) { self.timing.turn } else { 0 };
                burst.head = departure + u64::from(self.timing.alpha) + u64::from(turn);
                self.push(out, burst);
            }
            if flags.has(LaneFlags::RAMP) {
                let posted = self.lanes[id as usize].posted;
                self.arrived(id, reader, posted);
            } else {
                self.free(id, tail);
            }
        }
    }

    /// The credit of a burst that would enter all of `outs`, or `None` while one of them is full.
    #[inline(always)]
    pub(super) fn credit(&mut self, outs: &[u32]) -> Option<u64> {
        let depth = self.timing.lane_depth;
        let mut credit = 0;
        for &out in outs {
            let next = &mut self.lanes[out as usize];
            if !next.has_room(depth) {
                next.flags.0 |= LaneFlags::STARVED;
                return None;
            }
            credit = self.room_since(out).max(credit);
        }
        Some(credit)
    }

    /// The credit of a burst that would enter a lane, which has room.
    #[inline(always)]
    fn room_since(&self, id: u32) -> u64 {
        let (lane, depth) = (&self.lanes[id as usize], self.timing.lane_depth);
        match (lane.since(depth), usize::from(lane.next_slot(depth))) {
            (Some(time), _) => time,
            (None, at @ 0..SLOTS) => lane.slots[at].head,
            (None, at) => self.slot(id, at as u8).head,
        }
    }

    /// A burst goes over to the worker that owns the lane behind a remote lane. Its slot there is freed by message.
    #[inline(never)]
    fn cross(&mut self, id: u32, burst: Burst) {
        let lane = &mut self.lanes[id as usize];
        lane.unforwarded -= 1;
        let (peer, there, answers) = (lane.peer, lane.reader, lane.path);
        let place = if burst.rendezvous { self.tile_of(burst.payload) } else { burst.payload };
        let wet = !self.dry && burst.words > 0;
        self.post(peer, Message::Burst { lane: there, burst, answers, wet }, place);
        if !burst.rendezvous && place != NONE {
            self.store.release(place);
        }
    }
}
