//! Collectives on a line of PEs: the K-tree reduction and the broadcast from its root.       (WaferLLM section 6)

mod ktree;

pub use ktree::{Step, Tree, broadcast, reduce, reduce_posted};
