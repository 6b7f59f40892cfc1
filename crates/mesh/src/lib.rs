//! What any mesh means: ir to ir.
//!
//! Owns: what a client may see, where its rules apply, what a destination comes to, tables of virtual hosts, and the
//! diagnostics about these.
//! Does not own: what an API's objects say (`istio`, `core`), Envoy's messages (`envoy`), when to compute (`engine`).
//! Invariants: pure functions; no object of `api` is seen; the world is read through [`View`] only; what is broken is
//! left out with a diagnostic and never touches the rest.
//! Start reading at: [`View`], [`bind_sidecar_scope`], [`bind_routes`], [`resolve_target`].

mod filter;
mod routes;
mod scope;
mod sidecar;
mod target;
mod view;

pub use filter::{filter_may_pass, filter_passes};
pub use routes::{bind_routes, broken_destination, broken_mirror, is_plaintext_to_tls, query};
pub use scope::{mentioned, select_bound_rules};
pub use sidecar::{LITERAL_PORT, bind_sidecar_scope, virtual_host_name};
pub use target::resolve_target;
pub use view::{Index, View};
