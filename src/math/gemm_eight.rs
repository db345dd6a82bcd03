//! The smallest tiles of `gemm`: eight rows of C, both factors in binary16 and read where they lie.
//!
//! ```text
//!   k:   four of A, widened, in both halves of a vector, twice   eight of B, widened   C: eight registers, a row each
//! ```
//! With tiles of 8 x 8 a product is 64 multiply-adds of vectors: no room for a pass that widens, nor for scratch.
//! Invariant: the bits are those of the definition in `gemm`. Called through the table of `simd` alone.

use half::f16;

use super::super::fma::fma;
use super::{Dims, LANES, Operand, Values, last, reach};

/// A is `k x 8`, k-major without gaps; B is k-major with `b_stride` elements from one k to the next.
pub(crate) struct Eight<'a> {
    n: usize,
    a: &'a [[u16; LANES]],
    b: &'a [u16],
    b_stride: usize,
    c: &'a mut [f32],
    c_stride: usize,
}

impl<'a> Eight<'a> {
    /// The product in this form, where A is eight rows side by side without gaps, whole vectors of B's rows can be
    /// read, and C is long enough: all that the unsafe bodies rely on.
    #[inline(always)]
    pub(super) fn of(d: Dims, a: &Operand<'a>, b: &Operand<'a>, c: &'a mut [f32], c_stride: usize) -> Option<Self> {
        let (Values::F16(a_bits), Values::F16(b_bits)) = (a.values, b.values) else { return None };
        if d.m != LANES || (a.stride, a.k_stride, b.stride) != (1, LANES, 1) || d.k == 0 || d.n == 0 {
            return None;
        }
        let a = a_bits.as_chunks::<LANES>().0.get(..d.k)?;
        let fits = reach(d.k, d.n, b.k_stride) <= b_bits.len() && last(LANES, d.n, c_stride) <= c.len();
        (fits && d.n <= c_stride).then_some(Self { n: d.n, a, b: b_bits, b_stride: b.k_stride, c, c_stride })
    }
}

/// One number at a time.
pub(crate) fn scalar(p: Eight<'_>) {
    for row in 0..LANES {
        for n in 0..p.n {
            let c = &mut p.c[row * p.c_stride + n];
            for (k, a) in p.a.iter().enumerate() {
                let [a, b] = [a[row], p.b[k * p.b_stride + n]].map(|x| f16::from_bits(x).to_f32());
                *c = fma(a, b, *c);
            }
        }
    }
}

/// Eight columns at a time.
///
/// # Safety
/// The host has AVX2, FMA and F16C; `p` is from `Eight::of`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn avx2(p: Eight<'_>) {
    let mut n = 0;
    while n < p.n {
        // SAFETY: columns from `n < p.n` on lie inside B and C by `Eight::of`.
        unsafe {
            let (b, c) = (p.b.as_ptr().add(n), p.c.as_mut_ptr().add(n));
            match p.n - n {
                LANES.. => columns::<true>(&p, b, c, LANES),
                left => columns::<false>(&p, b, c, left),
            }
        }
        n += LANES;
    }
}

/// `n` columns, at most eight, from `b` and `c` on; if `FULL`, eight.
///
/// # Safety
/// As `avx2`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn columns<const FULL: bool>(p: &Eight<'_>, mut b: *const u16, c: *mut f32, n: usize) {
    use super::avx2::{load, store};
    use std::arch::x86_64::*;
    let n = if FULL { LANES } else { n };
    // SAFETY: `n` elements of each of the eight rows are readable.
    let mut acc: [__m256; LANES] = std::array::from_fn(|row| unsafe { load(c.add(row * p.c_stride), n) });
    for a in p.a {
        // SAFETY: a whole vector of B is readable in every k by `Eight::of`.
        let eights = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(b.cast())) };
        for (four, acc) in a.as_chunks::<4>().0.iter().zip(acc.as_chunks_mut::<4>().0) {
            // Four of A in either half of a vector: what spreads one of them is one instruction each.
            let wide = _mm256_cvtph_ps(_mm_set1_epi64x(bytemuck::cast(*four)));
            acc[0] = _mm256_fmadd_ps(_mm256_permute_ps::<0x00>(wide), eights, acc[0]);
            acc[1] = _mm256_fmadd_ps(_mm256_permute_ps::<0x55>(wide), eights, acc[1]);
            acc[2] = _mm256_fmadd_ps(_mm256_permute_ps::<0xaa>(wide), eights, acc[2]);
            acc[3] = _mm256_fmadd_ps(_mm256_permute_ps::<0xff>(wide), eights, acc[3]);
        }
        // The last step may leave B: no longer used then.
        b = b.wrapping_add(p.b_stride);
    }
    for (row, acc) in acc.into_iter().enumerate() {
        // SAFETY: as the load.
        unsafe { store(c.add(row * p.c_stride), n, acc) };
    }
}
