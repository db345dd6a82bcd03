//! Rotations per position: the base, its scalings, and the order in which a file pairs the rows of Q and K.
//!
//! Invariant: `inv_freq` is computed in f64 by `libm`, so it has the same bits on every host.
//! Called by the two configuration readers.

use std::f64::consts::PI;

/// Which elements of a head rotate together. Files differ; the wafer computes with `Halves`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `(2i, 2i + 1)`: rows of Q and K in GGUF files of the `llama` architecture.
    Interleaved,
    /// `(i, i + head_dim / 2)`: Hugging Face files, and GGUF files of `qwen2`.
    Halves,
}

impl RopePairing {
    /// The row of the file that holds row `row` (0 .. head_dim) of a head in `Halves` order.
    pub fn row_in_file(self, row: usize, head_dim: usize) -> usize {
        match self {
            Self::Halves => row,
            Self::Interleaved => {
                let half = head_dim / 2;
                if row < half { 2 * row } else { 2 * (row - half) + 1 }
            }
        }
    }
}

/// How a model stretches its rotations beyond the context it was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As they are.
    None,
    /// All divided by `factor`.
    Linear {
        /// At least 1 in practice; positive and finite.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, a smooth step between.
    Llama3 {
        /// Divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of the first training.
        original_context: f64,
    },
    /// GGUF `rope_freqs.weight`: a divisor for each pair.
    Divisors(Vec<f32>),
}

impl RopeScaling {
    /// Name for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear { .. } => "linear",
            Self::Llama3 { .. } => "llama3",
            Self::Divisors(_) => "rope_freqs",
        }
    }
}

/// Radians per position of each of the `head_dim / 2` pairs: `theta^(-2i / head_dim)`, scaled.
pub fn inv_freq(theta: f64, head_dim: usize, scaling: &RopeScaling) -> Vec<f64> {
    (0..head_dim / 2)
        .map(|pair| {
            let plain = libm::pow(theta, -(2.0 * pair as f64) / head_dim as f64);
            match scaling {
                RopeScaling::None => plain,
                RopeScaling::Linear { factor } => plain / factor,
                RopeScaling::Divisors(divisors) => plain / divisors.get(pair).map_or(1.0, |&d| f64::from(d)),
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                    let wavelength = 2.0 * PI / plain;
                    if wavelength < original_context / high_freq_factor {
                        plain
                    } else if wavelength > original_context / low_freq_factor {
                        plain / factor
                    } else {
                        let smooth =
                            (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * plain / factor + smooth * plain
                    }
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_a_permutation_that_pairs_neighbours() {
        for head_dim in [2, 4, 6, 64] {
            let mut seen: Vec<usize> =
                (0..head_dim).map(|r| RopePairing::Interleaved.row_in_file(r, head_dim)).collect();
            for pair in 0..head_dim / 2 {
                assert_eq!((seen[pair], seen[pair + head_dim / 2]), (2 * pair, 2 * pair + 1));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..head_dim).collect::<Vec<_>>());
        }
    }

    #[test]
    fn frequencies_match_hand_computed_values() {
        let plain = inv_freq(10000.0, 4, &RopeScaling::None);
        assert_eq!(plain, [1.0, 0.01]);
        assert_eq!(inv_freq(10000.0, 4, &RopeScaling::Linear { factor: 4.0 }), [0.25, 0.0025]);
        let divided = inv_freq(10000.0, 4, &RopeScaling::Divisors(vec![1.0, 8.0]));
        assert_eq!(divided, [1.0, 0.00125]);
    }

    #[test]
    fn llama3_keeps_short_divides_long_and_blends_between() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192.0 };
        let plain = inv_freq(500_000.0, 128, &RopeScaling::None);
        let scaled = inv_freq(500_000.0, 128, &scaling);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], plain[63] / 8.0);
        // Pair 32: wavelength 2 pi sqrt(500000) = 4442.88, 8192 / 4442.88 = 1.84385; smooth 0.281283.
        let blend = scaled[32] / plain[32];
        assert!((blend - 0.371_12).abs() < 1e-4, "{blend}");
    }
}
