//! The ring column: reduce-scatter and allgather around a ring in the column.        (WaferLLM section 6; HPDC'24)
//!
//! | color   | carries                                                                          |
//! |---------|----------------------------------------------------------------------------------|
//! | 0, 1, 2 | the ring's edges (wrap-around: down by parity, and the way back; interleaved: mod 3) |
//!
//! Cost (alpha 1, T_R 2, equal segments of S): cycles = gemv + 2 (P - 1) (S + 5) + the most hops in 2 (P - 1)
//! consecutive edges, which is 4 P - 6 in the wrap-around form.
//! PLMR: breaks L, 2 (P - 1) stages of software; the wrap-around form also sends over P - 1 links.

use crate::collectives::{Allreduce, Ring, RingOrder};
use crate::units::Coord;

pub(super) fn column(line: Vec<Coord>, order: RingOrder) -> Allreduce {
    Allreduce::Ring(Ring { line, order, base: 0 })
}
