//! Driving the built command: arguments in, exit code, stdout and stderr out; and the tiny model in a directory.
//!
//! Invariant: a helper fails the test with what the command said on stderr.

use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::model_support::cases::hf_dir;

/// The built command.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plummer"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn plummer(args: &[&str]) -> Output {
    command(args).output().expect("the binary runs")
}

/// Starts it with stdout and stderr on pipes.
pub fn spawn(args: &[&str]) -> Child {
    command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// stderr as text.
pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// stdout as text.
pub fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).expect("stdout is UTF-8")
}

/// Runs a command that is refused with exit code 2, with a word on why, and without a panic or a result.
pub fn refused(args: &[&str], says: &str) {
    let out = plummer(args);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
    assert!(text.contains(says), "{args:?} should say {says}: {text}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    assert!(out.stdout.is_empty(), "{args:?}");
}

/// The JSON object of a run that ends with `code`.
pub fn json_of(args: &[&str], code: i32) -> Value {
    let out = plummer(args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", stderr(&out));
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

/// The tiny model with a context that one PE's arena cannot hold.
pub fn tiny(edit: impl FnOnce(&mut Value)) -> TempDir {
    hf_dir(|config, _| {
        config["max_position_embeddings"] = json!(4096);
        edit(config);
    })
}

/// Path as an argument.
pub fn path(dir: &TempDir) -> &str {
    dir.path().to_str().expect("a UTF-8 path")
}
