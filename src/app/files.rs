//! The files of a run: those that it reads, and those that it is writing.
//!
//! Invariant: no output takes the place of an input or of another output; what was not finished is gone when Ctrl-C
//! ends the process.
//! Called by whoever opens a file that a user named; by `interrupt`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::huggingface::TEXT_FILES;

#[derive(Default)]
struct Files {
    read: Vec<PathBuf>,
    /// Target, and the temporary file that is to get its name.
    write: Vec<(PathBuf, PathBuf)>,
}

static FILES: Mutex<Files> = Mutex::new(Files { read: Vec::new(), write: Vec::new() });

fn files() -> MutexGuard<'static, Files> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run reads this file.
///
/// # Errors
/// When it is being written.
pub fn reads(path: &Path) -> io::Result<()> {
    let (names, mut files) = (names(path), files());
    if files.write.iter().any(|(target, _)| names.contains(target)) {
        return Err(wrong("an output of this run has this name"));
    }
    files.read.extend(names);
    Ok(())
}

/// The run reads a model: a file of it, or its directory.
pub fn reads_model(path: &Path) {
    let parent = || path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = if path.is_dir() { path } else { parent() };
    let beside = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = beside.filter(|file| is_of_model(file)).chain([path.to_path_buf()]);
    let names: Vec<PathBuf> = all.flat_map(|file| names(&file)).collect();
    files().read.extend(names);
}

/// Starts the temporary file by way of which the run writes `path`.
///
/// # Errors
/// When `path` is read or being written; what the operating system says.
pub fn writes(path: &Path, part: &Path) -> io::Result<File> {
    let (names, mut files) = (names(path), files());
    if names.iter().any(|name| files.read.contains(name)) {
        return Err(wrong("need a name of its own, found an input of this run"));
    }
    if files.write.iter().any(|(target, _)| names.contains(target)) {
        return Err(wrong("need a name of its own, found that of another output"));
    }
    let file = File::create(part)?;
    files.write.extend(names.into_iter().map(|name| (name, part.to_path_buf())));
    Ok(file)
}

/// It was written, or is not any more.
pub fn written(part: &Path) {
    files().write.retain(|(_, other)| other != part);
}

/// Removes what was not finished. Nothing is begun after that: the process is about to end.
pub fn abandon() {
    let mut files = files();
    files.write.drain(..).for_each(|(_, part)| fs::remove_file(part).unwrap_or_default());
    std::mem::forget(files);
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The entry of its directory that a path names, and the file that is behind it if that is a link.
fn names(path: &Path) -> Vec<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entry = fs::canonicalize(parent).ok().zip(path.file_name()).map(|(parent, name)| parent.join(name));
    let mut all: Vec<PathBuf> = entry.into_iter().chain(fs::canonicalize(path)).collect();
    all.dedup();
    if all.is_empty() { vec![path.to_path_buf()] } else { all }
}

/// Is it one of the files that make a model?
fn is_of_model(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_weights = [".safetensors", ".safetensors.index.json", ".gguf"];
    TEXT_FILES.contains(&&*name) || of_weights.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_neither_an_input_nor_another_output() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("model")).unwrap();
        let here = ["prompt.txt", "model/config.json", "model/a.gguf", "model/model.safetensors", "model/vocab.csv"];
        here.iter().for_each(|name| fs::write(at(name), "x").unwrap());
        reads(&at("prompt.txt")).unwrap();
        reads_model(&at("model/model.safetensors"));
        for (name, may) in [
            ("prompt.txt", false),
            ("model/../prompt.txt", false),
            ("model/config.json", false),
            ("model/a.gguf", false),
            ("model/model.safetensors", false),
            ("model/vocab.csv", true),
            ("new.csv", true),
            ("./new.csv", false),
        ] {
            let part = format!("{}.part", name.replace('/', "-"));
            assert_eq!(writes(&at(name), &at(&part)).is_ok(), may, "{name}");
            assert_eq!(at(&part).exists(), may, "{name}");
        }
        assert!(reads(&at("new.csv")).is_err());
        written(&at("new.csv.part"));
        reads(&at("new.csv")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn neither_a_link_that_is_read_nor_the_file_behind_it_is_an_output() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        ["blobs", "snapshot"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        fs::write(at("blobs/0"), "{}").unwrap();
        std::os::unix::fs::symlink("../blobs/0", at("snapshot/config.json")).unwrap();
        reads_model(&at("snapshot"));
        assert!(writes(&at("snapshot/config.json"), &at("a.part")).is_err());
        assert!(writes(&at("blobs/0"), &at("b.part")).is_err());
    }
}
