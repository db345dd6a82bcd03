//! Elementwise loops and short sequential chains of decode, at each SIMD level.
//!
//! Invariant: each result is defined by the scalar expression in its documentation; where there is a sum, elements are
//! taken in ascending order. Levels differ in speed only.
//! Invariant: slices that belong together have equal lengths (checked by assertion in the public functions).
//!
//! Every body is written once, generic over where its fused multiply-add comes from, and compiled once portable and
//! once inside a function with the level's target features, where it vectorises. Called by kernels and collectives.

use super::checkpoint::WeightFormat;
use super::exp::exp_body;
use super::fma::FusedMultiplyAdd;
use super::reduce::fmax;
use super::simd::Kernels;

/// Defines a public function that checks lengths and calls through the table.
macro_rules! through_table {
    ($(#[$doc:meta])* $name:ident ($($arg:ident: $ty:ty),*) $(-> $ret:ty)?,
     same length $first:ident $(, $other:ident)*) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(kernels: Kernels, $($arg: $ty),*) $(-> $ret)? {
            $(assert_eq!($first.len(), $other.len(), concat!(stringify!($name), ": lengths")); )*
            let _ = $first.len();
            // SAFETY: a `Kernels` exists only for a level whose instructions this host has.
            unsafe { (kernels.0.$name)($($arg),*) }
        }
    };
}

through_table!(
    /// `y[i] = fma(a, x[i], y[i])`.
    axpy(a: f32, x: &[f32], y: &mut [f32]), same length x, y
);
through_table!(
    /// `y[i] = fma(a, widened x[i], y[i])` with `x` in binary16 bits.
    axpy_f16(a: f32, x: &[u16], y: &mut [f32]), same length x, y
);
through_table!(
    /// `y[i] = fma(a, widened x[i], y[i])` with `x` in bfloat16 bits.
    axpy_bf16(a: f32, x: &[u16], y: &mut [f32]), same length x, y
);
through_table!(
    /// `acc[i] = acc[i] + x[i]`.
    add_assign(acc: &mut [f32], x: &[f32]), same length acc, x
);
through_table!(
    /// `acc[i] = fmax(acc[i], x[i])`, see [`fmax`].
    max_assign(acc: &mut [f32], x: &[f32]), same length acc, x
);
through_table!(
    /// `y[i] = a * y[i]`.
    scale(a: f32, y: &mut [f32]), same length y
);
through_table!(
    /// `y[i] = y[i] / d`.
    div_assign(d: f32, y: &mut [f32]), same length y
);
through_table!(
    /// `out[i] = x[i] * g[i]`.
    mul(x: &[f32], g: &[f32], out: &mut [f32]), same length x, g, out
);
through_table!(
    /// Sum of squares: `ss = +0.0`, then `ss = fma(x[i], x[i], ss)` for i ascending.
    sum_squares(x: &[f32]) -> f32, same length x
);
through_table!(
    /// Is one of them a NaN?
    has_nan(x: &[f32]) -> bool, same length x
);
through_table!(
    /// Is none of them infinite or a NaN?
    all_finite(x: &[f32]) -> bool, same length x
);
through_table!(
    /// `out[i] = silu(gate[i]) * up[i]`, `silu(z) = z / (1 + exp(-z))`.
    silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]), same length gate, up, out
);
through_table!(
    /// `y[i] = exp(y[i])`.
    exp_assign(y: &mut [f32]), same length y
);
through_table!(
    /// `y[i] = exp(y[i] - m)`; returns `sum = +0.0`, then `sum = sum + y[i]` for i ascending.
    exp_sub_sum(m: f32, y: &mut [f32]) -> f32, same length y
);
through_table!(
    /// Rounds to binary16 bits, to nearest even, denormals kept; true if every result is finite.
    f32_to_f16(x: &[f32], out: &mut [u16]) -> bool, same length x, out
);

/// [`axpy_f16`] or [`axpy_bf16`].
#[inline]
pub fn axpy_widen(kernels: Kernels, format: WeightFormat, a: f32, x: &[u16], y: &mut [f32]) {
    match format {
        WeightFormat::F16 => axpy_f16(kernels, a, x, y),
        WeightFormat::Bf16 => axpy_bf16(kernels, a, x, y),
    }
}

/// The bodies. `#[inline(always)]` so that they take on the target features of the function that they end up in.
mod body {
    use super::*;

