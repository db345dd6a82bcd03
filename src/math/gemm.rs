//! GEMM of small tiles: C += A B on tiles that fit a core's arena, in a fixed order.
//!
//! Invariant: `c[m][n] = fma(a[m][k], b[k][n], c[m][n])` for k ascending, operands widened exactly, at every level: an
//! output is one chain, so neither blocking nor vector width shows in the bits. [`gemm_f16`] does every step
//! in binary16 as [`super::binary16::fma_f16`] does: one rounding of the exact multiply-add.
//!
//! ```text
//!   chunk of A (96 x 64), widened once     B (64 rows), widened once, panels of 16     6 x 16 of C in registers
//! ```
//! 12 accumulators of 8 lanes keep two FMAs of latency 4 busy; a block reads 2 vectors and 6 scalars per 12 FMAs.
//! Small tiles must not pay for generality: what is f32 already is read where it lies, what is contiguous is widened by
//! one call, and whole vectors of C are moved without masks (a masked store takes a dozen cycles on some cores).
//! Called by the GEMM kernels inside charged operations.

use std::cell::RefCell;
use std::ops::Range;

use half::f16;

use super::simd::Kernels;
use eight::Eight;

/// Columns of a panel of B.
const PANEL: usize = 16;
/// Columns that one vector holds: B is readable in whole ones.
const LANES: usize = 8;
/// Rows of a chunk of A: a multiple of the 6 rows of a block.
const ROWS: usize = 96;
/// Inputs of a chunk.
const DEPTH: usize = 64;
/// Elements of B that are widened at once, at most; else panel by panel.
const WHOLE: usize = 4096;
/// Elements of C that are asked for at once, at most.
const EXPECTED: usize = 2048;

/// Shape of a product: C is `m x n`, A is `m x k`, B is `k x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
}

/// Numbers of a tile, in their storage format.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// binary16 bits.
    F16(&'a [u16]),
    /// bfloat16 bits.
    Bf16(&'a [u16]),
    /// binary32.
    F32(&'a [f32]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F16(v) | Self::Bf16(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Self::F16(v) => f16::from_bits(v[at]).to_f32(),
            Self::Bf16(v) => f32::from_bits(u32::from(v[at]) << 16),
            Self::F32(v) => v[at],
        }
    }

    /// `out` = the elements from `at` on, widened.
    #[inline]
    fn widen(&self, kernels: Kernels, at: usize, out: &mut [f32]) {
        let run = at..at + out.len();
        match self {
            // SAFETY: a `Kernels` exists only for a level whose instructions this host has; lengths are equal.
            Self::F16(v) => unsafe { (kernels.0.widen_f16)(&v[run], out) },
            Self::Bf16(v) => v[run].iter().zip(out).for_each(|(x, out)| *out = f32::from_bits(u32::from(*x) << 16)),
            Self::F32(v) => out.copy_from_slice(&v[run]),
        }
    }
}

/// One factor: element `(i, k)` (i is m for A, n for B) lies at `i * stride + k * k_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The tile.
    pub values: Values<'a>,
    /// Elements between neighbours in m or n.
    pub stride: usize,
    /// Elements between neighbours in k.
    pub k_stride: usize,
}

impl<'a> Operand<'a> {
    fn at(&self, i: usize, k: usize) -> usize {
        i * self.stride + k * self.k_stride
    }

    fn check(&self, i: usize, k: usize) {
        let need = if i == 0 || k == 0 { 0 } else { last(i, last(k, 1, self.k_stride), self.stride) };
        assert!(need <= self.values.len(), "gemm: an operand of {i} x {k} needs {need} of {}", self.values.len());
    }

