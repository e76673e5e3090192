//! Runs [`imago_fuzz::packet`] under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imago_fuzz::packet(data));
