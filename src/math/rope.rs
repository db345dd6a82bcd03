//! Rotary position embedding of one pair.
//!
//! Invariant: the angle is formed and its sine and cosine taken in f64 by `libm` (not by the platform), then rounded
//! once to f32. Pairs are `(i, i + head_dim / 2)`. Called at the roots of the QKV reduction and by the oracle.

use super::fma::fma;

/// Sine and cosine of `pos * inv_freq`.
#[inline]
pub fn sin_cos(pos: u64, inv_freq: f64) -> (f32, f32) {
    let angle = pos as f64 * inv_freq;
    (libm::sin(angle) as f32, libm::cos(angle) as f32)
}

/// Rotates the pair `(lo, hi)` by the angle with cosine `c` and sine `s`:
/// `lo' = fma(lo, c, -(hi * s))`, `hi' = fma(hi, c, lo * s)`.
#[inline]
pub fn rotate(lo: f32, hi: f32, c: f32, s: f32) -> (f32, f32) {
    (fma(lo, c, -(hi * s)), fma(hi, c, lo * s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_the_norm_and_position_zero_is_the_identity() {
        let (s, c) = sin_cos(0, 0.3);
        assert_eq!(rotate(1.25, -7.5, c, s), (1.25, -7.5));
        for pos in 0..500 {
            let (s, c) = sin_cos(pos, 0.7);
            let (lo, hi) = rotate(3.0, 4.0, c, s);
            assert!((lo.hypot(hi) - 5.0).abs() < 2e-6, "position {pos}");
        }
    }

    #[test]
    fn turns_add_up_over_positions() {
        let (s1, c1) = sin_cos(17, 0.01);
        let (s2, c2) = sin_cos(25, 0.01);
        let (s3, c3) = sin_cos(42, 0.01);
        let (lo, hi) = rotate(0.5, 2.0, c1, s1);
        let twice = rotate(lo, hi, c2, s2);
        let once = rotate(0.5, 2.0, c3, s3);
        assert!((twice.0 - once.0).abs() < 1e-6 && (twice.1 - once.1).abs() < 1e-6);
    }

    #[test]
    fn known_angles() {
        let (s, c) = sin_cos(1, std::f64::consts::FRAC_PI_2);
        assert_eq!(s, 1.0);
        assert!(c.abs() < 1e-16);
        assert_eq!(sin_cos(1, 1.0), (0.841_470_96, 0.540_302_3));
    }
}
