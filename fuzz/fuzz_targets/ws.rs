//! Runs [`imago_fuzz::ws`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::ws(data));
