//! Arithmetic in f16, each operation rounded once: the paper's numerics.
//!
//! A multiply-add is one operation (as in `fma`): the exact `a * b + c`, rounded to nearest even, denormals kept.
//!
//! Why f64 on the way is enough: a product of two f16 has 22 bits and is exact in f64. Its sum with an f16 is inexact
//! only when the two lie more than 30 binary places apart, and then no bit of the smaller one reaches down to a
//! midpoint between two f16; the narrowing to f16 goes through a rounding to odd, so that f32 on the way
//! does not round twice.
//!
//! Invariant: `y[n] = +0`, then `y[n] = fma(x[k], w[k][n], y[n])` for k ascending, as in `gemv`.
//! Called by kernels in paper numerics and by the receives that add in f16.

use half::f16;

use super::gemv::{PANEL, PackedShape};

/// `a * b + c` in f16 with a single rounding.
#[inline]
pub fn fma_f16(a: f16, b: f16, c: f16) -> f16 {
    round_f16(f64::from(a.to_f32()) * f64::from(b.to_f32()) + f64::from(c.to_f32()))
}

/// To the nearest f16, ties to even.
#[inline]
fn round_f16(v: f64) -> f16 {
    let near = v as f32;
    let bits = near.to_bits();
    // Rounding to odd: an inexact value with an even last bit goes to its odd neighbour on the other side of `v`.
    let odd = if f64::from(near) == v || bits & 1 == 1 || !near.is_finite() {
        near
    } else if (f64::from(near) < v) == (near >= 0.0) {
        f32::from_bits(bits + 1)
    } else {
        f32::from_bits(bits - 1)
    };
    f16::from_f32(odd)
}

/// `acc[i] = acc[i] + x[i]` in f16 bits, each sum rounded once. (The f32 sum of two f16 may round, but its 24 bits are
/// twice eleven and two more: the second rounding then gives what one alone would.)
#[inline]
pub fn add_f16(acc: &mut [u16], x: &[u16]) {
    for (acc, x) in acc.iter_mut().zip(x) {
        let sum = f16::from_bits(*acc).to_f32() + f16::from_bits(*x).to_f32();
        *acc = f16::from_f32(sum).to_bits();
    }
}

/// `y = x W` in f16 for a packed tile of `shape` (see `gemv`). Overwrites `y`.
///
/// # Panics
/// When the lengths do not fit the shape: a defect of the kernel.
pub fn gemv_f16(shape: PackedShape, w: &[u16], x: &[u16], y: &mut [u16]) {
    assert!(w.len() == shape.len() && x.len() == shape.k && y.len() == shape.n, "gemv_f16: {shape:?}");
    let mut left = w;
    for (first, y) in y.chunks_mut(PANEL).enumerate() {
        debug_assert!(first * PANEL < shape.n);
        let (panel, rest) = left.split_at(shape.k * y.len());
        left = rest;
        y.fill(0);
        for (x, row) in x.iter().zip(panel.chunks_exact(y.len())) {
            let x = f16::from_bits(*x);
            for (y, w) in y.iter_mut().zip(row) {
                *y = fma_f16(x, f16::from_bits(*w), f16::from_bits(*y)).to_bits();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finite f16 as a multiple of 2^-24.
    fn units(v: f16) -> i128 {
        let bits = v.to_bits();
        let (exponent, fraction) = (i128::from(bits >> 10 & 31), i128::from(bits & 1023));
        let size = if exponent == 0 { fraction } else { (1024 + fraction) << (exponent - 1) };
        if bits >> 15 == 1 { -size } else { size }
    }

    /// The f16 nearest to `v x 2^-48`, ties to the even one, by search over all of one sign.
    fn nearest(v: i128) -> f16 {
        let size = v.abs();
        let of = |bits: u16| units(f16::from_bits(bits)) << 24;
        let (mut low, mut high) = (0u16, 0x7c00u16); // 0x7c00 counts as 2^16 here: infinity rounds from halfway there
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if of(middle) <= size { low = middle } else { high = middle }
        }
        let (below, above) = (size - of(low), of(high) - size);
        let up = above < below || (above == below && high.is_multiple_of(2));
        f16::from_bits(if up { high } else { low } | if v < 0 { 0x8000 } else { 0 })
    }

    fn draw(state: &mut u64) -> f16 {
        loop {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let v = f16::from_bits((*state >> 40) as u16);
            if v.is_finite() {
                return v;
            }
        }
    }

    #[test]
    fn multiply_add_and_add_are_rounded_once_on_random_bits_of_every_size() {
        let mut state = 7;
        for _ in 0..200_000 {
            let (a, b, c) = (draw(&mut state), draw(&mut state), draw(&mut state));
            let exact = units(a) * units(b) + (units(c) << 24);
            if exact != 0 {
                assert_eq!(fma_f16(a, b, c), nearest(exact), "fma({a:?}, {b:?}, {c:?})");
            }
            let mut sum = [a.to_bits()];
            add_f16(&mut sum, &[c.to_bits()]);
            let exact = (units(a) + units(c)) << 24;
            if exact != 0 {
                assert_eq!(f16::from_bits(sum[0]), nearest(exact), "{a:?} + {c:?}");
            }
        }
    }

    #[test]
    fn midpoints_with_a_crumb_do_not_round_twice() {
        let f = f16::from_f32;
        // 1 + 2^-11 is a midpoint; one unit of 2^-24 of product more or less decides.
        let (half_step, crumb) = (f(2f32.powi(-11)), f(2f32.powi(-24)));
        for (a, b, c) in [
            (half_step, f(1.0), f(1.0)),
            (f(1.0 + 2f32.powi(-10)), f(2f32.powi(-11) * (1.0 + 2f32.powi(-10))), f(1.0)),
            (f(1.0 - 2f32.powi(-11)), f(2f32.powi(-11) * (1.0 + 2f32.powi(-10))), f(1.0)),
            (crumb, crumb, f(1.0)),
            (crumb, f(-1.0), f(1.0)),
            (f(255.875), f(256.0), f(0.5)),
            (f(65504.0), f(1.0), f(16.0)),
        ] {
            let exact = units(a) * units(b) + (units(c) << 24);
            assert_eq!(fma_f16(a, b, c), nearest(exact), "fma({a:?}, {b:?}, {c:?})");
        }
    }

    #[test]
    fn gemv_follows_the_packed_order() {
        use crate::math::gemv::pack;
        let mut state = 3;
        for (k, n) in [(0, 3), (1, 1), (3, 64), (5, 65), (2, 130)] {
            let shape = PackedShape { k, n };
            let small = |s: &mut u64| f16::from_f32(draw(s).to_bits() as f32 / 65536.0 - 0.5);
            let w: Vec<u16> = (0..k * n).map(|_| small(&mut state).to_bits()).collect();
            let x: Vec<u16> = (0..k).map(|_| small(&mut state).to_bits()).collect();
            let mut packed = vec![0; k * n];
            pack(shape, &mut packed, |i, j| w[i * n + j]);
            let mut y = vec![1; n];
            gemv_f16(shape, &packed, &x, &mut y);
            for j in 0..n {
                let chain = |acc, i: usize| fma_f16(f16::from_bits(x[i]), f16::from_bits(w[i * n + j]), acc);
                assert_eq!(y[j], (0..k).fold(f16::ZERO, chain).to_bits(), "{k}x{n} column {j}");
            }
        }
    }
}
