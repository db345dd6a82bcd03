//! See `plummer_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::config(bytes));
