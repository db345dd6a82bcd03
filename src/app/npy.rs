//! Logits as a NumPy file: written beside the target and renamed, so that a broken run leaves no half file.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes `rows` (equally long) as a little-endian f32 array of version 1.0.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, rows: &[Vec<f32>]) -> anyhow::Result<()> {
    let width = rows.first().map_or(0, Vec::len);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {width}), }}", rows.len());
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let part = path.with_extension("npy.part");
    let attempt = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&part)?);
        file.write_all(b"\x93NUMPY\x01\x00")?;
        file.write_all(&(header.len() as u16).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for row in rows {
            for value in row {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        file.flush()?;
        std::fs::rename(&part, path)
    };
    attempt().with_context(|| format!("--logits {}", path.display()))
}
