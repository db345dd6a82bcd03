//! Tracks: links of a ring, between two PEs of this worker, along which block follows block.
//!
//! ```text
//!   giver --port--> lane (way) --> lane --> taker        what a block meets here, block after block, is nothing but
//!     \________________ track _______________/           the times that the block before it has left behind
//! ```
//! While a port sends nothing but blocks of posted exchanges, and its lanes carry nothing else, all that has to be kept
//! is those times: a block moves when both ends have posted, in one step, and neither port nor lanes are touched. Any
//! other operation on the port or on the last lane ends that (`leave`), and so does the end of a pass: counters and
//! times are written where they belong, and what one end alone has posted is posted again in the usual way.
//!
//! Invariant: a port has `ON_TRACK` as `current`, and its last lane as `posted`, exactly while a track stands for them;
//! both then hold nothing. A ticket stands on a track while its bit in `Record::standing` is set and it is the last one
//! of its end there (`is_last`): another ticket may have come onto the track, and have left it, since.
//! Invariant: times, counters and what PEs wait for are what `Net::give` and `receive_posted` would make of them.
//! Called by `exchange`; `leave` by whoever finds a port or a lane on a track.

use super::burst::{Ctrl, Timing};
use super::lane::SLOTS;
use super::net::{Net, Store};
use super::record::Status;
use super::ticket::{NONE, Port, Ticket, TicketKind, TicketState};
use super::warm::vec_on_large_pages;

/// In `Lane::posted`: the lane belongs to the track of the other bits.
pub(super) const ON_TRACK: u32 = 1 << 31;

/// See the module.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Track {
    /// The ticket of the block that is given, and that of the block that is taken: the last ones, if there were any.
    pub(super) tickets: [u32; 2],
    /// The giver has posted, the taker has not; and the other way round.
    pub(super) is_given: bool,
    pub(super) is_asked: bool,
    /// Lane slots: the next one.
    pub(super) free_at: u8,
    /// The port, the lane between (or `NONE`), the last lane.
    pub(super) port: u32,
    pub(super) way: u32,
    pub(super) lane: u32,
    /// The PE that gives, and the one that takes.
    pub(super) giver: u32,
    pub(super) taker: u32,
    /// Cycles from the sender's router to the taker's, and those of a turn among them.
    pub(super) path: u32,
    pub(super) turn: u32,
    /// Blocks since the track was laid, and their wavelets.
    pub(super) bursts: u32,
    pub(super) wavelets: u64,
    /// As in `Port::previous_end`.
    pub(super) port_end: u64,
    /// As in `Lane::tail_departure` and `take_end` of the lane between.
    pub(super) way_tails: [u64; 2],
    /// As in the last lane: `tail_departure`, `take_end`, the times of its slots.
    pub(super) tail_departure: u64,
    pub(super) take_end: u64,
    pub(super) freed: [u64; SLOTS],
}

const _: () = assert!(std::mem::size_of::<Track>() == 128);

/// All tracks; one that was left is used again.
#[derive(Debug)]
pub(super) struct Tracks {
    all: Vec<Track>,
    free: u32,
}

impl Tracks {
    /// None yet, with address space for one a port; the host backs what is used.
    pub(super) fn of(ports: usize) -> Self {
        Self { all: vec_on_large_pages(ports), free: NONE }
    }

    /// Has the host back the first `n`, of which there are none yet.
    pub(super) fn back(&mut self, n: usize) {
        const PAGE: usize = 4096;
        let all = self.all.spare_capacity_mut();
        let n = n.min(all.len());
        all[..n].iter_mut().step_by(PAGE / size_of::<Track>()).for_each(|track| _ = track.write(Track::BLANK));
    }

    pub(super) fn add(&mut self, track: Track) -> u32 {
        match self.free {
            NONE => {
                self.all.push(track);
                self.all.len() as u32 - 1
            }
            id => {
                self.free = self.all[id as usize].port;
                self.all[id as usize] = track;
                id
            }
        }
    }

    /// Takes a track away; what it was.
    pub(super) fn remove(&mut self, id: u32) -> Track {
        let track = self.all[id as usize].clone();
        self.all[id as usize].port = self.free;
        self.free = id;
        track
    }

    /// How many there are, with those that were taken away.
    pub(super) fn len(&self) -> u32 {
        self.all.len() as u32
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.free = NONE;
    }

    /// Where a track lies, for hints.
    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> *const Track {
        self.all.as_ptr().wrapping_add(id as usize)
    }
}

impl std::ops::Index<u32> for Tracks {
    type Output = Track;
    #[inline(always)]
    fn index(&self, id: u32) -> &Track {
        &self.all[id as usize]
    }
}

impl Track {
    /// Of nothing.
    const BLANK: Self = Self {
        tickets: [NONE; 2],
        is_given: false,
        is_asked: false,
        free_at: 0,
        port: NONE,
        way: NONE,
        lane: NONE,
        giver: NONE,
        taker: NONE,
        path: 0,
        turn: 0,
        bursts: 0,
        wavelets: 0,
        port_end: 0,
        way_tails: [0; 2],
        tail_departure: 0,
        take_end: 0,
        freed: [0; SLOTS],
    };

