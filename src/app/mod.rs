//! The command: the only room that prints, parses flags, and decides exit codes.
//!
//! Invariant: exit 0 is success (a closed pipe included), 1 a mismatch of results, 2 an error.
//! Called by `main`.

mod bench;
pub mod cli;
mod generate;
mod inspect;
mod model;
mod npy;
mod output;
mod report;
mod resolve;
pub mod sample;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};

/// Parses the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // exits 2 on a usage error
    match run(&cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Generate(args) => return generate::run(args),
        Command::Inspect(args) => print(inspect::inspect(args)?.as_bytes())?,
        Command::Bench { what } => {
            let (text, code) = bench::run(what)?;
            print(text.as_bytes())?;
            return Ok(code);
        }
        Command::Chips => print(inspect::chips().as_bytes())?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "plummer", &mut script);
            print(&script)?;
        }
    }
    Ok(0)
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
