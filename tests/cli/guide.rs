//! The guide's code is the examples' code, and what it shows of a report is what the run prints.

use std::path::Path;

use crate::examples::kernel_deadlock;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Fenced blocks of a language, without the fences.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_snippet_of_the_guide_occurs_in_an_example() {
    let guide = read("docs/write-a-kernel.md");
    let examples = ["halo", "topk", "deadlock"].map(|name| read(&format!("examples/kernel_{name}.rs")));
    let snippets = blocks(&guide, "rust");
    assert!(snippets.len() >= 12, "only {} snippets were found", snippets.len());
    for snippet in snippets {
        assert!(examples.iter().any(|code| code.contains(snippet)), "in no example:\n{snippet}");
    }
}

#[test]
fn the_report_in_the_guide_is_the_one_of_the_run() {
    let guide = read("docs/write-a-kernel.md");
    let report = blocks(&guide, "text").join("");
    let stall = kernel_deadlock::stall().unwrap();
    // The example is included from here: its path has a detour.
    assert_eq!(stall.to_string().replace("tests/cli/../../", ""), report);
}
