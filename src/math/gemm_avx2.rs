//! The blocks of `gemm` for AVX2, FMA and F16C: 6 rows x 16 columns of C in twelve registers, or 12 rows x 8 columns.
//!
//! Invariant: the bits are those of `scalar::panel`: each lane is one output's chain, k ascending.
//! Called through the table of `simd` alone.

use std::arch::x86_64::*;

use super::Panel;

/// Rows of a block of two vectors a row, at most: twelve registers.
const BLOCK: usize = 6;

/// Widens binary16.
///
/// # Safety
/// The host has AVX2 and F16C; the lengths are equal.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn widen_f16(x: &[u16], out: &mut [f32]) {
    let (eights, rest) = x.as_chunks::<8>();
    let (out_eights, out_rest) = out.as_chunks_mut::<8>();
    for (x, out) in eights.iter().zip(out_eights) {
        // SAFETY: both arrays hold eight elements; the instructions take any alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()))) }
    }
    for (x, out) in rest.iter().zip(out_rest) {
        *out = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(*x))));
    }
}

/// A chunk of A times columns of B, 16 or 8 at a time; `B` is f32 or, for binary16, u16.
///
/// # Safety
/// The host has AVX2, FMA and F16C; `Panel::check` passed.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn panel<B: Copy, const ROUND: bool>(p: Panel<'_, B>) {
    // SAFETY: the caller's.
    unsafe { if p.strides.row == 1 { columns::<B, true, ROUND>(p) } else { columns::<B, false, ROUND>(p) } }
}

/// `panel` where rows of A lie side by side (`NEAR`), or not.
///
/// # Safety
/// As `panel`; if `NEAR`, `p.strides.row` is 1.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<B: Copy, const NEAR: bool, const ROUND: bool>(p: Panel<'_, B>) {
    let mut n = 0;
    while n < p.n {
        // SAFETY: columns from `n < p.n` on lie inside B and C by `Panel::check`.
        unsafe {
            let (b, c) = (p.b.as_ptr().add(n), p.c.as_mut_ptr().add(n));
            match p.n - n {
                16.. => rows::<B, 2, true, NEAR, ROUND>(&p, b, c, 16),
                left @ 9.. => rows::<B, 2, false, NEAR, ROUND>(&p, b, c, left),
                8 => rows::<B, 1, true, NEAR, ROUND>(&p, b, c, 8),
                left => rows::<B, 1, false, NEAR, ROUND>(&p, b, c, left),
            }
        }
        // Eight or fewer are always the last.
        n += 16;
    }
}

/// `8 (V - 1) < n <= 8 V` columns from `b` and `c` on; if `FULL`, 8 V.
///
/// # Safety
/// As `panel`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<B: Copy, const V: usize, const FULL: bool, const NEAR: bool, const ROUND: bool>(
    p: &Panel<'_, B>,
    b: *const B,
    c: *mut f32,
    n: usize,
) {
    let (mut a, mut c, mut left) = (p.a.as_ptr(), c, p.m);
    while left > 0 {
        // As even as can be: 32 rows are 6 6 5 5 5 5, not 6 6 6 6 6 2.
        let most = BLOCK * 2 / V;
        let rows = if left <= most { left } else { left.div_ceil(left.div_ceil(most)) };
        // SAFETY: rows `0 .. rows` from here lie inside A and C by `Panel::check`; so do the pointers moved on by them,
        // which are used only while rows are left (`wrapping_add`: the last step may leave the slice).
        unsafe {
            match rows {
                12 if V == 1 => block::<B, 12, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                11 if V == 1 => block::<B, 11, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                10 if V == 1 => block::<B, 10, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                9 if V == 1 => block::<B, 9, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                8 if V == 1 => block::<B, 8, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                7 if V == 1 => block::<B, 7, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                6 => block::<B, 6, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                5 => block::<B, 5, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                4 => block::<B, 4, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                3 => block::<B, 3, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                2 => block::<B, 2, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
                _ => block::<B, 1, V, FULL, NEAR, ROUND>(p, a, b, (c, n)),
            }
        }
        (a, c) = (a.wrapping_add(rows * p.strides.row), c.wrapping_add(rows * p.c_stride));
        left -= rows;
    }
}

