//! The host beside the wafer: a session plans, launches, feeds tokens, and reads what the wafer found.
//!
//! Invariant: the host computes no number of the model; it observes (logits) and, when it samples, chooses ids.

pub mod bench;
mod check;
mod config;
pub mod gemm;
mod planning;
mod prefill;
mod report;
mod session;
pub mod trace;
pub mod trial;
mod visit;

pub use check::check_decode;
pub use config::{Kv, SessionConfig};
pub use report::{ArenaUse, PhaseCycles, PlacementSummary, PrefillReport, Report};
pub use session::{Session, SessionError, Step, Token};

/// Copies of tiles on the way.
pub use crate::pe::{Probe, Probes};

/// How K and V are kept.
pub use crate::kernels::decode::KvFormat as KvType;
