//! Ctrl-C: once, the run ends after the token (or point) at work, with its report; twice, or before there is a run, at
//! once.
//!
//! Invariant: the handler only sets a flag while a run can still look at it. Called by `generate`, with weights and
//! dry, and by `sweep`.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a command that Ctrl-C ended before it could report (128 + SIGINT).
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
            let again = seen.asked.swap(true, Ordering::Relaxed);
            if again || !seen.running.load(Ordering::Relaxed) {
                writeln!(std::io::stderr(), "\ninterrupted").ok();
                std::process::exit(EXIT_CODE);
            }
        })?;
        Ok(Self(flags))
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
