//! The rules of the source that no compiler holds: which room imports which, sizes, headers, `unsafe`, who prints.
//!
//! The arrows are those of ARCHITECTURE.md ("imports point left only"). A new room needs a line in `ARROWS`.

use std::path::{Path, PathBuf};

/// Rooms from left to right, each with the rooms that it may import.
const ARROWS: [(&str, &[&str]); 21] = [
    ("units", &[]),
    ("sync", &[]),
    ("math", &["units"]),
    ("link", &["units", "sync"]),
    ("arena", &["units", "sync", "math", "link"]),
    // Never sees a float of a model: no math.
    ("fabric", &["units", "sync", "link", "arena"]),
    ("energy", &["units", "math", "fabric"]),
    ("pe", &["units", "sync", "math", "link", "arena", "fabric"]),
    ("exec", &["units", "sync", "math", "link", "arena", "fabric", "pe"]),
    // Pure maps; of the fabric it knows the chip alone (see `placement_is_pure_maps`).
    ("placement", &["units", "math", "fabric"]),
    ("collectives", &["units", "math", "link", "arena", "fabric", "pe", "placement"]),
    // Never names a worker: no exec.
    ("kernels", &["units", "math", "link", "arena", "fabric", "pe", "placement", "collectives"]),
    ("host", &["units", "math", "link", "arena", "fabric", "pe", "exec", "placement", "collectives", "kernels"]),
    ("accuracy", &["units", "math", "fabric", "arena", "pe", "exec", "collectives", "kernels", "host"]),
    // Names alone, for kernels outside the crate.
    ("prelude", &["units", "arena", "fabric", "pe", "exec", "collectives", "host"]),
    // Never names a color or a PE.
    ("model", &["units", "math"]),
    (
        "workloads",
        &["units", "math", "link", "arena", "fabric", "pe", "exec", "placement", "collectives", "kernels", "host"],
    ),
    ("plan", &["units", "math", "fabric", "placement", "collectives", "kernels", "host", "model", "workloads"]),
    ("report", &["units", "math", "fabric", "placement", "kernels", "host", "model", "workloads"]),
    // The oracle shares no code with what it checks.
    ("oracle", &["units", "math"]),
    (
        "app",
        &[
            "units",
            "math",
            "fabric",
            "accuracy",
            "energy",
            "exec",
            "placement",
            "collectives",
            "kernels",
            "host",
            "model",
            "workloads",
            "plan",
            "report",
            "oracle",
        ],
    ),
];

/// Source files that may hold `unsafe`: link, arena, the SIMD kernels, and the one place that maps a model's file.
const UNSAFE: [&str; 8] = [
    "src/link/",
    "src/arena/",
    "src/math/simd.rs",
    "src/math/gemv",
    "src/math/gemm",
    "src/math/rows.rs",
    "src/math/vector.rs",
    "src/model/tensors.rs",
];

/// Files over the limit of lines, each with the size that it must not pass; the list only ever shrinks.
const LONG: [(&str, usize); 0] = [];

const LINES_MAX: usize = 400;
const WIDTH_MAX: usize = 120;
/// Functions are shorter than this.
const FUNCTION_MAX: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// (path from the root, text) of all Rust files under `dirs`.
fn files(dirs: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    dirs.iter().for_each(|dir| walk(&root().join(dir), &mut found));
    found.sort();
    let name = |p: &Path| p.strip_prefix(root()).expect("under the root").display().to_string();
    let read = |p: PathBuf| (name(&p), std::fs::read_to_string(&p).expect("UTF-8"));
    found.into_iter().map(read).collect()
}

fn everything() -> Vec<(String, String)> {
    let all = files(&["src", "tests", "benches", "examples", "fuzz/src", "fuzz/fuzz_targets"]);
    assert!(all.len() > 100, "only {} files were found", all.len());
    all
}

/// Code of a line, without comments (a `//` inside a string cuts more than it should, which only hides that string).
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

/// Lines of code with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, code(l)))
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} findings\n{}", wrong.len(), wrong.join("\n"));
}

/// Room of a source file: `src/link/net.rs` and `src/link.rs` are in `link`.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").expect("a source file");
    inside.split(['/', '.']).next().unwrap_or("")
}

