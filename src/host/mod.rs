//! The host beside the wafer: a session plans, launches, feeds tokens, and reads what the wafer found.
//!
//! Invariant: the host computes no number of the model; it observes (logits) and, when it samples, chooses ids.

pub mod bench;
mod check;
mod config;
pub mod dry;
pub mod gemm;
mod kept;
mod lockstep;
mod planning;
mod prefill;
mod recorded;
mod report;
mod session;
pub mod trace;
mod transition;
pub mod trial;
mod usage;
mod visit;

pub use check::{Checked, Launch, check_decode, check_prefill};
pub use config::{Kv, SessionConfig};
pub use kept::NotKept;
pub use prefill::PrefillOptions;
pub use recorded::{Launched, Recorded};
pub use report::{ArenaUse, Moved, PhaseCycles, PlacementSummary, PrefillReport, Report};
pub use session::{Session, SessionError, Step, Token};
pub use usage::Usage;

/// Copies of tiles on the way.
pub use crate::pe::{Probe, Probes};

/// How K and V are kept.
pub use crate::kernels::decode::KvFormat as KvType;