    /// A chunk in f32, widened into `out` unless it is that already; and its strides.
    #[inline(always)]
    fn chunk<'s>(&self, kernels: Kernels, m: Range<usize>, k: Range<usize>, out: &'s mut [f32]) -> (&'s [f32], Strides)
    where
        'a: 's,
    {
        let first = self.at(m.start, k.start);
        if self.stride == 1 && self.k_stride == m.len() && !matches!(self.values, Values::F32(_)) {
            let out = &mut out[..m.len() * k.len()];
            self.values.widen(kernels, first, out);
            return (out, Strides { row: 1, k: m.len() });
        }
        self.other_chunk(kernels, m, k, out)
    }

    /// `chunk` where it is f32 already, or not one run.
    #[inline(never)]
    fn other_chunk<'s>(
        &self,
        kernels: Kernels,
        m: Range<usize>,
        k: Range<usize>,
        out: &'s mut [f32],
    ) -> (&'s [f32], Strides)
    where
        'a: 's,
    {
        let first = self.at(m.start, k.start);
        if let Values::F32(values) = self.values {
            return (&values[first..], Strides { row: self.stride, k: self.k_stride });
        }
        if self.k_stride == 1 {
            for (row, out) in m.zip(out.chunks_exact_mut(DEPTH)) {
                self.values.widen(kernels, self.at(row, k.start), &mut out[..k.len()]);
            }
            return (out, Strides { row: DEPTH, k: 1 });
        }
        for (k, out) in k.zip(out.chunks_exact_mut(ROWS)) {
            let out = &mut out[..m.len()];
            if self.stride == 1 {
                self.values.widen(kernels, self.at(m.start, k), out);
            } else {
                m.clone().zip(out).for_each(|(row, out)| *out = self.values.get(self.at(row, k)));
            }
        }
        (out, Strides { row: 1, k: ROWS })
    }

    /// B as it lies, if it is binary16 by rows, whole vectors of which can be read, and one chunk of A is all that
    /// meets it: widened as it is read it costs no more than widened before, and is not written.
    fn in_place(&self, d: Dims) -> Option<&'a [u16]> {
        match self.values {
            Values::F16(bits) if self.stride == 1 && (1..=ROWS).contains(&d.m) && d.k > 0 && d.n > 0 => {
                (reach(d.k, d.n, self.k_stride) <= bits.len()).then_some(bits)
            }
            _ => None,
        }
    }

    /// Widens rows `k` of B, `n` columns each, into `out` by one call, if they are contiguous and not too many.
    fn whole(&self, kernels: Kernels, n: usize, k: Range<usize>, out: &mut [f32]) -> bool {
        let (len, is_contiguous) = (n * k.len(), self.stride == 1 && self.k_stride == n);
        if is_contiguous && len <= WHOLE {
            self.values.widen(kernels, self.at(0, k.start), &mut out[..len]);
        }
        is_contiguous && len <= WHOLE
    }

    /// Widens columns of B into a panel, k-major, zeros beyond the last.
    fn panel(&self, kernels: Kernels, n: Range<usize>, k: Range<usize>, out: &mut [f32]) {
        let width = n.len();
        if self.stride == 1 {
            for (k, out) in k.zip(out.chunks_exact_mut(PANEL)) {
                self.values.widen(kernels, self.at(n.start, k), &mut out[..width]);
                out[width..].fill(0.0);
            }
            return;
        }
        let mut run = [0.0; DEPTH];
        for j in 0..PANEL {
            if j < width && self.k_stride == 1 {
                self.values.widen(kernels, self.at(n.start + j, k.start), &mut run[..k.len()]);
            } else {
                let column = k.clone().zip(&mut run);
                column
                    .for_each(|(k, out)| *out = if j < width { self.values.get(self.at(n.start + j, k)) } else { 0.0 });
            }
            out.chunks_exact_mut(PANEL).zip(&run[..k.len()]).for_each(|(out, x)| out[j] = *x);
        }
    }
}

/// Elements between neighbours of a widened chunk.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    k: usize,
}

