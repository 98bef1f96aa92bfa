#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_fuzz::bzip2_stream(data));
