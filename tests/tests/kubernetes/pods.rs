//! The test node does with an injected Pod what a kubelet would: init containers in order, sidecars, users, capabilities, volumes.

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::stage::on_cluster_with_users;
use umbra_testkit::net::Net;

/// An Envoy that is ready by itself and answers with the files of its Pod.
const CONFIG: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: bootstrap}
data:
  bootstrap.yaml: |
    static_resources:
      listeners:
      - address: {socket_address: {address: 0.0.0.0, port_value: 15021}}
        filter_chains:
        - filters:
          - name: http
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
              stat_prefix: http
              http_filters:
              - name: router
                typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
              route_config:
                virtual_hosts:
                - name: all
                  domains: ["*"]
                  routes:
                  - match: {path: /labels}
                    direct_response: {status: 200, body: {filename: /etc/podinfo/labels}}
                  - match: {path: /token}
                    direct_response: {status: 200, body: {filename: /var/run/secrets/umbra/token}}
                  - match: {prefix: /}
                    direct_response: {status: 200}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
"#;

/// A Pod as injection makes it: what prepares it with these arguments, a sidecar, the application.
fn pod(name: &str, prepare: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  initContainers:
  - name: prepare
    image: example.com/umbra:1
    args: [{prepare}]
    securityContext: {{runAsUser: 0, capabilities: {{drop: [ALL], add: [NET_ADMIN]}}}}
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  - name: proxy
    image: docker.io/envoyproxy/envoy:v1.40.0
    restartPolicy: Always
    command: [envoy]
    args: [-c, /etc/envoy/bootstrap.yaml, --disable-hot-restart, --concurrency, "1", --log-path, /shared/proxy.log]
    startupProbe: {{httpGet: {{path: /ready, port: 15021}}, periodSeconds: 1, failureThreshold: 600}}
    securityContext:
      runAsUser: 1337
      runAsGroup: 1337
      allowPrivilegeEscalation: false
      capabilities: {{drop: [ALL]}}
    volumeMounts:
    - {{name: shared, mountPath: /shared}}
    - {{name: bootstrap, mountPath: /etc/envoy}}
    - {{name: podinfo, mountPath: /etc/podinfo}}
    - {{name: token, mountPath: /var/run/secrets/umbra}}
  containers:
  - name: app
    image: nginx
    ports: [{{containerPort: 8080}}]
  volumes:
  - {{name: shared, emptyDir: {{}}}}
  - {{name: bootstrap, configMap: {{name: bootstrap}}}}
  - {{name: podinfo, downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}}}
  - {{name: token, projected: {{sources: [{{serviceAccountToken: {{path: token, audience: umbra}}}}]}}}}
"#
    )
}

#[test]
fn an_injected_pod_lives_as_under_a_kubelet() {
    on_cluster_with_users(|cluster| async move {
        cluster.apply(CONFIG);
        cluster.apply(&pod("good", "version"));
        cluster.apply(&pod("bad", "validate, /nowhere"));
        let pods = cluster.wait_ready("default", "app=good", 1).await;
        let good = &pods[0];
        assert!(good.log("prepare").contains("umbra"), "{}", good.log("prepare"));
        let status = cluster.kubectl(&["get", "pod", "good", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let init = &status["status"]["initContainerStatuses"];
        let of = |name: &str| {
            let found = init.as_array().into_iter().flatten().find(|it| it["name"] == name);
            found.cloned().unwrap_or_default()
        };
        assert_eq!(of("prepare")["state"]["terminated"]["exitCode"], 0, "{init:#}");
        assert!(of("proxy")["state"]["running"].is_object(), "{init:#}");
        // The sidecar is whom its Pod says, may nothing, and has written where root has made room.
        let kernel = good.kernel_status("proxy").expect("a process");
        let line = |key: &str| {
            let found = kernel.lines().find_map(|line| line.strip_prefix(key));
            found.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("Uid:"), ["1337"; 4]);
        assert_eq!(line("Gid:"), ["1337"; 4]);
        assert_eq!((line("CapEff:"), line("CapBnd:")), (vec!["0".repeat(16)], vec!["0".repeat(16)]));
        assert_eq!(line("NoNewPrivs:"), ["1"]);
        let address = (good.address().expect("an address"), 15021).into();
        let file = |path: &'static str| async move {
            Client::new(&Net::here(), address).ask(&Ask::get("pod", path)).await.expect("an answer").text()
        };
        assert_eq!(file("/labels").await, "app=\"good\"\n");
        assert_eq!(file("/token").await.split('.').count(), 3);
        // What fails is tried again, and nothing after it starts.
        cluster
            .wait_for("the failure to be told", || async {
                cluster
                    .kubectl(&["get", "pod", "bad", "-o", "json"])
                    .contains("init container prepare failed")
            })
            .await;
        let bad = cluster.agent().pods("default", "app=bad");
        assert!(bad[0].kernel_status("proxy").is_err() && !bad[0].is_ready());
        assert!(Net::here().connect((bad[0].address().expect("an address"), 8080).into()).await.is_err());
        cluster.kubectl(&["delete", "pod", "good", "bad", "--grace-period=5"]);
        cluster.wait_for("both to go", || async { cluster.agent().living().is_empty() }).await;
    });
}
