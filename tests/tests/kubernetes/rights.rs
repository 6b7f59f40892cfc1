//! The rights that umbra needs, and no more: `rights.yaml`.

use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::user::User;

/// Namespace, ServiceAccount, roles and their bindings.
pub(crate) const RIGHTS: &str = include_str!("rights.yaml");

/// Where umbra lives, and its Lease.
pub(crate) const NAMESPACE: &str = "umbra-system";

/// umbra's ServiceAccount, with exactly these rights.
pub(crate) fn umbra(cluster: &Cluster) -> User {
    cluster.apply(RIGHTS);
    let token = cluster.kubectl(&["create", "token", "umbra", "--namespace", NAMESPACE]);
    let user = cluster.plane.user_with_token("umbra", token.trim()).unwrap_or_else(|e| panic!("{e:#}"));
    let namespace = format!("--namespace={NAMESPACE}");
    user.kubectl(&["config", "set-context", "--current", &namespace]).unwrap_or_else(|e| panic!("{e:#}"));
    user
}
