//! Runs [`imago_fuzz::tcp`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::tcp(data));
