//! Rows of f32 as a NumPy file, written whole or not at all.
//!
//! Invariant: the target name never holds a partial file (temporary file, sync, rename). Called by `generate --logits`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `rows` (each `cols` long) as a `(rows, cols)` array of little-endian f32.
pub fn write(path: &Path, rows: &[Vec<f32>], cols: usize) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let outcome = write_to(&part, rows, cols).and_then(|()| fs::rename(&part, path));
    if outcome.is_err() {
        let _ = fs::remove_file(&part);
    }
    outcome
}

fn write_to(part: &Path, rows: &[Vec<f32>], cols: usize) -> io::Result<()> {
    let mut out = io::BufWriter::new(File::create(part)?);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {cols}), }}", rows.len());
    let unpadded = 10 + header.len() + 1; // magic, version, length; header; newline
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?; // below 200 bytes
    out.write_all(header.as_bytes())?;
    for value in rows.iter().flatten() {
        out.write_all(&value.to_le_bytes())?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_aligned_and_values_follow() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.npy");
        write(&path, &[vec![1.0, 2.0], vec![3.0, 4.0]], 2)?;
        let bytes = fs::read(&path)?;
        assert_eq!(bytes.len() % 64, 16);
        assert!(String::from_utf8_lossy(&bytes[10..]).contains("'shape': (2, 2)"));
        assert_eq!(bytes[bytes.len() - 4..], 4.0f32.to_le_bytes());
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        assert!(write(&dir.path().join("none/x.npy"), &[], 0).is_err());
        Ok(())
    }
}
