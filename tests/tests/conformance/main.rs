//! The xDS protocol over a real socket: umbra in this process, a gRPC client, both variants of ADS.
//!
//! Each test is a conversation (`script.rs` has its notation) in which every answer is written down: what is not
//! there must not come. A barrier behind every line makes that certain without waiting for silence.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test")]

mod answers;
mod api;
mod callers;
mod client;
mod edges;
mod mesh;
mod order;
mod reconnect;
mod runtime;
mod script;
mod statistics;
mod watching;
