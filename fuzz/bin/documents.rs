//! `make fuzz`: see [`umbra_fuzz::documents`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umbra_fuzz::documents(data));
