//! GEMV on packed 16-bit weight tiles: nine tenths of the host's time in decode.
//!
//! A tile is `k x n`. Its columns are cut into panels of 64, the last one as narrow as `n` requires (no padding); a
//! panel is k-major: row k of it is `width` consecutive elements. So a tile is read once, front to back:
//!
//! ```text
//! panel 0:  w[0][0..64]  w[1][0..64]  ..  w[k-1][0..64]   panel 1:  w[0][64..128]  w[1][64..128]  ..
//! ```
//!
//! Invariant: `y[n] = +0.0`, then `y[n] = fma(x[k], widened w[k][n], y[n])` for k ascending, at every level: an output
//! is one chain, so neither the panel width nor the vector width shows in the bits.
//!
//! 64 columns are 8 accumulators of 8 lanes: enough chains in flight for two FMAs of latency 4 a cycle. Called by every
//! kernel that multiplies by weights.

use super::checkpoint::{WeightFormat, widen};
use super::fma::fma;
use super::simd::Kernels;

/// Columns of a full panel.
pub const PANEL: usize = 64;

/// Shape of a packed tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedShape {
    /// Inputs of the tile.
    pub k: usize,
    /// Outputs of the tile.
    pub n: usize,
}

impl PackedShape {
    /// Elements of the tile.
    pub const fn len(self) -> usize {
        self.k * self.n
    }

    /// Whether it has no elements.
    pub const fn is_empty(self) -> bool {
        self.k == 0 || self.n == 0
    }

    /// Where element `(k, n)` lies in the packed tile.
    pub const fn offset(self, k: usize, n: usize) -> usize {
        let first = n / PANEL * PANEL;
        let width = if self.n - first < PANEL { self.n - first } else { PANEL };
        first * self.k + k * width + (n - first)
    }

    /// First column and width of every panel.
    fn panels(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.n).step_by(PANEL).map(move |first| (first, (self.n - first).min(PANEL)))
    }
}

/// Fills a packed tile: `out` holds `shape.len()` elements, `get(k, n)` gives the bits of `w[k][n]`.
pub fn pack(shape: PackedShape, out: &mut [u16], mut get: impl FnMut(usize, usize) -> u16) {
    assert_eq!(out.len(), shape.len(), "pack: {shape:?}");
    let mut slots = out.iter_mut();
    for (first, width) in shape.panels() {
        for k in 0..shape.k {
            for (n, slot) in (first..first + width).zip(&mut slots) {
                *slot = get(k, n);
            }
        }
    }
}

/// How weights come in from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// One matrix after the other, nothing between: the hardware reads ahead.
    Steady,
    /// One tile of many, with other work between: the stream begins anew with every tile, so the loop asks ahead.
    /// (Measured in decode, SmolLM2 on 12 x 16 PEs: 32.7 ms a token to 30.4. A flat loop becomes a tenth slower.)
    Restarted,
    /// As `Restarted`, where nothing is asked for behind the tile: another one comes next (measured in prefill, two
    /// layers of SmolLM2's shape on 12 x 17 PEs, medians of three: 0.67 s to 0.56), or tiles are so small that what
    /// the loop asks for ahead is the next ones. They come into the first cache: on some hosts what is asked for into
    /// the second one comes no sooner than without (16384 x 16384 on 512x512 PEs, tiles of 2 KiB, one thread, ms: 94
    /// without, 95 into the second; into the first 79, and 72 with half as far ahead. Of a restarted stream, in decode:
    /// no difference).
    Scattered,
}

/// `y = x W` for a packed tile `w` of `shape`, in the order of the invariant above. Overwrites `y`.
#[inline]
pub fn gemv(
    kernels: Kernels,
    (format, stream): (WeightFormat, Stream),
    shape: PackedShape,
    w: &[u16],
    x: &[f32],
    y: &mut [f32],
) {
    assert!(
        w.len() == shape.len() && x.len() == shape.k && y.len() == shape.n,
        "gemv: {shape:?} with w {}, x {}, y {}",
        w.len(),
        x.len(),
        y.len()
    );
    let function = match format {
        WeightFormat::F16 => kernels.0.gemv_f16,
        WeightFormat::Bf16 => kernels.0.gemv_bf16,
    };
    // SAFETY: a `Kernels` exists only for a level whose instructions this host has; the lengths were just checked,
    // which is what the function relies on.
    unsafe { function(stream, shape, w, x, y) }
}

pub(crate) fn gemv_f16_scalar(_: Stream, shape: PackedShape, w: &[u16], x: &[f32], y: &mut [f32]) {
    gemv_scalar(WeightFormat::F16, shape, w, x, y);
}

pub(crate) fn gemv_bf16_scalar(_: Stream, shape: PackedShape, w: &[u16], x: &[f32], y: &mut [f32]) {
    gemv_scalar(WeightFormat::Bf16, shape, w, x, y);
}

