//! Numbers: number formats, the arithmetic contract, what a checkpoint is in plain numbers and what work it asks for.
//!
//! Invariant: every function defines the order of its operations, so that its bits do not depend on the host.

pub mod binary16;
pub mod checkpoint;
pub mod exp;
pub mod fma;
pub mod gemm;
pub mod gemv;
pub mod random_checkpoint;
pub mod reduce;
pub mod rope;
pub mod rows;
pub mod simd;
pub mod split;
pub mod vector;
pub mod work;

pub use exp::{exp, exp_slice};
pub use fma::fma;
pub use simd::{Kernels, SimdLevel};