/// Rooms named by `crate::room` in a text, `crate::{a, b}` included, with the line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in lines(text) {
        for part in line.split("crate::").skip(1) {
            let names = match part.strip_prefix('{') {
                Some(list) => list.split(',').map(|s| s.trim().split("::").next().unwrap_or("")).collect(),
                None => vec![part],
            };
            for name in names {
                let word: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.push((n, word));
            }
        }
    }
    found
}

#[test]
fn imports_are_recognised() {
    let text = "use crate::link::Net;\n// use crate::app;\nuse crate::{units, pe::Pe};\nlet x = crate::math::fma(1);\n";
    let found = imports(text);
    let expect = [(1, "link"), (3, "units"), (3, "pe"), (4, "math")];
    assert_eq!(found, expect.map(|(n, s)| (n, s.to_owned())));
    assert_eq!(room("src/kernels/decode/mod.rs"), "kernels");
}

#[test]
fn imports_point_left_only() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["src"]) {
        let from = room(&path);
        if from == "lib" || from == "main" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|a| a.0 == from) else {
            wrong.push(format!("{path}: room `{from}` has no line in ARROWS"));
            continue;
        };
        for (n, to) in imports(&text) {
            if to != from && !allowed.contains(&to.as_str()) {
                wrong.push(format!("{path}:{n}: {from} imports {to}"));
            }
        }
    }
    none(wrong);
    for (i, (room, allowed)) in ARROWS.iter().enumerate() {
        let left = |r: &&str| ARROWS[..i].iter().any(|a| a.0 == *r);
        assert!(allowed.iter().all(left), "{room}: an arrow points right");
    }
}

/// The worker's loop is what loom explores: it, quiescence and the links see nothing else of the crate.
#[test]
fn what_loom_runs_imports_only_sync_units_and_link() {
    for path in ["src/exec/idle.rs", "src/exec/step.rs"] {
        let text = std::fs::read_to_string(root().join(path)).expect("the file is there");
        let others = imports(&text).into_iter().filter(|i| !["sync", "units", "link"].contains(&i.1.as_str()));
        none(others.map(|(n, to)| format!("{path}:{n}: {to}")).collect());
    }
}

#[test]
fn placement_is_pure_maps() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["src/placement"]) {
        for (n, line) in lines(&text).filter(|l| l.1.contains("crate::fabric")) {
            if line.trim() != "use crate::fabric::Chip;" {
                wrong.push(format!("{path}:{n}: of the fabric, placement knows the chip alone"));
            }
        }
    }
    none(wrong);
}

#[test]
fn only_the_app_prints_and_exits() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["src"]).iter().filter(|f| !["app", "main"].contains(&room(&f.0))) {
        for (n, line) in lines(text) {
            let prints = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!(", "process::exit"];
            if prints.iter().any(|p| line.contains(p)) {
                wrong.push(format!("{path}:{n}: {}", line.trim()));
            }
        }
    }
    none(wrong);
}

#[test]
fn files_open_with_a_header_and_are_short_and_narrow() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: the first line is no `//!` header"));
        }
        let most = LONG.iter().find(|l| l.0 == path).map_or(LINES_MAX, |l| l.1);
        let n = text.lines().count();
        if n > most {
            wrong.push(format!("{path}: {n} lines, at most {most}"));
        }
        for (i, line) in text.lines().enumerate().filter(|l| l.1.chars().count() > WIDTH_MAX) {
            wrong.push(format!("{path}:{}: {} characters, at most {WIDTH_MAX}", i + 1, line.chars().count()));
        }
    }
    for (path, _) in LONG {
        let n = std::fs::read_to_string(root().join(path)).map_or(0, |t| t.lines().count());
        if n <= LINES_MAX {
            wrong.push(format!("{path}: {n} lines: take it off the list of long files"));
        }
    }
    none(wrong);
}

