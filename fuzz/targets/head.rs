//! Bytes as the head of a request.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| verbatim_tests::fuzz::head(data));
