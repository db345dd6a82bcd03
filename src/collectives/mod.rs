//! Collectives on a line of PEs: the K-tree reduction, the broadcast from its root, rings.   (WaferLLM sections 5 and 6)
//!
//! Invariant: the order of additions is a function of line length and group counts alone.
//! Called by kernels, for layouts and inside programs.

mod interleave;
mod ktree;
mod ring;

pub use interleave::{RING_COLORS, RingOrder, Way, shortest};
pub use ktree::{Step, Tree, broadcast, reduce};
pub use ring::{Exchange, Moving, Ring};
