//! Kernels and collectives: results against serial replays, cycles against closed forms; one module a subject.

/// `src/oracle/ktree.rs` asks for `crate::math::split`.
mod math {
    pub mod split {
        pub use plummer::math::split::split;
    }
}

mod check_kernels;
mod collectives;
mod gemm;
mod gemm_forms;
mod ktree;
mod mesh_gemv;
mod relays;
mod workloads;
