//! MirrorPolicies in a real cluster: what its API server refuses, and what their statuses say.

use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::paths;

use super::status::{self, message, wait_conditions};
use super::web::{PORT, SUBSETS, ask, rule, wait_share};

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: umbra.io/v1alpha1\nkind: MirrorPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

fn install(cluster: &Cluster) {
    let file = paths::workspace().join("deploy/crds/umbra.io.yaml");
    cluster.admin().install_crds(&file).unwrap_or_else(|e| panic!("{e:#}"));
}

/// A spec, and words that the refusal must have; none where it is accepted.
const SPECS: &[(&str, &str)] = &[
    ("targetRef: {name: web}", ""),
    (
        "targetRef: {group: networking.istio.io, kind: VirtualService, name: web, rule: a, mirror: {host: web, subset: v2, port: {number: 80}}}, methods: [GET, M-SEARCH, '*'], headers: {remove: [], set: {x-a: b}}, host: {value: target, suffix: false}, mark: true, limits: {maxRequests: 5, maxStreamDuration: 2s}",
        "",
    ),
    (
        "targetRef: {name: web}, verdicts: {rate: 5}, abort: {shadowErrors: {percent: 5, window: 30s, minimum: 100}, primaryLatency: {percent: 300}, verdict: different}, observe: true, sample: nested, maxRequestsPerSecond: 50, ramp: {steps: [{percent: 1, time: 10m, requests: 1000}, {percent: 10, time: 1h}], verdict: same}",
        "",
    ),
    (
        "targetRef: {name: web}, observe: false, ramp: {steps: [{percent: 1, time: 10m}]}",
        "observe must not be false",
    ),
    ("targetRef: {name: web}, sample: independent", "samples are nested"),
    ("targetRef: {name: web}, verdicts: {contents: true, queries: true, values: true}", ""),
    ("targetRef: {name: web}, verdicts: {values: true}", "contents must be true"),
    ("targetRef: {name: web}, verdicts: {rate: 1001}", "verdicts.rate"),
    ("targetRef: {name: web}, abort: {shadowErrors: {percent: 101}}", "from 0 to 100"),
    ("targetRef: {name: web}, abort: {verdict: same}", "abort.verdict"),
    ("targetRef: {name: web}, maxRequestsPerSecond: 0", "maxRequestsPerSecond"),
    ("targetRef: {name: web}, ramp: {}", "steps"),
    ("targetRef: {name: web}, ramp: {steps: [{percent: 1}]}", "a step needs a time"),
    ("targetRef: {name: web}, ramp: {steps: [{percent: 0, time: 1m}]}", "a step needs a percent"),
    ("headers: {remove: [X-Session]}", "targetRef needs the name"),
    ("targetRef: {}", "targetRef needs the name"),
    ("targetRef: {kind: Service, name: web}", "a policy is for a VirtualService"),
    ("targetRef: {group: apps, name: web}", "of networking.istio.io"),
    ("targetRef: {name: web}, methods: ['G T']", "no method"),
    ("targetRef: {name: web}, methods: GET", "methods"),
    ("targetRef: {name: web}, headers: {remove: ['a b']}", "no name of a header"),
    ("targetRef: {name: web}, host: {value: both}", "host.value"),
];

#[test]
fn a_bad_policy_is_refused_at_apply() {
    on_cluster(|cluster| async move {
        install(&cluster);
        for (spec, words) in SPECS {
            let out = cluster.admin().try_kubectl(&["apply", "-f", "-"], &policy("web", spec));
            let out = out.expect("kubectl runs");
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.success(), words.is_empty(), "{spec}: {said}");
            assert!(said.contains(words), "{spec}: {said}");
        }
    });
}

#[test]
fn a_policy_counts_and_says_so_and_which_one_counts_before_it() {
    on_cluster(|cluster| async move {
        // Where Istio is, its kinds are there and ours comes later.
        cluster.install_crds("istio");
        let client = status::workloads(&cluster).await;
        cluster.apply(&(SUBSETS.to_owned() + &rule(100.0)));
        let mut mesh = status::umbra(&cluster, &[]).await;
        mesh.start_proxy("sidecar", &client).await;
        mesh.wait_status("client", PORT, &ask(), 200).await;
        wait_share(&mesh, 100.0).await;
        install(&cluster);
        cluster.apply(&policy("web", "targetRef: {name: web}"));
        let live = ["Accepted=True/Accepted", "Programmed=True/Live"];
        wait_conditions(&cluster, &mesh, "mirrorpolicy", "web", &live).await;
        let edited = |routes: &str| routes.contains("request_headers_mutations");
        mesh.wait_routes("client", "copies without credentials", edited).await;
        // The more specific one counts, and the other one says so.
        cluster.apply(&policy("narrow", "targetRef: {name: web, mirror: {subset: v2}}, methods: [POST]"));
        wait_conditions(&cluster, &mesh, "mirrorpolicy", "narrow", &live).await;
        let beaten = ["Accepted=True/AcceptedWithWarnings", "Programmed=Unknown/NoProxies"];
        let now = wait_conditions(&cluster, &mesh, "mirrorpolicy", "web", &beaten).await;
        assert!(message(&now, "Accepted").contains("MirrorPolicy default/narrow counts"), "{now:#}");
        cluster.kubectl(&["delete", "mirrorpolicy", "narrow"]);
        wait_conditions(&cluster, &mesh, "mirrorpolicy", "web", &live).await;
        cluster.kubectl(&["delete", "virtualservice", "web"]);
        let now = wait_conditions(&cluster, &mesh, "mirrorpolicy", "web", &beaten).await;
        assert!(message(&now, "Accepted").contains("does not exist"), "{now:#}");
        mesh.wait_status("client", PORT, &ask(), 200).await;
    });
}
