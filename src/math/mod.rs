//! Numbers: number formats, the arithmetic contract, and what a checkpoint is in plain numbers.
//!
//! Invariant: every function defines the order of its operations, so that its bits do not depend on the host.

pub mod checkpoint;
