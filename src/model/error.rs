//! What can be wrong with a model file, each with its place, what was needed and what was found.
//!
//! Invariant: every message names the file, and the field or tensor in it. "Unsupported" lists all reasons at once.
//! Made by the loaders of this room; printed by `app` (exit 2).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// One thing in a model that Plummer does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Field, tensor or file.
    pub place: String,
    /// What it holds.
    pub have: String,
    /// What is supported there.
    pub need: String,
}

impl Reason {
    /// `place` holds `have` where only `need` is supported.
    pub fn new(place: impl Into<String>, have: impl Into<String>, need: impl Into<String>) -> Self {
        Self { place: place.into(), have: have.into(), need: need.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, supported: {}", self.place, self.have, self.need)
    }
}

/// Why a weight cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFault {
    /// NaN or an infinity in the file.
    NotFinite,
    /// Finite, but rounds to an infinity in f16 (at least 65520).
    OverflowsF16,
}

impl fmt::Display for WeightFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "a weight must be finite",
            Self::OverflowsF16 => "a weight must fit f16 (below 65520)",
        })
    }
}

/// Why a model could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The operating system refused.
    #[error("{}: cannot read: {cause}", file.display())]
    Io {
        /// File or directory.
        file: PathBuf,
        /// Its answer.
        cause: io::Error,
    },
    /// The name of sizes that are built in.
    #[error(
        "model {name}: built-in sizes without weights or tokenizer; generate --dry --prompt-tokens N, plan and sweep \
         take it"
    )]
    SizesAlone {
        /// As typed.
        name: String,
    },
    /// No file of the model format where one is needed.
    #[error("{}: {place} is missing; needs {need}", file.display())]
    Missing {
        /// File or directory that lacks it.
        file: PathBuf,
        /// File, field or tensor.
        place: String,
        /// What belongs there.
        need: String,
    },
    /// A field that contradicts the format, the file's length or another field.
    #[error("{}: {place}: needs {need}, found {have}", file.display())]
    Damaged {
        /// File.
        file: PathBuf,
        /// Field or tensor.
        place: String,
        /// What the format asks for.
        need: String,
        /// What is there.
        have: String,
    },
    /// A weight that cannot be computed with.
    #[error("{}: tensor {tensor}, element {index} is {value}: {fault}", file.display())]
    Weight {
        /// File.
        file: PathBuf,
        /// Tensor.
        tensor: String,
        /// Element in the file's order.
        index: usize,
        /// Its value.
        value: f32,
        /// Why not.
        fault: WeightFault,
    },
    /// Well-formed, but not one of the models that Plummer runs.
    #[error("{}: not supported:{}", file.display(), listed(reasons))]
    Unsupported {
        /// File.
        file: PathBuf,
        /// All reasons found.
        reasons: Vec<Reason>,
    },
    /// The chat template is missing, wrong, or refused the conversation.
    #[error("{}: chat template: {problem}", file.display())]
    Chat {
        /// Model.
        file: PathBuf,
        /// What the template engine said.
        problem: String,
    },
    /// The tokenizer failed on a text.
    #[error("{}: tokenizer: {problem}", file.display())]
    Tokenizer {
        /// Model.
        file: PathBuf,
        /// What it said.
        problem: String,
    },
}

fn listed(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("\n  - {reason}")).collect()
}

impl ModelError {
    /// A damaged field.
    pub fn damaged(file: &Path, place: impl Into<String>, need: impl Into<String>, have: impl fmt::Display) -> Self {
        Self::Damaged { file: file.to_path_buf(), place: place.into(), need: need.into(), have: have.to_string() }
    }

    /// A missing file, field or tensor.
    pub fn missing(file: &Path, place: impl Into<String>, need: impl Into<String>) -> Self {
        Self::Missing { file: file.to_path_buf(), place: place.into(), need: need.into() }
    }

    /// An answer of the operating system.
    pub fn io(file: &Path, source: io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause: source }
    }
}

/// Everything unsupported that was met so far.
#[derive(Debug, Default)]
pub struct Reasons {
    list: Vec<Reason>,
}

impl Reasons {
    /// Notes one; the same reason twice counts once.
    pub fn push(&mut self, reason: Reason) {
        if !self.list.contains(&reason) {
            self.list.push(reason);
        }
    }

    /// Nothing unsupported so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `outcome`, unless something unsupported was met: then all of it, which explains more than what followed.
    pub fn settle<T>(self, file: &Path, outcome: Result<T, ModelError>) -> Result<T, ModelError> {
        if self.list.is_empty() {
            return outcome;
        }
        Err(ModelError::Unsupported { file: file.to_path_buf(), reasons: self.list })
    }
}
