//! Bytes as the JSON of a request.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| verbatim_tests::fuzz::json_request(data));
