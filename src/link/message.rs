//! What crosses between workers: bursts, credits and the answers of sinks.
//!
//! Invariant: a message is one header of `HEADER_WORDS` words, then the payload of a burst; nothing else crosses.

use super::burst::{Burst, Ctrl};

/// Words of an encoded header.
pub const HEADER_WORDS: usize = 12;

/// A message to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A burst enters lane `lane` of the receiver. `burst.payload` names the sender's send (rendezvous).
    Burst {
        /// Lane id at the receiver.
        lane: u32,
        /// The burst; its payload words follow the header.
        burst: Burst,
        /// Sinks and further crossings behind that lane.
        answers: u32,
        /// Are there payload words? (Not in a dry run.)
        wet: bool,
    },
    /// A slot of the lane behind the receiver's remote lane `lane` was freed at `time`.
    Freed {
        /// Remote lane id at the receiver.
        lane: u32,
        /// When.
        time: u64,
    },
    /// All sinks of the send `ticket` over here have begun; `begun` is the largest start of take minus path.
    Answer {
        /// What names it at the receiver: a ticket, or a port and `BY_PORT`.
        ticket: u32,
        /// Cycles.
        begun: u64,
    },
}

const BURST: u32 = 0;
const FREED: u32 = 1;
const ANSWER: u32 = 2;

impl Message {
    /// Payload words that follow the header.
    pub fn payload_words(&self) -> usize {
        match self {
            Self::Burst { burst, wet: true, .. } => usize::from(burst.words),
            _ => 0,
        }
    }

    /// The header, in words.
    pub fn encode(&self) -> [u32; HEADER_WORDS] {
        let time = match self {
            Self::Burst { burst, .. } => burst.head,
            Self::Freed { time, .. } => *time,
            Self::Answer { begun, .. } => *begun,
        };
        let (lo, hi) = (time as u32, (time >> 32) as u32);
        match self {
            Self::Burst { lane, burst: b, answers, wet } => {
                let bits = u32::from(b.has_ctrl) | u32::from(b.rendezvous) << 1 | u32::from(*wet) << 2;
                [
                    BURST,
                    *lane,
                    lo,
                    hi,
                    b.span,
                    b.payload,
                    b.depth,
                    u32::from(b.words),
                    bits,
                    b.ctrl.kind_slot,
                    b.ctrl.position,
                    *answers,
                ]
            }
            Self::Freed { lane, .. } => [FREED, *lane, lo, hi, 0, 0, 0, 0, 0, 0, 0, 0],
            Self::Answer { ticket, .. } => [ANSWER, *ticket, lo, hi, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// The message of a header.
    pub fn decode(w: &[u32; HEADER_WORDS]) -> Self {
        let time = u64::from(w[2]) | u64::from(w[3]) << 32;
        match w[0] {
            FREED => Self::Freed { lane: w[1], time },
            ANSWER => Self::Answer { ticket: w[1], begun: time },
            kind => {
                debug_assert_eq!(kind, BURST);
                let burst = Burst {
                    head: time,
                    span: w[4],
                    payload: w[5],
                    depth: w[6],
                    words: w[7] as u16,
                    has_ctrl: w[8] & 1 != 0,
                    rendezvous: w[8] & 2 != 0,
                    ctrl: Ctrl { kind_slot: w[9], position: w[10] },
                };
                Self::Burst { lane: w[1], burst, answers: w[11], wet: w[8] & 4 != 0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_its_encoding() {
        let burst = Burst {
            head: 1 << 40 | 7,
            span: 9,
            payload: 3,
            depth: 11,
            words: 64,
            has_ctrl: true,
            rendezvous: true,
            ctrl: Ctrl { kind_slot: 0x1_0002, position: 77 },
        };
        for m in [
            Message::Burst { lane: 5, burst, answers: 90_000, wet: true },
            Message::Burst { lane: 5, burst: Burst { rendezvous: false, ..burst }, answers: 1, wet: false },
            Message::Freed { lane: 8, time: u64::MAX / 3 },
            Message::Answer { ticket: 2, begun: 1 << 33 },
        ] {
            assert_eq!(Message::decode(&m.encode()), m);
        }
    }
}
