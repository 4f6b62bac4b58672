//! Bytes as a GGUF file.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| verbatim_tests::fuzz::gguf(data));
