//! Test support: the real Envoy, the real umbra, echo services and the traffic between them.
//!
//! *Owns*: starting and ending processes, network namespaces, an echo service that records what reaches it,
//! an HTTP client, waiting, and the sums that tell luck from a wrong share.
//! *Does not own*: any expectation about umbra. Those stand in the tests.
//! *Invariants*: nothing here is a dependency of the product; whatever is started is ended on drop; every
//! wait has a deadline and says what it waited for; a missing tool is one loud `SKIPPED` line, or a failure
//! where `REQUIRE_ENVOY=1` says that it must be there.
//! *Start reading at*: [`world::World`], then [`isolate::isolated`].

pub mod browser;
pub mod capture;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod echo;
pub mod envoy;
pub mod gate;
pub mod isolate;
pub mod judge;
pub mod net;
pub mod paths;
pub mod ports;
pub mod process;
pub mod relay;
pub mod share;
pub mod tls;
pub mod umbra;
pub mod wait;
pub mod world;
