//! See `plummer_fuzz::gguf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::gguf(bytes));
