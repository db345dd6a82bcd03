//! The product of two tiles as a charged operation, and how numbers lie in tiles.
//!
//! | tile | elements                | order in the tile                         |
//! |------|-------------------------|-------------------------------------------|
//! | A    | block of M x block of K | k-major, `a[k * m + i]`                   |
//! | B    | block of K x block of N | k-major, `b[k * n + j]`                   |
//! | C    | block of M x block of N | row-major, `c[i * n + j]`                 |
//!
//! Two f16 lie in a word and so travel in one wavelet: transport has the format of storage, and an odd tile's last
//! half-word travels too.
//!
//! Cost of a product of m x k x n: k loops of n AXPYs of length m, as the published kernels do them, one per
//! element of B. The first product of a C tile overwrites it, so zeroing is not charged.
//! Invariant: C gets its products for k ascending inside a piece, pieces in the order in which blocks arrive.
//! Called by every GEMM kernel, and by prefill.

use crate::arena::Tile;
use crate::fabric::Rates;
use crate::math::gemm::{Dims, Operand, Values, gemm, gemm_f16};
use crate::pe::{Pe, View};
use crate::units::Cycles;

/// Format of a tile's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// binary32.
    F32,
}

impl Storage {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// 32-bit words of `n` elements.
    pub fn words(self, n: usize) -> usize {
        (n * self.bytes()).div_ceil(4)
    }

    /// A tile's words as elements.
    pub fn values(self, words: &[u32]) -> Values<'_> {
        match self {
            Self::F16 => Values::F16(bytemuck::cast_slice(words)),
            Self::Bf16 => Values::Bf16(bytemuck::cast_slice(words)),
            Self::F32 => Values::F32(bytemuck::cast_slice(words)),
        }
    }

    /// Writes element `at` of a tile, rounded to nearest even.
    pub fn put(self, words: &mut [u32], at: usize, value: f32) {
        match self {
            Self::F16 => bytemuck::cast_slice_mut(words)[at] = half::f16::from_f32(value).to_bits(),
            Self::Bf16 => bytemuck::cast_slice_mut(words)[at] = half::bf16::from_f32(value).to_bits(),
            Self::F32 => words[at] = value.to_bits(),
        }
    }

    /// Element `at` of a tile, widened.
    pub fn get(self, words: &[u32], at: usize) -> f32 {
        match self {
            Self::F16 => half::f16::from_bits(bytemuck::cast_slice(words)[at]).to_f32(),
            Self::Bf16 => half::bf16::from_bits(bytemuck::cast_slice(words)[at]).to_f32(),
            Self::F32 => f32::from_bits(words[at]),
        }
    }
}

/// One factor of a product: element `(i, k)` lies at `at + i * stride + k * k_stride` (i counts M for A, N for B).
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    /// The tile.
    pub tile: Tile,
    /// Its format.
    pub format: Storage,
    /// First element.
    pub at: usize,
    /// Elements between neighbours in M or N.
    pub stride: usize,
    /// Elements between neighbours in K.
    pub k_stride: usize,
}

impl Factor {
    /// K-major: `width` elements a k, from row `k` of the tile on.
    pub fn k_major(tile: Tile, format: Storage, width: usize, k: usize) -> Self {
        Self { tile, format, at: k * width, stride: 1, k_stride: width }
    }

    /// Row-major with `depth` elements in K a row, from row `row` on: how a C tile lies.
    pub fn row_major(tile: Tile, format: Storage, depth: usize, row: usize) -> Self {
        Self { tile, format, at: row * depth, stride: depth, k_stride: 1 }
    }

    fn operand<'a>(&self, words: &'a [u32]) -> Operand<'a> {
        let values = match self.format.values(words) {
            Values::F16(v) => Values::F16(&v[self.at..]),
            Values::Bf16(v) => Values::Bf16(&v[self.at..]),
            Values::F32(v) => Values::F32(&v[self.at..]),
        };
        Operand { values, stride: self.stride, k_stride: self.k_stride }
    }
}

/// Cycles of a product.
pub fn product_cycles(rates: &Rates, d: Dims) -> Cycles {
    rates.gemm(d.m, d.k, d.n)
}

/// `C += A B`, C row-major `m x n` in f32 or f16; the f16 form rounds every step (paper numerics).
pub fn multiply(pe: Pe<'_>, rates: &Rates, d: Dims, a: Factor, b: Factor, c: (Tile, Storage)) {
    multiply_for(pe, product_cycles(rates, d), d, a, b, c);
}

/// The same for a known `cost`.
#[inline]
pub fn multiply_for(pe: Pe<'_>, cost: Cycles, d: Dims, a: Factor, b: Factor, (c, format): (Tile, Storage)) {
    if d.m * d.k * d.n == 0 {
        return;
    }
    pe.compute(cost, |v| {
        let kernels = v.kernels();
        let ([x, y], c) = v.read_write([a.tile, b.tile], c);
        let (x, y) = (a.operand(x), b.operand(y));
        match format {
            Storage::F32 => gemm(kernels, d, x, y, bytemuck::cast_slice_mut(c)),
            _ => gemm_f16(kernels, d, x, y, &mut bytemuck::cast_slice_mut(c)[..d.m * d.n]),
        }
    });
}

/// Zeros; free, see the module.
pub fn clear(pe: Pe<'_>, tile: Tile) {
    pe.compute(Cycles::ZERO, |v: &mut View<'_>| v.words_mut([tile])[0].fill(0));
}
