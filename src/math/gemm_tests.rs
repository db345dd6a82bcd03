//! GEMM against its definition, at every level, in every format and order of the operands.

use super::*;
use crate::math::SimdLevel;
use crate::math::binary16::fma_f16;
use crate::math::fma::fma;

/// Uniform values in [-1, 1) from a counter.
fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

struct Case {
    f16: Vec<u16>,
    bf16: Vec<u16>,
    f32: Vec<f32>,
}

impl Case {
    fn new(seed: u64, n: usize) -> Self {
        let f32 = values(seed, n);
        let f16 = f32.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
        let bf16 = f32.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
        Self { f16, bf16, f32 }
    }

    fn all(&self) -> [Values<'_>; 3] {
        [Values::F16(&self.f16), Values::Bf16(&self.bf16), Values::F32(&self.f32)]
    }
}

fn shapes() -> impl Iterator<Item = Dims> {
    let small = [0, 1, 2, 5, 6, 7, 8, 9, 16, 17];
    let small = small.into_iter().flat_map(move |m| small.into_iter().map(move |n| Dims { m, k: 3 + m % 3, n }));
    let large = [
        (13, 0, 9),
        (97, 65, 17),
        (64, 64, 64),
        (100, 130, 33),
        (5, 130, 33),
        (12, 70, 48),
        (3, 65, 8),
        (8, 65, 8),
        (8, 64, 21),
    ];
    small.chain(large.map(|(m, k, n)| Dims { m, k, n }))
}

#[test]
fn every_level_gives_the_bits_of_the_definition() {
    for d in shapes() {
        // Where more follows, whole vectors can be read behind the last row of B.
        let behind = (d.m + d.n) % 2 * 8;
        let (a, b, c) = (Case::new(1, d.m * d.k), Case::new(2, d.k * d.n + behind), values(3, d.m * d.n));
        for (a_rows, b_rows) in [(true, true), (false, true), (true, false), (false, false)] {
            let strides = |rows, i: usize, k: usize| if rows { (k, 1) } else { (1, i) };
            let ((sa, ka), (sb, kb)) = (strides(a_rows, d.m, d.k), strides(!b_rows, d.n, d.k));
            for (at, (x, y)) in
                [(0, 0), (0, 1), (1, 2), (2, 0)].map(|(i, j)| (a.all()[i], b.all()[j])).into_iter().enumerate()
            {
                let a = Operand { values: x, stride: sa, k_stride: ka };
                let b = Operand { values: y, stride: sb, k_stride: kb };
                for level in SimdLevel::available() {
                    let kernels = Kernels::for_level(level).unwrap();
                    check(kernels, d, a, b, &c, &format!("{d:?} {level:?} {a_rows} {b_rows} {at}"));
                }
            }
        }
    }
}

fn check(kernels: Kernels, d: Dims, a: Operand<'_>, b: Operand<'_>, c: &[f32], place: &str) {
    let half: Vec<u16> = c.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
    let (mut found, mut found_half) = (c.to_vec(), half.clone());
    gemm(kernels, d, a, b, &mut found);
    let in_f16 = matches!((a.values, b.values), (Values::F16(_), Values::F16(_)));
    if in_f16 {
        gemm_f16(kernels, d, a, b, &mut found_half);
    }
    for (at, (found, found_half)) in found.iter().zip(found_half).enumerate() {
        let (m, n) = (at / d.n, at % d.n);
        let (mut need, mut need_half) = (c[at], f16::from_bits(half[at]));
        for k in 0..d.k {
            let (x, y) = (a.values.get(a.at(m, k)), b.values.get(b.at(n, k)));
            need = fma(x, y, need);
            need_half = fma_f16(f16::from_f32(x), f16::from_f32(y), need_half);
        }
        assert_eq!(found.to_bits(), need.to_bits(), "{place}: ({m}, {n})");
        assert!(!in_f16 || found_half == need_half.to_bits(), "{place}: ({m}, {n}) in f16");
    }
}

