//! The built command as a process among others: text as it is made, Ctrl-C, readers that go away.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::*;

/// Sends SIGINT.
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Waits until the run has begun: the unfinished logits file is there.
fn begun(dir: &Path) {
    let end = Instant::now() + Duration::from_secs(120);
    let is_part = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
    };
    while !std::fs::read_dir(dir).expect("a directory").any(is_part) {
        assert!(Instant::now() < end, "the run does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
}

fn end_of(child: Child) -> Output {
    child.wait_with_output().expect("the binary ends")
}

/// A run that would take long.
const LONG: [&str; 6] = ["generate", "-n", "250", "--workers", "1", "--seed=3"];

#[test]
fn text_streams_and_ctrl_c_ends_with_the_report() {
    let mut child = spawn(&LONG);
    let mut first = [0; 1];
    child.stdout.as_mut().expect("stdout").read_exact(&mut first).expect("text before the end");
    assert!(child.try_wait().expect("a state").is_none(), "the first text came with the end");
    interrupt(&child);
    let out = end_of(child);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.contains("stop: interrupt") && text.contains("emulated"), "{text}");
    assert!(stdout(&out).ends_with('\n'));
}

#[test]
fn ctrl_c_leaves_valid_json_and_the_logits_so_far() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("logits.npy");
    let child = spawn(&[LONG.as_slice(), &["--json", "--logits", file.to_str().expect("a UTF-8 path")]].concat());
    begun(dir.path());
    interrupt(&child);
    let out = end_of(child);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let value: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!(value["stop"], "interrupt");
    let made = value["token_ids"].as_array().expect("ids").len() as u64;
    assert!(made < 250);
    let bytes = std::fs::metadata(&file).expect("the logits").len();
    assert_eq!((bytes - 192) / 4096, made, "a row of 1024 values a token");
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let mut child = spawn(&LONG);
    let mut out = child.stdout.take().expect("stdout");
    let mut first = [0; 4];
    out.read_exact(&mut first).expect("text");
    drop(out);
    let ended = end_of(child);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("stop: interrupt"), "{}", stderr(&ended));
    for args in [vec!["generate", "-n", "2", "--json"], vec!["inspect"], vec!["chips"], vec!["completions", "bash"]] {
        let mut child = spawn(&args);
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(end_of(child).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn no_write_ends_inside_a_character() {
    let model = tiny(|_| {});
    let mut child =
        spawn(&["generate", "-m", path(&model), "-p", "naïve", "-n", "150", "--temp", "1.5", "--seed", "9", "--quiet"]);
    let mut out = child.stdout.take().expect("stdout");
    let (mut all, mut buffer) = (String::new(), [0; 65536]);
    loop {
        // A pipe joins writes, but never splits one that fits the buffer.
        let n = out.read(&mut buffer).expect("text");
        if n == 0 {
            break;
        }
        all += std::str::from_utf8(&buffer[..n]).expect("whole characters");
    }
    assert_eq!(end_of(child).status.code(), Some(0));
    assert!(all.chars().any(|c| c.len_utf8() > 1), "{all:?}");
}

#[test]
fn a_stop_text_is_not_printed() {
    let free = stdout(&plummer(&["generate", "-n", "40", "--quiet"]));
    let stop: String = free.chars().skip(10).take(4).collect();
    let out = plummer(&["generate", "-n", "40", "--quiet", "--stop", &stop]);
    let before = free.split(&stop).next().expect("a part");
    assert_eq!(stdout(&out).trim_end(), before.trim_end());
    assert_eq!(out.status.code(), Some(0));
}
