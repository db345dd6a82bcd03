//! The fabric: what a chip is, which way bursts go, what a PE declares, and the check before a launch.
//!
//! Invariant: no float of a model is ever seen here; rates and powers of the chip are data.
//! Called by kernels (layouts) and by `exec` (which builds its nets from a checked layout).

mod build;
mod check;
mod chip;
mod layout;
mod others;
mod presets;
mod provenance;
mod route;
mod survey;

pub use build::{Endpoints, Fleet, HostLane, Part, Region, build};
pub use check::TILE_WORDS_MAX;
pub use chip::{Chip, ChipError, EventEnergy, Overheads, Rates};
pub use layout::{Layout, LayoutError, PeDecl, TileDecl, TileId};
pub use provenance::{FIELDS, Provenance, Source};
pub use route::{Direction, Route, Tx};
pub use survey::Survey;
