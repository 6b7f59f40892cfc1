//! The protocol through its public interface: scripts for each rule, and a model of a proxy under random batches.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delta;
mod heartbeats;
mod hosts;
mod limits;
mod model;
mod order;
mod script;
mod sotw;
mod unserved;
mod worked;
