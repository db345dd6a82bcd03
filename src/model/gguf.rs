//! GGUF v2 and v3: metadata and tensor positions, read from a mapped file.
//!
//! Invariant: an entry is made only for a range that lies in the file, is as long as type and dimensions say, and
//! overlaps no other; no list is longer than the bytes that back it.
//! Layout: magic, version, tensor count, metadata count, key/values, tensor infos, padding, data.
//! Called by `gguf_config`, `gguf_tokenizer` and `checkpoint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::dequant::Element;
use super::error::{ModelError, Reason, Reasons};
use super::gguf_value::{Cursor, Fault, Value};
use super::tensors::{Entry, SourceFile};

/// Dimensions that ggml allows.
const DIMS_MAX: u32 = 4;
/// Alignment of the data when the file does not name one.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A tensor as the header describes it.
#[derive(Clone, Debug)]
struct TensorInfo<'a> {
    name: &'a str,
    /// Outermost first (the file has the innermost first).
    dims: Vec<usize>,
    kind: u32,
    offset: u64,
}

/// The parsed head of a file.
#[derive(Debug)]
pub struct Gguf<'a> {
    /// File for messages.
    pub path: PathBuf,
    /// 2 or 3.
    pub version: u32,
    metadata: BTreeMap<&'a str, Value<'a>>,
    tensors: Vec<TensorInfo<'a>>,
    data_start: usize,
    data_length: usize,
}