    #[inline(always)]
    pub(super) fn axpy<F: FusedMultiplyAdd>(a: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = F::fma(a, *x, *y);
        }
    }

    #[inline(always)]
    pub(super) fn axpy_bf16<F: FusedMultiplyAdd>(a: f32, x: &[u16], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = F::fma(a, f32::from_bits(u32::from(*x) << 16), *y);
        }
    }

    #[inline(always)]
    pub(super) fn add_assign<F: FusedMultiplyAdd>(acc: &mut [f32], x: &[f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += *x;
        }
    }

    #[inline(always)]
    pub(super) fn max_assign<F: FusedMultiplyAdd>(acc: &mut [f32], x: &[f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc = fmax(*acc, *x);
        }
    }

    #[inline(always)]
    pub(super) fn scale<F: FusedMultiplyAdd>(a: f32, y: &mut [f32]) {
        for y in y {
            *y *= a;
        }
    }

    #[inline(always)]
    pub(super) fn div_assign<F: FusedMultiplyAdd>(d: f32, y: &mut [f32]) {
        for y in y {
            *y /= d;
        }
    }

    #[inline(always)]
    pub(super) fn mul<F: FusedMultiplyAdd>(x: &[f32], g: &[f32], out: &mut [f32]) {
        for ((out, x), g) in out.iter_mut().zip(x).zip(g) {
            *out = *x * *g;
        }
    }

    #[inline(always)]
    pub(super) fn sum_squares<F: FusedMultiplyAdd>(x: &[f32]) -> f32 {
        let mut sum = 0.0;
        for x in x {
            sum = F::fma(*x, *x, sum);
        }
        sum
    }

    // Without an early end, so that they vectorise: nearly always all are looked at.
    #[inline(always)]
    pub(super) fn has_nan<F: FusedMultiplyAdd>(x: &[f32]) -> bool {
        x.iter().fold(false, |found, x| found | x.is_nan())
    }

    #[inline(always)]
    pub(super) fn all_finite<F: FusedMultiplyAdd>(x: &[f32]) -> bool {
        x.iter().fold(true, |finite, x| finite & x.is_finite())
    }

    #[inline(always)]
    pub(super) fn silu_mul<F: FusedMultiplyAdd>(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = *gate / (1.0 + exp_body::<F>(-*gate)) * *up;
        }
    }

    #[inline(always)]
    pub(super) fn exp_assign<F: FusedMultiplyAdd>(y: &mut [f32]) {
        for y in y {
            *y = exp_body::<F>(*y);
        }
    }

    #[inline(always)]
    pub(super) fn exp_sub_sum<F: FusedMultiplyAdd>(m: f32, y: &mut [f32]) -> f32 {
        for y in y.iter_mut() {
            *y = exp_body::<F>(*y - m);
        }
        let mut sum = 0.0;
        for y in y.iter() {
            sum += *y;
        }
        sum
    }
}

/// Compiles all bodies into plain functions with the given attributes.
macro_rules! compile {
    ($from:ty, [$($attr:tt)*] $name:ident ($($arg:ident: $ty:ty),*) $(-> $ret:ty)?) => {
        $($attr)*
        pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
            super::body::$name::<$from>($($arg),*)
        }
    };
    ($from:ty, $attrs:tt) => {
        compile!($from, $attrs axpy(a: f32, x: &[f32], y: &mut [f32]));
        compile!($from, $attrs axpy_bf16(a: f32, x: &[u16], y: &mut [f32]));
        compile!($from, $attrs add_assign(acc: &mut [f32], x: &[f32]));
        compile!($from, $attrs max_assign(acc: &mut [f32], x: &[f32]));
        compile!($from, $attrs scale(a: f32, y: &mut [f32]));
        compile!($from, $attrs div_assign(d: f32, y: &mut [f32]));
        compile!($from, $attrs mul(x: &[f32], g: &[f32], out: &mut [f32]));
        compile!($from, $attrs sum_squares(x: &[f32]) -> f32);
        compile!($from, $attrs has_nan(x: &[f32]) -> bool);
        compile!($from, $attrs all_finite(x: &[f32]) -> bool);
        compile!($from, $attrs silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]));
        compile!($from, $attrs exp_assign(y: &mut [f32]));
        compile!($from, $attrs exp_sub_sum(m: f32, y: &mut [f32]) -> f32);
    };
}

/// Portable code.
pub(crate) mod scalar {
    use crate::math::fma::{Portable, fma};
    use half::f16;

    compile!(Portable, []);

    pub(crate) fn axpy_f16(a: f32, x: &[u16], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = fma(a, f16::from_bits(*x).to_f32(), *y);
        }
    }

    pub(crate) fn f32_to_f16(x: &[f32], out: &mut [u16]) -> bool {
        let mut finite = true;
        for (out, x) in out.iter_mut().zip(x) {
            let rounded = f16::from_f32(*x);
            finite &= rounded.is_finite();
            *out = rounded.to_bits();
        }
        finite
    }
}

/// AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
    use crate::math::fma::Hardware;
    use std::arch::x86_64::*;

    compile!(Hardware, [#[target_feature(enable = "avx2,fma,f16c")]]);

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn axpy_f16(a: f32, x: &[u16], y: &mut [f32]) {
        let (x_eights, x_rest) = x.as_chunks::<8>();
        let (y_eights, y_rest) = y.as_chunks_mut::<8>();
        let factor = _mm256_set1_ps(a);
        for (y, x) in y_eights.iter_mut().zip(x_eights) {
            // SAFETY: both arrays hold eight elements; the instructions take any alignment.
            unsafe {
                let wide = _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()));
                let sum = _mm256_fmadd_ps(factor, wide, _mm256_loadu_ps(y.as_ptr()));
                _mm256_storeu_ps(y.as_mut_ptr(), sum);
            }
        }
        for (y, x) in y_rest.iter_mut().zip(x_rest) {
            let wide = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(*x))));
            *y = a.mul_add(wide, *y);
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn f32_to_f16(x: &[f32], out: &mut [u16]) -> bool {
        let (x_eights, x_rest) = x.as_chunks::<8>();
        let (out_eights, out_rest) = out.as_chunks_mut::<8>();
        let mut finite = true;
        let mut check = |bits: u16| finite &= bits & 0x7c00 != 0x7c00;
        for (out, x) in out_eights.iter_mut().zip(x_eights) {
            // SAFETY: both arrays hold eight elements; the instructions take any alignment.
            unsafe {
                let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x.as_ptr()));
                _mm_storeu_si128(out.as_mut_ptr().cast(), rounded);
            }
            out.iter().for_each(|bits| check(*bits));
        }
        for (out, x) in out_rest.iter_mut().zip(x_rest) {
            *out = _mm_extract_epi16::<0>(_mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(*x))) as u16;
            check(*out);
        }
        finite
    }
}

#[cfg(test)]
#[path = "vector_tests.rs"]
mod tests;