/// A chunk of A times k-major columns of B, in f32 or (`B = u16`) in binary16, into as many columns of C.
pub(crate) struct Panel<'a, B = f32> {
    m: usize,
    k: usize,
    n: usize,
    a: &'a [f32],
    strides: Strides,
    b: &'a [B],
    b_stride: usize,
    c: &'a mut [f32],
    c_stride: usize,
}

impl<B> Panel<'_, B> {
    /// What the unsafe bodies rely on.
    fn check(&self) {
        let a = last(self.m, last(self.k, 1, self.strides.k), self.strides.row);
        assert!(a <= self.a.len() && reach(self.k, self.n, self.b_stride) <= self.b.len());
        assert!(self.n > 0 && last(self.m, self.n, self.c_stride) <= self.c.len());
    }
}

/// Elements up to the end of the last of `rows` rows (at least one) of `n`, `stride` apart, or all that can be counted.
#[inline(always)]
fn last(rows: usize, n: usize, stride: usize) -> usize {
    (rows - 1).saturating_mul(stride).saturating_add(n)
}

/// Elements of B that are read: whole vectors of columns, whatever is left of C's.
#[inline(always)]
fn reach(k: usize, n: usize, stride: usize) -> usize {
    last(k, n.div_ceil(LANES).saturating_mul(LANES), stride)
}

thread_local! {
    /// A chunk of A, and of B with room for a vector that begins at its last element; kept so that no product clears
    /// 40 KB first.
    static SCRATCH: RefCell<([f32; ROWS * DEPTH], [f32; WHOLE + LANES])> =
        const { RefCell::new(([0.0; ROWS * DEPTH], [0.0; WHOLE + LANES])) };
}

/// Walks chunks and panels, k ascending; `each` gets a chunk of A and at most `widest` columns of B for a block of C.
fn walk(
    kernels: Kernels,
    d: Dims,
    a: Operand<'_>,
    b: Operand<'_>,
    widest: usize,
    mut each: impl FnMut(usize, usize, Chunk<'_>),
) {
    a.check(d.m, d.k);
    b.check(d.n, d.k);
    SCRATCH.with_borrow_mut(|(wide_a, wide_b)| {
        for k in (0..d.k).step_by(DEPTH) {
            let k = k..d.k.min(k + DEPTH);
            let is_whole = b.whole(kernels, d.n, k.clone(), wide_b);
            for m in (0..d.m).step_by(ROWS) {
                let m = m..d.m.min(m + ROWS);
                let (a, strides) = a.chunk(kernels, m.clone(), k.clone(), wide_a);
                let (stride, width) = if is_whole { (d.n, d.n.min(widest)) } else { (PANEL, PANEL) };
                for n in (0..d.n).step_by(width.max(1)) {
                    let n = n..d.n.min(n + width);
                    if !is_whole {
                        b.panel(kernels, n.clone(), k.clone(), &mut wide_b[..k.len() * PANEL]);
                    }
                    let b = if is_whole { &wide_b[n.start..] } else { &wide_b[..] };
                    let (m_len, k_len, n_len) = (m.len(), k.len(), n.len());
                    each(m.start, n.start, Chunk { m: m_len, k: k_len, n: n_len, a, strides, b, b_stride: stride });
                }
            }
        }
    });
}

struct Chunk<'a> {
    m: usize,
    k: usize,
    n: usize,
    a: &'a [f32],
    strides: Strides,
    b: &'a [f32],
    b_stride: usize,
}

