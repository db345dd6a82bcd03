//! A lane: the FIFO at one router for one color, with the route behind it.
//!
//! A burst in a lane goes through three states; the ring of slots holds, from the oldest slot on:
//! ```text
//!   free_at
//!   | forwarded, not taken | not forwarded | free ...
//!   |<--------- used ---------------------->|
//! ```
//! A lane without ramp output is freed by the forward itself. Forwarding is all or nothing over the outputs.
//!
//! Invariant: `unforwarded <= used <= lane_depth`. A dead slot's `head` is the time at which it was freed, which *is*
//! the credit of the burst that will use it next; a lane between routers remembers it without the slot (`Lane::since`).

use super::burst::Burst;
use super::ticket::NONE;

/// What a lane is, beside its outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneFlags(pub u16);

impl LaneFlags {
    /// The local compute element is an output.
    pub const RAMP: u16 = 1;
    /// Stands for a lane of another worker: a push becomes a message.
    pub const REMOTE: u16 = 2;
    /// Output 0, 1, 2 turns (three bits from here).
    pub const TURN0: u16 = 4;
    /// The writer found no room here: it has to be told when there is.
    pub const STARVED: u16 = 32;
    /// Side of the router that the link enters (two bits from here).
    pub const SIDE0: u16 = 64;
    /// Another worker writes here.
    pub const FOREIGN: u16 = 256;
    /// Between two routers of this worker, one output: what finds it empty passes.
    pub(super) const WAY: u16 = 512;

    /// Is one of the bits of `flags` set?
    #[inline(always)]
    pub fn has(self, flags: u16) -> bool {
        self.0 & flags != 0
    }
}

/// Who writes into a lane, and so who waits for its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Upstream {
    /// A lane of this worker.
    Lane,
    /// A send port of this worker.
    Port,
    /// A lane or port of the worker in `Lane::peer`; the id is that of its stand-in there.
    Worker,
}

/// One lane: a cache line, and its first two slots in the next one. Times are absolute cycles.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
pub struct Lane {
    /// Next lanes, `n_outs` of them.
    pub outs: [u32; 3],
    /// Ramp, remote, turns, starved, side, foreign, way.
    pub flags: LaneFlags,
    /// Outputs other than the ramp.
    pub n_outs: u8,
    /// What `upstream` is.
    pub(super) upstream_kind: Upstream,
    /// Id of the writer, read as `upstream_kind` says.
    pub(super) upstream: u32,
    /// Reader PE (on this worker); of a remote lane: its id on the other worker.
    pub reader: u32,
    /// Cycles from the sender's router to here without waiting: alpha x hops + turns. Of a remote lane: the answers
    /// that a burst waits for behind the crossing (sinks there and crossings further on).
    pub path: u32,
    /// The oldest receive that is posted here and has not taken its burst. With `ON_TRACK`: the track that ends here.
    pub(super) posted: u32,
    pub(super) free_at: u8,
    pub(super) unforwarded: u8,
    pub(super) used: u8,
    /// The other worker, of remote lanes and of lanes fed by one.
    pub peer: u8,
    /// Bursts that entered.
    pub bursts: u32,
    pub(super) tail_departure: u64,
    /// With the ramp as an output: the end of the last take. Without: the tail departure before the last, see `since`.
    pub(super) take_end: u64,
    /// Wavelets that entered.
    pub wavelets: u64,
    pub(super) slots: [Burst; SLOTS],
}

/// Slots beside a lane; those of deeper lanes are in `Net`.
pub(super) const SLOTS: usize = 2;
const _: () = assert!(std::mem::size_of::<Lane>() == 128);

impl Lane {
    /// A lane without outputs, writer or reader.
    pub fn new() -> Self {
        Self {
            outs: [NONE; 3],
            flags: LaneFlags::default(),
            n_outs: 0,
            upstream_kind: Upstream::Port,
            upstream: NONE,
            reader: NONE,
            path: 0,
            posted: NONE,
            free_at: 0,
            unforwarded: 0,
            used: 0,
            peer: 0,
            bursts: 0,
            tail_departure: 0,
            take_end: 0,
            wavelets: 0,
            slots: [Burst::default(); SLOTS],
        }
    }

    /// Names the writer; `peer` is its worker, if that is another one.
    pub fn feed(&mut self, kind: Upstream, upstream: u32, peer: u8) {
        (self.upstream_kind, self.upstream, self.peer) = (kind, upstream, peer);
        if kind == Upstream::Worker {
            self.flags.0 |= LaneFlags::FOREIGN;
        }
    }

    /// What writes into this lane, and its id.
    pub fn writer(&self) -> (Upstream, u32) {
        (self.upstream_kind, self.upstream)
    }

