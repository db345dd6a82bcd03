//! Files that are written whole or not at all.
//!
//! Invariant: the target name never holds a partial file (temporary file, sync, rename); a run that ends early leaves
//! nothing behind; only a regular file is replaced, where a path is a link the file behind it. Called for `--trace`,
//! `--links`, `--map`, `--plot`, `--html`, `--svg` and, through `npy`, `--logits`.

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
        let path = &behind_links(path)?;
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

/// Links on the way to a file, at most.
const LINKS_MAX: usize = 40;

/// The file that a link stands for, for the link is not to be replaced; any other path as it is.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    let wrong = |found| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("need a regular file, found {found}")));
    for _ in 0..=LINKS_MAX {
        if !path.is_symlink() {
            return Ok(path);
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // What such a link stands for is open already; a file of the same name would be another one.
        if fs::canonicalize(parent)?.starts_with("/proc") {
            return wrong("an open file of a process");
        }
        path = parent.join(fs::read_link(&path)?);
    }
    wrong("a ring of links, or more than 40")
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
    fn a_link_stays_and_the_file_behind_it_is_replaced() -> Result<()> {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        fs::write(at("real"), "old")?;
        [("real", "one"), ("one", "two"), ("new", "to new"), ("b", "a"), ("a", "b")]
            .into_iter()
            .try_for_each(|(to, link)| symlink(to, at(link)))?;
        Whole::create(&at("two"))?.finish(b"1")?;
        Whole::create(&at("to new"))?.finish(b"2")?;
        assert_eq!((fs::read(at("real"))?, fs::read(at("new"))?), (b"1".to_vec(), b"2".to_vec()));
        assert!(at("one").is_symlink() && at("two").is_symlink() && at("to new").is_symlink());
        assert!(Whole::create(&at("a")).unwrap_err().to_string().contains("a ring of links"));
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_process_has_open_is_no_output() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let link = dir.path().join("out");
        let open = File::create(dir.path().join("captured"))?;
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)), &link)?;
        let error = Whole::create(&link).unwrap_err().to_string();
        assert!(link.is_symlink() && error.contains("an open file of a process"), "{error}");
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
