//! How the files of a model are opened and read: regular files only, texts up to a limit.
//!
//! Invariant: nothing here waits for a writer (a FIFO) or reads without an end (a device).
//! Called by `huggingface`, `sizes` and `tensors`.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::error::ModelError;

/// Longest text file of a model (Llama 3: tokenizer.json of 17 MB).
pub(super) const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Opens a regular file. It is looked at before it is opened: opening a FIFO waits for its writer.
pub(super) fn open_regular(path: &Path) -> Result<File, ModelError> {
    let kind = fs::metadata(path).map_err(|e| ModelError::io(path, e))?.file_type();
    if !kind.is_file() {
        let have = if kind.is_dir() { "a directory" } else { "a pipe, socket or device" };
        return Err(ModelError::damaged(path, "file", "a regular file", have));
    }
    File::open(path).map_err(|e| ModelError::io(path, e))
}

/// All of a text file.
pub(super) fn read_text(path: &Path) -> Result<Vec<u8>, ModelError> {
    let file = open_regular(path)?;
    let length = file.metadata().map_err(|e| ModelError::io(path, e))?.len();
    let too_long = |have: String| {
        let need = format!("at most {TEXT_BYTES_MAX} bytes of text");
        Err(ModelError::damaged(path, "length", need, have))
    };
    if length > TEXT_BYTES_MAX {
        return too_long(length.to_string());
    }
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| ModelError::io(path, e))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return too_long("more".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::sizes::Sizes;
    use super::super::tensors::SourceFile;
    use super::super::{Model, huggingface};
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_before_it_is_opened() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let fifo = dir.path().join("pipe.gguf");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        for (path, have) in [
            (fifo.as_path(), "a pipe, socket or device"),
            (Path::new("/dev/zero"), "a pipe, socket or device"),
            (dir.path(), "a directory"),
        ] {
            let want = format!("{}: file: needs a regular file, found {have}", path.display());
            assert_eq!(read_text(path).expect_err("refused").to_string(), want);
            assert_eq!(SourceFile::map(path).expect_err("refused").to_string(), want);
        }
        for outcome in [Model::open(&fifo).map(drop), Sizes::from_file(&fifo).map(drop)] {
            let message = outcome.expect_err("refused").to_string();
            assert!(message.contains("pipe.gguf: file: needs a regular file"), "{message}");
        }
    }

    #[test]
    fn every_text_file_of_a_model_must_be_regular_and_within_the_limit() {
        let dir = tempfile::TempDir::new().expect("a directory");
        fs::write(dir.path().join("config.json"), "{}").expect("a file");
        for name in &huggingface::TEXT_FILES[1..] {
            let path = dir.path().join(name);
            std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
            let message = Model::open(dir.path()).expect_err("refused").to_string();
            assert!(message.contains(&format!("{name}: file: needs a regular file")), "{message}");
            fs::remove_file(&path).expect("removed");
            let sparse = File::create(&path).expect("a file");
            sparse.set_len(TEXT_BYTES_MAX + 1).expect("a length");
            let message = Model::open(dir.path()).expect_err("refused").to_string();
            let words = format!("{name}: length: needs at most 268435456 bytes of text, found 268435457");
            assert!(message.contains(&words), "{message}");
            fs::remove_file(&path).expect("removed");
        }
    }
}
