//! The load generator: thousands of proxies in one process that behave on ADS as Envoy does, a mesh to give them, changes to
//! it, and what each change costs until the last proxy has taken it.
//!
//! Owns: the client side of ADS at the least cost (names and versions are read, a body once for all proxies), Envoy's
//! order of asking and answering, generated meshes, the benchmark `make bench` and its counts.
//! Does not own: whether a configuration is right (the tests with a real Envoy), how a server is built.
//! Invariants: everything runs on one thread, so that what proxies share needs no lock and the other core is the
//! server's; a change counts as taken when the ACK of its last part was handed to the socket; a proxy that misses a
//! change fails the run; nothing passes or fails by time.
//! Start reading at: [`proxy::Proxy`] (one proxy), [`fleet::Fleet`] (all of them), [`bench`](mod@bench).

pub mod bench;
pub mod book;
pub mod cli;
pub mod expect;
pub mod fleet;
pub mod kind;
pub mod node;
pub mod proxy;
pub mod server;
pub mod stream;
pub mod wire;
pub mod world;
