//! The blocks of `gemm` one number at a time: what every level must equal.
//!
//! Invariant: each output is one chain, k ascending. Called through the table of `simd` alone.

use half::f16;

use super::super::binary16::fma_f16;
use super::super::fma::fma;
use super::Panel;

pub(crate) fn widen_f16(x: &[u16], out: &mut [f32]) {
    x.iter().zip(out).for_each(|(x, out)| *out = f16::from_bits(*x).to_f32());
}

pub(crate) fn panel<const ROUND: bool>(p: Panel<'_>) {
    products::<_, ROUND>(p, |b| b);
}

/// `panel` with B in binary16.
pub(crate) fn panel_f16(p: Panel<'_, u16>) {
    products::<_, false>(p, |b| f16::from_bits(b).to_f32());
}

fn products<B: Copy, const ROUND: bool>(p: Panel<'_, B>, widen: impl Fn(B) -> f32) {
    for row in 0..p.m {
        for n in 0..p.n {
            let c = &mut p.c[row * p.c_stride + n];
            for k in 0..p.k {
                let (a, b) = (p.a[row * p.strides.row + k * p.strides.k], widen(p.b[k * p.b_stride + n]));
                *c = if ROUND {
                    fma_f16(f16::from_f32(a), f16::from_f32(b), f16::from_f32(*c)).to_f32()
                } else {
                    fma(a, b, *c)
                };
            }
        }
    }
}
