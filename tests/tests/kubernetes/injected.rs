//! The user documents word for word: their Deployments through `umbra kube-inject -f - | kubectl create -f -`, and the client
//! calls the Service's own name and port from inside of its Pod.

use std::io::Write;
use std::process::{Command, Stdio};

use umbra_testkit::client::{Ask, Client, send};
use umbra_testkit::cluster::stage::on_cluster_with_users;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::echo::Record;
use umbra_testkit::net::Net;
use umbra_testkit::paths;

use super::chart::NAMESPACE;
use super::documents::{as_apps_v1, two_rules};
use super::injection::install;
use super::manifests::{plain, plain_service};

/// `umbra kube-inject -f -`, with umbra where this cluster's is.
fn inject(cluster: &Cluster, manifests: &str) -> String {
    let mut command = Command::new(paths::umbra().unwrap_or_else(|e| panic!("{e:#}")));
    command.args(["kube-inject", "-f", "-", "--server", &cluster.plane.site().xds.to_string()]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("umbra starts");
    child.stdin.take().expect("its input").write_all(manifests.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("umbra ends");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// The requests that reached the living Pods of a version of httpbin.
fn at(cluster: &Cluster, version: &str) -> Vec<Record> {
    let pods = cluster.agent().pods("default", &format!("app=httpbin,version={version}"));
    pods.iter().flat_map(|pod| pod.requests()).collect()
}

/// How the sidecars come into the Pods.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// `umbra kube-inject`; umbra runs beside the cluster.
    KubeInject,
    /// The label of the namespace, and umbra as the chart installs it: the guide's way.
    Label,
}

/// All requests to v1, then a copy of each to v2, both logs as the document shows them.
fn check(example: &'static str, port: u16, by: By) -> impl AsyncFnOnce(Cluster) {
    async move |cluster: Cluster| {
        let read = |file: &str| {
            let path = paths::example(example).join(file);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let (_mesh, workloads) = match by {
            By::KubeInject => {
                cluster.install_crds("istio");
                let mesh = Mesh::start(&cluster, &cluster.admin(), &[]).await;
                // What is as old as `extensions/v1beta1` is injected too; no API server takes it any more.
                let workloads = as_apps_v1(&inject(&cluster, &read("mesh/workloads.yaml")));
                (Some(mesh.unwrap_or_else(|e| panic!("{e:#}"))), workloads)
            }
            By::Label => {
                install(&cluster, &[]).await;
                cluster.kubectl(&["label", "namespace", "default", "istio-injection=enabled"]);
                (None, as_apps_v1(&read("mesh/workloads.yaml")))
            }
        };
        let created = cluster.admin().on_manifests(&["create"], &workloads);
        created.unwrap_or_else(|e| panic!("{e:#}"));
        cluster.wait_ready("default", "app=httpbin", 2).await;
        let sleep = cluster.wait_ready("default", "app=sleep", 1).await;
        let sleep = sleep[0].clone();
        let (host, url) = (format!("httpbin:{port}"), format!("http://httpbin:{port}/headers"));
        let curl = async |n: usize| sleep.curl(&url, n).await.unwrap_or_else(|e| panic!("{e:#}"));
        cluster.apply(&read("mesh/virtualservice.yaml"));
        cluster.apply(&read("mesh/destinationrule.yaml"));
        cluster
            .wait_for("the route to v1", || async {
                let tally = curl(5).await;
                tally.all_ok(5) && tally.by("v1") == 5
            })
            .await;
        assert!(at(&cluster, "v1").iter().all(|record| record.host == host));
        cluster.apply(&read("steps/mirror.yaml"));
        cluster
            .wait_for("copies", || async {
                cluster.agent().forget();
                curl(1).await;
                !at(&cluster, "v2").is_empty()
            })
            .await;
        cluster.agent().forget();
        let tally = curl(20).await;
        assert!(tally.all_ok(20) && tally.by("v1") == 20, "{tally:?}");
        cluster.wait_for("a copy of each", || std::future::ready(at(&cluster, "v2").len() >= 20)).await;
        let shadow = format!("httpbin-shadow:{port}");
        assert!(at(&cluster, "v2").iter().all(|copy| copy.host == shadow && copy.path == "/headers"));
        assert!(at(&cluster, "v1").iter().all(|record| record.host == host));
    }
}

/// The httpbin mirror.
#[test]
fn httpbin_mirror() {
    on_cluster_with_users(
        |cluster| async move { check("httpbin-mirror", 8000, By::KubeInject)(cluster).await },
    );
}

/// Istio's task, whose Deployments are of `extensions/v1beta1`.
#[test]
fn istio_task() {
    on_cluster_with_users(|cluster| async move { check("istio-task", 8080, By::KubeInject)(cluster).await });
}

/// The httpbin mirror, by the label of its namespace: the way of the guide.
#[test]
fn httpbin_mirror_by_label() {
    on_cluster_with_users(|cluster| async move { check("httpbin-mirror", 8000, By::Label)(cluster).await });
}

/// The same of the task.
#[test]
fn istio_task_by_label() {
    on_cluster_with_users(|cluster| async move { check("istio-task", 8080, By::Label)(cluster).await });
}

/// Two rules on one gateway: `kubectl apply -f <(kube-inject -f k8s.yaml) -n test`, and requests through the gateway.
#[test]
fn two_rules_on_one_gateway() {
    on_cluster_with_users(|cluster| async move { two_rules(cluster, inject).await });
}

/// The same by the label of its namespace: umbra, its injector and the gateway are the chart's.
#[test]
fn two_rules_on_one_gateway_by_label() {
    on_cluster_with_users(|cluster| async move {
        install(&cluster, &["--set", "gateway.enabled=true,gateway.replicas=1"]).await;
        cluster.kubectl(&["create", "namespace", "test"]);
        cluster.kubectl(&["label", "namespace", "test", "istio-injection=enabled"]);
        let workloads = plain("proxy", "app: proxy, version: v1", "service-proxy:go", 8090)
            + &plain("target", "app: target, version: v1", "service-proxy:go", 8090)
            + &plain("target2", "app: target, version: v2", "service-proxy:go-2", 8090)
            + &plain_service("proxy", "app: proxy", 80, 8090)
            + &plain_service("target", "app: target", 80, 8090);
        let on = |verb: &str, manifests: &str| {
            let done = cluster.admin().on_manifests(&[verb, "-n", "test"], manifests);
            done.unwrap_or_else(|e| panic!("{e:#}"));
        };
        on("apply", &workloads);
        for pod in cluster.wait_ready("test", "", 3).await {
            assert!(!pod.log("istio-proxy").is_empty(), "{} has no sidecar", pod.name);
        }
        let path = paths::example("two-rules-on-one-gateway").join("mesh/document.yaml");
        on("create", &std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        let gateway = cluster.wait_ready(NAMESPACE, "app.kubernetes.io/component=gateway", 1).await;
        let address = (gateway[0].address().expect("an address"), 80).into();
        let count = |selector: &str| -> Vec<Record> {
            cluster.agent().pods("test", selector).iter().flat_map(|pod| pod.requests()).collect()
        };
        let (first, second) = ("app=target,version=v1", "app=target,version=v2");
        let ask = Ask::get("10.108.228.41", "/target/index");
        cluster
            .wait_for("the first rule's copies", || async {
                cluster.agent().forget();
                let answer = Client::new(&Net::here(), address).ask(&ask).await;
                answer.is_ok_and(|answer| answer.status == 200 && answer.served_by() == "v1")
                    && !count(second).is_empty()
            })
            .await;
        cluster.agent().forget();
        let tally = send(&Net::here(), address, &ask, 50).await;
        assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
        cluster.wait_for("a copy of each", || std::future::ready(count(second).len() >= 50)).await;
        assert!(count(first).iter().chain(&count(second)).all(|record| record.path == "/index"));
        cluster.agent().forget();
        let tally = send(&Net::here(), address, &Ask::get("any.example", "/proxy/proxy?url=x"), 20).await;
        assert!(tally.all_ok(20), "{tally:?}");
        assert_eq!((count("app=proxy").len(), count("app=target").len()), (20, 0));
    });
}

/// A Job whose Pod has a sidecar calls by name, ends, and is complete: the sidecar ends after it.
#[test]
fn a_job_ends() {
    on_cluster_with_users(|cluster| async move {
        cluster.install_crds("istio");
        let mesh = Mesh::start(&cluster, &cluster.admin(), &[]).await;
        let _mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        cluster.apply(
            &(plain("web", "app: web, version: v1", "web", 8080)
                + &plain_service("web", "app: web", 80, 8080)),
        );
        cluster.wait_ready("default", "app=web", 1).await;
        for (name, url, condition) in
            [("good", "http://web/", "Complete"), ("bad", "http://web:81/nobody", "Failed")]
        {
            let job = format!(
                "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      restartPolicy: Never
      containers:
      - {{name: call, image: curlimages/curl, command: [curl, -sSf, -m, '60', --retry, '0', '{url}']}}
"
            );
            cluster.apply(&inject(&cluster, &job));
            let wanted = format!("--for=condition={condition}");
            cluster.kubectl(&["wait", &wanted, "--timeout=240s", &format!("job/{name}")]);
            let pods = cluster.agent().all("default", &format!("app={name}"));
            assert!(pods.len() == 1 && pods[0].is_ended(), "{} Pods", pods.len());
            let path = "jsonpath={.items[0].status.phase}";
            let phase = cluster.kubectl(&["get", "pods", "-l", &format!("app={name}"), "-o", path]);
            assert_eq!(
                phase,
                if condition == "Complete" { "Succeeded" } else { "Failed" },
                "{}",
                pods[0].log("call")
            );
            assert!(!pods[0].log("istio-proxy").is_empty());
        }
        let web = cluster.agent().pods("default", "app=web");
        assert_eq!(web.iter().map(|pod| pod.requests().len()).sum::<usize>(), 1);
    });
}

/// While umbra is away a new Pod neither runs uncaptured nor fails for good: its application waits, and starts when
/// umbra is there.
#[test]
fn a_pod_that_starts_while_umbra_is_away() {
    on_cluster_with_users(|cluster| async move {
        cluster.install_crds("istio");
        let path = paths::example("httpbin-mirror").join("mesh/workloads.yaml");
        let workloads = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        cluster.apply(&as_apps_v1(&inject(&cluster, &workloads)));
        let state = || {
            let path = "jsonpath={.items[0].status.containerStatuses[0].state}";
            cluster.kubectl(&["get", "pods", "-l", "app=sleep", "-o", path])
        };
        cluster
            .wait_for("its sidecar to look for umbra", || async {
                let pods = cluster.agent().pods("default", "app=sleep");
                pods.first().is_some_and(|pod| pod.log("istio-proxy").contains("remote connection failure"))
            })
            .await;
        let application = state();
        assert!(!application.contains("running"), "{application}");
        let mesh = Mesh::start(&cluster, &cluster.admin(), &[]).await;
        let _mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        cluster.wait_ready("default", "app=sleep", 1).await;
        assert!(state().contains("running"));
    });
}
