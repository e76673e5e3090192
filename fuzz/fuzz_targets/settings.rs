//! Runs [`imago_fuzz::settings`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::settings(data));
