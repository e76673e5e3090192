//! Runs [`imago_fuzz::session_batch`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::session_batch(data));
