//! Ctrl-C: once, the run ends after the token (or point) at work, or before the first, with its report; twice, at once.
//!
//! Invariant: the first Ctrl-C only sets a flag that the run looks at; an end at once leaves no part of a file.
//! `listen` is called by `generate`, with weights and dry, and by `sweep`; `at_once` by others that may take long.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a command that a second Ctrl-C ended before it could report (128 + SIGINT).
const EXIT_CODE: i32 = 130;

#[derive(Default)]
struct Flags {
    asked: AtomicBool,
    running: AtomicBool,
}

/// Was Ctrl-C pressed?
#[derive(Clone)]
pub struct Interrupt(Arc<Flags>);

impl Interrupt {
    /// Takes over SIGINT.
    ///
    /// # Errors
    /// When the operating system refuses the handler.
    pub fn listen() -> Result<Self, ctrlc::Error> {
        let flags = Arc::new(Flags::default());
        let seen = Arc::clone(&flags);
        ctrlc::set_handler(move || {
            // Relaxed: the flags order nothing but themselves.
            if seen.asked.swap(true, Ordering::Relaxed) {
                end();
            }
            if !seen.running.load(Ordering::Relaxed) {
                writeln!(std::io::stderr(), "\ninterrupted: ends when it is ready to run; again: at once").ok();
            }
        })?;
        Ok(Self(flags))
    }

    /// Takes over SIGINT where there is nothing to report before the end.
    ///
    /// # Errors
    /// As `listen`.
    pub fn at_once() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(|| end())
    }

    /// From here on the run looks at `asked` after every token.
    pub fn run_begins(&self) {
        self.0.running.store(true, Ordering::Relaxed);
    }

    /// True since the first Ctrl-C.
    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }
}

fn end() -> ! {
    super::files::abandon();
    writeln!(std::io::stderr(), "\ninterrupted").ok();
    std::process::exit(EXIT_CODE)
}
