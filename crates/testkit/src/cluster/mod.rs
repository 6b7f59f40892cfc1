//! A real Kubernetes control plane for one test: etcd, kube-apiserver and kube-controller-manager as processes in
//! a network namespace of the test's own, `kubectl` and `helm` as its user, and a test node.
//!
//! The node is **not a kubelet**: [`agent`] says what it does as one, and what not. There is no scheduler (the agent
//! binds every Pod to its node), no kube-proxy (the cluster IP of a Service leads nowhere, so umbra and Envoy are
//! answered with the addresses of its ready Pods; applications, with the cluster IP), and no container image is ever pulled.
//!
//! Start reading at [`Cluster`], then [`stage::on_cluster`].

pub mod agent;
pub mod assets;
mod certificates;
pub mod control_plane;
pub mod dns;
pub mod kwok;
pub mod mesh;
mod part;
pub mod prometheus;
pub mod scraper;
pub mod site;
pub mod stage;
pub mod traffic;
pub mod user;
mod world;

pub use control_plane::{ControlPlane, Part};
pub use dns::Resolver;
pub use mesh::Mesh;
pub use world::{Cluster, PATIENCE};
