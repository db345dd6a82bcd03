//! Collectives on a line of PEs: the K-tree reduction and the broadcast from its root.       (WaferLLM section 6)
//!
//! Invariant: the order of additions is a function of line length and group counts alone.
//! Called by kernels, for layouts and inside programs.

mod ktree;

pub use ktree::{Step, Tree, broadcast, reduce};
