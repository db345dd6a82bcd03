//! The fabric: what a chip is, which way bursts go, what a PE declares, and the check before a launch.
//!
//! Invariant: no float of a model is ever seen here; rates and powers of the chip are data.
//! Called by kernels (layouts) and by `exec` (which builds its nets from a checked layout).

mod build;
mod chip;
mod ends;
mod layout;
mod presets;
mod route;
mod survey;
mod wire;

pub use build::{Backing, Fleet, HostLane, Part, Region, build};
pub use chip::{Chip, ChipError, Provenance, Rates};
pub use ends::{Endpoints, Ends};
pub use layout::{Layout, LayoutError, PeDecl, TileDecl, TileId};
pub use route::{Direction, Route, Tx};
pub use survey::Survey;
