//! Several rows of a binary16 matrix added into one output: what attention does with keys and values.
//!
//! Invariant: `y[i] = fma(a[k], widened x[k stride + i], y[i])` for k ascending, at every level: an output is one
//! chain, so how columns are grouped does not show in the bits. Called by kernels.

use super::simd::Kernels;

/// `y[i] = fma(a[k], widened x[k * stride + i], y[i])` for k ascending; `x` holds `a.len()` rows of `y.len()` elements,
/// `stride` apart.
///
/// # Panics
/// When the last row is not inside `x`.
#[inline]
pub fn axpy_rows_f16(kernels: Kernels, stride: usize, a: &[f32], x: &[u16], y: &mut [f32]) {
    if a.is_empty() || y.is_empty() {
        return;
    }
    let need = (a.len() - 1).saturating_mul(stride).saturating_add(y.len());
    assert!(need <= x.len(), "axpy_rows: {} rows of {} need {need} elements, have {}", a.len(), y.len(), x.len());
    // SAFETY: a `Kernels` exists only for a level whose instructions this host has, and the rows are inside x.
    unsafe { (kernels.0.axpy_rows_f16)(stride, a, x, y) }
}

/// Portable code.
///
/// # Safety
/// As `axpy_rows_f16` checks; here an index outside panics.
pub(crate) unsafe fn scalar(stride: usize, a: &[f32], x: &[u16], y: &mut [f32]) {
    for (k, a) in a.iter().enumerate() {
        super::vector::scalar::axpy_f16(*a, &x[k * stride..][..y.len()], y);
    }
}

/// Masks of the first 8 to 0 of eight columns, from offset 0 to 8.
#[cfg(target_arch = "x86_64")]
const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// Eight columns at a time, their sums in a register over all rows.
///
/// # Safety
/// The host has AVX2, FMA and F16C; `(a.len() - 1) * stride + y.len() <= x.len()` and `a` is not empty.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn avx2(stride: usize, a: &[f32], x: &[u16], y: &mut [f32]) {
    use std::arch::x86_64::*;
    let width = y.len();
    for first in (0..width).step_by(8) {
        let wide = (width - first).min(8);
        // SAFETY: the mask chooses the `wide` columns of y that there are; it is read inside `MASKS`.
        let (mask, mut sum) = unsafe {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - wide).cast());
            (mask, _mm256_maskload_ps(y.as_ptr().add(first), mask))
        };
        for (k, a) in a.iter().enumerate() {
            let at = k * stride + first;
            let row = if at + 8 <= x.len() {
                // SAFETY: eight elements from `at` on are inside x; lanes beyond `wide` are dropped.
                unsafe { _mm_loadu_si128(x.as_ptr().add(at).cast()) }
            } else {
                let mut last = [0u16; 8];
                last[..wide].copy_from_slice(&x[at..at + wide]);
                // SAFETY: eight elements.
                unsafe { _mm_loadu_si128(last.as_ptr().cast()) }
            };
            sum = _mm256_fmadd_ps(_mm256_set1_ps(*a), _mm256_cvtph_ps(row), sum);
        }
        // SAFETY: as above.
        unsafe { _mm256_maskstore_ps(y.as_mut_ptr().add(first), mask, sum) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_adds_the_rows_one_after_the_other() {
        let bits = |i: usize| half::f16::from_f32((i * 37 % 101) as f32 / 16.0 - 3.0).to_bits();
        for (rows, width, stride) in [(1, 1, 1), (3, 8, 8), (5, 7, 9), (16, 13, 20), (4, 33, 40), (2, 3, 3), (0, 5, 5)]
        {
            let x: Vec<u16> = (0..rows * stride).map(bits).collect();
            let x = &x[..x.len() - if rows > 0 { stride - width } else { 0 }];
            let a: Vec<f32> = (0..rows).map(|k| 0.3 * k as f32 - 0.7).collect();
            let start: Vec<f32> = (0..width).map(|i| i as f32 / 3.0).collect();
            let mut want = start.clone();
            for (k, a) in a.iter().enumerate() {
                for (i, y) in want.iter_mut().enumerate() {
                    *y = a.mul_add(half::f16::from_bits(x[k * stride + i]).to_f32(), *y);
                }
            }
            for level in crate::math::simd::SimdLevel::available() {
                let kernels = Kernels::for_level(level).expect("available");
                let mut y = start.clone();
                axpy_rows_f16(kernels, stride, &a, x, &mut y);
                let (y, want): (Vec<u32>, Vec<u32>) =
                    (y.iter().map(|v| v.to_bits()).collect(), want.iter().map(|v| v.to_bits()).collect());
                assert_eq!(y, want, "{level:?}: {rows} rows of {width}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "axpy_rows: 2 rows")]
    fn a_stride_beyond_counting_is_refused() {
        let x = [0u16; 16];
        axpy_rows_f16(Kernels::detect(), 0usize.wrapping_sub(4), &[1.0, 1.0], &x[8..], &mut [0.0; 4]);
    }
}
