//! Hints to the host about the memory of the fabric's state: large pages, and reading ahead in the order of addresses.
//!
//! Invariant: no value is read and nothing changes; a host that ignores a hint computes the same.

use std::ops::Range;

use super::net::{Net, Store};
use super::ready::Soon;
use super::ticket::{NONE, Ticket, TicketKind};

/// A vector of `len` elements on large pages where the host has them: a wafer's state is some tens of megabytes that
/// are visited in jumps, and small pages would cost a walk of the page table for most of them.
pub fn vec_on_large_pages<T>(len: usize) -> Vec<T> {
    let vec: Vec<T> = Vec::with_capacity(len);
    advise_large(vec.as_ptr().cast(), size_of::<T>() * len);
    vec
}

/// Asks for large pages behind `bytes` bytes from `start` on, where whole ones fit.
pub(crate) fn advise_large(start: *const u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let skip = start.align_offset(PAGE);
        if let Some(len) = bytes.checked_sub(skip).filter(|len| *len >= 2 << 20) {
            // SAFETY: the range is inside one live allocation, and the advice changes no contents.
            unsafe { libc::madvise(start.add(skip).cast_mut().cast(), len / PAGE * PAGE, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

/// Asks for every cache line of a slice.
#[inline]
pub fn warm<T>(slice: &[T]) {
    let (start, bytes) = (slice.as_ptr().cast::<u8>(), size_of_val(slice));
    let mut offset = 0;
    while offset < bytes {
        ask(start.wrapping_add(offset));
        offset += LINE;
    }
}

/// Asks for every cache line of one element; their number is known to the compiler.
#[inline(always)]
pub(super) fn warm_one<T>(at: *const T) {
    let start = at.cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE) {
        ask(start.wrapping_add(offset));
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;
/// Lines of a tile that are asked for: the hardware goes on from there. (64x64 cores with tiles of 32 x 32, several
/// runs: 5 % slower with all of them, or with none.)
const LINES: usize = 8;

/// Asks for the cache line at an address, valid or not.
#[inline(always)]
pub fn ask<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch does not access memory as the program sees it, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Where programs lie, one behind the other, for hints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Programs {
    start: usize,
    size: usize,
}

impl Programs {
    /// Those of a slice.
    pub fn of<T>(all: &[T]) -> Self {
        Self { start: all.as_ptr().addr(), size: size_of::<T>() }
    }

    /// Asks for a program.
    #[inline(always)]
    pub(super) fn warm(self, pe: u32) {
        let at = std::ptr::without_provenance::<u8>(self.start.wrapping_add(pe as usize * self.size));
        let mut offset = 0;
        while offset < self.size {
            ask(at.wrapping_add(offset));
            offset += LINE;
        }
    }
}

impl<S: Store> Net<S> {
    /// Programs that are woken are asked for.
    pub fn asks_for(&mut self, programs: Programs) {
        self.programs = programs;
    }

    /// Brings the state of PEs, lanes and ports into the cache.
    pub fn warm(&self, pes: Range<usize>, lanes: Range<usize>, ports: Range<usize>) {
        warm(&self.records[pes]);
        warm(&self.lanes[lanes]);
        warm(&self.ports[ports]);
    }

    /// While `pe` runs, asks for what the PE behind it begins with, if nothing else is woken: its program, the lane
    /// that it will send into, if that is known, the first of its tickets if one is open; and for the next record.
    #[inline(always)]
    pub fn warm_next(&self, pe: u32) {
        if let Some((soon, sinks)) = self.ready.soon() {
            return self.warm_soon(pe, soon, sinks);
        }
        let Some((next, after)) = self.ready.next() else { return };
        if let Some(after) = after {
            ask(self.records.as_ptr().wrapping_add(after as usize));
        }
        let record = &self.records[next as usize];
        if record.way != NONE {
            self.warm_lane(record.way as usize);
        }
        if record.is_open() {
            ask(self.tickets.at(record.tickets));
        }
        self.programs.warm(next);
    }

    /// What a sweep has chosen comes in step by step, as one thing names the next: programs and records; open tickets;
    /// their tracks, or their ports and lanes, and tiles; the far ends of tracks, or what is behind the ports; the
    /// tickets of the PEs there.
    #[inline]
    fn warm_soon(&self, pe: u32, soon: &Soon, sinks: &[u32]) {
        if let Some(pe) = soon.get(3) {
            self.programs.warm(pe);
            ask(self.records.as_ptr().wrapping_add(pe as usize));
        }
        if let Some(pe) = soon.get(2) {
            self.warm_tickets(pe);
        }
        if let Some(pe) = soon.get(1) {
            let record = &self.records[pe as usize];
            self.warm_tile(record.works_on, usize::from(record.works_on_lines) * (LINE / 4));
            self.each_open(pe, |t, stands| {
                match t.kind {
                    _ if stands => warm_one(self.tracks.at(t.track())),
                    TicketKind::Receive => self.warm_lane(t.at as usize),
                    _ => ask(self.ports.as_ptr().wrapping_add(t.at as usize)),
                }
                if t.kind == TicketKind::Receive {
                    self.warm_tile(t.lies(), usize::from(t.words));
                }
            });
        }
        if let Some(pe) = soon.get(0) {
            self.each_open(pe, |t, stands| match t.kind {
                _ if stands => self.warm_far_end(t),
                TicketKind::Send => {
                    let way = self.ports[t.at as usize].outs[0];
                    self.warm_lane(way as usize);
                    self.warm_after(way);
                    ask(self.records.as_ptr().wrapping_add(sinks[t.at as usize] as usize));
                }
                _ => {}
            });
        }
        let record = &self.records[pe as usize];
        if record.open & !record.standing != 0 {
            self.each_open(pe, |t, stands| {
                if !stands && t.kind == TicketKind::Send && sinks[t.at as usize] != NONE {
                    self.warm_tickets(sinks[t.at as usize]);
                }
            });
        }
    }

    /// Asks for the first lines of a tile.
    #[inline(always)]
    fn warm_tile(&self, place: u32, words: usize) {
        if !self.dry {
            warm(self.store.words(place, words.min(LINES * (LINE / 4))));
        }
    }

    /// Asks for the tickets of a PE: four are all that most programs have open at once.
    #[inline]
    fn warm_tickets(&self, pe: u32) {
        let tickets = self.tickets.at(self.records[pe as usize].tickets);
        (0..4).for_each(|i| ask(tickets.wrapping_add(i)));
    }

    /// Asks for the ticket and the PE at the other end of a track.
    #[inline(always)]
    fn warm_far_end(&self, t: &Ticket) {
        let (ticket, pe) = self.tracks[t.track()].far_end(t.kind);
        ask(self.tickets.at(ticket));
        ask(self.records.as_ptr().wrapping_add(pe as usize));
    }

    /// Calls `each` with the open tickets of a PE, and whether they stand on tracks.
    #[inline(always)]
    fn each_open(&self, pe: u32, mut each: impl FnMut(&Ticket, bool)) {
        const FOUR: u8 = 0b1111;
        let record = &self.records[pe as usize];
        if record.open == FOUR && record.standing & FOUR == FOUR {
            return self.tickets.some::<4>(record.tickets).iter().for_each(|t| each(t, true));
        }
        for (stands, which) in [(true, record.standing), (false, !record.standing)] {
            self.tickets.any_of(record, record.open & which, |t| {
                each(t, stands);
                false
            });
        }
    }

    /// Asks for the lane after `lane`, not for its slots: along a way they lie one behind the other.
    #[inline(always)]
    pub(super) fn warm_after(&self, lane: u32) {
        ask(self.lanes.as_ptr().wrapping_add(lane as usize + 1));
    }

    #[inline(always)]
    fn warm_lane(&self, lane: usize) {
        warm_one(self.lanes.as_ptr().wrapping_add(lane));
    }

    /// Asks for a port and for the first lane that a send on it will enter.
    #[inline(always)]
    pub fn warm_way(&self, port: u32, lane: u32) {
        ask(self.ports.as_ptr().wrapping_add(port as usize));
        self.warm_lane(lane as usize);
    }
}
