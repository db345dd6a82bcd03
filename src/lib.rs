//! Plummer: a wafer-scale chip in software.
//!
//! Rooms, from left to right; imports point left only (see ARCHITECTURE.md).

pub mod accuracy;
pub mod app;
pub mod arena;
pub mod collectives;
pub mod energy;
pub mod exec;
pub mod fabric;
pub mod host;
pub mod kernels;
pub mod link;
pub mod math;
pub mod model;
pub mod oracle;
pub mod pe;
pub mod placement;
pub mod plan;
pub mod prelude;
pub mod report;
pub mod sync;
pub mod units;
pub mod workloads;
