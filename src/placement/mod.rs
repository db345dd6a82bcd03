//! Placement: which slice of which tensor is on which PE, where the regions lie; pure maps, and the choice of a mesh.
//!
//! Invariant: knows no programs, files or colors by name (only how many there are). Called by kernels and `host`.

mod budget;
pub mod capacity;
mod columns;
mod error;
mod floor;
mod plan;
mod search;
mod sketch;

pub use columns::{Columns, HeadSlice};
pub use error::PlanError;
pub use floor::{Floor, Place, Way, tree_root};
pub use plan::{InChunks, Plan, PlanRequest, Spread, Trees, groups};
pub use sketch::Sketch;
