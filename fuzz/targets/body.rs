//! Bytes as the framing of a body.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| verbatim_tests::fuzz::body(data));