    /// A block of `words` moves, posted by its giver and by its taker at these times: when the two end. As `departs`,
    /// `passes` and `begins`, without what cannot be.
    #[inline(always)]
    fn carry(&mut self, (given, asked): (u64, u64), words: u32, timing: &Timing) -> [u64; 2] {
        let (alpha, ramp) = (u64::from(timing.alpha), u64::from(timing.ramp));
        let ser = timing.ser(words);
        let slot = usize::from(self.free_at) % SLOTS;
        let room = self.freed[slot];
        let [before, then] = self.way_tails;
        let credit = match (self.way, timing.lane_depth) {
            (NONE, _) => room,
            (_, 1) => before,
            _ => then,
        };
        let left = given.max(self.port_end).max(credit) + ramp;
        let (mut head, mut tail) = (left + alpha, left + ser + alpha);
        if self.way != NONE {
            let departure = head.max(before).max(room);
            let departed = (departure + ser).max(tail);
            self.way_tails = [departed, before];
            let onward = alpha + u64::from(self.turn);
            (head, tail) = (departure + onward, departed + onward);
        }
        let departure = head.max(self.tail_departure);
        let tail = (departure + ser).max(tail);
        let start = asked.max(departure + ramp).max(self.take_end);
        let end = (start + ser).max(tail + ramp) + u64::from(timing.stage);
        let send_end = start - u64::from(self.path) + ser - 2 * ramp;
        (self.tail_departure, self.take_end, self.port_end) = (tail, end, send_end);
        self.freed[slot] = start;
        self.free_at = if self.free_at + 1 == timing.lane_depth { 0 } else { self.free_at + 1 };
        self.bursts += 1;
        self.wavelets += u64::from(words);
        (self.is_given, self.is_asked) = (false, false);
        [send_end, end]
    }

    /// Ticket and PE at the other end than that of a send, or of a receive.
    #[inline(always)]
    pub(super) fn far_end(&self, of: TicketKind) -> (u32, u32) {
        let [sent, taken] = self.tickets;
        if of == TicketKind::Send { (taken, self.taker) } else { (sent, self.giver) }
    }

    /// Has its giver (`end` 0), or its taker (1), posted what has not been served?
    pub(super) fn is_posted(&self, end: usize) -> bool {
        if end == 0 { self.is_given } else { self.is_asked }
    }

    /// Is a ticket the last one of the giver (`end` 0), or of the taker (1)?
    #[inline(always)]
    pub(super) fn is_last(&self, end: usize, ticket: u32) -> bool {
        self.tickets[end] == ticket
    }
}

impl Port {
    /// In `current`: a track stands for this port; `place` says which.
    pub(super) const ON_TRACK: u32 = NONE - 2;
}

impl Ticket {
    /// The track of a ticket that stands on one.
    #[inline(always)]
    pub(super) fn track(&self) -> u32 {
        self.tail as u32
    }
}

impl<S: Store> Net<S> {
    /// Send `ticket` is posted on a track that waits for one.
    #[inline(always)]
    pub(super) fn give_on(&mut self, id: u32, ticket: u32) {
        let track = &mut self.tracks.all[id as usize];
        track.tickets[0] = ticket;
        if track.is_asked {
            return self.carry(id);
        }
        track.is_given = true;
        // As a burst that has come to the lane.
        let record = &mut self.records[track.taker as usize];
        record.takeable += 1;
        if record.wait_on == track.lane && matches!(record.status, Status::OnLane | Status::OnPass) {
            self.leave(id);
        }
    }

    /// Receive `ticket` of `pe` is posted on a track that waits for one.
    #[inline(always)]
    pub(super) fn ask_on(&mut self, id: u32, ticket: u32, pe: u32) {
        let track = &mut self.tracks.all[id as usize];
        track.tickets[1] = ticket;
        track.is_asked = true;
        if track.is_given {
            self.records[pe as usize].takeable -= 1;
            self.carry(id);
        }
    }

    /// A block moves: both ends are posted, neither has been served.
    #[inline(always)]
    fn carry(&mut self, id: u32) {
        let track = &mut self.tracks.all[id as usize];
        let [s, t] = self.tickets.two(track.tickets);
        if s.words != t.words {
            return self.misfit(id);
        }
        let (from, to, words) = (s.place, t.place, s.words);
        let [sent, taken] = track.carry((s.ready, t.ready), u32::from(words), &self.timing);
        let trades = s.hands_over && t.hands_over && s.ctrl.position == t.ctrl.position && !self.dry;
        (s.state, s.end) = (TicketState::Done, sent);
        (t.state, t.end, t.next, t.tally) = (TicketState::Done, taken, u32::from(words), s.tally);
        let (giver_waits, taker_waits, giver, taker) = (s.awaited, t.awaited, track.giver, track.taker);
        if trades {
            (s.ctrl.kind_slot, t.ctrl.kind_slot) = (to, from);
        } else {
            if !t.hands_over {
                t.ctrl = Ctrl::default();
            }
            self.copy_block(from, to, words);
        }
        if taker_waits {
            self.ended(taker);
        }
        if giver_waits {
            self.ended(giver);
        }
    }

    /// The words of a block that does not change owners.
    #[inline(never)]
    fn copy_block(&mut self, from: u32, to: u32, words: u16) {
        if !self.dry {
            self.store.copy(from, to, usize::from(words));
        }
    }

    /// The two ends are not of one length, which is for the taker to find out.
    #[cold]
    fn misfit(&mut self, id: u32) {
        self.tracks.all[id as usize].is_given = true;
        // Its taker has been told that something is here.
        self.leave(id);
    }
}
