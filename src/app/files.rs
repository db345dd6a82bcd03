//! The files of a run: those that it reads, and those that it is writing.
//!
//! Invariant: no output takes the place of an input or of another output; what was not finished is gone when a second
//! Ctrl-C ends the process.
//! Called by whoever opens a file that a user named; by `interrupt`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// The run reads this file, or a model from this directory.
///
/// # Errors
/// When it is being written.
pub fn reads(path: &Path) -> io::Result<()> {
    let (path, mut files) = (place(path), files());
    if files.write.iter().any(|(target, _)| *target == path) {
        return Err(wrong("an output of this run has this name"));
    }
    files.read.push(path);
    Ok(())
}

/// The run writes this file, by way of a temporary one.
///
/// # Errors
/// When it is read or being written.
pub fn writes(path: &Path, part: &Path) -> io::Result<()> {
    let (path, mut files) = (place(path), files());
    if files.read.iter().any(|read| *read == path || path.parent() == Some(read) && is_of_model(&path)) {
        return Err(wrong("need a name of its own, found an input of this run"));
    }
    if files.write.iter().any(|(target, _)| *target == path) {
        return Err(wrong("need a name of its own, found that of another output"));
    }
    files.write.push((path, part.to_path_buf()));
    Ok(())
}

/// It was written, or is not any more.
pub fn written(part: &Path) {
    files().write.retain(|(_, other)| other != part);
}

/// Removes what was not finished.
pub fn abandon() {
    files().write.drain(..).for_each(|(_, part)| fs::remove_file(part).unwrap_or_default());
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The path without links and detours, as far as it exists.
fn place(path: &Path) -> PathBuf {
    let there = || {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Some(fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(there).unwrap_or_else(|| path.to_path_buf())
}

/// Is it one of the files that make a model in a directory?
fn is_of_model(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let starts = ["config.", "generation_config.", "tokenizer", "special_tokens_map.", "vocab.", "merges."];
    path.exists() && (name.contains(".safetensors") || starts.iter().any(|start| name.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_neither_an_input_nor_another_output() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let model = at("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        fs::write(at("prompt.txt"), "x").unwrap();
        reads(&at("prompt.txt")).unwrap();
        reads(&model).unwrap();
        for (name, may) in [
            ("prompt.txt", false),
            ("model/../prompt.txt", false),
            ("model/config.json", false),
            ("model/trace.json", true),
            ("new.csv", true),
            ("./new.csv", false),
        ] {
            assert_eq!(writes(&at(name), &at(&format!("{name}.part"))).is_ok(), may, "{name}");
        }
        assert!(reads(&at("new.csv")).is_err());
        written(&at("new.csv.part"));
        reads(&at("new.csv")).unwrap();
    }
}
