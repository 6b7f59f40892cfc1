//! The test node runs the real Envoy with what a Pod gives it: arguments, variables, files, token.

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::net::Net;

/// An Envoy that answers `/token` with the token of its Pod, and says its variables in a header.
const ENVOY: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: gateway}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bootstrap}
data:
  bootstrap.yaml: |
    static_resources:
      listeners:
      - address: {socket_address: {address: 0.0.0.0, port_value: 80}}
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
                response_headers_to_add: [{header: {key: x-pod, value: "%ENVIRONMENT(POD)%"}}]
                virtual_hosts:
                - name: all
                  domains: ["*"]
                  routes:
                  - match: {path: /token}
                    direct_response: {status: 200, body: {filename: /var/run/secrets/kubernetes.io/serviceaccount/token}}
                  - match: {path: /extra}
                    direct_response: {status: 200, body: {filename: /etc/extra/greeting}}
                  - match: {prefix: /}
                    direct_response: {status: 204}
---
apiVersion: v1
kind: Secret
metadata: {name: extra}
stringData: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  replicas: 2
  selector: {matchLabels: {app: gateway}}
  template:
    metadata: {labels: {app: gateway}}
    spec:
      serviceAccountName: gateway
      containers:
      - name: proxy
        image: docker.io/envoyproxy/envoy:v1.40.0
        command: [envoy]
        args: [-c, /etc/envoy/bootstrap.yaml, --service-node, "router~$(POD)", --service-cluster, test]
        env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        ports: [{containerPort: 80, name: http}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
        volumeMounts:
        - {name: bootstrap, mountPath: /etc/envoy}
        - {name: extra, mountPath: /etc/extra}
      volumes:
      - {name: bootstrap, configMap: {name: bootstrap}}
      - {name: extra, secret: {secretName: extra}}
"#;

#[test]
fn an_envoy_gets_all_that_its_pod_has() {
    on_cluster(|cluster| async move {
        cluster.apply(ENVOY);
        // Two on one port: each has a network of its own.
        for pod in cluster.wait_ready("default", "app=gateway", 2).await {
            let address = (pod.address().expect("an address"), 80).into();
            let mut client = Client::new(&Net::here(), address);
            let token = client.ask(&Ask::get("gateway", "/token")).await.expect("an answer");
            assert_eq!(token.headers["x-pod"], pod.name.as_str());
            let user = cluster.plane.user_with_token(&pod.name, token.text().trim()).expect("a user");
            let name = user.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
            assert_eq!(name.expect("an answer"), "system:serviceaccount:default:gateway");
            let extra = client.ask(&Ask::get("gateway", "/extra")).await.expect("an answer");
            assert_eq!(extra.text(), "hello");
            pod.kill("proxy");
        }
        let restarts = ["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"];
        cluster
            .wait_for("both to be started again", || std::future::ready(cluster.kubectl(&restarts) == "1 1"))
            .await;
        cluster.wait_ready("default", "app=gateway", 2).await;
    });
}
