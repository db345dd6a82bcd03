//! What the fabric knows of a compute element: its clock, what it waits for, its open tickets.
//!
//! ```text
//!   Runnable --polled--> (blocks) OnLane / OnSend / OnTicket / OnPass --wake--> Runnable
//!            --polled--> Finished | Failed
//! ```
//! Invariant: a PE is in the ready list exactly when its status is `Runnable`.

use std::panic::Location;

use super::net::{Net, Store};
use super::swift::Span;
use super::ticket::{NONE, TicketKind, TicketState};

/// What a PE is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In the ready list.
    Runnable,
    /// Waits for a burst in a lane.
    OnLane,
    /// Waits for the end of the send that a port keeps the account of.
    OnSend,
    /// Waits for the end of a ticket.
    OnTicket,
    /// Parked at the first receive of a pass: counts as finished.
    OnPass,
    /// The program returned.
    Finished,
    /// The program was stopped by an error.
    Failed,
}

/// Clock and wait state of one PE; one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Record {
    /// Time of the compute element.
    pub now: u64,
    /// Cycles spent computing and issuing.
    pub busy: u64,
    /// Longest chain of dependent messages that led here.
    pub depth: u32,
    /// Lane, port or ticket it waits for.
    pub wait_on: u32,
    /// The send that has to end before the wait for a lane begins, where a program waits for both at once: its ticket,
    /// or its port and `BY_PORT`.
    pub behind: u32,
    /// Its tickets of posted operations: `Record::OPEN_MAX` from here on, once it posted one (in a
    /// sweep: from the launch on).
    pub tickets: u32,
    /// All tiles of open tickets lie in these words: what lies beside them needs no look at the tickets.
    pub hull: [u32; 2],
    /// The first lane that it will send into when it goes on, if that is known; for hints.
    pub way: u32,
    /// Bursts that wait to be taken, on any lane: with none, no lane has to be looked at.
    pub takeable: u16,
    /// Which of its tickets are open, a bit each.
    pub open: u8,
    /// Which of its tickets were last posted on a track, a bit each; whether one still stands there: `Track::is_last`.
    pub standing: u8,
    /// What the program will read and write when it goes on, if that is known, and its cache lines; for hints.
    pub works_on: u32,
    /// See `works_on`.
    pub works_on_lines: u8,
    /// Tickets that have to end before it goes on, while it waits for tickets.
    pub awaits: u8,
    /// Doing what.
    pub status: Status,
    /// The operation in the program's source where it blocked last.
    pub place: Option<&'static Location<'static>>,
}

const _: () = assert!(std::mem::size_of::<Record>() == 64);

impl Record {
    /// Most tickets that a PE may have open (design.md section 2).
    pub const OPEN_MAX: u32 = u8::BITS;

    /// A PE at time zero, about to start.
    pub fn new() -> Self {
        Self {
            now: 0,
            busy: 0,
            depth: 0,
            wait_on: NONE,
            behind: NONE,
            tickets: NONE,
            hull: [0; 2],
            way: NONE,
            takeable: 0,
            open: 0,
            standing: 0,
            works_on: 0,
            works_on_lines: 0,
            awaits: 0,
            status: Status::Runnable,
            place: None,
        }
    }

    /// Is a posted operation open?
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.open != 0
    }

    /// May the PE post one more?
    #[inline(always)]
    pub fn may_post(&self) -> bool {
        self.open != u8::MAX
    }

    /// A ticket is opened on a tile.
    #[inline(always)]
    pub(super) fn cover(&mut self, Span { place, words }: Span) {
        let [from, to] = if self.open == 0 { [u32::MAX, 0] } else { self.hull };
        self.hull = [from.min(place), to.max(place + words)];
    }

    /// The open tickets, in no order.
    #[inline(always)]
    pub fn open_tickets(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, mut open) = (self.tickets, self.open);
        std::iter::from_fn(move || {
            let at = open.trailing_zeros();
            open &= open.wrapping_sub(1);
            (at < Self::OPEN_MAX).then(|| first + at)
        })
    }

    /// Notes what the PE waits for.
    #[inline]
    pub fn block(&mut self, status: Status, on: u32) {
        self.status = status;
        self.wait_on = on;
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Store> Net<S> {
    /// Of the tickets that a PE waits for at once, which end in the order in which they were posted as far as its
    /// program sees: the first open one, and the time when it comes to it.
    pub(super) fn waits_for_tickets(&self, pe: u32) -> (Status, u32, u64) {
        let r = &self.records[pe as usize];
        let (mut first, mut before) = (r.wait_on, r.now);
        for id in self.in_order(r) {
            let t = &self.tickets[id];
            match t.state {
                _ if !t.awaited => {}
                TicketState::Done => before = before.max(t.end),
                _ => {
                    first = id;
                    break;
                }
            }
        }
        (r.status, first, before)
    }

    /// Depth of what a PE has received, with the tickets that ended before the first one that it still waits for: its
    /// program has not closed them, as far as the host did not look.
    pub fn depth(&self, pe: u32) -> u32 {
        let r = &self.records[pe as usize];
        let waits = r.status == Status::OnTicket;
        let awaited = self.in_order(r).map(|id| &self.tickets[id]).filter(|t| waits && t.awaited);
        let ended = awaited.take_while(|t| t.state == TicketState::Done).filter(|t| t.kind == TicketKind::Receive);
        ended.map(|t| t.tally).fold(r.depth, u32::max)
    }

    /// The open tickets of a PE in the order in which they were posted.
    pub fn in_order(&self, record: &Record) -> impl Iterator<Item = u32> + use<S> {
        let mut open: Vec<u32> = record.open_tickets().collect();
        let newest = self.tickets.posted;
        open.sort_unstable_by_key(|id| std::cmp::Reverse(newest.wrapping_sub(self.tickets[*id].order)));
        open.into_iter()
    }
}
