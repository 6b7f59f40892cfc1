//! The binary `umbra`: arguments, wiring, gRPC and HTTP adapters, command line verbs, shutdown.
//!
//! Owns: processes, sockets, clocks, logs, metrics, what people type and what they are told.
//! Does not own: any content of a configuration (`istio`, `envoy`), the protocol (`xds`), when to recompute
//! (`engine`), which files to read (`source`).
//! Invariants: one thread owns the engine and nobody else touches it; what it publishes is immutable; every
//! channel is bounded and a client that does not read is closed, never waited for; no lock is held across an
//! await; nothing a file, a proxy or a person sends ends the process; a vital task that ends, whyever, does.
//! Start reading at: [`commands::run`], then `serve.rs`, then `ads/stream.rs`.

mod abort;
pub mod admin;
pub mod ads;
pub mod api;
mod apply;
mod certificate;
mod channel;
pub mod cli;
pub mod commands;
pub mod config;
mod contents;
mod crowd;
mod descriptors;
pub mod diagnostics;
pub mod engine_task;
pub mod failure;
mod host;
pub mod identity;
mod injector;
mod judging;
mod listen;
pub mod live;
pub mod logging;
mod messages;
pub mod metrics;
mod mirrors;
pub mod observe;
pub mod pace;
mod pacing;
mod parts;
pub mod peers;
mod plan;
pub mod proxies;
mod reload;
pub mod replica;
pub mod resources;
mod rounds;
pub mod serve;
pub mod sources;
mod status;
mod stop;
pub mod supervise;
pub mod tls;
mod ui;
pub mod verdicts;
mod whereabouts;
mod words;
mod written;
