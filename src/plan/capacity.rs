//! Positions that the arenas hold: of a placement, so that the paper's Table 5 has them too.
//!
//! Called by `app`.

pub use crate::placement::capacity::Capacity;
