//! What programs asked of their PEs, in program order and without lengths: what the strict check replays.
//!
//! Programs are data-oblivious and a PE's operations are sequential, so a run that completes has recorded *the*
//! operations of every run. A join names its operation by how many of its color were started since, so that equal
//! passes leave equal traces.
//!
//! Invariant: off unless asked for (`Part::record_steps`); a recorded run has the bits and cycles of any other.
//! Filled by `ops` and `post`, read by `exec::check`.

use std::collections::HashMap;
use std::panic::Location;

/// One operation; ports and lanes are ids of the recording part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Blocking send on a port.
    Send(u32),
    /// Blocking receive from a lane.
    Recv(u32),
    /// Streaming combine.
    Combine {
        /// From.
        lane: u32,
        /// To.
        port: u32,
    },
    /// Posted send.
    PostSend(u32),
    /// Posted receive.
    PostRecv(u32),
    /// Waits for a posted send.
    JoinSend {
        /// Its port.
        port: u32,
        /// Sends started on the port since, itself included.
        back: u32,
    },
    /// Waits for a posted receive.
    JoinRecv {
        /// Its lane.
        lane: u32,
        /// Receives started on the lane since, itself included.
        back: u32,
    },
}

/// An operation and where it is in the program's source.
pub type Traced = (Step, &'static Location<'static>);

/// An operation as it is noted: tickets instead of distances.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Send(u32),
    Recv(u32),
    Combine { lane: u32, port: u32 },
    PostSend { port: u32, ticket: u32 },
    PostRecv { lane: u32, ticket: u32 },
    Join(u32),
}

/// An open ticket: does it send, on which port or lane, the how-manieth there.
type Open = (bool, u32, u32);

/// See the module.
#[derive(Debug, Default)]
pub struct Trace {
    /// By PE, since the last `clear`.
    pub steps: Vec<Vec<Traced>>,
    open: HashMap<u32, Open>,
    sent: Vec<u32>,
    received: Vec<u32>,
}

impl Trace {
    pub(super) fn new(pes: usize, ports: usize, lanes: usize) -> Self {
        Self { steps: vec![Vec::new(); pes], open: HashMap::new(), sent: vec![0; ports], received: vec![0; lanes] }
    }

    /// Forgets the steps of the passes so far; open tickets stay known.
    pub fn clear(&mut self) {
        self.steps.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn note(&mut self, pe: u32, asked: Asked, place: &'static Location<'static>) {
        let step = match asked {
            Asked::Send(port) => {
                self.sent[port as usize] += 1;
                Step::Send(port)
            }
            Asked::Recv(lane) => {
                self.received[lane as usize] += 1;
                Step::Recv(lane)
            }
            Asked::Combine { lane, port } => {
                self.received[lane as usize] += 1;
                self.sent[port as usize] += 1;
                Step::Combine { lane, port }
            }
            Asked::PostSend { port, ticket } => {
                self.open.insert(ticket, (true, port, self.sent[port as usize]));
                self.sent[port as usize] += 1;
                Step::PostSend(port)
            }
            Asked::PostRecv { lane, ticket } => {
                self.open.insert(ticket, (false, lane, self.received[lane as usize]));
                self.received[lane as usize] += 1;
                Step::PostRecv(lane)
            }
            Asked::Join(ticket) => match self.open.remove(&ticket) {
                Some((true, port, at)) => Step::JoinSend { port, back: self.sent[port as usize] - at },
                Some((false, lane, at)) => Step::JoinRecv { lane, back: self.received[lane as usize] - at },
                None => return,
            },
        };
        self.steps[pe as usize].push((step, place));
    }
}