impl<'a> Gguf<'a> {
    /// Parses and checks the head of a file.
    pub fn parse(source: &'a SourceFile, reasons: &mut Reasons) -> Result<Self, ModelError> {
        let path = source.path.as_path();
        let mut cursor = Cursor { bytes: source.bytes(), at: 0 };
        let version = magic_and_version(&mut cursor, path, reasons)?;
        let n_tensors = count(&mut cursor, path, "tensor count", 24)?;
        let n_metadata = count(&mut cursor, path, "metadata count", 13)?;
        let mut metadata = BTreeMap::new();
        for i in 0..n_metadata {
            let key = cursor.text().map_err(|e| e.at(path, format!("key of metadata {i}")))?;
            let value = cursor.value().map_err(|e| e.at(path, key))?;
            if metadata.insert(key, value).is_some() {
                return Err(ModelError::damaged(path, key, "each key once", "it twice"));
            }
        }
        let mut tensors = Vec::new();
        for i in 0..n_tensors {
            tensors.push(tensor_info(&mut cursor, path, i)?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(&Value::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => n,
            Some(other) => {
                let need = "a power of two, 8 to 1048576";
                return Err(ModelError::damaged(path, "general.alignment", need, other));
            }
        };
        // A position in a mapped file plus at most 2^20.
        let data_start = cursor.at.next_multiple_of(alignment as usize);
        let data_length = source.bytes().len().saturating_sub(data_start);
        for tensor in &tensors {
            if !tensor.offset.is_multiple_of(alignment) {
                let place = format!("offset of tensor {}", tensor.name);
                let need = format!("a multiple of {alignment}");
                return Err(ModelError::damaged(path, place, need, tensor.offset));
            }
        }
        Ok(Self { path: path.to_path_buf(), version, metadata, tensors, data_start, data_length })
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.metadata.get(key).copied()
    }

    fn wrong(&self, key: &str, need: &str, have: Value) -> ModelError {
        ModelError::damaged(&self.path, key, need, have)
    }

    /// A whole number of at least 0.
    pub fn whole(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.get(key)
            .map(|value| match value {
                Value::Unsigned(n) => Ok(n),
                Value::Signed(n) if n >= 0 => Ok(n.unsigned_abs()),
                other => Err(self.wrong(key, "a whole number", other)),
            })
            .transpose()
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.get(key)
            .map(|value| match value {
                Value::Float(x) => Ok(x),
                Value::Unsigned(n) => Ok(n as f64),
                Value::Signed(n) => Ok(n as f64),
                other => Err(self.wrong(key, "a number", other)),
            })
            .transpose()
    }

    /// The id of one of `n_tokens` tokens.
    pub fn token_id(&self, key: &str, n_tokens: usize) -> Result<Option<u32>, ModelError> {
        let id = self.whole(key)?;
        id.map(|id| match u32::try_from(id).ok().filter(|&id| (id as usize) < n_tokens) {
            Some(id) => Ok(id),
            None => Err(ModelError::damaged(&self.path, key, format!("below {n_tokens}"), id)),
        })
        .transpose()
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        self.get(key)
            .map(|value| match value {
                Value::Text(text) => Ok(text),
                other => Err(self.wrong(key, "a string", other)),
            })
            .transpose()
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.get(key)
            .map(|value| match value {
                Value::Bool(flag) => Ok(flag),
                other => Err(self.wrong(key, "a boolean", other)),
            })
            .transpose()
    }

    /// An array whose elements `read` accepts.
    pub fn list<T>(
        &self,
        key: &str,
        need: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Value::Array(array) = value else {
            return Err(self.wrong(key, &format!("an array of {need}"), value));
        };
        let mut list = Vec::new();
        for (i, value) in array.values().enumerate() {
            list.push(read(value).ok_or_else(|| self.wrong(&format!("{key}[{i}]"), need, value))?);
        }
        Ok(Some(list))
    }

    /// The value, or an error that the key is missing.
    pub fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelError> {
        value.ok_or_else(|| ModelError::missing(&self.path, key, "a metadata value"))
    }

    /// Whether a tensor is listed.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// Dimensions of a tensor, outermost first.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|t| t.dims.as_slice())
    }

    /// Positions of all tensors of file number `index`; unknown element types become reasons.
    pub fn entries(&self, index: usize, reasons: &mut Reasons) -> Result<Vec<Entry>, ModelError> {
        let mut entries = Vec::new();
        for tensor in &self.tensors {
            let Some(element) = element(tensor.kind) else {
                reasons.push(Reason::new(
                    format!("type of tensor {}", tensor.name),
                    type_name(tensor.kind),
                    "F32, F16, BF16, Q8_0, Q4_0, Q4_1",
                ));
                continue;
            };
            entries.push(self.entry(index, tensor, element)?);
        }
        let mut by_start: Vec<&Entry> = entries.iter().collect();
        by_start.sort_by_key(|entry| entry.range.start);
        for pair in by_start.windows(2) {
            if pair[1].range.start < pair[0].range.end {
                let place = format!("offset of tensor {}", pair[1].name);
                let need = format!("no overlap with tensor {}", pair[0].name);
                let have = format!("{} byte(s) shared", pair[0].range.end - pair[1].range.start);
                return Err(ModelError::damaged(&self.path, place, need, have));
            }
        }
        Ok(entries)
    }

    fn entry(&self, file: usize, tensor: &TensorInfo, element: Element) -> Result<Entry, ModelError> {
        let inner = tensor.dims.last().copied().unwrap_or(1);
        let block = element.unit().0;
        if !inner.is_multiple_of(block) {
            let place = format!("dimensions of tensor {}", tensor.name);
            let need = format!("rows of a multiple of {block} for {}", element.name());
            return Err(ModelError::damaged(&self.path, place, need, inner));
        }
        let length = tensor
            .dims
            .iter()
            .try_fold(1usize, |n, &dim| n.checked_mul(dim))
            .and_then(|elements| element.bytes(elements));
        let span = usize::try_from(tensor.offset).ok().zip(length);
        match span.filter(|&(s, n)| s.checked_add(n).is_some_and(|end| end <= self.data_length)) {
            Some((start, length)) => {
                let start = self.data_start + start;
                let range = start..start + length;
                let dims = tensor.dims.clone();
                Ok(Entry { name: tensor.name.to_owned(), file, element, dims, range })
            }
            None => Err(ModelError::damaged(
                &self.path,
                format!("tensor {}", tensor.name),
                format!("{} bytes from offset {}", shown(length), tensor.offset),
                format!("{} bytes of data", self.data_length),
            )),
        }
    }
}

fn shown(length: Option<usize>) -> String {
    length.map_or("more than 2^64".to_owned(), |n| n.to_string())
}

fn magic_and_version(cursor: &mut Cursor, path: &Path, reasons: &mut Reasons) -> Result<u32, ModelError> {
    let magic: [u8; 4] = cursor.fixed().map_err(|e| e.at(path, "magic"))?;
    if &magic != b"GGUF" {
        return Err(Fault::new("GGUF", format!("{magic:02x?}")).at(path, "magic"));
    }
    let version = cursor.u32().map_err(|e| e.at(path, "version"))?;
    if !(2..=3).contains(&version) {
        let have = match version.swap_bytes() {
            2..=3 => "big-endian".to_owned(),
            _ => version.to_string(),
        };
        reasons.push(Reason::new("GGUF version", have, "2, 3 (little-endian)"));
        return Err(Fault::new("2 or 3", version).at(path, "version"));
    }
    Ok(version)
}

/// A count of things that take at least `smallest` bytes each.
fn count(cursor: &mut Cursor, path: &Path, place: &str, smallest: usize) -> Result<usize, ModelError> {
    let count = cursor.u64().map_err(|e| e.at(path, place))?;
    let most = cursor.left() / smallest;
    match usize::try_from(count).ok().filter(|&count| count <= most) {
        Some(count) => Ok(count),
        None => Err(Fault::new(format!("at most {most} for a file of this length"), count).at(path, place)),
    }
}

fn tensor_info<'a>(cursor: &mut Cursor<'a>, path: &Path, index: usize) -> Result<TensorInfo<'a>, ModelError> {
    let name = cursor.text().map_err(|e| e.at(path, format!("name of tensor {index}")))?;
    let at = |e: Fault| e.at(path, format!("header of tensor {name}"));
    let n_dims = cursor.u32().map_err(at)?;
    if !(1..=DIMS_MAX).contains(&n_dims) {
        let need = format!("1 to {DIMS_MAX}");
        return Err(Fault::new(need, n_dims).at(path, format!("dimension count of tensor {name}")));
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        let dim = cursor.u64().map_err(at)?;
        match usize::try_from(dim).ok().filter(|&dim| dim > 0) {
            Some(dim) => dims.push(dim),
            None => {
                let place = format!("dimensions of tensor {name}");
                return Err(Fault::new("at least 1", dim).at(path, place));
            }
        }
    }
    dims.reverse();
    let kind = cursor.u32().map_err(at)?;
    let offset = cursor.u64().map_err(at)?;
    Ok(TensorInfo { name, dims, kind, offset })
}

fn element(kind: u32) -> Option<Element> {
    Some(match kind {
        0 => Element::F32,
        1 => Element::F16,
        2 => Element::Q4_0,
        3 => Element::Q4_1,
        8 => Element::Q8_0,
        30 => Element::Bf16,
        _ => return None,
    })
}

/// ggml's names of the types that are refused.
fn type_name(kind: u32) -> String {
    const NAMES: [(u32, &str); 25] = [
        (6, "Q5_0"),
        (7, "Q5_1"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("unknown type {kind}"), |(_, name)| (*name).to_owned())
}
