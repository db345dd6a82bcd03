//! What long work is at, on stderr: a bar where it is a terminal, a line now and then where it is a file or a pipe.
//!
//! Invariant: nothing is said of work that ends within `QUIET` where there is no terminal, and nothing after `finish`.
//! Called by the commands.

use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::say;

/// Time without a word where no bar is seen.
const QUIET: Duration = Duration::from_secs(15);
/// Between two drawings of a bar, also while its step goes on.
const TICK: Duration = Duration::from_millis(200);

/// See the module.
pub struct Progress {
    bar: ProgressBar,
    teller: Mutex<Option<Teller>>,
}

/// A thread that speaks until its line is cut.
struct Teller {
    line: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Work begins, of `total` steps where they are known.
    pub fn new(total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { "{pos}/{len} {msg} ({elapsed})" } else { "{spinner} {msg} ({elapsed})" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if stderr().is_terminal() {
            bar.enable_steady_tick(TICK);
            return Self { bar, teller: Mutex::default() };
        }
        let (line, heard) = bounded::<()>(0);
        let told = bar.clone();
        let thread = spawn(move || {
            while heard.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout) {
                say(&format!("{}\n", state(&told)));
            }
        });
        Self { bar, teller: Mutex::new(Some(Teller { line, thread })) }
    }

    /// Work of unknown length begins, of which nothing is shown if `quiet`.
    pub fn unless(quiet: bool) -> Self {
        match quiet {
            true => Self { bar: ProgressBar::hidden(), teller: Mutex::default() },
            false => Self::new(None),
        }
    }

    /// What the work is at.
    pub fn at(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// There are more steps.
    pub fn more(&self, steps: u64) {
        self.bar.inc_length(steps);
    }

    /// Does what writes to the terminal with the bar out of the way.
    pub fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        self.bar.suspend(f)
    }

    /// The work is done, or shown otherwise from here on.
    pub fn finish(&self) {
        let teller = self.teller.lock().ok().and_then(|mut teller| teller.take());
        if let Some(Teller { line, thread }) = teller {
            drop(line);
            thread.join().ok();
        }
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The line for a file.
fn state(bar: &ProgressBar) -> String {
    let steps = bar.length().map(|of| format!("{}/{of}", bar.position()));
    let parts = [steps.unwrap_or_default(), bar.message(), format!("({} s)", bar.elapsed().as_secs())];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_steps_and_what_they_are_at() {
        let lines = |total, does: &dyn Fn(&Progress)| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
            let progress = Progress { bar, teller: Mutex::default() };
            does(&progress);
            state(&progress.bar)
        };
        assert_eq!(lines(None, &|_| {}), "(0 s)");
        assert_eq!(lines(None, &|p| p.at("loading the model")), "loading the model (0 s)");
        let stepped = |p: &Progress| {
            p.more(1);
            p.step();
            p.at("set 2");
        };
        assert_eq!(lines(Some(2), &stepped), "1/3 set 2 (0 s)");
    }

    #[test]
    fn work_that_ends_does_not_wait_for_the_next_line() {
        let begin = std::time::Instant::now();
        Progress::new(Some(2)).step();
        assert!(begin.elapsed() < QUIET);
    }
}
