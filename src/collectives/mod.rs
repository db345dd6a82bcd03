//! Collectives on a line of PEs: K-tree, pipeline and ring allreduce, and the broadcast.       (WaferLLM section 6)
//!
//! Invariant: the order of additions is a function of line length, kind and group counts alone.
//! Called by kernels, for layouts and inside programs.

mod allreduce;
mod chain;
pub mod cost;
mod interleave;
mod ktree;
pub mod lockstep;
mod moving;
mod moving_root;
mod ring;

pub use allreduce::{Allreduce, Seat, allreduce};
pub use chain::Chain;
pub use interleave::{CYCLE_COLORS, Cycle, Way, shortest};
pub use ktree::{Ends, Roles, Tree, answer, broadcast, give, reduce};
pub use moving::{Exchange, Moving, RingEnds, Tour};
pub use moving_root::{MovingRoot, ROOT_COLORS};
pub use ring::{Ring, RingOrder};