fn gemv_scalar(format: WeightFormat, shape: PackedShape, w: &[u16], x: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    for (first, width) in shape.panels() {
        let rows = w[first * shape.k..][..width * shape.k].chunks_exact(width);
        for (x, row) in x.iter().zip(rows) {
            for (y, bits) in y[first..first + width].iter_mut().zip(row) {
                *y = fma(*x, widen(format, *bits), *y);
            }
        }
    }
}

/// AVX2, FMA and F16C. `BF16` chooses how weights widen.
///
/// 16 bfloat16 are widened by one shift (the odd ones by a mask), into accumulators of even and odd columns, which are
/// interleaved once at the end: half the instructions of zero-extending eight at a time, and 1.5 to 2 times as fast on
/// full panels in L1.
///
/// Not done: running a narrow last panel together with the full one before it, for more chains in flight. Relative to a
/// read loop that was about 1.25 times as fast in L2 for 36 x 80 tiles, but as much slower from DRAM, where decode's
/// weights are: two streams instead of one.
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2 {
    use super::{PANEL, PackedShape, Stream};
    use std::arch::x86_64::*;

    /// Bytes behind a tile that are asked for when it is done. Tiles lie in the order of their visits, so this is what
    /// the next GEMV begins with: it comes in while messages are handled, and the stream does not start from nothing.
    /// (Measured in decode, SmolLM2 on 12 x 16 PEs: 14.3 ms of GEMV a token without, 12.2 with 8 KiB, no more with 16.)
    const BEHIND: usize = 8192;
    /// Bytes that a restarted stream is asked for ahead of the row that is read.
    const AHEAD: usize = 4096;
    /// The same of a scattered one.
    const AHEAD_SCATTERED: usize = 2048;
    /// Nothing is asked for ahead; no hint of the host has this number.
    const NO_HINT: i32 = -1;

    /// See the module. The caller has checked `w.len() == shape.len()`, `x.len() == shape.k`, `y.len() == shape.n`.
    ///
    /// # Safety
    /// The host has AVX2, FMA and F16C, and the lengths are as above.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) unsafe fn gemv<const BF16: bool>(
        stream: Stream,
        shape: PackedShape,
        w: &[u16],
        x: &[f32],
        y: &mut [f32],
    ) {
        // SAFETY: as the caller has checked.
        unsafe {
            match stream {
                Stream::Steady => panels::<BF16, NO_HINT>(shape, w, x, y),
                Stream::Restarted => panels::<BF16, _MM_HINT_T1>(shape, w, x, y),
                Stream::Scattered => panels::<BF16, _MM_HINT_T0>(shape, w, x, y),
            }
        }
        let behind = w.as_ptr_range().end.cast::<i8>();
        for at in (0..if stream == Stream::Scattered { 0 } else { BEHIND }).step_by(64) {
            _mm_prefetch::<_MM_HINT_T1>(behind.wrapping_add(at));
        }
    }

    /// The panels of a tile, one after the other.
    ///
    /// # Safety
    /// As `gemv`.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn panels<const BF16: bool, const HINT: i32>(shape: PackedShape, w: &[u16], x: &[f32], y: &mut [f32]) {
        let (mut w, mut y) = (w.as_ptr(), y.as_mut_ptr());
        let mut left = shape.n;
        // SAFETY: panels are `k * width` elements one after the other and their widths add up to n, so every panel lies
        // inside the tile and writes `width` elements inside y.
        unsafe {
            while left >= PANEL {
                panel::<8, BF16, HINT>(w, PANEL, x, y);
                w = w.add(PANEL * shape.k);
                y = y.add(PANEL);
                left -= PANEL;
            }
            match left.div_ceil(8) {
                0 => {}
                1 => panel::<1, BF16, HINT>(w, left, x, y),
                2 => panel::<2, BF16, HINT>(w, left, x, y),
                3 => panel::<3, BF16, HINT>(w, left, x, y),
                4 => panel::<4, BF16, HINT>(w, left, x, y),
                5 => panel::<5, BF16, HINT>(w, left, x, y),
                6 => panel::<6, BF16, HINT>(w, left, x, y),
                7 => panel::<7, BF16, HINT>(w, left, x, y),
                _ => panel::<8, BF16, HINT>(w, left, x, y),
            }
        }
    }

    /// One panel of `8 (V - 1) < width <= 8 V` columns with V accumulators, which stay in registers.
    ///
    /// If `8 V > width`, the last vector of a row reaches into the next row: surplus lanes are computed and dropped.
    /// The last rows, where it would reach past the panel, go through a copy.
    ///
    /// # Safety
    /// `w` is valid for `x.len() * width` reads, `y` for `width` writes; the host has the features.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn panel<const V: usize, const BF16: bool, const HINT: i32>(
        w: *const u16,
        width: usize,
        x: &[f32],
        y: *mut f32,
    ) {
        let k = x.len();
        // Row i may be read in place if 8 V elements follow its start: (k - i) * width >= 8 V.
        let copied = k.min((8 * V).div_ceil(width) - 1);
        let mut acc = [_mm256_setzero_ps(); V];
        let mut row = w;
        let mut copy = [0u16; PANEL];
        for x in &x[..k - copied] {
            // SAFETY: by the choice of `copied`, `row .. row + 8 V` lies inside the panel.
            unsafe {
                step::<V, BF16>(row, *x, &mut acc);
                for line in 0..if HINT == NO_HINT { 0 } else { V.div_ceil(4) } {
                    let line = row.cast::<i8>().wrapping_add(64 * line);
                    if HINT == _MM_HINT_T0 {
                        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD_SCATTERED));
                    } else {
                        _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(AHEAD));
                    }
                }
                row = row.add(width);
            }
        }
        for x in &x[k - copied..] {
            // SAFETY: the row's `width` elements lie inside the panel, and `width <= 8 V <= PANEL`.
            unsafe {
                copy.as_mut_ptr().copy_from_nonoverlapping(row, width);
                step::<V, BF16>(copy.as_ptr(), *x, &mut acc);
                row = row.add(width);
            }
        }
        // SAFETY: `y` is valid for `width` writes.
        unsafe { store::<V, BF16>(&acc, width, y) }
    }

    /// `acc = fma(x, row, acc)` for 8 V columns. With BF16, accumulators `2 i` and `2 i + 1` hold the even and the odd
    /// ones of columns `16 i .. 16 i + 16`; an odd last accumulator holds its 8 columns in order.
    ///
    /// # Safety
    /// `row` is valid for 8 V reads; the host has the features.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn step<const V: usize, const BF16: bool>(row: *const u16, x: f32, acc: &mut [__m256; V]) {
        let x = _mm256_set1_ps(x);
        let (pairs, last) = acc.as_chunks_mut::<2>();
        let n_pairs = pairs.len();
        for (i, [even, odd]) in pairs.iter_mut().enumerate() {
            // SAFETY: the caller guarantees 8 V elements, 16 for each pair.
            let (low, high) = unsafe {
                let at = row.add(16 * i);
                if BF16 {
                    let bits = _mm256_loadu_si256(at.cast());
                    let high = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32 as i32));
                    (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)), _mm256_castsi256_ps(high))
                } else {
                    let next = at.add(8);
                    (_mm256_cvtph_ps(_mm_loadu_si128(at.cast())), _mm256_cvtph_ps(_mm_loadu_si128(next.cast())))
                }
            };
            *even = _mm256_fmadd_ps(x, low, *even);
            *odd = _mm256_fmadd_ps(x, high, *odd);
        }
        for acc in last {
            // SAFETY: an odd V has 8 more elements after its pairs.
            let bits = unsafe { _mm_loadu_si128(row.add(16 * n_pairs).cast()) };
            let wide = if BF16 {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
            } else {
                _mm256_cvtph_ps(bits)
            };
            *acc = _mm256_fmadd_ps(x, wide, *acc);
        }
    }

    /// Writes the first `width` of 8 V accumulated columns, in column order.
    ///
    /// # Safety
    /// `y` is valid for `width` writes, `8 (V - 1) < width <= 8 V`; the host has the features.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    unsafe fn store<const V: usize, const BF16: bool>(acc: &[__m256; V], width: usize, y: *mut f32) {
        let mut acc = *acc;
        if BF16 {
            for [even, odd] in acc.as_chunks_mut::<2>().0 {
                // 0 1 2 3 8 9 10 11 and 4 5 6 7 12 13 14 15, then the halves change places.
                let (low, high) = (_mm256_unpacklo_ps(*even, *odd), _mm256_unpackhi_ps(*even, *odd));
                *even = _mm256_permute2f128_ps::<0x20>(low, high);
                *odd = _mm256_permute2f128_ps::<0x31>(low, high);
            }
        }
        // SAFETY: all full vectors, then what is left of the last one: `width` writes.
        unsafe {
            for (v, acc) in acc.iter().enumerate().take(width / 8) {
                _mm256_storeu_ps(y.add(8 * v), *acc);
            }
            if !width.is_multiple_of(8) {
                let mut last = [0f32; 8];
                _mm256_storeu_ps(last.as_mut_ptr(), acc[V - 1]);
                y.add(width / 8 * 8).copy_from_nonoverlapping(last.as_ptr(), width % 8);
            }
        }
    }
}

#[cfg(test)]
#[path = "gemv_tests.rs"]
mod tests;
