//! umbra's protocol session against a real Envoy, where clusters share load assignments: what Envoy does not ask for
//! again it must be given, in the right place, or a cluster warms for ever. All clusters wait without a time-out of
//! Envoy's own, so that nothing but the session can end a wait.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test")]

mod model;
mod random;
mod refused;
mod server;
mod table;
mod world;
