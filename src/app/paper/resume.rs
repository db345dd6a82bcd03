//! `--resume FILE`: finished cells, one JSON line each, below a line that says what they were made with.
//!
//! Invariant: a line is written only when its cell is finished; a last line that was cut off counts as not there.
//! Called by `paper`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// Cells of earlier runs, and where new ones go.
pub struct Resume {
    file: Option<(File, PathBuf)>,
    cells: HashMap<String, Option<f64>>,
}

impl Resume {
    /// Opens or starts the file; without a path, nothing is kept.
    ///
    /// # Errors
    /// What the operating system says; a file made with another chip or other constants, or no such file at all.
    pub fn open(path: Option<&Path>, made_with: &[String]) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None, cells: HashMap::new() }) };
        let place = || format!("--resume {}", path.display());
        let digest: String =
            Sha256::digest(made_with.join("\n").as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let head = format!("plummer paper, constants {digest}");
        let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options().with_context(place)?;
        if !file.metadata().with_context(place)?.is_file() {
            bail!("{}: need a regular file, found a device or pipe", place());
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(place)?;
        if text.is_empty() {
            writeln!(file, "{head}").with_context(place)?;
            return Ok(Self { file: Some((file, path.to_path_buf())), cells: HashMap::new() });
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines();
        let found = lines.next().unwrap_or_default();
        if found != head {
            bail!("{}: need a file of this version, chip and constants (`{head}`), found `{found:.80}`", place());
        }
        let mut cells = HashMap::new();
        for (n, line) in lines.enumerate() {
            let (name, value) = serde_json::from_str(line).with_context(|| format!("{}, line {}", place(), n + 2))?;
            cells.insert(name, value);
        }
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).with_context(place)?;
        Ok(Self { file: Some((file, path.to_path_buf())), cells })
    }

    /// The value of a finished cell.
    pub fn find(&self, name: &str) -> Option<Option<f64>> {
        self.cells.get(name).copied()
    }

    /// Keeps a finished cell.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&mut self, name: &str, value: Option<f64>) -> Result<()> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let line = serde_json::to_string(&(name, value))?;
        writeln!(file, "{line}").with_context(|| format!("--resume {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_cells_come_back_and_a_cut_line_does_not() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("cells");
        let made_with = ["alpha 1".to_owned()];
        let mut first = Resume::open(Some(&path), &made_with)?;
        first.keep("a", Some(1.5))?;
        first.keep("b", None)?;
        drop(first);
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}[\"c\", 2."))?;
        let mut again = Resume::open(Some(&path), &made_with)?;
        assert_eq!([again.find("a"), again.find("b"), again.find("c")], [Some(Some(1.5)), Some(None), None]);
        again.keep("c", Some(3.0))?;
        drop(again);
        assert_eq!(Resume::open(Some(&path), &made_with)?.find("c"), Some(Some(3.0)));
        let error = Resume::open(Some(&path), &["alpha 2".to_owned()]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("--resume") && error.contains("constants"), "{error}");
        assert_eq!(Resume::open(None, &made_with)?.find("a"), None);
        Ok(())
    }
}
