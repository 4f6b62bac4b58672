//! Bytes as what a model writes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| verbatim_tests::fuzz::parts(data));
