//! See `plummer_fuzz::chip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::chip(bytes));
