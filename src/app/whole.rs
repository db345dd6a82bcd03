//! Files that are written whole or not at all.
//!
//! Invariant: the target name never holds a partial file (temporary file, sync, rename); a run that ends early leaves
//! nothing behind; only a regular file is replaced. Called for `--trace`, `--links`, `--map`, `--plot`, `--html`,
//! `--svg` and, through `npy`, `--logits`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::files;

/// A file that gets its name when it is finished.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    done: bool,
}

impl Whole {
    /// Starts the file, so that a path that cannot be written is known before the run.
    ///
    /// # Errors
    /// What the operating system says of the path; a name that is not its own (`files`).
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // The rename at the end would put a file in the place of a device or pipe.
        if path.exists() && !path.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "need a regular file, found a device or pipe"));
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_os_string();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let out = BufWriter::new(files::writes(path, &part)?);
        Ok(Self { path: path.to_path_buf(), part, out, done: false })
    }

    /// `create` for the file of a flag, if it was given.
    ///
    /// # Errors
    /// As `create`, naming flag and path.
    pub fn of_flag(flag: &str, path: Option<&Path>) -> Result<Option<Self>> {
        path.map(|path| Self::create(path).with_context(|| format!("{flag} {}", path.display()))).transpose()
    }

    /// Writes everything and gives the file its name.
    ///
    /// # Errors
    /// What the operating system says, with the path.
    pub fn finish(mut self, bytes: &[u8]) -> Result<()> {
        let place = self.path.display().to_string();
        self.write_all(bytes).and_then(|()| self.close()).with_context(|| place)
    }

    /// Gives the file, as written so far, its name.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn close(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.part, &self.path)?;
        self.done = true;
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for Whole {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.done {
            fs::remove_file(&self.part).ok();
        }
        files::written(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_appears_with_the_whole_file_or_never() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("x.json");
        let file = Whole::create(&path)?;
        assert!(!path.exists());
        file.finish(b"{}")?;
        assert_eq!(fs::read(&path)?, b"{}");
        drop(Whole::create(&dir.path().join("y.json"))?);
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        let error = Whole::of_flag("--trace", Some(&dir.path().join("none/x.json"))).unwrap_err();
        assert!(error.to_string().contains("--trace"), "{error}");
        assert!(Whole::create(dir.path()).is_err() && Whole::of_flag("--trace", None)?.is_none());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_device_keeps_its_place() {
        let error = Whole::of_flag("--links", Some(Path::new("/dev/null"))).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("--links /dev/null") && text.contains("need a regular file"), "{text}");
    }
}
