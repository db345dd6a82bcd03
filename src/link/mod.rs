//! Links: what carries bursts between routers, and every rule of virtual time that concerns them.
//!
//! ```text
//!  PE program --post--> Port --emit--> Lane --pump--> Lane --...--> Lane (ramp) --take--> PE program
//!                        |              ^  credit: freed time of burst n - depth           |
//!                        +-- Ticket <---+------------- start of take (rendezvous) ---------+
//! ```
//!
//! Invariant: one writer and one reader per lane; a lane never holds more than `Timing::lane_depth` bursts; no
//! payload lives outside a tile, a bounded short-burst buffer or a stand-in of a tile on another worker.
//! Invariant: times are computed from the rules of the contract alone, never from the order in which the host runs.
//! Called by `pe` (operations of programs) and `exec` (the step loop). Knows neither programs nor chips.

mod burst;
mod emit;
mod exchange;
mod lane;
mod lay;
mod load;
mod message;
mod net;
mod pass_on;
mod pump;
mod ready;
mod record;
mod ring;
mod swift;
mod take;
mod ticket;
mod track;
mod warm;

pub use burst::{Burst, Ctrl, Timing, wavelets};
pub use emit::{SendRequest, Sent};
pub use exchange::{End, Joined};
pub use lane::{Lane, LaneFlags, Upstream};
pub use load::{LinkLoad, Loads, WINDOW};
pub use message::Message;
pub use net::{Net, NetBuilder, Schedule, Store, Work};
pub use pass_on::Passed;
pub use ready::Order;
pub use record::{Record, Status};
pub use ring::{Consumer, LINE_WORDS, Producer, lines_of, ring};
pub use swift::Span;
pub use take::Taken;
pub use ticket::{BY_PORT, NONE, Port, Ticket, TicketKind, TicketState};
pub use warm::{Programs, vec_on_large_pages, warm};
