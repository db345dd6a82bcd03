//! The exponential that softmax and SiLU use: a documented polynomial, the same bits scalar and SIMD.
//!
//! Definition, every operation in f32, rounded to nearest even:
//! 1. x is clamped to [-104, 89]: e^-104 < 2^-150 rounds to 0, e^89 > 2^128 rounds to infinity.
//! 2. t = fma(x, log2(e), M) with M = 1.5 * 2^23 rounds x log2(e) to an integer n = t - M (exact; |n| <= 151).
//! 3. r = fma(n, -LN2_HIGH, x); r = fma(n, -LN2_LOW, r). LN2_HIGH has 16 significant bits, so n * LN2_HIGH is exact;
//!    |r| <= ln(2) / 2 + 2^-17.
//! 4. p = 1 + r + r^2/2! + .. + r^7/7! by Horner's rule with fma. The coefficients are the Taylor series' 1/k!, rounded
//!    to f32: no fitting is needed, since the first omitted term, 0.347^8 / 8!, is 5.2e-9 = 0.09 * 2^-24.
//! 5. Result = (p * 2^a) * 2^(n - a) with a = floor(n / 2): the first product is exact, the second rounds once, to the
//!    denormals (which are not flushed) or to infinity.
//!
//! NaN gives the canonical NaN. Error: Horner's last step rounds once, what it adds carries |r| times the errors before
//! it, step 5 rounds at most once more and only in the denormals: below 1 ulp in the tests, 2 ulp promised.
//!
//! Invariant: scalar, AVX2 and portable code give the same bits for all inputs. Called by `vector` and the oracle.

use super::fma::{FusedMultiplyAdd, Portable};
use super::simd::Kernels;

/// Results below half the smallest denormal: ln(2^-150) = -103.97.
const X_MIN: f32 = -104.0;
/// Beyond the largest finite result: ln(2^128) = 88.72.
const X_MAX: f32 = 89.0;
/// Adding it leaves the integer part in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0;
/// ln(2) with 16 significant bits: 45426 / 65536.
const LN2_HIGH: f32 = 45426.0 / 65536.0;
/// ln(2) - `LN2_HIGH`.
const LN2_LOW: f32 = (std::f64::consts::LN_2 - 45426.0 / 65536.0) as f32;
/// 1/7!, 1/6!, .., 1/2!.
const COEFFICIENTS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// e^x, to 2 ulp; `exp(-inf) = 0`, `exp(inf) = inf`, `exp(NaN) = NaN`.
#[inline]
pub fn exp(x: f32) -> f32 {
    exp_body::<Portable>(x)
}

/// Replaces each element by its [`exp`], with the best level that this host has.
pub fn exp_slice(xs: &mut [f32]) {
    super::vector::exp_assign(Kernels::detect(), xs);
}

/// The definition, free of branches so that it vectorises.
#[inline(always)]
pub(crate) fn exp_body<F: FusedMultiplyAdd>(x: f32) -> f32 {
    let low = if x < X_MIN { X_MIN } else { x };
    let clamped = if low > X_MAX { X_MAX } else { low };
    let t = F::fma(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = F::fma(n, -LN2_HIGH, clamped);
    let r = F::fma(n, -LN2_LOW, r);
    let mut p = COEFFICIENTS[0];
    for c in &COEFFICIENTS[1..] {
        p = F::fma(p, r, *c);
    }
    p = F::fma(p, r, 1.0);
    p = F::fma(p, r, 1.0);
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let result = p * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if x.is_nan() { f32::NAN } else { result }
}

/// 2^n for -126 <= n <= 127; any bits otherwise (reached for NaN only, whose result is replaced).
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::simd::SimdLevel;

    /// Distance from the f64 result in units of the last place of the f32 result (denormals: 2^-149).
    fn error_ulp(x: f32, y: f32) -> f64 {
        let exact = libm::exp(f64::from(x));
        let exponent = libm::floor(libm::log2(exact)).max(-126.0);
        (f64::from(y) - exact).abs() / libm::exp2(exponent - 23.0)
    }

    #[test]
    fn error_is_below_one_ulp_over_the_finite_range() {
        let mut worst = (0.0, 0.0);
        let mut check = |x: f32| {
            let error = error_ulp(x, exp(x));
            if error > worst.0 {
                worst = (error, x);
            }
        };
        for i in 0..3_000_000 {
            check(-103.0 + 191.7 * (i as f32 / 3_000_000.0));
        }
        for bits in (0..0x42b0_0000u32).step_by(997) {
            check(f32::from_bits(bits));
            check(-f32::from_bits(bits));
        }
        assert!(worst.0 <= 1.0, "{} ulp at {}", worst.0, worst.1);
        assert!(worst.0 > 0.4, "a correctly rounded result would show up to 0.5: {}", worst.0);
    }

    #[test]
    fn edges_are_exact() {
        for (x, expect) in [
            (0.0, 1.0),
            (-0.0, 1.0),
            (f32::NEG_INFINITY, 0.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MIN, 0.0),
            (f32::MAX, f32::INFINITY),
            (-104.0, 0.0),
            (-103.98, 0.0),
            (-103.97, f32::from_bits(1)),
            (88.722_84, f32::INFINITY),
            (1e-30, 1.0),
        ] {
            assert_eq!(exp(x).to_bits(), f32::to_bits(expect), "exp({x}) = {}", exp(x));
        }
        assert!(exp(88.722_83).is_finite());
        assert!(exp(-100.0) > 0.0 && exp(-100.0) < f32::MIN_POSITIVE, "denormal results are kept");
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
    }

    #[test]
    fn never_steps_back_by_more_than_two_ulp_at_reduction_boundaries() {
        for n in -149..128 {
            let edge = (n as f32 + 0.5) * std::f32::consts::LN_2;
            let mut last = exp(f32::from_bits(edge.to_bits() - 50 * (edge.signum() as i32) as u32));
            for step in -49i32..50 {
                let bits = edge.to_bits().wrapping_add_signed(step * edge.signum() as i32);
                let now = exp(f32::from_bits(bits));
                assert!(now >= last * (1.0 - 2.5e-7), "near {edge}");
                last = now;
            }
        }
    }

    #[test]
    fn every_level_gives_the_scalar_bits() {
        let mut xs: Vec<f32> = (0..=u32::MAX).step_by(997).map(f32::from_bits).collect();
        for edge in [-104.0f32, -103.972_08, -87.336_55, 88.722_84, 89.0, 0.0] {
            xs.extend((-200i32..200).map(|d| f32::from_bits(edge.to_bits().wrapping_add_signed(d))));
        }
        xs.extend([f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)]);
        let expect: Vec<u32> = xs.iter().map(|x| exp(*x).to_bits()).collect();
        for level in SimdLevel::available() {
            let kernels = Kernels::for_level(level).expect("available");
            let mut got = xs.clone();
            crate::math::vector::exp_assign(kernels, &mut got);
            for ((x, y), expect) in xs.iter().zip(&got).zip(&expect) {
                assert_eq!(y.to_bits(), *expect, "{level:?}: exp({x}), bits {:#x}", x.to_bits());
            }
        }
    }
}