/// `R` rows of A from `a`, columns of B from `b`, `n` of them in V vectors, into C from `c`.
///
/// # Safety
/// As `rows`; `a` and `c` point at `R` rows of A and C.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn block<B: Copy, const R: usize, const V: usize, const FULL: bool, const NEAR: bool, const ROUND: bool>(
    p: &Panel<'_, B>,
    a: *const f32,
    b: *const B,
    (c, n): (*mut f32, usize),
) {
    let (n, row_stride) = (if FULL { 8 * V } else { n }, if NEAR { 1 } else { p.strides.row });
    let mut acc = [[_mm256_setzero_ps(); V]; R];
    for (r, row) in acc.iter_mut().enumerate() {
        for (v, acc) in row.iter_mut().enumerate() {
            // SAFETY: at most the row's `n` elements are read.
            *acc = unsafe { load(c.add(r * p.c_stride + 8 * v), n - 8 * v) };
        }
    }
    let (mut a, mut b) = (a, b);
    for _ in 0..p.k {
        // SAFETY: `p.k` rows of B are readable for V whole vectors from their start.
        let eights: [__m256; V] = std::array::from_fn(|v| unsafe { eight(b.add(8 * v)) });
        for (r, row) in acc.iter_mut().enumerate() {
            // SAFETY: `R` rows and `p.k` inputs lie inside A.
            let x = unsafe { _mm256_broadcast_ss(&*a.add(r * row_stride)) };
            for (acc, b) in row.iter_mut().zip(eights) {
                *acc = if ROUND { fma_f16(x, b, *acc) } else { _mm256_fmadd_ps(x, b, *acc) };
            }
        }
        // The last step may leave the slices: no longer used then.
        (a, b) = (a.wrapping_add(p.strides.k), b.wrapping_add(p.b_stride));
    }
    for (r, row) in acc.iter().enumerate() {
        for (v, acc) in row.iter().enumerate() {
            // SAFETY: as the load.
            unsafe { store(c.add(r * p.c_stride + 8 * v), n - 8 * v, *acc) };
        }
    }
}

/// Eight elements in f32.
///
/// # Safety
/// Eight elements are readable at `b`; `B` is f32, or u16 for binary16.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn eight<B: Copy>(b: *const B) -> __m256 {
    // SAFETY: the caller's; the instructions take any alignment.
    unsafe { if size_of::<B>() == 2 { _mm256_cvtph_ps(_mm_loadu_si128(b.cast())) } else { _mm256_loadu_ps(b.cast()) } }
}

/// `a * b + c` rounded once to binary16, operands being binary16 widened.
///
/// The product is exact in f32. The sum's rounding error is exact too (Knuth's two-sum), so the sum can be rounded to
/// odd (an inexact even one moves one place toward the exact value), after which narrowing rounds as if it were
/// alone.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn fma_f16(a: __m256, b: __m256, c: __m256) -> __m256 {
    let p = _mm256_mul_ps(a, b);
    let s = _mm256_add_ps(p, c);
    let t = _mm256_sub_ps(s, p);
    let error = _mm256_add_ps(_mm256_sub_ps(p, _mm256_sub_ps(s, t)), _mm256_sub_ps(c, t));
    let bits = _mm256_castps_si256(s);
    // Ordered: an infinite sum has a NaN here and stays as it is.
    let inexact = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_NEQ_OQ>(error, _mm256_setzero_ps()));
    let odd = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<31>(bits));
    let away = _mm256_srai_epi32::<31>(_mm256_xor_si256(bits, _mm256_castps_si256(error)));
    let one_place = _mm256_or_si256(away, _mm256_set1_epi32(1));
    let step = _mm256_and_si256(_mm256_andnot_si256(odd, inexact), one_place);
    let s = _mm256_castsi256_ps(_mm256_add_epi32(bits, step));
    _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(s))
}

/// The first `n` of eight elements at `c`, at most all of them; zeros behind.
///
/// # Safety
/// The host has AVX2; so many elements are readable.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn load(c: *const f32, n: usize) -> __m256 {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    // SAFETY: the caller's; the mask keeps the load inside n elements.
    unsafe {
        match n {
            8.. => _mm256_loadu_ps(c),
            _ => _mm256_maskload_ps(c, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)),
        }
    }
}

/// Writes the first `n` of eight elements, at most all of them: whole, or in halves down to one.
///
/// # Safety
/// The host has AVX2; so many elements are writable.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) unsafe fn store(c: *mut f32, n: usize, x: __m256) {
    // SAFETY: the caller's; 4, 2 and 1 of n add up to n below 8.
    unsafe {
        if n >= 8 {
            return _mm256_storeu_ps(c, x);
        }
        let (mut c, mut rest) = (c, _mm256_castps256_ps128(x));
        if n & 4 != 0 {
            _mm_storeu_ps(c, rest);
            (c, rest) = (c.add(4), _mm256_extractf128_ps::<1>(x));
        }
        if n & 2 != 0 {
            _mm_store_sd(c.cast(), _mm_castps_pd(rest));
            (c, rest) = (c.add(2), _mm_movehl_ps(rest, rest));
        }
        if n & 1 != 0 {
            _mm_store_ss(c, rest);
        }
    }
}
