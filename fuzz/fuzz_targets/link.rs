//! Runs [`imago_fuzz::link`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::link(data));
