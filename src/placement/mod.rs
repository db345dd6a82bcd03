//! Placement: which slice of which tensor is on which PE; pure maps, and the choice of a mesh.
//!
//! Invariant: knows no colors, programs or files. Called by kernels (layouts, tile contents) and `host`.

mod columns;
mod plan;

pub use columns::{Columns, HeadSlice};
pub use plan::{Plan, PlanError, PlanRequest};
