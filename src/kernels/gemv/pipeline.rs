//! The pipeline column: a chain down to the last row, then a broadcast up.                       (WaferLLM section 6)
//!
//! | color | carries                                   |
//! |-------|-------------------------------------------|
//! | 0, 1  | the chain, by the sender's parity         |
//! | 2     | broadcast                                 |
//!
//! Cost (alpha 1, T_R 2): cycles = gemv + S + 6 (P - 1) + S + 5 + (P - 1); stages P - 1 and one.
//! PLMR: breaks L, a stage of software at every core of the way.

use crate::collectives::{Allreduce, Chain};
use crate::units::Coord;

pub(super) fn column(line: Vec<Coord>) -> Allreduce {
    Allreduce::Chain(Chain { line, base: 0 })
}
