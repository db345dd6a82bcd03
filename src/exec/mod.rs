//! Execution: workers that run the parts of a wafer to quiescence, and what they report.
//!
//! Invariant: bits, cycles, counters and stall reports are equal at every worker count and schedule.
//! Called by `host` and by tests.

mod arenas;
mod check;
mod fill;
mod fleet;
mod harvest;
mod idle;
mod links;
mod stall;
pub mod step;
mod strict;
mod strict_waits;
mod waits;
mod worker;

pub use crate::link::WINDOW;
pub use arenas::Arenas;
pub use check::{CheckReport, LoadReport, Verdict, WaitCycle, check, check_passes};
pub use fleet::{Inject, LaunchError, PassError, RunOptions, WORKERS_MAX, Wafer};
pub use harvest::Counters;
pub use idle::Idle;
pub use links::{Chosen, LinkUse, TraceOptions};
pub use stall::{Blocked, StallReport};
