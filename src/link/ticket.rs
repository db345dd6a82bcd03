//! Send ports and tickets: the queue of one color at a compute element, and the account of one open operation.
//!
//! ```text
//!   send:    Queued --emit--> InFlight --last sink began--> Done --await--> (free)
//!            Queued --emit (short burst)------------------> Done
//!   receive: Queued --take-------------------------------> Done
//!   stand-in (a rendezvous that came from another worker): InFlight --last answer--> (free, answered)
//! ```
//! Invariant: sends of a port end in the order in which they were posted: the next one is not emitted before the
//! previous one's end is known, because that end is part of its time.

use super::burst::Ctrl;
use super::emit::SendRequest;

/// "No index".
pub const NONE: u32 = u32::MAX;

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
    /// Payload words.
    pub words: u16,
    /// Owner PE; of a stand-in: the worker that answers go to.
    pub pe: u32,
    /// Port (sends) or lane (receives); of a stand-in: the ticket there.
    pub at: u32,
    /// Where the payload is, in the store's units.
    pub place: u32,
    /// Sends: the next one queued at the port; of a rendezvous in flight, cycles from head to tail. Receives that are
    /// done: words of the burst. Of a free ticket: the next free one.
    pub next: u32,
    /// Next open ticket of the PE.
    pub next_open: u32,
    /// Depth of the message, while a send is queued and when a receive is done. In flight: answers outstanding.
    pub tally: u32,
    /// Control words (sends: to be sent; receives: received).
    pub ctrl: Ctrl,
    /// Earliest start.
    pub ready: u64,
    /// While queued: the earliest tail, of a combine. Emitted: the tail as sent.
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
            words: 0,
            pe: NONE,
            at: NONE,
            place: 0,
            next: NONE,
            next_open: NONE,
            tally: 0,
            ctrl: Ctrl::default(),
            ready: 0,
            tail: 0,
            end: 0,
        }
    }

    /// The account of a send, not emitted; its depth is not in it.
    #[inline(always)]
    pub fn of_send(r: &SendRequest) -> Self {
        Self {
            pe: r.pe,
            at: r.port,
            place: r.place,
            words: r.words,
            has_ctrl: r.ctrl.is_some(),
            ctrl: r.ctrl.unwrap_or_default(),
            ready: r.ready,
            tail: r.min_tail,
            ..Self::new(TicketKind::Send)
        }
    }
}

/// The queue of one color between a compute element and its router.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Port {
    /// Lanes that a send enters.
    pub outs: [u32; 4],
    /// How many.
    pub n_outs: u8,
    /// Sinks on this worker plus crossings to others.
    pub answers: u32,
    /// Owner PE, or `NONE` for the host.
    pub pe: u32,
    /// Emitted and not ended.
    pub current: u32,
    /// Sends emitted.
    pub emitted: u64,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) previous_end: u64,
    /// The first PE that takes its bursts, if it is here and known; for hints.
    pub(super) sink: u32,
}

impl Port {
    /// A port of `pe` without outputs.
    pub fn new(pe: u32) -> Self {
        Self {
            outs: [NONE; 4],
            n_outs: 0,
            answers: 0,
            pe,
            current: NONE,
            emitted: 0,
            first: NONE,
            last: NONE,
            previous_end: 0,
            sink: NONE,
        }
    }

    /// Adds a lane that sends enter.
    pub fn add_out(&mut self, lane: u32) {
        self.outs[usize::from(self.n_outs)] = lane;
        self.n_outs += 1;
    }

    /// A send that was posted and not emitted.
    pub fn queued(&self) -> u32 {
        self.first
    }
}

/// Tickets, reused last in first out so that the hot ones stay in cache.
#[derive(Debug)]
pub struct Tickets {
    all: Vec<Ticket>,
    free: u32,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { all: Vec::new(), free: NONE }
    }
}

impl Tickets {
    /// Takes a free ticket and fills it in where it is: what is written field by field must not be copied next.
    #[inline(always)]
    pub fn open(&mut self, ticket: Ticket) -> u32 {
        let id = match self.free {
            NONE => self.grow(),
            id => id,
        };
        let t = &mut self.all[id as usize];
        self.free = t.next;
        *t = ticket;
        id
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        self.all.push(Ticket::new(TicketKind::Send));
        (self.all.len() - 1) as u32
    }

    /// Where a ticket lies, for hints.
    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> *const Ticket {
        self.all.as_ptr().wrapping_add(id as usize)
    }

    /// Gives a ticket back.
    #[inline]
    pub fn close(&mut self, id: u32) {
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
