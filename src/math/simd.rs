//! Which instructions the hot loops use: a table of functions, chosen once.
//!
//! Invariant: every level computes the same bits; tests force each level and compare.
//! Invariant: a [`Kernels`] of a level exists only if this host has that level's instructions, which is what makes the
//! calls through its table sound.
//!
//! AVX-512 has no level of its own: prototypes measured 256-bit GEMV faster (73-97 GB/s in L1 against 56-61).
//! Held by workers and handed to every function of `gemm`, `gemv` and `vector`.

use super::gemm::{self, Panel, eight::Eight};
use super::gemv::{self, PackedShape, Stream};
use super::rows;
use super::vector;

/// An instruction set that the hot loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// Portable code; fused multiply-add through `libm`.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
}

impl SimdLevel {
    /// All levels, slowest first.
    pub const ALL: [Self; 2] = [Self::Scalar, Self::Avx2];

    /// The best level of this host.
    pub fn detect() -> Self {
        if Self::Avx2.is_available() { Self::Avx2 } else { Self::Scalar }
    }

    /// Whether this host can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }

    /// The levels that this host can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }
}

/// The functions of one level. The pointers are `unsafe` because calling them needs the level's instructions.
pub(crate) struct Table {
    pub(crate) level: SimdLevel,
    pub(crate) gemv_f16: unsafe fn(Stream, PackedShape, &[u16], &[f32], &mut [f32]),
    pub(crate) gemv_bf16: unsafe fn(Stream, PackedShape, &[u16], &[f32], &mut [f32]),
    pub(crate) axpy: unsafe fn(f32, &[f32], &mut [f32]),
    pub(crate) axpy_f16: unsafe fn(f32, &[u16], &mut [f32]),
    pub(crate) axpy_bf16: unsafe fn(f32, &[u16], &mut [f32]),
    pub(crate) axpy_rows_f16: unsafe fn(usize, &[f32], &[u16], &mut [f32]),
    pub(crate) add_assign: unsafe fn(&mut [f32], &[f32]),
    pub(crate) max_assign: unsafe fn(&mut [f32], &[f32]),
    pub(crate) scale: unsafe fn(f32, &mut [f32]),
    pub(crate) div_assign: unsafe fn(f32, &mut [f32]),
    pub(crate) mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) sum_squares: unsafe fn(&[f32]) -> f32,
    pub(crate) has_nan: unsafe fn(&[f32]) -> bool,
    pub(crate) all_finite: unsafe fn(&[f32]) -> bool,
    pub(crate) silu_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) exp_assign: unsafe fn(&mut [f32]),
    pub(crate) exp_sub_sum: unsafe fn(f32, &mut [f32]) -> f32,
    pub(crate) f32_to_f16: unsafe fn(&[f32], &mut [u16]) -> bool,
    pub(crate) widen_f16: unsafe fn(&[u16], &mut [f32]),
    pub(crate) gemm_eight: unsafe fn(Eight<'_>),
    pub(crate) gemm_panel: unsafe fn(Panel<'_>),
    pub(crate) gemm_panel_f16: unsafe fn(Panel<'_, u16>),
    pub(crate) gemm_panel_rounded: unsafe fn(Panel<'_>),
}

static SCALAR: Table = Table {
    level: SimdLevel::Scalar,
    gemv_f16: gemv::gemv_f16_scalar,
    gemv_bf16: gemv::gemv_bf16_scalar,
    axpy: vector::scalar::axpy,
    axpy_f16: vector::scalar::axpy_f16,
    axpy_bf16: vector::scalar::axpy_bf16,
    axpy_rows_f16: rows::scalar,
    add_assign: vector::scalar::add_assign,
    max_assign: vector::scalar::max_assign,
    scale: vector::scalar::scale,
    div_assign: vector::scalar::div_assign,
    mul: vector::scalar::mul,
    sum_squares: vector::scalar::sum_squares,
    has_nan: vector::scalar::has_nan,
    all_finite: vector::scalar::all_finite,
    silu_mul: vector::scalar::silu_mul,
    exp_assign: vector::scalar::exp_assign,
    exp_sub_sum: vector::scalar::exp_sub_sum,
    f32_to_f16: vector::scalar::f32_to_f16,
    widen_f16: gemm::scalar::widen_f16,
    gemm_eight: gemm::eight::scalar,
    gemm_panel: gemm::scalar::panel::<false>,
    gemm_panel_f16: gemm::scalar::panel_f16,
    gemm_panel_rounded: gemm::scalar::panel::<true>,
};

#[cfg(target_arch = "x86_64")]
static AVX2: Table = Table {
    level: SimdLevel::Avx2,
    gemv_f16: gemv::avx2::gemv::<false>,
    gemv_bf16: gemv::avx2::gemv::<true>,
    axpy: vector::avx2::axpy,
    axpy_f16: vector::avx2::axpy_f16,
    axpy_bf16: vector::avx2::axpy_bf16,
    axpy_rows_f16: rows::avx2,
    add_assign: vector::avx2::add_assign,
    max_assign: vector::avx2::max_assign,
    scale: vector::avx2::scale,
    div_assign: vector::avx2::div_assign,
    mul: vector::avx2::mul,
    sum_squares: vector::avx2::sum_squares,
    has_nan: vector::avx2::has_nan,
    all_finite: vector::avx2::all_finite,
    silu_mul: vector::avx2::silu_mul,
    exp_assign: vector::avx2::exp_assign,
    exp_sub_sum: vector::avx2::exp_sub_sum,
    f32_to_f16: vector::avx2::f32_to_f16,
    widen_f16: gemm::avx2::widen_f16,
    gemm_eight: gemm::eight::avx2,
    gemm_panel: gemm::avx2::panel::<f32, false>,
    gemm_panel_f16: gemm::avx2::panel::<u16, false>,
    gemm_panel_rounded: gemm::avx2::panel::<f32, true>,
};

/// The hot loops of one level that this host has; a pointer, copied freely.
#[derive(Clone, Copy)]
pub struct Kernels(pub(crate) &'static Table);

impl Kernels {
    /// The loops of `level`, or nothing if this host lacks its instructions.
    pub fn for_level(level: SimdLevel) -> Option<Self> {
        if !level.is_available() {
            return None;
        }
        match level {
            SimdLevel::Scalar => Some(Self(&SCALAR)),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => Some(Self(&AVX2)),
            #[cfg(not(target_arch = "x86_64"))]
            SimdLevel::Avx2 => None,
        }
    }

    /// The fastest loops of this host.
    pub fn detect() -> Self {
        Self::for_level(SimdLevel::detect()).unwrap_or(Self(&SCALAR))
    }

    /// The level of these loops.
    pub fn level(self) -> SimdLevel {
        self.0.level
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({:?})", self.level())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_level_has_kernels_of_that_level_and_no_other_has() {
        for level in SimdLevel::ALL {
            let found = Kernels::for_level(level).map(Kernels::level);
            assert_eq!(found, level.is_available().then_some(level));
        }
        assert_eq!(Kernels::detect().level(), SimdLevel::detect());
        assert_eq!(SimdLevel::available().last(), Some(SimdLevel::detect()));
        assert!(SimdLevel::Scalar.is_available());
    }
}