#[test]
#[should_panic(expected = "needs 12 of 11")]
fn an_operand_that_is_too_short_is_a_defect() {
    let d = Dims { m: 3, k: 4, n: 1 };
    let (a, b) = (values(1, 11), values(2, 4));
    let a = Operand { values: Values::F32(&a), stride: 4, k_stride: 1 };
    let b = Operand { values: Values::F32(&b), stride: 1, k_stride: 1 };
    gemm(Kernels::detect(), d, a, b, &mut [0.0; 3]);
}

#[test]
fn sixteen_bit_steps_round_once_where_two_roundings_differ() {
    // 1 + 2^-11 is a midpoint of f16; the product's tail 2^-24 and less decides, and f32 would lose it.
    let bits = |x: f32| f16::from_f32(x).to_bits();
    let d = Dims { m: 8, k: 1, n: 16 };
    let (mut state, mut differ) = (7u64, 0);
    for round in 0..20_000 {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        // Products that end far below the sum: exponents apart, all mantissas.
        let scale = |r: u32| f32::from_bits((r & 0x007f_e000) | (127 - (r >> 24) % 12) << 23);
        let (a, b): (Vec<u16>, Vec<u16>) =
            ((0..d.m).map(|_| bits(scale(next()))).collect(), (0..d.n).map(|_| bits(-scale(next()))).collect());
        let c: Vec<u16> =
            (0..d.m * d.n).map(|_| bits(scale(next()) * if round % 2 == 0 { 1.0 } else { -16.0 })).collect();
        let a_op = Operand { values: Values::F16(&a), stride: 1, k_stride: 8 };
        let b_op = Operand { values: Values::F16(&b), stride: 1, k_stride: 16 };
        let mut found = c.clone();
        gemm_f16(Kernels::detect(), d, a_op, b_op, &mut found);
        for (at, found) in found.iter().enumerate() {
            let [x, y, z] = [a[at / d.n], b[at % d.n], c[at]].map(f16::from_bits);
            assert_eq!(*found, fma_f16(x, y, z).to_bits(), "{x} * {y} + {z}");
            let twice = f16::from_f32(fma(x.to_f32(), y.to_f32(), z.to_f32()));
            differ += u32::from(twice.to_bits() != *found);
        }
    }
    assert!(differ > 0, "no case in which two roundings differ from one");
}

#[test]
fn tiles_of_eight_rows_may_lie_in_wider_ones() {
    let (k, n, wide) = (9, 21, 40);
    let (a, b) = (Case::new(1, 8 * k), Case::new(2, wide * k));
    for columns in [1, 7, 8, 13, n] {
        let d = Dims { m: 8, k, n: columns };
        let x = Operand { values: a.all()[0], stride: 1, k_stride: 8 };
        let y = Operand { values: b.all()[0], stride: 1, k_stride: wide };
        let before = values(3, 8 * wide);
        let mut want = before.clone();
        for (row, column) in (0..8).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let c = &mut want[row * wide + column];
            *c = (0..k).fold(*c, |c, k| fma(x.values.get(k * 8 + row), y.values.get(k * wide + column), c));
        }
        for level in SimdLevel::available() {
            let mut found = before.clone();
            gemm_strided(Kernels::for_level(level).unwrap(), d, x, y, &mut found, wide);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&want), "{columns} columns, {level:?}");
        }
    }
}

#[test]
fn strides_beyond_counting_are_refused() {
    let (a, b) = ([0u16; 64], [0u16; 64]);
    for (m, stride, c_stride) in [(8, 8, usize::MAX / 7 + 1), (8, usize::MAX / 7 + 1, 8), (4, 8, usize::MAX / 3 + 1)] {
        let operand = |values, k_stride| Operand { values: Values::F16(values), stride: 1, k_stride };
        let product = || {
            let (d, mut c) = (Dims { m, k: 8, n: 8 }, [0.0; 64]);
            gemm_strided(Kernels::detect(), d, operand(&a, m), operand(&b, stride), &mut c, c_stride);
        };
        assert!(std::panic::catch_unwind(product).is_err(), "{m} rows, {stride}, {c_stride}");
    }
}
