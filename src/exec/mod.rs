//! Execution: workers that run the parts of a wafer to quiescence, and what they report.
//!
//! Invariant: bits, cycles, counters and stall reports are equal at every worker count and schedule.
//! Called by `host` and by tests.

mod counters;
mod fill;
mod fleet;
mod idle;
mod stall;
pub mod step;
mod waits;

pub use counters::Counters;
pub use fleet::{Inject, PassError, RunOptions, Wafer};
pub use idle::Idle;
pub use stall::{Blocked, StallReport};
