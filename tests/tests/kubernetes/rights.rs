//! The rights that people give to umbra, and no more: those of `deploy/install.yaml`.

use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::user::User;
use umbra_testkit::paths;

/// Where umbra lives, and its Lease.
pub(crate) const NAMESPACE: &str = "umbra-system";

/// Namespace, ServiceAccounts, roles and their bindings.
fn rights() -> String {
    const KINDS: [&str; 6] =
        ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let file = paths::workspace().join("deploy/install.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let is_right = |document: &&str| {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(|kind| KINDS.contains(&kind.trim()))
    };
    text.split("\n---\n").filter(is_right).collect::<Vec<_>>().join("\n---\n")
}

/// umbra's ServiceAccount, with exactly these rights.
pub(crate) fn umbra(cluster: &Cluster) -> User {
    cluster.apply(&rights());
    let token = cluster.kubectl(&["create", "token", "umbra", "--namespace", NAMESPACE]);
    let user = cluster.plane.user_with_token("umbra", token.trim()).unwrap_or_else(|e| panic!("{e:#}"));
    let namespace = format!("--namespace={NAMESPACE}");
    user.kubectl(&["config", "set-context", "--current", &namespace]).unwrap_or_else(|e| panic!("{e:#}"));
    user
}
