//! Send ports and tickets: the queue of one color at a compute element, and the account of one open operation.
//!
//! ```text
//!   send:    Queued --emit--> InFlight --last sink began--> Done --await--> (free)
//!            Queued --emit (short burst)------------------> Done
//!   a send that its program waits for, on a port without other work: the same states, in the port, without a ticket
//!   receive: Queued --take-------------------------------> Done
//!   stand-in (a rendezvous that came from another worker): InFlight --last answer--> (free, answered)
//! ```
//! Invariant: sends of a port end in the order in which they were posted: the next one is not emitted before the
//! previous one's end is known, because that end is part of its time.

use super::burst::Ctrl;
use super::emit::SendRequest;
use super::record::Record;
use super::swift::Span;
use super::warm::vec_on_large_pages;

/// "No index".
pub const NONE: u32 = u32::MAX;

/// Set in what names an open send: it is a port's id, not a ticket's. A send that its program waits for, on a port with
/// nothing else to do, needs no ticket: the port keeps its account.
pub const BY_PORT: u32 = 1 << 31;

/// What a ticket accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKind {
    /// A send of a PE (or of the host).
    Send,
    /// A posted receive.
    Receive,
    /// The tile of a sender on another worker.
    StandIn,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// Waits for its turn, credit or burst.
    Queued,
    /// Emitted; sinks have not all begun.
    InFlight,
    /// Its end is known.
    Done,
}

/// One open operation; a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Ticket {
    /// Send, receive or stand-in.
    pub kind: TicketKind,
    /// State.
    pub state: TicketState,
    /// A send: control words ride in front.
    pub has_ctrl: bool,
    /// Someone waits for the end.
    pub awaited: bool,
    /// The tile may be handed over.
    pub(super) hands_over: bool,
    /// Payload words.
    pub words: u16,
    /// Owner PE; of a stand-in: the worker that answers go to.
    pub pe: u32,
    /// Port (sends) or lane (receives); of a stand-in: the ticket there.
    pub at: u32,
    /// Where the payload is, in the store's units.
    pub place: u32,
    /// The next one queued at the port or lane; of a rendezvous in flight, cycles from head to tail. Receives that are
    /// done: words of the burst. Of a free ticket: the next free one.
    pub next: u32,
    /// Of a posted operation: how many were posted before it, modulo 2^32; only those of one PE are compared.
    pub order: u32,
    /// Depth of the message, while a send is queued and when a receive is done. In flight: answers outstanding.
    pub tally: u32,
    /// Control words (sends: to be sent; receives: received). Of a tile that may be handed over: where it lies now, and
    /// its words.
    pub ctrl: Ctrl,
    /// Earliest start.
    pub ready: u64,
    /// While queued: the earliest tail, of a combine. Emitted: the tail as sent. Of one that stands on a track: which.
    pub tail: u64,
    /// While in flight: the largest (start of take - path). Done: the end.
    pub end: u64,
}

const _: () = assert!(std::mem::size_of::<Ticket>() == 64);

impl Ticket {
    /// A blank ticket.
    #[inline(always)]
    pub fn new(kind: TicketKind) -> Self {
        Self {
            kind,
            state: TicketState::Queued,
            has_ctrl: false,
            awaited: false,
            hands_over: false,
            words: 0,
            pe: NONE,
            at: NONE,
            place: 0,
            next: NONE,
            order: 0,
            tally: 0,
            ctrl: Ctrl::default(),
            ready: 0,
            tail: 0,
            end: 0,
        }
    }

    /// Where its tile lies once it has ended, and until its PE posts again: what a receive was to fill, or what a send
    /// has back. Another place than before if the tile was handed over.
    #[inline(always)]
    pub fn lies(&self) -> u32 {
        if self.hands_over { self.ctrl.kind_slot } else { self.place }
    }

    /// The account of a send, not emitted.
    #[inline(always)]
    pub fn of_send(r: &SendRequest) -> Self {
        Self {
            pe: r.pe,
            at: r.port,
            place: r.place,
            words: r.words,
            has_ctrl: r.ctrl.is_some(),
            ctrl: r.ctrl.unwrap_or_default(),
            tally: r.depth,
            ready: r.ready,
            tail: r.min_tail,
            ..Self::new(TicketKind::Send)
        }
    }
}

/// The queue of one color between a compute element and its router; a cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Port {
    /// Lanes that a send enters.
    pub outs: [u32; 4],
    /// How many.
    pub n_outs: u8,
    /// The program waits for the end of the send that this port keeps the account of.
    pub(super) awaited: bool,
    /// Payload words of that send.
    pub(super) words: u16,
    /// Sinks on this worker plus crossings to others.
    pub answers: u32,
    /// Owner PE, or `NONE` for the host.
    pub pe: u32,
    /// Emitted and not ended: a ticket, or `DIRECT`. `ON_TRACK`: a track stands for this port, `place` says which.
    pub current: u32,
    /// Sends emitted.
    pub emitted: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Of the send that this port keeps the account of: answers outstanding, tile; cycles from head to tail, and before
    /// it is emitted, from when it is ready to its earliest tail.
    pub(super) tally: u32,
    pub(super) place: u32,
    pub(super) span: u32,
    /// End of the previous send. While this port keeps the account of one: the largest (start of take - path).
    pub(super) previous_end: u64,
}

const _: () = assert!(std::mem::size_of::<Port>() == 64);

impl Port {
    /// A send whose account the port keeps itself: in `first` before it is emitted, in `current` after that.
    pub(super) const DIRECT: u32 = NONE - 1;

