//! `make fuzz`: see [`umbra_fuzz::sotw`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umbra_fuzz::sotw(data));
