//! Store, indexes, keyed recompute and per-class snapshots.
//!
//! Owns: every object, what is computed from them and when, which proxies share an answer, generations.
//! Does not own: what objects mean (`istio`), Envoy's messages (`envoy`), the protocol (`xds`).
//! Invariants: no thread, no clock, no IO; what is computed depends on recorded reads only; incremental
//! equals rebuilt; the work follows the change, not the mesh.
//! Start reading at: [`Engine`], then `domain`.

mod classes;
mod domain;
mod engine;
mod front;
mod input;
mod ledger;
pub mod memo;
mod reach;
mod said;
mod secrets;
#[cfg(test)]
mod tests;
mod view;
mod written;

pub use engine::{Engine, Options, Parts, ProxyId, Settled};
pub use reach::{ClassReach, Resources};
pub use said::Said;
pub use written::{WrittenHost, WrittenRule};
