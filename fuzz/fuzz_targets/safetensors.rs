//! See `plummer_fuzz::safetensors`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plummer_fuzz::safetensors(bytes));
