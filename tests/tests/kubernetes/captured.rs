//! A Pod whose traffic is captured calls Services of a real API server by their own addresses, names and ports. Its sidecar is
//! a container of its own user; the rules of capture come from the test, as from a CNI plugin.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;
use umbra_testkit::client::{Ask, send};
use umbra_testkit::cluster::stage::on_cluster_with_users;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::{capture, paths};

/// A file of the example `httpbin-mirror`.
fn read(file: &str) -> String {
    let path = paths::example("httpbin-mirror").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The bootstrap of a captured sidecar of the label `app: caller`, which can be probed.
fn bootstrap(xds: SocketAddr) -> String {
    let umbra = paths::umbra().unwrap_or_else(|e| panic!("{e:#}"));
    let mut command = Command::new(umbra);
    command.args(["bootstrap", "--proxy", "sidecar/default/app=caller", "--server", &xds.to_string()]);
    let out = command.args(["--envoy-ready", "0.0.0.0:15021"]).output().expect("umbra bootstrap");
    let text = String::from_utf8(out.stdout).expect("text");
    capture::captured(&text, &[]).unwrap_or_else(|e| panic!("{e:#}"))
}

/// An application with nothing of its own changed, and the sidecar beside it.
const CALLER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: caller, labels: {app: caller}}
spec:
  initContainers:
  - name: proxy
    image: docker.io/envoyproxy/envoy:v1.40.0
    restartPolicy: Always
    command: [envoy]
    args: [-c, /etc/envoy/bootstrap.json, --service-node, $(POD), --disable-hot-restart, --concurrency, '1']
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    startupProbe: {httpGet: {path: /ready, port: 15021}, periodSeconds: 1, failureThreshold: 600}
    securityContext: {runAsUser: 1337, runAsGroup: 1337, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: envoy, mountPath: /etc/envoy}]
  containers: [{name: app, image: curlimages/curl}]
  volumes: [{name: envoy, configMap: {name: envoy}}]
";

/// A Service that does not say that it speaks HTTP, before v2 of httpbin.
const RAW: &str = "
apiVersion: v1
kind: Service
metadata: {name: raw}
spec: {selector: {app: httpbin, version: v2}, ports: [{name: tcp, port: 5432, targetPort: 80}]}
";

/// The address and port of a Service.
fn service(cluster: &Cluster, name: &str, port: u16) -> SocketAddr {
    let ip = cluster.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]);
    SocketAddr::new(ip.trim().parse().expect("an address"), port)
}

#[test]
fn a_captured_pod_calls_services_by_their_own_addresses() {
    on_cluster_with_users(|cluster| async move {
        cluster.install_crds("istio");
        let started = Mesh::start(&cluster, &cluster.admin(), &[]).await;
        let mut mesh = started.unwrap_or_else(|e| panic!("{e:#}"));
        for file in ["mesh/workloads.yaml", "mesh/virtualservice.yaml", "mesh/destinationrule.yaml"] {
            cluster.apply(&read(file));
        }
        cluster.apply(RAW);
        let data = json!({"bootstrap.json": bootstrap(cluster.plane.site().xds)});
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "envoy"}, "data": data});
        cluster.apply(&map.to_string());
        cluster.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}");
        cluster.apply(CALLER);
        cluster.wait_ready("default", "app=httpbin", 2).await;
        let caller = cluster.wait_ready("default", "app=caller", 1).await;
        let net = caller[0].net().expect("a network");
        capture::capture(&net).unwrap_or_else(|e| panic!("{e:#}"));

        let (httpbin, raw) = (service(&cluster, "httpbin", 8000), service(&cluster, "raw", 5432));
        let ask = Ask::get("httpbin:8000", "/headers");
        let copies = || {
            let pods = cluster.agent().pods("default", "app=httpbin,version=v2");
            pods.iter().flat_map(|pod| pod.requests()).collect::<Vec<_>>()
        };
        cluster
            .wait_for("the route to v1", || async {
                let tally = send(&net, httpbin, &ask, 5).await;
                tally.all_ok(5) && tally.by("v1") == 5
            })
            .await;
        cluster.apply(&read("steps/mirror.yaml"));
        cluster
            .wait_for("copies", || async {
                send(&net, httpbin, &ask, 1).await;
                !copies().is_empty()
            })
            .await;
        // umbra may come and go.
        for away in [false, true] {
            if away {
                mesh.kill_umbra();
            }
            cluster.agent().forget();
            let tally = send(&net, httpbin, &ask, 50).await;
            assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
            cluster.wait_for("a copy of each", || std::future::ready(copies().len() == 50)).await;
            assert!(copies().iter().all(|copy| copy.host == "httpbin-shadow:8000"));
            // What is no HTTP by its name is not looked into.
            let tally = send(&net, raw, &ask, 10).await;
            assert!(tally.all_ok(10) && tally.by("v2") == 10, "{tally:?}");
        }
    });
}
