//! The command: the only room that prints, parses flags, and decides exit codes.
//!
//! Invariant: exit 0 is success (a closed pipe and Ctrl-C during a run included), 1 a mismatch of results or a program
//! that could deadlock, 2 an error, 130 a second Ctrl-C.
//! Called by `main`.

mod accuracy;
mod bench;
mod check;
mod chips;
pub mod cli;
mod dry;
mod energy;
mod files;
mod generate;
mod inspect;
mod interrupt;
mod model;
mod npy;
mod output;
mod paper;
mod plan;
mod probe;
mod progress;
mod report;
mod resolve;
mod resume;
pub mod sample;
mod spans;
mod start;
mod sweep;
pub mod verify;
mod whole;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};

use cli::{Cli, Command};

/// Parses the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let matches = with_negative_numbers(Cli::command()).get_matches(); // exits 2 on a usage error
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(&cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

/// A number below zero is the value of the flag before it, which refuses it by name, and no flag of its own.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let args = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    args.mut_subcommands(with_negative_numbers)
}

fn run(command: &Command) -> anyhow::Result<u8> {
    let ends_at_once = matches!(
        command,
        Command::Accuracy(_)
            | Command::Bench { .. }
            | Command::Check(_)
            | Command::Paper(_)
            | Command::Plan(_)
            | Command::Verify(_)
    );
    if ends_at_once {
        interrupt::Interrupt::at_once().context("Ctrl-C handler")?;
    }
    match command {
        Command::Generate(args) if args.dry => return dry::run(args),
        Command::Generate(args) => return generate::run(args),
        Command::Inspect(args) => {
            let (text, outcome) = inspect::inspect(args);
            print(text.as_bytes())?;
            outcome?;
        }
        Command::Chips { name, json } => print(chips::text(name.as_deref(), *json)?.as_bytes())?,
        Command::Accuracy(args) => print(accuracy::run(args)?.as_bytes())?,
        Command::Bench { what } => return bench::run(what),
        Command::Check(args) => {
            let (text, code) = check::run(args)?;
            print(text.as_bytes())?;
            return Ok(code);
        }
        Command::Paper(args) => paper::run(args)?,
        Command::Verify(args) => {
            let (text, code) = verify::run(args)?;
            print(text.as_bytes())?;
            return Ok(code);
        }
        Command::Plan(args) => {
            let (text, code) = plan::run(args)?;
            print(text.as_bytes())?;
            return Ok(code);
        }
        Command::Sweep(args) => return sweep::run(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "plummer", &mut script);
            print(&script)?;
        }
    }
    Ok(0)
}

/// So many of a thing that has a regular plural.
fn count<N: std::fmt::Display + PartialEq + From<u8>>(n: N, thing: &str) -> String {
    match (n == N::from(1), thing.ends_with("ch") || thing.ends_with("ss")) {
        (true, _) => format!("{n} {thing}"),
        (_, true) => format!("{n} {thing}es"),
        _ => format!("{n} {thing}s"),
    }
}

/// To stderr; nobody listening is no error.
fn say(text: &str) {
    io::stderr().lock().write_all(text.as_bytes()).ok();
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| io::Error::new(e.kind(), format!("stdout: {e}"))),
    }
}