    /// A port of `pe` without outputs.
    pub fn new(pe: u32) -> Self {
        Self {
            outs: [NONE; 4],
            n_outs: 0,
            awaited: false,
            words: 0,
            answers: 0,
            pe,
            current: NONE,
            emitted: 0,
            first: NONE,
            last: NONE,
            tally: 0,
            place: 0,
            span: 0,
            previous_end: 0,
        }
    }

    /// Adds a lane that sends enter.
    pub fn add_out(&mut self, lane: u32) {
        self.outs[usize::from(self.n_outs)] = lane;
        self.n_outs += 1;
    }

    /// Is a send here that was not emitted?
    pub fn is_queued(&self) -> bool {
        self.first != NONE
    }

    /// Its ticket, if it has one: the first of those queued.
    pub fn queued(&self) -> Option<u32> {
        (self.first != NONE && self.first != Self::DIRECT).then_some(self.first)
    }

    /// Nothing is queued and nothing in flight.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        self.first == NONE && self.current == NONE
    }

    /// Does the port keep the account of a send that has not ended?
    #[inline(always)]
    pub(super) fn is_direct(&self) -> bool {
        self.current == Self::DIRECT || self.first == Self::DIRECT
    }

    /// Payload words of the send whose account this port keeps, if it does.
    pub fn direct(&self) -> Option<u16> {
        self.is_direct().then_some(self.words)
    }

    /// Keeps a send that finds no room; `to_tail`: from when it is ready to its earliest tail.
    #[inline(always)]
    pub(super) fn keep(&mut self, tile: Span, to_tail: u64) {
        (self.first, self.place, self.words, self.span) = (Self::DIRECT, tile.place, tile.words as u16, to_tail as u32);
    }

    /// Opens the account of a rendezvous that departs.
    #[inline(always)]
    pub(super) fn account(&mut self, tile: Span, span: u32) {
        (self.current, self.place, self.words, self.span) = (Self::DIRECT, tile.place, tile.words as u16, span);
        (self.tally, self.previous_end) = (self.answers, 0);
    }
}

/// Tickets: of a PE that posts operations `Record::OPEN_MAX` side by side; the others are reused last in, first out.
#[derive(Debug)]
pub struct Tickets {
    all: Vec<Ticket>,
    free: u32,
    /// Operations posted so far, wrapping.
    pub(super) posted: u32,
}

impl Tickets {
    /// None yet, with address space for those of posted operations of so many PEs; the host backs what is used.
    pub(super) fn of(pes: usize) -> Self {
        // Beside them are those of the host and of sends from other workers, which are few.
        let all = vec_on_large_pages(pes * Record::OPEN_MAX as usize + (1 << 12));
        Self { all, free: NONE, posted: 0 }
    }

    /// Takes a free ticket that is not of a posted operation.
    #[inline]
    pub(super) fn open(&mut self, ticket: Ticket) -> u32 {
        let id = match self.free {
            NONE => self.grow(1),
            id => id,
        };
        let t = &mut self.all[id as usize];
        self.free = t.next;
        *t = ticket;
        id
    }

    /// Room for `n` tickets side by side: the first one.
    #[cold]
    pub(super) fn grow(&mut self, n: u32) -> u32 {
        let first = self.all.len() as u32;
        self.all.extend((0..n).map(|_| Ticket::new(TicketKind::Send)));
        first
    }

    /// Two different tickets.
    #[inline(always)]
    pub(super) fn two(&mut self, ids: [u32; 2]) -> [&mut Ticket; 2] {
        self.all.get_disjoint_mut(ids.map(|id| id as usize)).expect("two tickets")
    }

    /// The `N` tickets from `first` on.
    #[inline(always)]
    pub(super) fn some<const N: usize>(&self, first: u32) -> &[Ticket; N] {
        self.all[first as usize..first as usize + N].try_into().expect("as many as were asked for")
    }

    /// The same, to be written.
    #[inline(always)]
    pub(super) fn some_mut<const N: usize>(&mut self, first: u32) -> &mut [Ticket; N] {
        let some = &mut self.all[first as usize..first as usize + N];
        some.try_into().expect("as many as were asked for")
    }

    /// Calls `each` with the open tickets of a PE's record until it says `true`; whether it did.
    #[inline(always)]
    pub fn any_open(&self, record: &Record, each: impl FnMut(&Ticket) -> bool) -> bool {
        self.any_of(record, record.open, each)
    }

    /// The same for those of its tickets whose bit is set in `open`.
    #[inline(always)]
    pub(super) fn any_of(&self, record: &Record, mut open: u8, mut each: impl FnMut(&Ticket) -> bool) -> bool {
        if open == 0 {
            return false;
        }
        if open == 0b1111 {
            return self.some::<4>(record.tickets).iter().any(each);
        }
        let first = record.tickets as usize;
        let own: &[Ticket; Record::OPEN_MAX as usize] =
            self.all[first..first + Record::OPEN_MAX as usize].try_into().expect("as many");
        while open != 0 {
            if each(&own[open.trailing_zeros() as usize % own.len()]) {
                return true;
            }
            open &= open - 1;
        }
        false
    }

    /// Where a ticket lies, for hints.
    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> *const Ticket {
        self.all.as_ptr().wrapping_add(id as usize)
    }

    /// Gives a ticket back that is not of a posted operation.
    #[inline]
    pub(super) fn close(&mut self, id: u32) {
        self.all[id as usize].next = self.free;
        self.free = id;
    }
}

impl std::ops::Index<u32> for Tickets {
    type Output = Ticket;
    #[inline(always)]
    fn index(&self, id: u32) -> &Ticket {
        &self.all[id as usize]
    }
}

impl std::ops::IndexMut<u32> for Tickets {
    #[inline(always)]
    fn index_mut(&mut self, id: u32) -> &mut Ticket {
        &mut self.all[id as usize]
    }
}
