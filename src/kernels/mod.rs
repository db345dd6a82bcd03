//! Kernels: mesh-wide algorithms, each a layout and a program per PE.
//!
//! Invariant: a kernel never names a worker.

pub mod decode;
pub mod gemm;
pub mod gemv;
pub mod line;
pub mod prefill;
mod row;
pub mod transition;

pub use row::{Numerics, Row, Rows};
