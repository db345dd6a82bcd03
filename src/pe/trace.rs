//! What chosen PEs did, in virtual time: the record behind `--trace`.
//!
//! Invariant: of a run that completes, a PE's record is a function of its own virtual time, so it is the same at every
//! worker count and under every schedule; each PE has its own bound, so what is cut is the same too. (Where a run
//! stalls, an operation that has ended beside one that never does may not be in it.)
//! Invariant: off costs one test of an `Option` an operation; on, nothing is allocated after the start.
//! Called by `handle`, `ops` and `post`; read between passes through `exec`.

use std::cell::RefCell;
use std::panic::Location;

use crate::arena::Memory;
use crate::link::{NONE, Net, Ticket, TicketKind};
use crate::units::{Color, Coord};

use super::handle::Part;

/// What a PE was doing, or why it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Charged operation.
    Compute,
    /// Issue of a send.
    Issue,
    /// Words leave over the ramp.
    Send,
    /// Words come in over the ramp.
    Receive,
    /// Words come in, are folded and leave, in stream.
    Combine,
    /// Waits: no burst of this color is here.
    WaitBurst,
    /// Waits: the pass has not come.
    WaitPass,
    /// Waits: the port is taken by the send before, or the lanes are full.
    WaitCredit,
    /// Waits: a sink has not begun to take.
    WaitSinks,
    /// Waits for the end of a posted send.
    WaitPostedSend,
    /// Waits for the end of a posted receive.
    WaitPostedReceive,
    /// A posted send, from its post to its end, beside everything else.
    PostedSend,
    /// A posted receive, the same.
    PostedReceive,
}

/// A span of one PE's time; times in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First cycle.
    pub start: u64,
    /// Cycle after the last.
    pub end: u64,
    /// What.
    pub did: Did,
    /// Color, of messages and waits for them.
    pub color: Option<Color>,
    /// Payload words.
    pub words: u32,
    /// Where in the program.
    pub place: Option<&'static Location<'static>>,
}

/// The record of one PE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where it is.
    pub pe: Coord,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// Spans that found no room.
    pub cut: u64,
}

/// Records of the chosen PEs of one part.
pub(super) struct Recorder {
    /// By local PE: its log.
    slots: Vec<u32>,
    logs: RefCell<Vec<Log>>,
}

impl Recorder {
    pub(super) fn new(coords: impl Iterator<Item = (Coord, bool)>, spans_max: usize) -> Self {
        let mut logs = Vec::new();
        let slots = coords.map(|(pe, chosen)| {
            if !chosen {
                return NONE;
            }
            logs.push(Log { pe, spans: Vec::with_capacity(spans_max), cut: 0 });
            logs.len() as u32 - 1
        });
        let slots = slots.collect();
        Self { slots, logs: RefCell::new(logs) }
    }

    /// Notes a span of PE `pe` unless it is empty or nobody asked.
    pub(super) fn note(&self, pe: u32, span: Span) {
        let slot = self.slots[pe as usize];
        if slot == NONE || span.end <= span.start {
            return;
        }
        let log = &mut self.logs.borrow_mut()[slot as usize];
        if log.spans.len() < log.spans.capacity() { log.spans.push(span) } else { log.cut += 1 }
    }

    pub(super) fn logs(&self) -> Vec<Log> {
        self.logs.borrow().clone()
    }
}

type Place = &'static Location<'static>;

impl Part {
    /// The record of a take: the wait for the burst, and the receive itself (a combine's follows with its send).
    pub(super) fn note_take(
        &self,
        pe: u32,
        lane: u32,
        words: u32,
        [asked, start, end]: [u64; 3],
        wait: Did,
        place: Place,
    ) {
        let Some(recorder) = &self.recorder else { return };
        let color = self.endpoints(pe).rx.iter().find(|r| r.1 == lane).map(|r| r.0);
        let span = |start, end, did| Span { start, end, did, color, words, place: Some(place) };
        recorder.note(pe, span(asked, start, wait));
        recorder.note(pe, span(start, end, Did::Receive));
    }

    /// The record of an operation whose ticket has ended; the PE's clock was `asked`.
    pub(super) fn note_end(&self, net: &Net<Memory>, pe: u32, t: &Ticket, did: Did, asked: u64, place: Place) {
        let Some(recorder) = &self.recorder else { return };
        let (ends, sends) = (self.endpoints(pe), t.kind == TicketKind::Send);
        let color = (if sends { ends.tx } else { ends.rx }).iter().find(|e| e.1 == t.at).map(|e| e.0);
        let words = u32::from(t.words);
        let note = |start, end, did| recorder.note(pe, Span { start, end, did, color, words, place: Some(place) });
        match did {
            Did::Send | Did::Combine => {
                let left = t.tail - u64::from(net.timing.ramp);
                let control = if t.has_ctrl { crate::link::Ctrl::WAVELETS } else { 0 };
                let begun = match did {
                    Did::Send => t.ready.max(left.saturating_sub(net.timing.ser(words + control))),
                    _ => t.ready - u64::from(net.timing.stage),
                };
                note(t.ready, begun, Did::WaitCredit);
                note(begun, left, did);
                note(left, t.end, Did::WaitSinks);
            }
            _ => {
                note(t.ready, t.end, if sends { Did::PostedSend } else { Did::PostedReceive });
                note(asked, t.end, if sends { Did::WaitPostedSend } else { Did::WaitPostedReceive });
            }
        }
    }
}
