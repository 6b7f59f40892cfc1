//! `make fuzz`: see [`umbra_fuzz::node`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umbra_fuzz::node(data));
