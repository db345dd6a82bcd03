//! See `plummer_fuzz::layout`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::layout(bytes));
