//! As whom a container runs, and what it may, by its `securityContext`: where this machine has more users than one.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Users that containers name: Istio's proxy, and "nobody" of distroless images.
const NEEDED: u32 = 65_532;

/// Whether processes can be other users here: in a namespace of users that has one user they cannot, and every container is
/// root there with all that root may.
pub(super) fn has_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        first == Some(0) && count.is_some_and(|count| count > u64::from(NEEDED))
    })
}

/// The words before a container's program: `setpriv` with its user, group, capabilities and whether it may gain more. Empty
/// when it says nothing; the user that an image names is not known.
pub(super) fn as_whom(spec: &PodSpec, container: &Container) -> Vec<String> {
    let own = container.security_context.clone().unwrap_or_default();
    let pod = spec.security_context.clone().unwrap_or_default();
    let mut words = Vec::new();
    let capabilities = own.capabilities.unwrap_or_default();
    let named = |list: Option<Vec<String>>, sign: char| {
        let one = move |name: String| {
            let name = name.to_ascii_lowercase();
            format!("{sign}{}", name.strip_prefix("cap_").unwrap_or(&name))
        };
        list.into_iter().flatten().map(one)
    };
    // Drops come first: `drop: [ALL]` beside `add: [NET_ADMIN]` leaves that one.
    let bounds: Vec<_> = named(capabilities.drop, '-').chain(named(capabilities.add, '+')).collect();
    if !bounds.is_empty() && own.privileged != Some(true) {
        words.push(format!("--bounding-set={}", bounds.join(",")));
        words.push("--inh-caps=-all".to_owned());
    }
    if own.allow_privilege_escalation == Some(false) {
        words.push("--no-new-privs".to_owned());
    }
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group).or(user.map(|_| 0));
    if let (Some(user), Some(group)) = (user, group) {
        words.extend([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    if !words.is_empty() {
        words.insert(0, "setpriv".to_owned());
        words.push("--".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_before_the_program() {
        for (pod, container, want) in [
            (json!({}), json!({}), ""),
            (json!({"runAsUser": 5}), json!({}), "setpriv --reuid=5 --regid=0 --clear-groups --"),
            (
                json!({"runAsUser": 5, "runAsGroup": 6}),
                json!({"runAsUser": 1337, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
                "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs --reuid=1337 --regid=6 --clear-groups --",
            ),
            (
                json!({}),
                json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "CAP_NET_RAW"]}}),
                "setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all --",
            ),
            (json!({}), json!({"privileged": true, "capabilities": {"drop": ["ALL"]}}), ""),
        ] {
            let spec =
                serde_json::from_value(json!({"containers": [], "securityContext": pod})).expect("a Pod");
            let container = serde_json::from_value(json!({"name": "c", "securityContext": container}))
                .expect("a container");
            assert_eq!(as_whom(&spec, &container).join(" "), want);
        }
    }
}
