//! Execution: workers that run the parts of a wafer to quiescence, and what they report.
//!
//! Invariant: bits, cycles, counters and stall reports are equal at every worker count and schedule.
//! Called by `host` and by tests.

mod arenas;
mod fill;
mod fleet;
mod harvest;
mod idle;
mod stall;
pub mod step;
mod waits;
mod worker;

pub use arenas::Arenas;
pub use fleet::{Inject, LaunchError, PassError, RunOptions, WORKERS_MAX, Wafer};
pub use harvest::Counters;
pub use idle::Idle;
pub use stall::{Blocked, StallReport};
