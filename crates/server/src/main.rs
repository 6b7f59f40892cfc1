//! The binary umbra.
fn main() {}
