//! Collectives on a line of PEs: K-tree, pipeline and ring allreduce, and the broadcast.       (WaferLLM section 6)
//!
//! Invariant: the order of additions is a function of line length, kind and group counts alone.
//! Called by kernels, for layouts and inside programs.

mod allreduce;
mod chain;
pub mod cost;
mod ktree;
mod ring;

pub use allreduce::{Allreduce, Ends, Seat, allreduce};
pub use chain::Chain;
pub use ktree::{Step, Tree, broadcast, reduce};
pub use ring::{Ring, RingOrder};