/// First line and length of every function in formatted code: its brace closes where its first line began.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let all: Vec<&str> = text.lines().collect();
    let indent = |l: &str| l.len() - l.trim_start().len();
    let is_fn = |l: &str| {
        let mut words = code(l).trim_start().split(' ');
        let qualifiers = ["pub", "const", "async", "unsafe", "extern"];
        words.find(|w| !qualifiers.contains(&w.split('(').next().unwrap_or(w)) && !w.ends_with(')')) == Some("fn")
    };
    let starts = all.iter().enumerate().filter(|l| is_fn(l.1));
    let length = |(at, first): (usize, &&str)| {
        let end = all[at..].iter().position(|l| l.trim_end() == format!("{}}}", " ".repeat(indent(first))))?;
        Some((at + 1, end + 1))
    };
    starts.filter(|l| !l.1.trim_end().ends_with([';', '}'])).filter_map(length).collect()
}

#[test]
fn functions_are_found_with_their_lengths() {
    let text = "impl A {\n    pub(super) fn a(\n        b: u8,\n    ) {\n    }\n}\nfn d() {}\nasync fn e() {\n}\n";
    assert_eq!(functions(text), [(2, 4), (8, 2)]);
}

#[test]
fn functions_are_short() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in everything() {
        for (n, len) in functions(&text) {
            seen += 1;
            if len >= FUNCTION_MAX {
                wrong.push(format!("{path}:{n}: a function of {len} lines, less than {FUNCTION_MAX}"));
            }
        }
    }
    assert!(seen >= 1000, "only {seen} functions were found");
    none(wrong);
}

/// What `std` leaves to the host's mathematical library, so bits would differ from host to host.
#[test]
fn powers_and_logarithms_are_not_of_the_host() {
    let names = "powf powi exp exp2 exp_m1 ln ln_1p log log2 log10 cbrt hypot sin cos tan sin_cos asin acos atan atan2 \
                 sinh cosh tanh asinh acosh atanh";
    let of_the_host: Vec<String> =
        names.split_whitespace().flat_map(|f| [format!(".{f}("), format!("f32::{f}"), format!("f64::{f}")]).collect();
    let mut wrong = Vec::new();
    for (path, text) in files(&["src"]) {
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        for (n, line) in lines(&text[..tests]).filter(|_| !path.ends_with("tests.rs")) {
            if of_the_host.iter().any(|f| line.contains(f.as_str())) {
                wrong.push(format!("{path}:{n}: {}", line.trim()));
            }
        }
    }
    none(wrong);
}

/// Uses of the word `unsafe` in code: blocks, impls and functions; pointers to unsafe functions are types.
fn unsafe_uses(text: &str) -> Vec<(usize, &str)> {
    let word = |l: &str| {
        l.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == "unsafe") && !l.contains("unsafe fn(")
    };
    lines(text).filter(|(_, l)| word(l)).collect()
}

#[test]
fn unsafe_is_where_it_may_be_and_says_why() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, text) in everything().into_iter().filter(|f| f.0 != "tests/tidy.rs") {
        let all: Vec<&str> = text.lines().collect();
        for (n, line) in unsafe_uses(&text) {
            seen += 1;
            if path.starts_with("src/") && !UNSAFE.iter().any(|allowed| path.starts_with(allowed)) {
                wrong.push(format!("{path}:{n}: `unsafe` has no place here"));
            }
            // The reason stands right above: comments, attributes and the lines of one statement lie between.
            let above = all[n.saturating_sub(11)..n].iter().rev();
            let reason = |l: &&&str| l.contains("// SAFETY:") || l.contains("/// # Safety");
            if !above.take(11).any(|l| reason(&l)) {
                wrong.push(format!("{path}:{n}: no SAFETY line above `{}`", line.trim()));
            }
        }
    }
    assert!(seen >= 10, "only {seen} uses of unsafe were found");
    none(wrong);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = ["TODO", "FIXME", "todo!(", "unimplemented!("];
    let mut wrong = Vec::new();
    for (path, text) in everything().into_iter().filter(|f| f.0 != "tests/tidy.rs") {
        for (n, line) in text.lines().enumerate().filter(|l| marks.iter().any(|m| l.1.contains(m))) {
            wrong.push(format!("{path}:{}: {}", n + 1, line.trim()));
        }
    }
    none(wrong);
}
