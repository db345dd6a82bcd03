//! Tensors of mapped files: where they lie, whether their values can be used, and their numbers.
//!
//! Invariant: an `Entry`'s byte range lies inside its file and holds exactly `elements` of its format; the readers
//! check that before they make one, and nothing else indexes file bytes.
//! Filled by `safetensors` and `gguf`; read by `checkpoint`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::dequant::{BLOCK, Element, block_values, copy_u16, to_f32, to_u16};
use super::error::{ModelError, WeightFault};
use super::files::open_regular;
use crate::math::checkpoint::WeightFormat;

/// The smallest f32 magnitude that rounds to infinity in f16: half way between 65504 and 65536.
const F16_OVERFLOW: f32 = 65520.0;

#[derive(Debug)]
enum FileBytes {
    Mapped(Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

/// A weight file: its path for messages, its bytes.
#[derive(Debug)]
pub struct SourceFile {
    /// Path as opened.
    pub path: PathBuf,
    bytes: FileBytes,
}

impl SourceFile {
    /// Maps a regular file.
    pub fn map(path: &Path) -> Result<Self, ModelError> {
        let file = open_regular(path)?;
        // SAFETY: the map is read-only and every byte pattern is a valid u8; only another process that shortens the
        // file while it is in use could fault, which is the documented price of mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| ModelError::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), bytes: FileBytes::Mapped(map) })
    }

    /// Bytes that are part of the program.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Self { path: PathBuf::from(name), bytes: FileBytes::Static(bytes) }
    }

    /// Bytes in memory under the name of a file.
    pub fn owned(name: &str, bytes: Vec<u8>) -> Self {
        Self { path: PathBuf::from(name), bytes: FileBytes::Owned(bytes) }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            FileBytes::Mapped(map) => map,
            FileBytes::Static(bytes) => bytes,
            FileBytes::Owned(bytes) => bytes,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in the file.
    pub name: String,
    /// Index into the list of files.
    pub file: usize,
    /// Format.
    pub element: Element,
    /// Dimensions, outermost first: `[out, in]` or `[n]`.
    pub dims: Vec<usize>,
    /// Bytes in the file.
    pub range: Range<usize>,
}

impl Entry {
    /// Product of the dimensions (checked by the reader).
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    fn bytes<'a>(&self, files: &'a [SourceFile]) -> &'a [u8] {
        &files[self.file].bytes()[self.range.clone()]
    }

    /// The 16-bit elements: borrowed when the file holds them aligned, else copied, rounded or dequantised to f16.
    pub fn halves<'a>(&self, files: &'a [SourceFile]) -> (WeightFormat, Cow<'a, [u16]>) {
        let bytes = self.bytes(files);
        let format = match self.element {
            Element::Bf16 => WeightFormat::Bf16,
            _ => WeightFormat::F16,
        };
        let bits = match self.element {
            Element::F16 | Element::Bf16 if cfg!(target_endian = "little") => match bytemuck::try_cast_slice(bytes) {
                Ok(bits) => Cow::Borrowed(bits),
                Err(_) => Cow::Owned(copy_u16(bytes)),
            },
            element => Cow::Owned(to_u16(element, bytes)),
        };
        (format, bits)
    }

    /// The elements in f32, unrounded.
    pub fn floats(&self, files: &[SourceFile]) -> Vec<f32> {
        to_f32(self.element, self.bytes(files))
    }

    /// Finds a value that cannot be used; `must_fit_f16` for matrices.
    pub fn scan(&self, files: &[SourceFile], must_fit_f16: bool) -> Result<(), ModelError> {
        let bytes = self.bytes(files);
        let limit = if must_fit_f16 { F16_OVERFLOW } else { f32::INFINITY };
        let found = match self.element {
            Element::F16 => bad_half(bytes, 0x7c00),
            Element::Bf16 => bad_half(bytes, 0x7f80),
            Element::F32 => bad_float(bytes, limit),
            Element::Q8_0 | Element::Q4_0 | Element::Q4_1 => bad_block(self.element, bytes, limit),
        };
        let Some(index) = found else { return Ok(()) };
        let (per_unit, unit_bytes) = self.element.unit();
        let at = index / per_unit * unit_bytes;
        let unit = to_f32(self.element, &bytes[at..at + unit_bytes]);
        let value = unit[index % per_unit];
        let fault = if value.is_finite() { WeightFault::OverflowsF16 } else { WeightFault::NotFinite };
        Err(ModelError::Weight { file: files[self.file].path.clone(), tensor: self.name.clone(), index, value, fault })
    }
}

/// Elements scanned between two looks at the result; the inner loop has no branch and vectorises.
const SCAN_CHUNK: usize = 4096;

fn bad_half(bytes: &[u8], first_bad: u16) -> Option<usize> {
    let magnitude = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]) & 0x7fff;
    bytes.chunks(2 * SCAN_CHUNK).enumerate().find_map(|(i, chunk)| {
        let largest = chunk.chunks_exact(2).fold(0, |most, pair| most.max(magnitude(pair)));
        if largest < first_bad {
            return None;
        }
        let within = chunk.chunks_exact(2).position(|pair| magnitude(pair) >= first_bad)?;
        Some(i * SCAN_CHUNK + within)
    })
}

