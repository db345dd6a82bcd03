//! How tracks are laid, and left for anything that is not a block of an exchange.
//!
//! Invariant: a track is laid where nothing is under way and nobody waits, but for a receive that is posted already,
//! which is that of its first block; when it is left, counters, times and what is posted are where any other operation
//! looks for them.
//! Called by `exchange`, by operations that meet a port or a lane on a track, and at the end of a pass.

use super::lane::{Lane, LaneFlags};
use super::net::{Net, Store};
use super::record::Status;
use super::ticket::{NONE, Port};
use super::track::{ON_TRACK, Track};

impl<S: Store> Net<S> {
    /// The track of a port, which is laid if it can be.
    pub(super) fn track_of_port(&mut self, id: u32) -> Option<u32> {
        let port = &self.ports[id as usize];
        match port.current {
            Port::ON_TRACK => Some(port.place),
            _ => self.lay(id),
        }
    }

    /// The track that a lane ends, if it is on one.
    #[inline(always)]
    pub(super) fn track_of_lane(&self, id: u32) -> Option<u32> {
        let posted = self.lanes[id as usize].posted;
        (posted != NONE && posted & ON_TRACK != 0).then_some(posted & !ON_TRACK)
    }

    /// Lays a track from a port on: over one or two lanes, to one taker, where nothing is under way or waited for.
    fn lay(&mut self, id: u32) -> Option<u32> {
        const OTHERS: u16 = LaneFlags::REMOTE | LaneFlags::FOREIGN | LaneFlags::STARVED;
        let port = &self.ports[id as usize];
        if !port.is_idle() || port.n_outs != 1 || port.answers != 1 || port.pe == NONE {
            return None;
        }
        let is_quiet = |lane: &Lane| lane.held() == 0 && !lane.flags.has(OTHERS);
        let (mut way, mut last) = (NONE, port.outs[0]);
        let mut turn = 0;
        let first = &self.lanes[last as usize];
        if first.flags.has(LaneFlags::WAY) && is_quiet(first) {
            turn = if first.flags.has(LaneFlags::TURN0) { self.timing.turn } else { 0 };
            (way, last) = (last, first.outs[0]);
        }
        let lane = &self.lanes[last as usize];
        if !is_quiet(lane) || !lane.flags.has(LaneFlags::RAMP) || lane.n_outs > 0 {
            return None;
        }
        let (taker, record) = (lane.reader, &self.records[lane.reader as usize]);
        // A receive that is posted already is that of the first block.
        let asked = lane.posted;
        if asked != NONE && self.tickets[asked].next != NONE {
            return None;
        }
        if record.wait_on == last && matches!(record.status, Status::OnLane | Status::OnPass) {
            return None;
        }
        let way_tails = match self.lanes.get(way as usize) {
            Some(lane) => [lane.tail_departure, lane.take_end],
            None => [0; 2],
        };
        let track = Track {
            tickets: [NONE, asked],
            is_given: false,
            is_asked: asked != NONE,
            free_at: lane.next_slot(self.timing.lane_depth),
            port: id,
            way,
            lane: last,
            giver: port.pe,
            taker,
            path: lane.path,
            turn,
            bursts: 0,
            wavelets: 0,
            port_end: port.previous_end,
            way_tails,
            tail_departure: lane.tail_departure,
            take_end: lane.take_end,
            freed: lane.slots.map(|slot| slot.head),
        };
        let at = self.tracks.add(track);
        let port = &mut self.ports[id as usize];
        (port.current, port.place) = (Port::ON_TRACK, at);
        self.lanes[last as usize].posted = at | ON_TRACK;
        if asked != NONE {
            let record = &mut self.records[taker as usize];
            record.standing |= 1 << (asked - record.tickets);
            self.tickets[asked].tail = u64::from(at);
        }
        Some(at)
    }

    /// Ends the track of a port, if it is on one.
    #[inline(always)]
    pub(super) fn off_port(&mut self, port: u32) {
        let port = &self.ports[port as usize];
        if port.current == Port::ON_TRACK {
            self.leave(port.place);
        }
    }

    /// Ends the track of a lane, if it is on one. (Where there is none, the lane need not be in the cache yet.)
    #[inline(always)]
    pub fn off_lane(&mut self, lane: u32) {
        if self.tracks.len() > 0
            && let Some(id) = self.track_of_lane(lane)
        {
            self.leave(id);
        }
    }

    /// Ends all tracks.
    pub fn leave_tracks(&mut self) {
        if self.tracks.len() == 0 {
            return;
        }
        for id in 0..self.tracks.len() {
            let Track { port, .. } = self.tracks[id];
            let port = self.ports.get(port as usize);
            if port.is_some_and(|port| port.current == Port::ON_TRACK && port.place == id) {
                self.leave(id);
            }
        }
        self.tracks.clear();
        self.records.iter_mut().for_each(|record| record.standing = 0);
    }

    /// Ends a track, see the module.
    #[inline(never)]
    pub(super) fn leave(&mut self, id: u32) {
        let track = self.tracks.remove(id);
        let depth = self.timing.lane_depth;
        let port = &mut self.ports[track.port as usize];
        port.current = NONE;
        port.previous_end = track.port_end;
        port.emitted += track.bursts;
        if track.way != NONE {
            let lane = &mut self.lanes[track.way as usize];
            lane.count_all(track.bursts, track.wavelets);
            [lane.tail_departure, lane.take_end] = track.way_tails;
        }
        let lane = &mut self.lanes[track.lane as usize];
        lane.count_all(track.bursts, track.wavelets);
        (lane.tail_departure, lane.take_end, lane.posted) = (track.tail_departure, track.take_end, NONE);
        lane.slots.iter_mut().zip(track.freed).for_each(|(slot, freed)| slot.head = freed);
        lane.free_at = track.free_at % depth;
        for ticket in track.tickets.into_iter().filter(|ticket| *ticket != NONE) {
            let t = &mut self.tickets[ticket];
            let record = &mut self.records[t.pe as usize];
            let bit = 1 << (ticket - record.tickets);
            if record.standing & bit != 0 && t.track() == id {
                record.standing &= !bit;
                t.tail = 0;
            }
        }
        let [sent, taken] = track.tickets;
        if track.is_given {
            self.records[track.taker as usize].takeable -= u16::from(!track.is_asked);
            let t = &mut self.tickets[sent];
            (t.next, t.end, t.tail) = (NONE, 0, 0);
            let (depth, to) = (t.tally, if track.way == NONE { track.lane } else { track.way });
            self.give(sent, to, depth);
        }
        if track.is_asked {
            self.tickets[taken].next = NONE;
            self.receive_posted(track.lane, taken);
        }
    }
}
