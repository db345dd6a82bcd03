//! A panic of the tokenizer crate as an error that names the file.
//!
//! Invariant: a panic inside `guarded` prints nothing and goes no further; any other is reported as before.
//! Called by `tokenizer` and `gguf_tokenizer` around what the crate does with a file or a text: `tokenizer_check`
//! refuses what is known to panic, this is for the rest.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use super::error::ModelError;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The hook of the process, once it leaves guarded threads out.
static HOOK: Once = Once::new();

/// Does `work` on this thread.
pub(super) fn guarded<T>(file: &Path, work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    HOOK.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_GUARDED.try_with(Cell::get).unwrap_or(false) {
                report(info);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    // What `work` may have left half done is given up together with the model.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(outer);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        let problem =
            format!("needs a file and a text that the tokenizers crate can take, found a panic of it: {text}");
        Err(ModelError::Tokenizer { file: file.to_path_buf(), problem })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_the_file() {
        let file = Path::new("m/tokenizer.json");
        for n in [0usize, 3] {
            let outcome = guarded(file, || match n {
                0 => panic!("plain"),
                n => panic!("number {n}"),
            });
            let outcome: Result<(), ModelError> = outcome;
            let message = outcome.expect_err("a panic").to_string();
            let end = if n == 0 { "plain" } else { "number 3" };
            assert!(message.starts_with("m/tokenizer.json: tokenizer: ") && message.ends_with(end), "{message}");
            assert!(!IS_GUARDED.get());
        }
        let inner = guarded(file, || {
            let inner: Result<(), ModelError> = guarded(file, || panic!("inner"));
            assert!(IS_GUARDED.get() && inner.is_err());
            Ok(7)
        });
        assert_eq!(inner.expect("a number"), 7);
    }
}
