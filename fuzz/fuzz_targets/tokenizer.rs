//! See `plummer_fuzz::tokenizer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::tokenizer(bytes));
