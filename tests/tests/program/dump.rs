//! `umbra dump`.

use serde_json::Value;
use umbra_testkit::paths;

use super::{text, umbra};

fn dump(args: &[&str]) -> Value {
    let folder = paths::example("httpbin-mirror").join("mesh");
    let out = umbra(&[&["dump", "--dir", folder.to_str().expect("a path"), "-o", "json"], args].concat(), "");
    assert!(out.status.success(), "{}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

const SLEEP: [&str; 2] = ["--proxy", "sidecar/default/app=sleep"];

#[test]
fn a_dump_has_every_type() {
    let all = dump(&SLEEP);
    let names = |kind: &str, key: &str| -> Vec<String> {
        let list = all[kind].as_array().unwrap_or_else(|| panic!("no list {kind} in {all:#}"));
        list.iter().filter_map(|r| r[key].as_str().or(r["clusterName"].as_str())).map(str::to_owned).collect()
    };
    assert!(
        names("clusters", "name").contains(&"outbound|8000|v1|httpbin.default.svc.cluster.local".to_owned())
    );
    assert_eq!(names("routes", "name"), ["8000"]);
    assert_eq!(all["listeners"].as_array().map(Vec::len), Some(1));
    assert!(all["endpoints"].to_string().contains("127.0.1.1") && all["runtime"].is_array(), "{all:#}");
}

#[test]
fn types_can_be_chosen() {
    let some = dump(&["--proxy", "sidecar/default/app=sleep", "--type", "rds,rtds"]);
    let kinds: Vec<_> =
        some.as_object().expect("an object").iter().filter(|(_, l)| l != &&Value::Array(vec![])).collect();
    assert!(kinds.iter().all(|(kind, _)| ["routes", "runtime"].contains(&kind.as_str())), "{some:#}");
}

#[test]
fn the_same_objects_give_the_same_bytes() {
    let folder = paths::example("canary").join("mesh");
    let run = || {
        let args = [
            "dump",
            "--dir",
            folder.to_str().expect("a path"),
            "--proxy",
            "router/istio-system/istio=ingressgateway",
        ];
        umbra(&args, "").stdout
    };
    let first = run();
    assert!(!first.is_empty());
    for _ in 0..3 {
        assert!(first == run());
    }
}

#[test]
fn a_node_file_does_as_well_as_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.json");
    let node = serde_json::json!({
        "id": "sidecar~10.0.0.1~sleep-1.default~default.svc.cluster.local",
        "metadata": {"NAMESPACE": "default", "LABELS": {"app": "sleep"}},
    });
    std::fs::write(&path, node.to_string()).expect("a file");
    assert_eq!(dump(&["--node", path.to_str().expect("a path")]), dump(&SLEEP));
}
