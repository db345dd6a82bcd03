//! The command line: only this room prints, parses arguments and exits.
//!
//! Results go to stdout, progress and reports to stderr. Exit codes: 0 done, 1 a result did not match, 2 an error.

mod args;
mod chips;
mod generate;
mod inspect;
mod npy;
mod sample;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let failed = error.use_stderr();
            let printed = error.print();
            return ExitCode::from(if failed && printed.is_ok() { 2 } else { 0 });
        }
    };
    let outcome = match cli.command {
        Command::Generate(low) => generate::run(*low),
        Command::Inspect(low) => inspect::run(&low),
        Command::Chips(low) => chips::run(&low),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "plummer", &mut script);
            print(&script)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Writes to stdout.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Nobody reads any more: that is success.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
