//! GEMM of small tiles: C += A B on tiles that fit a core's arena, in a fixed order.
//!
//! Invariant: `c[m][n] = fma(a[m][k], b[k][n], c[m][n])` for k ascending, operands widened exactly, at every level: an
//! output is one chain, so neither blocking nor vector width shows in the bits. [`gemm_f16`] does every step
//! in binary16 as [`super::binary16::fma_f16`] does: one rounding of the exact multiply-add.
//!
//! ```text
//!   chunk of A (96 x 64), widened once     panel of B (64 x 16), widened once     6 x 16 of C in registers
//! ```
//! 12 accumulators of 8 lanes keep two FMAs of latency 4 busy; a block reads 2 vectors and 6 scalars per 12 FMAs.
//! Called by the GEMM kernels inside charged operations.

use std::cell::RefCell;

use half::f16;

use super::binary16::fma_f16;
use super::fma::fma;
use super::simd::Kernels;

/// Columns of a panel of B.
const PANEL: usize = 16;
/// Rows of a chunk of A: a multiple of the 6 rows of a block.
const ROWS: usize = 96;
/// Inputs of a chunk.
const DEPTH: usize = 64;

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

impl Operand<'_> {
    fn at(&self, i: usize, k: usize) -> usize {
        i * self.stride + k * self.k_stride
    }

    fn check(&self, i: usize, k: usize) {
        let need = if i * k == 0 { 0 } else { self.at(i - 1, k - 1) + 1 };
        assert!(need <= self.values.len(), "gemm: an operand of {i} x {k} needs {need} of {}", self.values.len());
    }

    /// Widens a chunk into `out`; the strides of its rows and of k there.
    fn chunk(
        &self,
        kernels: Kernels,
        m: std::ops::Range<usize>,
        k: std::ops::Range<usize>,
        out: &mut [f32],
    ) -> Strides {
        if self.k_stride == 1 {
            for (row, out) in m.zip(out.chunks_exact_mut(DEPTH)) {
                self.values.widen(kernels, self.at(row, k.start), &mut out[..k.len()]);
            }
            return Strides { row: DEPTH, k: 1 };
        }
        for (k, out) in k.zip(out.chunks_exact_mut(ROWS)) {
            let out = &mut out[..m.len()];
            if self.stride == 1 {
                self.values.widen(kernels, self.at(m.start, k), out);
            } else {
                m.clone().zip(out).for_each(|(row, out)| *out = self.values.get(self.at(row, k)));
            }
        }
        Strides { row: 1, k: ROWS }
    }

    /// Widens columns of B into a panel, k-major, zeros beyond the last.
    fn panel(&self, kernels: Kernels, n: std::ops::Range<usize>, k: std::ops::Range<usize>, out: &mut [f32]) {
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

/// A chunk of A times a panel of B into at most 16 columns of C.
pub(crate) struct Panel<'a> {
    m: usize,
    k: usize,
    n: usize,
    a: &'a [f32],
    strides: Strides,
    b: &'a [f32],
    c: &'a mut [f32],
    c_stride: usize,
}

impl Panel<'_> {
    /// What the unsafe bodies rely on.
    fn check(&self) {
        let last = (self.m - 1) * self.strides.row + (self.k - 1) * self.strides.k;
        assert!(last < self.a.len() && self.k * PANEL <= self.b.len());
        assert!((1..=PANEL).contains(&self.n) && (self.m - 1) * self.c_stride + self.n <= self.c.len());
    }
}

thread_local! {
    /// A chunk of A and a panel of B, widened; written before it is read, kept so that no product clears 28 KB first.
    static SCRATCH: RefCell<([f32; ROWS * DEPTH], [f32; PANEL * DEPTH])> =
        const { RefCell::new(([0.0; ROWS * DEPTH], [0.0; PANEL * DEPTH])) };
}

/// Walks chunks and panels; `each` gets k's chunk widened, for every block of C.
fn walk(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, mut each: impl FnMut(usize, usize, Chunk<'_>)) {
    a.check(d.m, d.k);
    b.check(d.n, d.k);
    SCRATCH.with_borrow_mut(|(wide_a, wide_b)| {
        for m in (0..d.m).step_by(ROWS) {
            let m = m..d.m.min(m + ROWS);
            for k in (0..d.k).step_by(DEPTH) {
                let k = k..d.k.min(k + DEPTH);
                let strides = a.chunk(kernels, m.clone(), k.clone(), wide_a);
                for n in (0..d.n).step_by(PANEL) {
                    let n = n..d.n.min(n + PANEL);
                    b.panel(kernels, n.clone(), k.clone(), &mut wide_b[..k.len() * PANEL]);
                    let chunk = Chunk { m: m.len(), k: k.len(), n: n.len(), a: wide_a, strides, b: wide_b };
                    each(m.start, n.start, chunk);
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
}

impl<'a> Chunk<'a> {
    fn times(self, c: &'a mut [f32], c_stride: usize) -> Panel<'a> {
        let Self { m, k, n, a, strides, b } = self;
        let panel = Panel { m, k, n, a, strides, b, c, c_stride };
        panel.check();
        panel
    }
}

/// `c += a b`, C row-major `m x n` in f32, in the order of the module's invariant.
pub fn gemm(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [f32]) {
    assert_eq!(c.len(), d.m * d.n, "gemm: C of {d:?}");
    gemm_strided(kernels, d, a, b, c, d.n);
}

/// As `gemm` with `c_stride` elements from one row of C to the next; what lies between is left alone.
pub fn gemm_strided(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [f32], c_stride: usize) {
    assert!(d.n <= c_stride || d.m < 2, "gemm: {d:?} with {c_stride} elements a row of C");
    walk(kernels, d, a, b, |m, n, chunk| {
        let panel = chunk.times(&mut c[m * c_stride + n..], c_stride);
        // SAFETY: a `Kernels` exists only for a level whose instructions this host has; the panel was checked.
        unsafe { (kernels.0.gemm_panel)(panel) }
    });
}

/// `c += a b`, C row-major `m x n` in binary16, every step rounded to it.
pub fn gemm_f16(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &mut [u16]) {
    assert_eq!(c.len(), d.m * d.n, "gemm: C of {d:?}");
    let mut wide = [0.0; ROWS * PANEL];
    walk(kernels, d, a, b, |m, n, chunk| {
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

pub(crate) fn widen_f16_scalar(x: &[u16], out: &mut [f32]) {
    x.iter().zip(out).for_each(|(x, out)| *out = f16::from_bits(*x).to_f32());
}

pub(crate) fn panel_scalar<const ROUND: bool>(p: Panel<'_>) {
    for row in 0..p.m {
        for n in 0..p.n {
            let c = &mut p.c[row * p.c_stride + n];
            for k in 0..p.k {
                let (a, b) = (p.a[row * p.strides.row + k * p.strides.k], p.b[k * PANEL + n]);
                *c = if ROUND {
                    fma_f16(f16::from_f32(a), f16::from_f32(b), f16::from_f32(*c)).to_f32()
                } else {
                    fma(a, b, *c)
                };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[path = "gemm_avx2.rs"]
pub(crate) mod avx2;

#[cfg(test)]
#[path = "gemm_tests.rs"]
mod tests;
