//! A processing element as its program sees it: tiles, sends, receives, combines, compute; nothing else.
//!
//! Invariant: a program cannot see another PE, a clock, or whether a burst is there. Every read blocks; every lane has
//! one writer. So data, cycles and deadlock do not depend on the schedule (a Kahn network with bounded lanes).
//! Invariant: only tile handles live across an `.await`.

mod asked;
mod fault;
mod fold;
mod handle;
mod ops;
mod polls;
mod post;
mod probe;
mod relay;
mod trace;
mod view;

pub use crate::link::Order;
pub use asked::{Step, Trace, Traced};
pub use fault::{Fault, FaultKind, Span};
pub use fold::Fold;
pub use handle::{Kernel, Mark, Part, Pe, Rx, Tx};
pub use ops::{Combine, Recv, Send};
pub use post::{Join, JoinAll, Moved, Ticket};
pub(crate) use post::{PassOn, Passing};
pub use probe::{Probe, Probes};
pub use relay::{After, Relay, Role};
pub use trace::{Did, Log, Span as TraceSpan};
pub use view::View;
