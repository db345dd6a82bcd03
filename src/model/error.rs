//! What can be wrong with a model file, each with its place, what was needed and what was found.
//!
//! Invariant: every message names the file, and the field or tensor in it. "Unsupported" lists all reasons at once, up
//! to `REASONS_LISTED`. What comes from a file is shown without control characters and shortened.
//! Made by the loaders of this room; printed by `app` (exit 2).

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Characters of one place, need or have in a message; the longest that the loaders make themselves has some 200.
const SHOWN_CHARS: usize = 400;
/// Reasons that a message lists before it only counts them.
const REASONS_LISTED: usize = 32;

/// A text without what would act on a terminal: control characters and marks that reorder a line are escaped.
fn escaped(text: impl Iterator<Item = char>) -> String {
    let acts = |c: char| {
        let reorders =
            matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || reorders || matches!(c, '\u{2028}' | '\u{2029}')
    };
    let mut shown = String::new();
    for c in text {
        match acts(c) {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    shown
}

/// A text that may come from a file, as a message has it.
fn shown(text: &str) -> String {
    let end = if text.chars().nth(SHOWN_CHARS).is_some() { "..." } else { "" };
    escaped(text.chars().take(SHOWN_CHARS)) + end
}

/// A path as a message has it: whole.
fn path(file: &Path) -> String {
    escaped(file.to_string_lossy().chars())
}

/// One thing in a model that Plummer does not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        write!(f, "{} is {}, supported: {}", shown(&self.place), shown(&self.have), shown(&self.need))
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
    #[error("{}: cannot read: {cause}", path(file))]
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
    #[error("{}: {} is missing; needs {}", path(file), shown(place), shown(need))]
    Missing {
        /// File or directory that lacks it.
        file: PathBuf,
        /// File, field or tensor.
        place: String,
        /// What belongs there.
        need: String,
    },
    /// A field that contradicts the format, the file's length or another field.
    #[error("{}: {}: needs {}, found {}", path(file), shown(place), shown(need), shown(have))]
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
    #[error("{}: tensor {}, element {index} is {value}: {fault}", path(file), shown(tensor))]
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
    #[error("{}: not supported:{}", path(file), listed(reasons))]
    Unsupported {
        /// File.
        file: PathBuf,
        /// All reasons found.
        reasons: Vec<Reason>,
    },
    /// The chat template is missing, wrong, or refused the conversation.
    #[error("{}: chat template: {}", path(file), shown(problem))]
    Chat {
        /// Model.
        file: PathBuf,
        /// What the template engine said.
        problem: String,
    },
    /// The tokenizer failed on a text.
    #[error("{}: tokenizer: {}", path(file), shown(problem))]
    Tokenizer {
        /// Model.
        file: PathBuf,
        /// What it said.
        problem: String,
    },
}

fn listed(reasons: &[Reason]) -> String {
    let mut list: String = reasons.iter().take(REASONS_LISTED).map(|reason| format!("\n  - {reason}")).collect();
    if reasons.len() > REASONS_LISTED {
        list += &format!("\n  - and {} more", reasons.len() - REASONS_LISTED);
    }
    list
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
    seen: HashSet<Reason>,
}

impl Reasons {
    /// Notes one; the same reason twice counts once.
    pub fn push(&mut self, reason: Reason) {
        if self.seen.insert(reason.clone()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unsupported(n: usize) -> String {
        let mut reasons = Reasons::default();
        for i in 0..2 * n {
            reasons.push(Reason::new(format!("tensor {}", i % n), "unknown", "known"));
        }
        reasons.settle(Path::new("m"), Ok(())).expect_err("refused").to_string()
    }

    #[test]
    fn each_reason_counts_once_and_only_the_first_are_listed() {
        assert_eq!(unsupported(REASONS_LISTED).lines().count(), 1 + REASONS_LISTED);
        let message = unsupported(100_000);
        assert_eq!(message.lines().count(), 2 + REASONS_LISTED, "{message}");
        assert!(message.ends_with("\n  - and 99968 more"), "{message}");
    }

    #[test]
    fn names_from_a_file_reach_no_terminal_raw_or_at_any_length() {
        let name = "\u{1b}[31mred\n\u{1b}]0;x\u{7}\u{202e} \"é\"\\";
        let shown = r#"\u{1b}[31mred\n\u{1b}]0;x\u{7}\u{202e} "é"\"#;
        let file = Path::new("m");
        let all = [
            ModelError::damaged(file, name, name, name),
            ModelError::missing(file, name, name),
            ModelError::Unsupported { file: file.into(), reasons: vec![Reason::new(name, name, name)] },
            ModelError::Tokenizer { file: file.into(), problem: name.into() },
        ];
        for e in all {
            let message = e.to_string();
            assert!(message.contains(shown) && !message.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{message}");
        }
        let long = "x".repeat(1 << 20);
        let message = ModelError::damaged(file, &long, "y", &long).to_string();
        assert_eq!(message.len(), "m: : needs y, found ".len() + 2 * (SHOWN_CHARS + "...".len()));
    }
}