    /// Side of the router that the link enters, 0 to 3.
    pub fn side(&self) -> u8 {
        (self.flags.0 / LaneFlags::SIDE0 % 4) as u8
    }

    /// Adds a next lane, once the reader and the writer are named; `turns` when the burst changes direction here.
    pub fn add_out(&mut self, lane: u32, turns: bool) {
        let at = usize::from(self.n_outs);
        self.outs[at] = lane;
        self.n_outs += 1;
        if turns {
            self.flags.0 |= LaneFlags::TURN0 << at;
        }
        const OTHERS: u16 = LaneFlags::RAMP | LaneFlags::REMOTE | LaneFlags::FOREIGN;
        if self.n_outs == 1 && !self.flags.has(OTHERS) {
            self.flags.0 |= LaneFlags::WAY;
        } else {
            self.flags.0 &= !LaneFlags::WAY;
        }
    }

    /// Is there a slot for one more burst?
    #[inline(always)]
    pub fn has_room(&self, depth: u8) -> bool {
        self.used < depth
    }

    /// Since when there has been room for the next burst, if this cache line says it: a lane between routers frees a
    /// slot whenever a tail departs, so of two slots the last two departures are the times. Transit touches no slot.
    #[inline(always)]
    pub(super) fn since(&self, depth: u8) -> Option<u64> {
        let here = usize::from(depth) <= SLOTS && self.flags.0 & (LaneFlags::RAMP | LaneFlags::REMOTE) == 0;
        here.then_some(if depth - self.used == 2 { self.take_end } else { self.tail_departure })
    }

    /// The credit of a burst that would enter this lane, or `None` while it is full. Not for deeper ones than `SLOTS`.
    #[inline(always)]
    pub(super) fn credit(&self, depth: u8) -> Option<u64> {
        let slot = || self.slots[usize::from(self.next_slot(depth)) % SLOTS].head;
        self.has_room(depth).then(|| self.since(depth).unwrap_or_else(slot))
    }

    /// Does a burst that comes now only pass, if the next lane has room? (`since` answers for its slots.)
    #[inline(always)]
    pub(super) fn is_way(&self, depth: u8) -> bool {
        self.flags.has(LaneFlags::WAY) && self.used == 0 && usize::from(depth) <= SLOTS
    }

    /// A tail departs over a lane between routers.
    #[inline(always)]
    pub(super) fn depart(&mut self, tail: u64) {
        (self.take_end, self.tail_departure) = (self.tail_departure, tail);
    }

    /// Bursts that the reader can take.
    #[inline(always)]
    pub fn takeable(&self) -> u8 {
        if self.flags.has(LaneFlags::RAMP) { self.used - self.unforwarded } else { 0 }
    }

    /// Bursts that are here, forwarded or not.
    pub fn held(&self) -> u8 {
        self.used
    }

    /// Bursts that wait to be forwarded.
    pub fn waiting(&self) -> u8 {
        self.unforwarded
    }

    /// The slot of the next push, within the lane; its `head` is the credit.
    #[inline(always)]
    pub(super) fn next_slot(&self, depth: u8) -> u8 {
        beyond(self.free_at, self.used, depth)
    }

    /// The slot of the oldest burst that waits to be forwarded.
    #[inline(always)]
    pub(super) fn next_forward(&self, depth: u8) -> u8 {
        beyond(self.free_at, self.used - self.unforwarded, depth)
    }

    /// Counts a burst that comes in.
    #[inline(always)]
    pub(super) fn count(&mut self, wavelets: u32) {
        self.bursts += 1;
        self.wavelets += u64::from(wavelets);
    }

    /// Counts so many bursts at once.
    pub(super) fn count_all(&mut self, bursts: u32, wavelets: u64) {
        self.bursts += bursts;
        self.wavelets += wavelets;
    }

    /// A burst comes and is taken at once: the slot that it would have lain in, of a lane that holds nothing.
    #[inline(always)]
    pub(super) fn skip(&mut self, depth: u8) -> u8 {
        debug_assert_eq!(self.used, 0);
        let at = self.free_at;
        self.free_at = beyond(at, 1, depth);
        at
    }

    /// Moves the free cursor and returns the slot it was on.
    #[inline(always)]
    pub(super) fn release(&mut self, depth: u8) -> u8 {
        let at = self.free_at;
        self.free_at = beyond(at, 1, depth);
        self.used -= 1;
        at
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::new()
    }
}

/// The slot `by` after `at` in a ring of `depth`; `by <= depth`.
#[inline(always)]
fn beyond(at: u8, by: u8, depth: u8) -> u8 {
    let next = at + by;
    if next >= depth { next - depth } else { next }
}
