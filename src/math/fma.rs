//! Fused multiply-add: one rounding, on every host and without compiler flags.
//!
//! Invariant: `fma(a, b, c)` is the exact `a * b + c` rounded once to nearest even; denormals are kept.
//! Invariant: no path asks the platform's C library. Portable code goes through `libm::fmaf`; code that was entered
//! after FMA was detected uses the instruction.
//!
//! Called by everything that multiplies; hot loops are written once over [`FusedMultiplyAdd`] and compiled twice.

/// `a * b + c` with a single rounding.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    libm::fmaf(a, b, c)
}

/// Where a loop body takes its fused multiply-add from.
pub(crate) trait FusedMultiplyAdd {
    /// `a * b + c` with a single rounding.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// [`fma`], for any host.
pub(crate) struct Portable;

impl FusedMultiplyAdd for Portable {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        fma(a, b, c)
    }
}

/// The FMA instruction: only for bodies that are inlined into a function with `#[target_feature(enable = "fma")]`,
/// where `mul_add` is that instruction and vectorises.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Hardware;

#[cfg(target_arch = "x86_64")]
impl FusedMultiplyAdd for Hardware {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_once_where_two_roundings_differ() {
        // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the last term survives only if the product is not rounded.
        let a = 1.0 + 2f32.powi(-12);
        let c = -(1.0 + 2f32.powi(-11));
        assert_eq!(fma(a, a, c), 2f32.powi(-24));
        assert_eq!(a * a + c, 0.0, "the separate form rounds twice");
    }

    #[test]
    fn agrees_with_f64_where_f64_is_exact_enough() {
        // Products of f32 are exact in f64; with integers below 2^20 the sum is as well.
        let mut state = 12345u32;
        let mut next = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            ((state >> 12) as i32 - (1 << 19)) as f32
        };
        for _ in 0..100_000 {
            let (a, b, c) = (next(), next(), next());
            let exact = f64::from(a) * f64::from(b) + f64::from(c);
            assert_eq!(fma(a, b, c).to_bits(), (exact as f32).to_bits(), "fma({a}, {b}, {c})");
        }
    }

    #[test]
    fn keeps_denormals_and_the_sign_of_zero() {
        let tiny = f32::from_bits(1);
        assert_eq!(fma(tiny, 1.0, tiny).to_bits(), 2);
        assert_eq!(fma(-1.0, 0.0, 0.0).to_bits(), 0);
        assert_eq!(fma(-1.0, 0.0, -0.0).to_bits(), (-0.0f32).to_bits());
    }
}
