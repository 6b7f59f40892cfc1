//! umbra's own CRDs, judged by a real API server: what it refuses, what it keeps, and what it shows.

use serde_json::Value;
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::paths;

/// A VirtualService with one rule, given as the fields of its `http` entry.
fn with(rule: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web], http: [{{{rule}}}]}}
"
    )
}

const ROUTE: &str = "route: [{destination: {host: web, subset: v1}}]";

fn install(cluster: &Cluster) {
    let file = paths::workspace().join("deploy/crds/networking.istio.io.yaml");
    cluster.admin().install_crds(&file).unwrap_or_else(|e| panic!("{e:#}"));
}

/// A rule, and words that the refusal must have; none where it is accepted.
const RULES: &[(&str, &str)] = &[
    ("", ""),
    ("mirror: {host: web, subset: v2}", ""),
    ("mirror: {host: web}, mirrorPercentage: {value: 0}", ""),
    ("mirror: {host: web}, mirrorPercentage: {value: 100}", ""),
    ("mirror: {host: web}, mirrorPercentage: {value: 0.5}", ""),
    ("mirror: {host: web}, mirrorPercentage: {}", ""),
    ("mirror: {host: web}, mirrorPercentage: {value: 101}", "from 0.0001 to 100"),
    ("mirror: {host: web}, mirrorPercentage: {value: -1}", "from 0.0001 to 100"),
    ("mirror: {host: web}, mirrorPercentage: {value: 0.00001}", "from 0.0001 to 100"),
    ("mirror: {host: web}, mirrorPercent: 42", ""),
    ("mirror: {host: web}, mirrorPercent: 150", "from 0 to 100"),
    ("mirror: {host: web}, mirror_percent: 42", ""),
    ("mirror: {host: web}, mirror_percent: 150", "from 0 to 100"),
    ("mirror: {host: web}, mirror_percentage: {value: 42}", ""),
    ("mirror: {host: web}, mirror_percentage: {value: 150}", "from 0.0001 to 100"),
    ("mirror: {subset: v2}", "host"),
    ("mirrors: [{destination: {host: web}, percentage: {value: 5}}]", ""),
    ("mirrors: [{destination: {host: web}, percentage: {value: 500}}]", "from 0.0001 to 100"),
    ("mirrors: [{destination: {subset: v2}}]", "host"),
];

#[test]
fn a_bad_mirror_is_refused_at_apply() {
    on_cluster(|cluster| async move {
        install(&cluster);
        let admin = cluster.admin();
        for (rule, words) in RULES {
            let joint = if rule.is_empty() { "" } else { ", " };
            let out = admin.try_kubectl(&["apply", "-f", "-"], &with(&format!("{ROUTE}{joint}{rule}")));
            let out = out.expect("kubectl runs");
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.success(), words.is_empty(), "{rule}: {said}");
            assert!(said.contains(words), "{rule}: {said}");
        }
        let negative = with("route: [{destination: {host: web}, weight: -1}]");
        assert!(admin.apply(&negative).is_err(), "a negative weight");
        // What Istio accepts is for a diagnostic to say.
        cluster.apply(&with("redirect: {uri: /x}, mirror: {host: web}"));
    });
}

/// A percentage that is pruned would mean every request.
#[test]
fn nothing_that_a_person_wrote_is_lost() {
    on_cluster(|cluster| async move {
        install(&cluster);
        for version in ["v1alpha3", "v1beta1", "v1"] {
            let rule =
                format!("{ROUTE}, mirror: {{host: web}}, mirror_percent: 42, later: {{field: [1, two]}}");
            cluster.apply(&with(&rule).replace("istio.io/v1", &format!("istio.io/{version}")));
            let read: Value = cluster.admin().json(&["virtualservice", "web"]).expect("an object");
            let rule = &read["spec"]["http"][0];
            assert_eq!(rule["mirror_percent"], 42, "{version}: {rule}");
            assert_eq!(rule["later"]["field"][1], "two", "{version}: {rule}");
        }
        let versions = cluster.kubectl(&["get", "virtualservices", "--no-headers"]);
        assert_eq!(versions.lines().count(), 1, "three versions of an API, one object: {versions}");
        for name in ["vs", "dr", "se", "gw"] {
            cluster.kubectl(&["get", name]);
        }
        let header = cluster.kubectl(&["get", "vs"]);
        for column in ["HOSTS", "GATEWAYS", "ACCEPTED", "MIRRORS", "AGE"] {
            assert!(header.contains(column), "no column {column}: {header}");
        }
    });
}

/// The documents' rules apply as they are, wherever umbra's CRDs are the ones installed.
#[test]
fn objects_written_for_istio_apply_unchanged() {
    on_cluster(|cluster| async move {
        install(&cluster);
        cluster.kubectl(&["create", "namespace", "test"]);
        cluster.kubectl(&["create", "namespace", "istio-system"]);
        for file in [
            "httpbin-mirror/mesh/virtualservice.yaml",
            "httpbin-mirror/mesh/destinationrule.yaml",
            "httpbin-mirror/steps/mirror.yaml",
            "istio-task/steps/mirror.yaml",
            "two-rules-on-one-gateway/mesh/document.yaml",
            "canary/mesh/gateway.yaml",
            "canary/mesh/destinationrule.yaml",
            "canary/mesh/virtualservice.yaml",
            "canary/steps/2-weights.yaml",
            "canary/steps/3-promoted.yaml",
        ] {
            let path = paths::example(file);
            cluster.kubectl(&["apply", "-f", path.to_str().expect("a path in UTF-8")]);
        }
    });
}