fn bad_float(bytes: &[u8], limit: f32) -> Option<usize> {
    let magnitude = |quad: &[u8]| u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]]) & 0x7fff_ffff;
    let first_bad = limit.to_bits();
    bytes.chunks(4 * SCAN_CHUNK).enumerate().find_map(|(i, chunk)| {
        let largest = chunk.chunks_exact(4).fold(0, |most, quad| most.max(magnitude(quad)));
        if largest < first_bad {
            return None;
        }
        let within = chunk.chunks_exact(4).position(|quad| magnitude(quad) >= first_bad)?;
        Some(i * SCAN_CHUNK + within)
    })
}

/// A block whose scale and minimum keep it below the f16 limit is not looked at further.
fn bad_block(element: Element, bytes: &[u8], limit: f32) -> Option<usize> {
    bytes.chunks_exact(element.unit().1).enumerate().find_map(|(i, block)| {
        let half_at = |at: usize| half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32().abs();
        let most = match element {
            Element::Q4_1 => half_at(0) * 15.0 + half_at(2),
            _ => half_at(0) * 128.0,
        };
        if most < F16_OVERFLOW {
            return None;
        }
        let values = block_values(element, block);
        let usable = |value: &f32| value.abs() < limit;
        values.iter().position(|value| !usable(value)).map(|within| i * BLOCK + within)
    })
}

/// Scans all entries (`true` = matrix) on two threads; the first fault in the order of `entries` is reported.
pub fn scan_all(files: &[SourceFile], entries: &[(&Entry, bool)]) -> Result<(), ModelError> {
    let total: usize = entries.iter().map(|(entry, _)| entry.range.len()).sum();
    let mut before = 0;
    let split = entries
        .iter()
        .take_while(|(entry, _)| {
            before += entry.range.len();
            before <= total / 2
        })
        .count();
    let scan = |part: &[(&Entry, bool)]| part.iter().try_for_each(|(entry, is_matrix)| entry.scan(files, *is_matrix));
    let (first, second) = entries.split_at(split);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| scan(second));
        scan(first).and(match other.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn scan(element: Element, bytes: Vec<u8>, elements: usize, matrix: bool) -> Option<String> {
        let length = bytes.len();
        let files = [SourceFile::owned("weights", bytes)];
        let entry = Entry { name: "t".into(), file: 0, element, dims: vec![elements], range: 0..length };
        entry.scan(&files, matrix).err().map(|e| e.to_string())
    }

    #[test]
    fn scan_names_the_first_bad_element_of_every_format() {
        let halves = |bad: u16| -> Vec<u8> {
            (0..10_000u16).flat_map(|i| if i == 9_001 { bad } else { i % 900 }.to_le_bytes()).collect()
        };
        for (element, bad) in [(Element::F16, 0xfc00), (Element::F16, 0x7e01), (Element::Bf16, 0x7f80)] {
            let message = scan(element, halves(bad), 10_000, true).unwrap_or_default();
            assert!(message.contains("tensor t, element 9001"), "{message}");
            assert_eq!(scan(element, halves(1), 10_000, true), None);
        }
        let floats = |bad: f32| -> Vec<u8> {
            (0..5_000).flat_map(|i| if i == 4_200 { bad } else { 1.5f32 }.to_le_bytes()).collect()
        };
        let message = scan(Element::F32, floats(-65520.0), 5_000, true).unwrap_or_default();
        assert!(message.contains("element 4200 is -65520: a weight must fit f16"), "{message}");
        assert_eq!(scan(Element::F32, floats(65519.9), 5_000, true), None);
        assert_eq!(scan(Element::F32, floats(65520.0), 5_000, false), None);
        assert!(scan(Element::F32, floats(f32::NAN), 5_000, false).is_some());
    }

    #[test]
    fn scan_of_blocks_judges_products_not_scales() {
        let block = |d: f32, q: [u8; 32]| {
            let mut bytes = f16::from_f32(d).to_le_bytes().to_vec();
            bytes.extend(q);
            bytes
        };
        let mut quants = [1u8; 32];
        assert_eq!(scan(Element::Q8_0, block(60000.0, quants), 32, true), None);
        quants[5] = 0x80;
        let message = scan(Element::Q8_0, block(60000.0, quants), 32, true).unwrap_or_default();
        assert!(message.contains("element 5 is -7680000"), "{message}");
        let message = scan(Element::Q8_0, block(f32::NAN, quants), 32, true).unwrap_or_default();
        assert!(message.contains("element 0 is NaN: a weight must be finite"), "{message}");
    }

    #[test]
    fn halves_borrow_when_aligned_and_copy_when_not() {
        let bytes: &'static [u8] = vec![7u8; 66].leak();
        let odd = usize::from(bytes.as_ptr().align_offset(2) == 0);
        for (start, borrowed) in [(odd, false), (1 - odd, true)] {
            let files = [SourceFile::embedded("weights", bytes)];
            let entry =
                Entry { name: "t".into(), file: 0, element: Element::F16, dims: vec![32], range: start..start + 64 };
            let (_, bits) = entry.halves(&files);
            assert_eq!(matches!(bits, Cow::Borrowed(_)), borrowed);
            assert_eq!(bits.as_ref(), [0x0707; 32]);
        }
    }
}