impl<'a> Chunk<'a> {
    fn times(self, c: &'a mut [f32], c_stride: usize) -> Panel<'a> {
        let Self { m, k, n, a, strides, b, b_stride } = self;
        let panel = Panel { m, k, n, a, strides, b, b_stride, c, c_stride };
        panel.check();
        panel
    }
}

/// `c += a b`, C row-major `m x n` in f32, in the order of the module's invariant.
#[inline]
pub fn gemm(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [f32]) {
    assert_eq!(c.len(), d.m * d.n, "gemm: C of {d:?}");
    gemm_strided(kernels, d, a, b, c, d.n);
}

/// Asks the host for the cache lines of C, which come in while the factors are widened.
#[inline]
fn expect(c: &[f32]) {
    let slice = &c[..c.len().min(EXPECTED)];
    #[cfg(target_arch = "x86_64")]
    for line in slice.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads no value, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slice;
}

/// As `gemm` with `c_stride` elements from one row of C to the next; what lies between is left alone.
#[inline]
pub fn gemm_strided(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [f32], c_stride: usize) {
    match Eight::of(d, &a, &b, c, c_stride) {
        // SAFETY: a `Kernels` exists only for a level whose instructions this host has; the tile was checked.
        Some(eight) => unsafe { (kernels.0.gemm_eight)(eight) },
        None => gemm_any(kernels, d, a, b, c, c_stride),
    }
}

#[inline(never)]
fn gemm_any(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [f32], c_stride: usize) {
    assert!(d.n <= c_stride || d.m < 2, "gemm: {d:?} with {c_stride} elements a row of C");
    expect(c);
    if let Some(b_in_place) = b.in_place(d) {
        a.check(d.m, d.k);
        return with_b_in_place(kernels, d, a, (b_in_place, b.k_stride), c, c_stride);
    }
    walk(kernels, d, a, b, usize::MAX, |m, n, chunk| {
        let panel = chunk.times(&mut c[m * c_stride + n..], c_stride);
        // SAFETY: a `Kernels` exists only for a level whose instructions this host has; the panel was checked.
        unsafe { (kernels.0.gemm_panel)(panel) }
    });
}

/// `gemm_strided` with B read in place: rows of binary16, `b_stride` apart.
fn with_b_in_place(
    kernels: Kernels,
    d: Dims,
    a: Operand<'_>,
    (b, b_stride): (&[u16], usize),
    c: &mut [f32],
    c_stride: usize,
) {
    SCRATCH.with_borrow_mut(|(wide, _)| {
        let mut k = 0;
        while k < d.k {
            let end = d.k.min(k + DEPTH);
            let (a, strides) = a.chunk(kernels, 0..d.m, k..end, wide);
            let (b, c) = (&b[k * b_stride..], &mut *c);
            let panel = Panel { m: d.m, k: end - k, n: d.n, a, strides, b, b_stride, c, c_stride };
            panel.check();
            // SAFETY: a `Kernels` exists only for a level whose instructions this host has; the panel was checked.
            unsafe { (kernels.0.gemm_panel_f16)(panel) }
            k = end;
        }
    });
}

/// `c += a b`, C row-major `m x n` in binary16, every step rounded to it.
pub fn gemm_f16(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [u16]) {
    assert_eq!(c.len(), d.m * d.n, "gemm: C of {d:?}");
    let mut wide = [0.0; ROWS * PANEL];
    walk(kernels, d, a, b, PANEL, |m, n, chunk| {
        let (rows, width) = (chunk.m, chunk.n);
        for (row, wide) in wide.chunks_exact_mut(PANEL).take(rows).enumerate() {
            Values::F16(c).widen(kernels, (m + row) * d.n + n, &mut wide[..width]);
        }
        let panel = chunk.times(&mut wide, PANEL);
        // SAFETY: as in `gemm`.
        unsafe { (kernels.0.gemm_panel_rounded)(panel) }
        for (row, wide) in wide.chunks_exact(PANEL).take(rows).enumerate() {
            super::vector::f32_to_f16(kernels, &wide[..width], &mut c[(m + row) * d.n + n..][..width]);
        }
    });
}

#[path = "gemm_eight.rs"]
pub(crate) mod eight;

#[path = "gemm_scalar.rs"]
pub(crate) mod scalar;

#[cfg(target_arch = "x86_64")]
#[path = "gemm_avx2.rs"]
pub(crate) mod avx2;

#[cfg(test)]
#[path = "gemm_tests.rs"]
mod tests;
