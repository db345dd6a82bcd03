//! Element formats of model files and how their bytes become f16, bf16 or f32.
//!
//! Invariant: `bytes` of a quantised tensor is a whole number of blocks of 32 elements (checked at the header).
//! Formulas: Q8_0 `x = d q`; Q4_0 `x = d (q - 8)`; Q4_1 `x = d q + m`; d, m in f16, computed in f32, then rounded to
//! f16. The products are exact in f32; the sum of Q4_1 is rounded to f32 first, as in llama.cpp, so it rounds twice.
//! Element `i < 16` of a 4-bit block is the low nibble of byte i, `16 + i` the high one.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Elements of a quantised block.
pub const BLOCK: usize = 32;

/// Element format of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: f16 scale, 32 x i8.
    Q8_0,
    /// Blocks of 32: f16 scale, 16 bytes of nibbles, offset 8.
    Q4_0,
    /// Blocks of 32: f16 scale, f16 minimum, 16 bytes of nibbles.
    Q4_1,
}

impl Element {
    /// Name as the formats spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
    }

    /// (elements, bytes) of the smallest unit.
    pub fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
        }
    }

    /// Bytes of `elements`, or None when they are no whole number of blocks or overflow.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        let (unit, bytes) = self.unit();
        if !elements.is_multiple_of(unit) {
            return None;
        }
        (elements / unit).checked_mul(bytes)
    }
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The 32 values of one block in f32, exact but for the sum of Q4_1 (one rounding).
pub fn block_values(element: Element, block: &[u8]) -> [f32; BLOCK] {
    let mut values = [0.0; BLOCK];
    let scale = f16_at(block, 0);
    match element {
        Element::Q8_0 => {
            for (value, &q) in values.iter_mut().zip(&block[2..]) {
                *value = scale * f32::from(q as i8);
            }
        }
        Element::Q4_0 => {
            for (i, &byte) in block[2..18].iter().enumerate() {
                values[i] = scale * (f32::from(byte & 15) - 8.0);
                values[i + 16] = scale * (f32::from(byte >> 4) - 8.0);
            }
        }
        Element::Q4_1 => {
            let minimum = f16_at(block, 2);
            for (i, &byte) in block[4..20].iter().enumerate() {
                values[i] = scale * f32::from(byte & 15) + minimum;
                values[i + 16] = scale * f32::from(byte >> 4) + minimum;
            }
        }
        Element::F32 | Element::F16 | Element::Bf16 => {}
    }
    values
}

/// 16-bit values as they lie in the file.
pub fn copy_u16(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// f16 bits of a tensor of F32 or quantised elements; F16 and BF16 as they are.
pub fn to_u16(element: Element, bytes: &[u8]) -> Vec<u16> {
    match element {
        Element::F16 | Element::Bf16 => copy_u16(bytes),
        Element::F32 => bytes.chunks_exact(4).map(|quad| f16::from_f32(f32_of(quad)).to_bits()).collect(),
        Element::Q8_0 | Element::Q4_0 | Element::Q4_1 => {
            let unit = element.unit().1;
            let mut bits = Vec::with_capacity(bytes.len() / unit * BLOCK);
            let mut rounded = [f16::ZERO; BLOCK];
            for block in bytes.chunks_exact(unit) {
                rounded.convert_from_f32_slice(&block_values(element, block));
                bits.extend(rounded.iter().map(|value| value.to_bits()));
            }
            bits
        }
    }
}

/// The f32 values of a tensor, unrounded.
pub fn to_f32(element: Element, bytes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => bytes.chunks_exact(4).map(f32_of).collect(),
        Element::F16 => copy_u16(bytes).into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Element::Bf16 => copy_u16(bytes).into_iter().map(|bits| half::bf16::from_bits(bits).to_f32()).collect(),
        Element::Q8_0 | Element::Q4_0 | Element::Q4_1 => {
            bytes.chunks_exact(element.unit().1).flat_map(|block| block_values(element, block)).collect()
        }
    }
}

fn f32_of(quad: &[u8]) -> f32 {
    f32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(element: Element, bytes: &[u8]) -> Vec<f32> {
        to_u16(element, bytes).into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect()
    }

    #[test]
    fn q8_0_is_scale_times_signed_byte() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0..32).map(|i: i32| (i * 8 - 128) as i8 as u8));
        let want: Vec<f32> = (0..32).map(|i| 0.5 * (i as f32 * 8.0 - 128.0)).collect();
        assert_eq!(values(Element::Q8_0, &block), want);
    }

    #[test]
    fn q4_0_counts_nibbles_from_minus_eight_low_half_first() {
        let mut block = f16::from_f32(-0.25).to_le_bytes().to_vec();
        block.extend((0..16u8).map(|i| i | ((15 - i) << 4)));
        let got = values(Element::Q4_0, &block);
        for i in 0..16 {
            assert_eq!(got[i], -0.25 * (i as f32 - 8.0));
            assert_eq!(got[16 + i], -0.25 * (7.0 - i as f32));
        }
    }

    fn q4_1_block(scale: f16, minimum: f16, nibbles: [u8; 16]) -> Vec<u8> {
        [scale.to_le_bytes().as_slice(), &minimum.to_le_bytes(), &nibbles].concat()
    }

    #[test]
    fn q4_1_adds_the_minimum_in_f32_and_then_rounds_to_f16() {
        let (scale, minimum) = (f16::from_f32(0.1), f16::from_f32(-0.7));
        let nibbles = std::array::from_fn(|i| i as u8 | ((i as u8 ^ 5) << 4));
        let got = values(Element::Q4_1, &q4_1_block(scale, minimum, nibbles));
        let want = |q: u8| f16::from_f32(scale.to_f32() * f32::from(q) + minimum.to_f32()).to_f32();
        for i in 0..16u8 {
            assert_eq!(got[usize::from(i)], want(i));
            assert_eq!(got[usize::from(i) + 16], want(i ^ 5));
        }
    }

    #[test]
    fn q4_1_rounds_a_sum_to_f32_before_it_rounds_to_f16() {
        // 3 (1 + 2^-10) - 2^-24 lies just below the middle of 0x4201 and 0x4202; in f32 it is the middle.
        let (scale, minimum) = (f16::from_bits(0x3c01), f16::from_bits(0x8001));
        let bits = to_u16(Element::Q4_1, &q4_1_block(scale, minimum, [0x33; 16]));
        assert_eq!(bits, [0x4202; BLOCK]);
        let exact = scale.to_f64() * 3.0 + minimum.to_f64();
        let middle = (f16::from_bits(0x4201).to_f64() + f16::from_bits(0x4202).to_f64()) / 2.0;
        assert!(exact < middle && f64::from(exact as f32) == middle);
    }

    #[test]
    fn f32_rounds_to_nearest_even() {
        let one_and_half_ulp = 1.0f32 + 3.0 / 2048.0;
        assert_eq!(values(Element::F32, &one_and_half_ulp.to_le_bytes()), [1.0 + 2.0 / 1024.0]);
    }

    #[test]
    fn bytes_refuse_torn_blocks_and_overflow() {
        assert_eq!(Element::Q4_1.bytes(64), Some(40));
        assert_eq!(Element::Q8_0.bytes(33), None);
        assert_eq!(Element::F32.bytes(usize::MAX), None);
    }
}
