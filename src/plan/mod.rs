//! Planning: what a model would take on a wafer, before and beside running it.
//!
//! | file       | what                                                                |
//! |------------|---------------------------------------------------------------------|
//! | `closed`   | cycles of a layer and of a token as closed forms, to rank meshes     |
//! | `work`     | multiplications, bytes of weights and of K and V                     |
//! | `utilise`  | how much of that the PEs of a run could have done                    |
//!
//! Invariant: pure: nothing here prints, reads a file or looks at a wall clock. Called by `app`.

pub mod closed;
pub mod utilise;
pub mod work;
