//! `--resume FILE`: finished parts of a run, one JSON line each, under a digest of what they were made by and for.
//!
//! ```text
//!   {"made_with": "3fa0..", "name": "alpha=2", "value": ..}     made_with: of this program's file, and of the question
//! ```
//! The program is known by the bytes of its file, so no revision has to be counted up: what another build made stays in
//! the file and is made again, as is what another question left there.
//!
//! Invariant: a line is written only when its part is finished; a last line that was cut off counts as not there.
//! Called by `paper` and `sweep`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Parts of earlier runs, and where new ones go.
pub struct Resume<T> {
    file: Option<(File, PathBuf)>,
    made_with: String,
    parts: HashMap<String, T>,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    made_with: String,
    name: String,
    value: T,
}

impl<T: Serialize + DeserializeOwned> Resume<T> {
    /// Opens or starts the file; without a path, nothing is kept. `question` is all that a part depends on beside its
    /// name.
    ///
    /// # Errors
    /// What the operating system says; a file that is none of these.
    pub fn open(path: Option<&Path>, question: &str) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { file: None, made_with: String::new(), parts: HashMap::new() });
        };
        let place = || format!("--resume {}", path.display());
        let made_with = digest(&program().with_context(place)?, question);
        super::files::reads(path).with_context(place)?;
        let (resume, others) = Self::open_as(path, made_with).with_context(place)?;
        if others > 0 {
            let of = "were made by another build of this program, or for another chip or question: not used";
            super::say(&format!("{}: {others} lines {of}\n", place()));
        }
        Ok(resume)
    }

    /// And how many lines were made with something else.
    fn open_as(path: &Path, made_with: String) -> Result<(Self, usize)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if !file.metadata()?.is_file() {
            bail!("need a regular file, found a device or pipe");
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (mut parts, mut others) = (HashMap::new(), 0);
        for (n, line) in text[..whole].lines().enumerate() {
            let what = || format!("line {}: need a finished part of a run, found `{line:.80}`", n + 1);
            let found: Line<serde_json::Value> = serde_json::from_str(line).with_context(what)?;
            if found.made_with == made_with {
                parts.insert(found.name, serde_json::from_value(found.value).with_context(what)?);
            } else {
                others += 1;
            }
        }
        // What a run left unfinished goes; what no run wrote is somebody's.
        let (cut, begun) = (&text[whole..], "{\"made_with\":\"");
        if !cut.starts_with(begun) && !begun.starts_with(cut) {
            bail!("last line: need a finished part of a run, found `{cut:.80}`");
        }
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file: Some((file, path.to_path_buf())), made_with, parts }, others))
    }

    /// The value of a finished part.
    pub fn find(&self, name: &str) -> Option<&T> {
        self.parts.get(name)
    }

    /// Keeps a finished part.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&mut self, name: String, value: T) -> Result<()> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let line = serde_json::to_string(&Line { made_with: self.made_with.clone(), name, value })?;
        // In one piece, so that another run's lines are not torn.
        file.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("--resume {}", path.display()))
    }
}

/// Digest of this program's file.
fn program() -> Result<String> {
    let path = std::env::current_exe().context("no path of this program, which a line is kept under")?;
    let place = || format!("this program {}, whose digest a line is kept under", path.display());
    let mut file = File::open(&path).with_context(place)?;
    let (mut all, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).with_context(place)? {
            0 => return Ok(hex(&all.finalize())),
            n => all.update(&part[..n]),
        }
    }
}

fn digest(program: &str, question: &str) -> String {
    hex(&Sha256::digest(format!("{program} {question}").as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_parts_come_back_and_a_cut_line_and_what_others_made_do_not() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("cells");
        let open = |made_with: &str| Resume::<Option<f64>>::open_as(&path, made_with.to_owned());
        let (mut first, others) = open("one build")?;
        first.keep("a".to_owned(), Some(1.5))?;
        first.keep("b".to_owned(), None)?;
        drop(first);
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}{{\"made_with\":\"one build\",\"name\":\"c\",\"value\":2."))?;
        let (mut again, more) = open("one build")?;
        assert_eq!((others, more), (0, 0));
        assert_eq!([again.find("a"), again.find("b"), again.find("c")], [Some(&Some(1.5)), Some(&None), None]);
        again.keep("c".to_owned(), Some(3.0))?;
        drop(again);
        assert_eq!(open("one build")?.0.find("c"), Some(&Some(3.0)));
        let (mut other, others) = open("another build")?;
        assert_eq!((other.find("a"), others), (None, 3));
        other.keep("a".to_owned(), Some(7.0))?;
        drop(other);
        let (one, others) = open("one build")?;
        assert_eq!((one.find("a"), others), (Some(&Some(1.5)), 1), "both are there");
        for foreign in ["my notes", "{\"made_with\":\"x\",\"name\":\"a\",\"value\":1}\nmy notes"] {
            std::fs::write(&path, foreign)?;
            assert!(open("one build").is_err(), "{foreign}");
            assert_eq!(std::fs::read_to_string(&path)?, foreign, "it is as it was");
        }
        std::fs::write(&path, "something else\n")?;
        let error = open("one build").err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(error.contains("line 1") && error.contains("something else"), "{error}");
        assert_eq!(Resume::<Option<f64>>::open(None, "any")?.find("a"), None);
        Ok(())
    }

    #[test]
    fn program_and_question_are_both_in_the_digest() -> Result<()> {
        let this = program()?;
        assert_eq!((this.len(), &this), (64, &program()?));
        assert_ne!(digest(&this, "alpha 1"), digest(&this, "alpha 2"));
        assert_ne!(digest(&this, "alpha 1"), digest("another", "alpha 1"));
        Ok(())
    }
}
