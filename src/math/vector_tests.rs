//! Tests of `vector`: every level equals the scalar expression of the documentation, for every short length.

use super::*;
use crate::math::exp::exp;
use crate::math::fma::fma;
use crate::math::simd::SimdLevel;
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

struct Data {
    a: f32,
    x: Vec<f32>,
    y: Vec<f32>,
    z: Vec<f32>,
    bits: Vec<u16>,
}

/// Values of mixed magnitude and sign with zeros of both signs, and 16-bit patterns finite in both formats.
fn data(n: usize) -> Data {
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    let mut value = || match rng.next_u32() % 8 {
        0 => 0.0,
        1 => -0.0,
        e => rng.next_u32() as i32 as f32 / 2f32.powi(24 + 3 * e as i32),
    };
    let mut values = |n: usize| (0..n).map(|_| value()).collect::<Vec<f32>>();
    let (a, x, y, z) = (values(1)[0] + 0.7, values(n), values(n), values(n));
    let bits = values(n).iter().map(|v| f16::from_f32(v.clamp(-9.0, 9.0)).to_bits()).collect();
    Data { a, x, y, z, bits }
}

/// Runs `run` at every level on 0..=100 elements and compares the bits with `expect`.
fn check(name: &str, run: impl Fn(Kernels, &Data) -> Vec<f32>, expect: impl Fn(&Data) -> Vec<f32>) {
    for n in 0..=100 {
        let data = data(n);
        let expect: Vec<u32> = expect(&data).iter().map(|v| v.to_bits()).collect();
        for level in SimdLevel::available() {
            let kernels = Kernels::for_level(level).expect("available");
            let got: Vec<u32> = run(kernels, &data).iter().map(|v| v.to_bits()).collect();
            assert_eq!(got, expect, "{name} at {level:?}, {n} elements");
        }
    }
}

/// In-place result of `f` on a copy of `y`.
fn edit(y: &[f32], f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut y = y.to_vec();
    f(&mut y);
    y
}

fn zip(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| f(*x, *y)).collect()
}

#[test]
fn axpy_is_one_fma_per_element() {
    check("axpy", |k, d| edit(&d.y, |y| axpy(k, d.a, &d.x, y)), |d| zip(&d.x, &d.y, |x, y| fma(d.a, x, y)));
    check(
        "axpy_f16",
        |k, d| edit(&d.y, |y| axpy_f16(k, d.a, &d.bits, y)),
        |d| d.bits.iter().zip(&d.y).map(|(b, y)| fma(d.a, f16::from_bits(*b).to_f32(), *y)).collect(),
    );
    check(
        "axpy_bf16",
        |k, d| edit(&d.y, |y| axpy_widen(k, WeightFormat::Bf16, d.a, &d.bits, y)),
        |d| d.bits.iter().zip(&d.y).map(|(b, y)| fma(d.a, bf16::from_bits(*b).to_f32(), *y)).collect(),
    );
}

#[test]
fn elementwise_operations_are_their_expressions() {
    check("add", |k, d| edit(&d.y, |y| add_assign(k, y, &d.x)), |d| zip(&d.y, &d.x, |y, x| y + x));
    check("max", |k, d| edit(&d.y, |y| max_assign(k, y, &d.x)), |d| zip(&d.y, &d.x, fmax));
    check("scale", |k, d| edit(&d.y, |y| scale(k, d.a, y)), |d| d.y.iter().map(|y| d.a * y).collect());
    check("div", |k, d| edit(&d.y, |y| div_assign(k, d.a, y)), |d| d.y.iter().map(|y| y / d.a).collect());
    check("mul", |k, d| edit(&d.y, |y| mul(k, &d.x, &d.z, y)), |d| zip(&d.x, &d.z, |x, z| x * z));
    check(
        "silu_mul",
        |k, d| edit(&d.y, |y| silu_mul(k, &d.x, &d.z, y)),
        |d| zip(&d.x, &d.z, |x, z| x / (1.0 + exp(-x)) * z),
    );
}

#[test]
fn chains_take_elements_in_ascending_order() {
    check("sum_squares", |k, d| vec![sum_squares(k, &d.x)], |d| vec![d.x.iter().fold(0.0, |sum, x| fma(*x, *x, sum))]);
    check(
        "exp_sub_sum",
        |k, d| {
            let mut y = d.y.clone();
            let sum = exp_sub_sum(k, 3.0, &mut y);
            y.push(sum);
            y
        },
        |d| {
            let mut y: Vec<f32> = d.y.iter().map(|y| exp(y - 3.0)).collect();
            y.push(y.iter().fold(0.0, |sum, e| sum + e));
            y
        },
    );
}

#[test]
fn rounding_to_f16_is_to_nearest_even_at_every_level() {
    // Around every f16 value: the value, the midpoint to the next, and the f32 on both sides of each.
    let mut xs = Vec::new();
    for bits in 0..0x7c00u16 {
        let (here, next) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
        let next = if next.is_finite() { next } else { 65536.0 };
        for x in [here, (here + next) / 2.0] {
            let x = x.to_bits();
            xs.extend([x, x + 1, x.saturating_sub(1)].map(f32::from_bits));
        }
    }
    for level in SimdLevel::available() {
        let kernels = Kernels::for_level(level).expect("available");
        let mut out = vec![0; xs.len()];
        f32_to_f16(kernels, &xs, &mut out);
        for (i, (x, got)) in xs.iter().zip(&out).enumerate() {
            let below = (i / 6) as u16;
            let mid = xs[i / 6 * 6 + 3];
            let expect = match x.partial_cmp(&mid).expect("finite") {
                _ if i % 6 == 2 && below > 0 => below, // just under a value rounds to it
                std::cmp::Ordering::Less => below,
                std::cmp::Ordering::Equal => below + (below & 1),
                std::cmp::Ordering::Greater => below + 1,
            };
            assert_eq!(*got, expect, "{level:?}: {x:e}");
        }
    }
}

#[test]
fn rounding_to_f16_reports_overflow_wherever_it_is() {
    for level in SimdLevel::available() {
        let kernels = Kernels::for_level(level).expect("available");
        for n in 1..20 {
            let mut out = vec![0; n];
            assert!(f32_to_f16(kernels, &vec![65504.0; n], &mut out));
            for bad in 0..n {
                for value in [65520.0, f32::NEG_INFINITY, f32::NAN] {
                    let mut x = vec![1.0; n];
                    x[bad] = value;
                    assert!(!f32_to_f16(kernels, &x, &mut out), "{level:?}: {value} at {bad} of {n}");
                }
            }
        }
    }
}

#[test]
fn a_number_that_is_none_is_found_wherever_it_stands() {
    for kernels in SimdLevel::available().filter_map(Kernels::for_level) {
        for n in 0..40 {
            let mut x = vec![-1.5; n];
            assert!(!has_nan(kernels, &x) && all_finite(kernels, &x));
            for at in 0..n {
                for (odd, is_nan) in [(f32::NAN, true), (-f32::NAN, true), (f32::INFINITY, false), (f32::MAX, false)] {
                    x[at] = odd;
                    assert_eq!(has_nan(kernels, &x), is_nan, "{odd} at {at} of {n}");
                    assert_eq!(all_finite(kernels, &x), odd == f32::MAX, "{odd} at {at} of {n}");
                }
                x[at] = -1.5;
            }
        }
    }
}
