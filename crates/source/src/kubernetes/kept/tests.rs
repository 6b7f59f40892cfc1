use super::*;

/// What a Pod's containers are told stays off the disk.
#[test]
fn what_may_be_secret_is_not_kept() {
    let mut pod: Value = serde_json::from_str(
        r#"{"metadata": {"name": "a", "managedFields": [1], "annotations":
            {"kubectl.kubernetes.io/last-applied-configuration": "secret", "umbra.io/x": "y"}},
            "spec": {"volumes": [{"name": "secret"}], "nodeName": "n", "initContainers": [{"name": "i", "args": ["secret"]}],
            "containers": [{"name": "c", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "secret"}],
            "envFrom": ["secret"], "command": ["secret"]}]}}"#,
    )
    .unwrap();
    trim(&mut pod);
    let text = pod.to_string();
    assert!(!text.contains("secret") && !text.contains("managedFields"), "{text}");
    assert!(
        text.contains("containerPort") && text.contains("umbra.io/x") && text.contains("nodeName"),
        "{text}"
    );
}
