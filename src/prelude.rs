//! What a kernel outside the crate needs: `use plummer::prelude::*`.
//!
//! Layout (cores, routes, tiles), program (`Pe` and its operations), chip, and one run of it. `docs/write-a-kernel.md`
//! is the guide; everything here keeps its meaning between releases.
//! Invariant: names alone, nothing is defined here.

pub use crate::arena::{Owner, Tile};
pub use crate::collectives::{Allreduce, Chain, Ring, RingOrder, Tree, allreduce, broadcast, reduce};
pub use crate::exec::{
    Chosen, Counters, LaunchError, LinkUse, PassError, RunOptions, StallReport, TraceOptions, Wafer,
};
pub use crate::fabric::{Chip, Direction, Layout, LayoutError, Survey, TileDecl, TileId, Tx as Ports};
pub use crate::host::trial::{Facts, Trial, TrialError};
pub use crate::pe::{
    Combine, Did, FaultKind, Fold, Join, JoinAll, Kernel, Log, Order, Pe, Recv, Rx, Send as Sending, Ticket, Tx, View,
};
pub use crate::units::{Bytes, Color, Coord, Cycles};
