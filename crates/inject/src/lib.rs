//! What a Pod needs so that no line of its application changes: the sidecar, and the capture of its calls.
//!
//! Owns: the template of the sidecar and which Pods get it, manifests with it and otherwise as they were, the rules of
//! capture as data and as text for `nft` and `iptables-restore`, the words (labels, annotations) by which people decide
//! about both, what a Pod's downward API says.
//! Does not own: running anything, files, sockets (`server`), the bootstrap's content (`envoy`).
//! Invariants: pure functions; what a tenant writes is a checked value before it comes near a rule or a container, never
//! text that is pasted; the same input gives the same bytes.
//! Start reading at: [`pod::inject`], [`capture::Capture`].

pub mod capture;
pub mod manifests;
pub mod pod;
pub mod pod_info;
pub mod settings;
mod values;
pub mod words;
pub mod yaml;
