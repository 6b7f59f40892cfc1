//! `make fuzz`: see [`umbra_fuzz::delta`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umbra_fuzz::delta(data));
