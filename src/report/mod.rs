//! Reports that hold what the emulator says against what has been published.
//!
//! Invariant: pure: cells and text of assumptions; nothing here prints. Called by `app`.

pub mod paper;
