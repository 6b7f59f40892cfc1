//! Envoy's API and umbra's own: messages and services, generated at build time, and their JSON.
//!
//! Owns: the generated code (`build.rs` says from what and how; `proto/envoy-roots.txt` which files of Envoy's,
//! `proto/umbra` is ours), packing into `Any`, the type URLs of the resource types served, the descriptor pool and
//! the JSON made with it.
//! Does not own: what any message should contain (`envoy`), the xDS protocol (`xds`).
//! Invariants: the same message encodes to the same bytes in every process, since maps are ordered; byte fields
//! are `Bytes`, so a resource body is shared, not copied, by every response that carries it.
//! Start reading at: [`pack_any`], [`json::to_json`].

pub mod json;
mod pack;
pub mod type_url;

pub use pack::{UnpackError, pack_any, unpack_any};

/// The generated code: one module for each protobuf package.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

pub use generated::{envoy, google, opentelemetry, umbra, xds};
