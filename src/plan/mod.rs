//! Planning: what a model would take on a wafer, before and beside running it.
//!
//! | file       | what                                                                |
//! |------------|---------------------------------------------------------------------|
//! | `search`   | the choice: closed forms to rank, dry runs to confirm                |
//! | `capacity` | positions that the arenas hold, by shift and by concat               |
//! | `draw`     | the floorplan as text and as SVG                                     |
//! | `closed`   | cycles of a layer and of a token as closed forms, to rank meshes     |
//! | `utilise`  | how much of that the PEs of a run could have done                    |
//!
//! Invariant: pure: nothing here prints, reads a file or looks at a wall clock. Called by `app`.

pub mod capacity;
pub mod closed;
pub mod draw;
pub mod search;
pub mod utilise;
