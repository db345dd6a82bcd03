//! The safetensors header: 8 bytes of length, JSON, then the tensors back to back.
//!
//! Invariant: an entry is made only for a range that lies in the file, touches no other tensor and is exactly as long
//! as dtype and shape say. The crate parses and checks; when it refuses, `diagnose` finds the tensor to name.
//! Called by `huggingface`.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::dequant::Element;
use super::error::{ModelError, Reason, Reasons};
use super::tensors::{Entry, SourceFile};

/// Bytes of the length field in front of the header.
const LENGTH_BYTES: usize = 8;

/// Entries of file number `index`; tensors of other number formats become reasons.
pub fn read(index: usize, source: &SourceFile, reasons: &mut Reasons) -> Result<Vec<Entry>, ModelError> {
    let (path, bytes) = (source.path.as_path(), source.bytes());
    let (header_length, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| diagnose(path, bytes, &e.to_string()))?;
    let data_start = LENGTH_BYTES + header_length;
    let mut entries = Vec::new();
    let mut names = metadata.offset_keys();
    names.sort_unstable();
    for name in names {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let element = match info.dtype {
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            other => {
                reasons.push(Reason::new(format!("dtype of tensor {name}"), format!("{other:?}"), "F32, F16, BF16"));
                continue;
            }
        };
        let (start, end) = info.data_offsets;
        let elements = info.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        let length = elements.and_then(|n| element.bytes(n));
        let range = data_start.checked_add(start).zip(data_start.checked_add(end));
        let Some((start, end)) = range.filter(|&(s, e)| s <= e && e <= bytes.len() && Some(e - s) == length) else {
            return Err(ModelError::damaged(
                path,
                format!("data_offsets of tensor {name}"),
                format!("{length:?} bytes within the file's {}", bytes.len()),
                format!("{start} to {end}"),
            ));
        };
        entries.push(Entry { name, file: index, element, dims: info.shape.clone(), range: start..end });
    }
    Ok(entries)
}

/// Names the field that made the crate refuse the header.
fn diagnose(path: &Path, bytes: &[u8], refusal: &str) -> ModelError {
    let damaged = |place: String, need: String, have: String| ModelError::damaged(path, place, need, have);
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>().map(|raw| u64::from_le_bytes(*raw)) else {
        let need = format!("a safetensors file of at least {LENGTH_BYTES} bytes");
        return damaged("header length".into(), need, format!("{} bytes", bytes.len()));
    };
    let room = bytes.len() - LENGTH_BYTES;
    let header = usize::try_from(length).ok().filter(|&n| n <= room);
    let Some(header) = header.map(|n| &bytes[LENGTH_BYTES..LENGTH_BYTES + n]) else {
        let need = format!("at most the {room} bytes that follow");
        return damaged("header length".into(), need, length.to_string());
    };
    let data = (room - header.len()) as u64;
    let parsed: Result<Value, _> = serde_json::from_slice(header);
    let tensors = match &parsed {
        Ok(Value::Object(tensors)) => tensors,
        Ok(_) => return damaged("header".into(), "a JSON object".into(), refusal.into()),
        Err(e) => return damaged("header".into(), "JSON".into(), e.to_string()),
    };
    let mut spans = Vec::new();
    for (name, info) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        match check_info(info) {
            Ok(span) => spans.push((span, name)),
            Err((field, need, have)) => {
                return damaged(format!("{field} of tensor {name}"), need, have);
            }
        }
    }
    spans.sort_unstable();
    let mut end_before = 0;
    for ((start, end), name) in spans {
        if start != end_before {
            let need = format!("to start at {end_before}, where the tensor before it ends");
            let have = format!("{start}");
            return damaged(format!("data_offsets of tensor {name}"), need, have);
        }
        if end > data {
            let need = format!("to end within the {data} bytes of data");
            return damaged(format!("data_offsets of tensor {name}"), need, end.to_string());
        }
        end_before = end;
    }
    if end_before != data {
        let need = format!("{end_before} bytes, as the tensors take");
        return damaged("length of the data".into(), need, format!("{data} bytes"));
    }
    damaged("header".into(), "a valid safetensors header".into(), refusal.into())
}

type Fault = (&'static str, String, String);

/// (start, end) of one tensor in the data, or the field that is wrong with it.
fn check_info(info: &Value) -> Result<(u64, u64), Fault> {
    let fault = |field: &'static str, need: &str, have: String| (field, need.to_owned(), have);
    let shown = |field: &str| -> String { info[field].to_string().chars().take(80).collect() };
    let dtype: Dtype = serde_json::from_value(info["dtype"].clone())
        .map_err(|_| fault("dtype", "a dtype of the format", shown("dtype")))?;
    let list =
        |field: &'static str| -> Option<Vec<u64>> { info[field].as_array()?.iter().map(Value::as_u64).collect() };
    let shape = list("shape").ok_or_else(|| fault("shape", "a list of sizes", shown("shape")))?;
    let offsets = list("data_offsets");
    let Some(&[start, end]) = offsets.as_deref() else {
        return Err(fault("data_offsets", "two positions", shown("data_offsets")));
    };
    let bits = shape
        .iter()
        .try_fold(1u64, |n, &dim| n.checked_mul(dim))
        .and_then(|n| n.checked_mul(dtype.bitsize() as u64))
        .ok_or_else(|| fault("shape", "a size that fits 64 bits", shown("shape")))?;
    if end.checked_sub(start) != Some(bits / 8) {
        let need = format!("{} bytes, as dtype and shape say", bits / 8);
        return Err(("data_offsets", need, format!("{start} to {end}")));
    }
    Ok((start, end))
}
