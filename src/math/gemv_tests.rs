//! Tests of `gemv`: packing is a bijection, and every level computes the defining chain.

use super::*;
use crate::math::simd::SimdLevel;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Finite 16-bit weights with every magnitude, denormals and both zeros.
fn random_bits(rng: &mut ChaCha8Rng, format: WeightFormat) -> u16 {
    loop {
        let bits = rng.next_u32() as u16;
        let value = widen(format, bits);
        if value.is_finite() && value.abs() < 1e9 {
            return bits;
        }
    }
}

/// The definition, straight from the unpacked matrix.
fn naive(format: WeightFormat, w: &[Vec<u16>], x: &[f32], n: usize) -> Vec<u32> {
    let chain = |n: usize| x.iter().zip(w).fold(0.0, |y, (x, row)| fma(*x, widen(format, row[n]), y));
    (0..n).map(|n| chain(n).to_bits()).collect()
}

fn check(format: WeightFormat, shape: PackedShape, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let w: Vec<Vec<u16>> =
        (0..shape.k).map(|_| (0..shape.n).map(|_| random_bits(&mut rng, format)).collect()).collect();
    let x: Vec<f32> = (0..shape.k).map(|_| rng.next_u32() as i32 as f32 / 2f32.powi(30)).collect();
    let mut packed = vec![0; shape.len()];
    pack(shape, &mut packed, |k, n| w[k][n]);
    let expect = naive(format, &w, &x, shape.n);
    for level in SimdLevel::available() {
        let kernels = Kernels::for_level(level).expect("available");
        let mut y = vec![f32::NAN; shape.n];
        for stream in [Stream::Steady, Stream::Restarted, Stream::Scattered] {
            y.fill(f32::NAN);
            gemv(kernels, (format, stream), shape, &packed, &x, &mut y);
            let got: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
            assert_eq!(got, expect, "{level:?} {stream:?} {format:?} {shape:?} seed {seed}");
        }
    }
}

#[test]
fn every_level_computes_the_chain_for_every_panel_width() {
    for format in [WeightFormat::F16, WeightFormat::Bf16] {
        for n in 0..=200 {
            for k in [0, 1, 2, 3, 7, 9] {
                check(format, PackedShape { k, n }, (n * 16 + k) as u64);
            }
        }
    }
}

#[test]
fn every_level_computes_the_chain_on_tiles_of_decode() {
    for format in [WeightFormat::F16, WeightFormat::Bf16] {
        for (k, n) in [(36, 80), (48, 36), (36, 256), (128, 36), (36, 1024), (257, 129)] {
            check(format, PackedShape { k, n }, k as u64);
        }
    }
}

#[test]
fn packing_is_a_bijection_and_offset_finds_every_element() {
    for n in [1, 63, 64, 65, 130, 192] {
        for k in 1..4 {
            let shape = PackedShape { k, n };
            let mut packed = vec![u16::MAX; shape.len()];
            pack(shape, &mut packed, |k, n| (k * 1000 + n) as u16);
            for (k, n) in (0..k).flat_map(|k| (0..n).map(move |n| (k, n))) {
                assert_eq!(packed[shape.offset(k, n)], (k * 1000 + n) as u16, "{shape:?} ({k}, {n})");
            }
            let mut sorted = packed.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), shape.len());
        }
    }
}

#[test]
fn negative_zero_products_leave_positive_zero() {
    let shape = PackedShape { k: 2, n: 3 };
    for level in SimdLevel::available() {
        let mut y = [f32::NAN; 3];
        let kernels = Kernels::for_level(level).expect("available");
        gemv(kernels, (WeightFormat::F16, Stream::Steady), shape, &[0x8000; 6], &[1.0, 2.0], &mut y);
        assert_eq!(y.map(f32::to_bits), [0; 3], "{level:?}");
    }
}
