//! Rows of f32 as a NumPy file, written whole or not at all.
//!
//! Invariant: that of `Whole`. Called by `generate --logits`.

use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::whole::Whole;

/// Bytes in front of the values: room for any shape, and a multiple of 64 as the format asks.
const HEADER_BYTES: usize = 192;

/// A file of rows that grows row by row.
#[derive(Debug)]
pub struct Rows {
    out: Whole,
    rows: u64,
    cols: usize,
}

impl Rows {
    /// Starts the file, so that a path that cannot be written is known before the run.
    ///
    /// # Errors
    /// What the operating system says of the path.
    pub fn create(path: &Path, cols: usize) -> io::Result<Self> {
        let mut out = Whole::create(path)?;
        out.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { out, rows: 0, cols })
    }

    /// Appends one row of `cols` values.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn push(&mut self, row: &[f32]) -> io::Result<()> {
        assert_eq!(row.len(), self.cols, "a row of logits has one value a token");
        self.rows += 1;
        row.iter().try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
    }

    /// Writes the header and gives the file its name: a `(rows, cols)` array of little-endian f32.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(mut self) -> io::Result<()> {
        let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", self.rows, self.cols);
        let length = HEADER_BYTES - 10; // after magic, version and this length
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend((length as u16).to_le_bytes());
        header.extend(format!("{shape:<width$}\n", width = length - 1).as_bytes());
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn header_is_aligned_and_values_follow() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.npy");
        let mut rows = Rows::create(&path, 2)?;
        rows.push(&[1.0, 2.0])?;
        rows.push(&[3.0, 4.0])?;
        assert!(!path.exists());
        rows.finish()?;
        let bytes = fs::read(&path)?;
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((length + 10) % 64, 0);
        assert_eq!((bytes.len() - length - 10, bytes[length + 9]), (16, b'\n'));
        assert!(String::from_utf8_lossy(&bytes[10..]).contains("'shape': (2, 2)"));
        assert_eq!(bytes[bytes.len() - 4..], 4.0f32.to_le_bytes());
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_bad_path_is_known_at_once_and_an_unfinished_file_leaves_nothing() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(Rows::create(&dir.path().join("none/x.npy"), 1).is_err());
        assert!(Rows::create(dir.path(), 1).is_err());
        drop(Rows::create(&dir.path().join("x.npy"), 1)?);
        assert_eq!(fs::read_dir(dir.path())?.count(), 0);
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused_and_stays() {
        let error = Rows::create(Path::new("/dev/null"), 2).expect_err("a device is no file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
