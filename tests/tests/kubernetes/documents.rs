//! The user documents' manifests, applied by `kubectl` in the order that the documents tell, through to their clean-up.
//! Where a document says `kubectl exec` or `logs`, the test drives the client and reads the echo's records.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use umbra_testkit::client::Ask;
use umbra_testkit::cluster::agent::PodState;
use umbra_testkit::cluster::site::HOST;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh};
use umbra_testkit::dns::Dns;
use umbra_testkit::echo::Record;
use umbra_testkit::net::Net;
use umbra_testkit::{paths, share};

use super::manifests::{plain, plain_service};

/// A file of `deploy/examples`.
fn read(file: &str) -> String {
    let path = paths::example(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// umbra with the settings of an example, on Istio's own CRDs.
async fn start(cluster: &Cluster, example: &str) -> Mesh {
    cluster.install_crds("istio");
    let settings = paths::example(example).join("umbra.yaml");
    let flags = ["--config", settings.to_str().expect("a path in UTF-8")];
    Mesh::start(cluster, &cluster.admin(), &flags).await.unwrap_or_else(|e| panic!("{e:#}"))
}

/// What a person does to a Deployment of `extensions/v1beta1`, which no API server serves any more.
pub(super) fn as_apps_v1(manifests: &str) -> String {
    let correct = |text: &str| {
        let mut object: Value = serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        if object["apiVersion"] == "extensions/v1beta1" {
            object["apiVersion"] = "apps/v1".into();
            object["spec"]["selector"]["matchLabels"] =
                object["spec"]["template"]["metadata"]["labels"].clone();
        }
        format!("{object}\n---\n")
    };
    manifests.split("\n---\n").map(correct).collect()
}

/// The requests that reached the living Pods with these labels.
fn at(cluster: &Cluster, namespace: &str, selector: &str) -> Vec<Record> {
    cluster.agent().pods(namespace, selector).iter().flat_map(|pod| pod.requests()).collect()
}

/// `kubectl VERB -f -`.
#[track_caller]
fn kubectl(cluster: &Cluster, verb: &[&str], manifests: &str) {
    cluster.admin().on_manifests(verb, manifests).unwrap_or_else(|e| panic!("{e:#}"));
}

/// A gateway's Pod, and an Envoy in it. Others know it by the label `app`.
async fn gateway(cluster: &Cluster, mesh: &mut Mesh) {
    cluster.kubectl(&["create", "namespace", "istio-system"]);
    let pod = plain("istio-ingressgateway", "app: gateway, istio: ingressgateway", "pause", 0);
    kubectl(cluster, &["apply", "-n", "istio-system"], &pod);
    let pods = cluster.wait_ready("istio-system", "istio=ingressgateway", 1).await;
    mesh.start_proxy("router", &pods[0]).await;
}

const V1: &str = "app=httpbin,version=v1";
const V2: &str = "app=httpbin,version=v2";

/// 000: all requests to v1, then a copy of every one to v2, then a sample of them, then the rules are deleted.
#[test]
fn httpbin_mirror() {
    on_cluster(|cluster| async move {
        let mut mesh = start(&cluster, "httpbin-mirror").await;
        kubectl(&cluster, &["create"], &read("httpbin-mirror/mesh/workloads.yaml"));
        cluster.wait_ready("default", "app=httpbin", 2).await;
        let sleep = cluster.wait_ready("default", "app=sleep", 1).await;
        mesh.start_proxy("sidecar", &sleep[0]).await;
        cluster.apply(&read("httpbin-mirror/mesh/virtualservice.yaml"));
        cluster.apply(&read("httpbin-mirror/mesh/destinationrule.yaml"));
        let ask = Ask::get("httpbin:8000", "/headers");
        mesh.wait_routes("sleep", "the route to v1", |routes| routes.contains("|v1|httpbin")).await;
        // The rule may arrive before the subset that it names.
        mesh.wait_targets("sleep", "|httpbin.default").await;
        mesh.wait_status("sleep", 8000, &ask, 200).await;
        cluster.agent().forget();
        let tally = mesh.send("sleep", 8000, &ask, 50).await;
        assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
        assert!(at(&cluster, "default", V2).is_empty(), "no copies before there is a mirror");

        let mirror = read("httpbin-mirror/steps/mirror.yaml");
        for percent in [100, 25, 0, 60] {
            cluster.apply(&mirror.replace("Percent: 100", &format!("Percent: {percent}")));
            mesh.wait_share("sleep", "mirror/default/httpbin/", percent * 10_000).await;
            mesh.wait_targets("sleep", "|httpbin.default").await;
            cluster.agent().forget();
            let tally = mesh.send("sleep", 8000, &ask, 500).await;
            assert!(tally.all_ok(500) && tally.by("v1") == 500, "{tally:?}");
            let copies = at(&cluster, "default", V2);
            let expected = share::expected(500, f64::from(percent) / 100.0);
            assert!(expected.contains(&copies.len()), "{percent} %: {}", copies.len());
            assert!(copies.iter().all(|r| r.host == "httpbin-shadow:8000" && r.path == "/headers"));
            assert!(at(&cluster, "default", V1).iter().all(|r| r.host == "httpbin:8000"));
        }

        cluster.kubectl(&["delete", "virtualservice", "httpbin"]);
        cluster.kubectl(&["delete", "destinationrule", "httpbin"]);
        let plain =
            |routes: &str| routes.contains("outbound|8000||httpbin.default") && !routes.contains("mirror|");
        mesh.wait_routes("sleep", "routes without the deleted rules", plain).await;
        cluster.agent().forget();
        let tally = mesh.send("sleep", 8000, &ask, 40).await;
        assert!(tally.all_ok(40), "{tally:?}");
        assert_eq!(at(&cluster, "default", "app=httpbin").len(), 40, "no copies");
        mesh.assert_clean().await;
        cluster.kubectl(&["delete", "deploy", "httpbin-v1", "httpbin-v2", "sleep"]);
        cluster.kubectl(&["delete", "svc", "httpbin"]);
        cluster.wait_for("the Pods to go", || std::future::ready(cluster.agent().living().is_empty())).await;
    });
}

/// 001: Istio's task: port 8080 for Service and Pods, `create` and `replace`, no percentage means every request.
#[test]
fn istio_task() {
    on_cluster(|cluster| async move {
        let mut mesh = start(&cluster, "istio-task").await;
        let workloads = read("istio-task/mesh/workloads.yaml");
        let out = cluster.admin().try_kubectl(&["create", "-f", "-"], &workloads).expect("kubectl runs");
        assert!(String::from_utf8_lossy(&out.stderr).contains("no matches for kind \"Deployment\""));
        kubectl(&cluster, &["apply"], &as_apps_v1(&workloads));
        cluster.wait_ready("default", "app=httpbin", 2).await;
        let sleep = cluster.wait_ready("default", "app=sleep", 1).await;
        mesh.start_proxy("sidecar", &sleep[0]).await;
        kubectl(&cluster, &["create"], &read("istio-task/mesh/virtualservice.yaml"));
        kubectl(&cluster, &["create"], &read("istio-task/mesh/destinationrule.yaml"));
        let ask = Ask::get("httpbin:8080", "/headers");
        mesh.wait_routes("sleep", "the route to v1", |routes| routes.contains("|v1|httpbin")).await;
        mesh.wait_targets("sleep", "|httpbin.default").await;
        mesh.wait_status("sleep", 8080, &ask, 200).await;
        cluster.agent().forget();
        let answer = mesh.ask("sleep", 8080, &ask).await;
        let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(body["headers"]["Host"], "httpbin:8080");
        assert_eq!((at(&cluster, "default", V1).len(), at(&cluster, "default", V2).len()), (1, 0));

        kubectl(&cluster, &["replace"], &read("istio-task/steps/mirror.yaml"));
        mesh.wait_share("sleep", "mirror/default/httpbin/", 1_000_000).await;
        mesh.wait_targets("sleep", "|httpbin.default").await;
        let tally = mesh.send("sleep", 8080, &ask, 100).await;
        assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
        let copies = at(&cluster, "default", V2);
        assert!(copies.len() == 100 && copies.iter().all(|r| r.host == "httpbin-shadow:8080"), "{copies:?}");
        cluster.kubectl(&["delete", "virtualservice", "httpbin"]);
        cluster.kubectl(&["delete", "destinationrule", "httpbin"]);
        mesh.wait_routes("sleep", "routes without a mirror", |routes| !routes.contains("mirror|")).await;
        mesh.assert_clean().await;
        cluster.kubectl(&["delete", "deploy", "httpbin-v1", "httpbin-v2", "sleep"]);
        cluster.kubectl(&["delete", "svc", "httpbin"]);
    });
}

/// What a person does to names that no API server takes: object names and namespaces in lower case, and a destination's
/// host with them, since it names those.
fn in_lower_case(manifests: &str) -> String {
    let lower = |line: &str| {
        let field = line.trim_start().trim_start_matches("- ");
        let names_an_object =
            ["name: cluster", "namespace: ", "host: clusterA.A.svc", "host: clusterB.B.svc"];
        if names_an_object.iter().any(|start| field.starts_with(start)) {
            line.to_lowercase()
        } else {
            line.to_owned()
        }
    };
    manifests.lines().map(|line| lower(line) + "\n").collect()
}

const HOST_A: &str = "clusterA.cn-bj.A.mycompany.com";
const HOST_B: &str = "clusterB.cn-bj.B-staging.mycompany.com";

/// A cluster of 002: an application in a namespace of its own, umbra, and the Pod of the gateway, without its Envoy.
async fn internal_gateway(cluster: &Cluster, side: &str) -> (Mesh, Arc<PodState>) {
    let mesh = start(cluster, "cross-cluster-mirror").await;
    cluster.kubectl(&["create", "namespace", side]);
    cluster.kubectl(&["create", "namespace", "istio-system"]);
    let (name, labels) = (format!("cluster{side}"), format!("app: cluster{side}"));
    let workloads = plain(&name, &labels, "app", 8080) + &plain_service(&name, &labels, 8000, 8080);
    kubectl(cluster, &["apply", "-n", side], &workloads);
    let gateway = plain("internal-gateway", "app: gateway, istio: internal-gateway", "pause", 0);
    kubectl(cluster, &["apply", "-n", "istio-system"], &gateway);
    cluster.wait_ready(side, "", 1).await;
    let pods = cluster.wait_ready("istio-system", "istio=internal-gateway", 1).await;
    (mesh, pods[0].clone())
}

/// The bootstrap with the test's own DNS server: umbra leaves the resolver to the bootstrap.
fn with_dns(bootstrap: &str) -> String {
    let mut config: Value = serde_saphyr::from_str(bootstrap).expect("YAML");
    let address = json!({"socket_address": {"address": HOST.to_string(), "port_value": 53}});
    config["typed_dns_resolver_config"] = json!({"name": "envoy.network.dns_resolver.cares", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [address],
    }});
    config.to_string()
}

/// 002: two clusters with an API server, an umbra and a gateway each, and DNS between them.
#[test]
fn cross_cluster_mirror() {
    on_cluster(|a| async move {
        let b = Cluster::second().await.unwrap_or_else(|e| panic!("{e:#}"));
        let (mut mesh_b, pod_b) = internal_gateway(&b, "b").await;
        let document_b = in_lower_case(&read("cross-cluster-mirror/cluster-b/mesh/document.yaml"));
        b.apply(&document_b);
        mesh_b.start_proxy("router", &pod_b).await;
        let address = pod_b.address().expect("an address");
        let _dns = Dns::start(&Net::here(), (HOST, 53).into(), &[(HOST_B, address)]).expect("DNS");

        let (mut mesh_a, pod_a) = internal_gateway(&a, "a").await;
        let gateway = document_b.split("---\n").next().expect("a Gateway").replace(HOST_B, HOST_A);
        a.apply(&gateway);
        let document_a = in_lower_case(&read("cross-cluster-mirror/cluster-a/mesh/document.yaml"));
        a.apply(&document_a);
        mesh_a.start_proxy_with("router", &pod_a, |bootstrap| with_dns(&bootstrap)).await;
        mesh_a.wait_share("gateway", "mirror/a/clustera/", 500_000).await;
        mesh_a.wait_targets("gateway", "|").await;
        mesh_b.wait_targets("gateway", "|").await;
        let shadow = format!("{HOST_B}-shadow:8000").to_lowercase();
        mesh_b.wait_status("gateway", 8000, &Ask::get(&shadow, "/"), 200).await;
        mesh_a.wait_status("gateway", 8000, &Ask::get(HOST_A, "/"), 200).await;
        mesh_a.settle().await;
        a.agent().forget();
        b.agent().forget();

        let ask = Ask::post(HOST_A, "/rcmd.music_channel.MusicSongKtv/GetKtvLikeSong", "hello, world");
        let tally = mesh_a.send("gateway", 8000, &ask, 1000).await;
        assert!(tally.all_ok(1000), "{tally:?}");
        mesh_b.settle().await;
        assert_eq!(at(&a, "a", "app=clustera").len(), 1000);
        let copies = at(&b, "b", "app=clusterb");
        assert!(share::expected(1000, 0.5).contains(&copies.len()), "{} copies", copies.len());
        assert!(
            copies.iter().all(|r| r.host.to_lowercase() == shadow && r.body_length == 12),
            "{:?}",
            copies[0]
        );
        // What the reader of the document greps for in the log of B's gateway.
        mesh_b
            .wait_for("a line with -shadow in the gateway's log for each copy", || async {
                let log = mesh_b.proxy("gateway").process().log();
                let shadows = |l: &&str| l.contains("-shadow:8000") && l.contains("GetKtvLikeSong");
                log.lines().filter(shadows).count() == copies.len()
            })
            .await;
        mesh_a.assert_clean().await;
        mesh_b.assert_clean().await;
        kubectl(&a, &["delete"], &document_a);
        kubectl(&b, &["delete"], &document_b);
    });
}

/// 003: two VirtualServices and, for one host, two DestinationRules; one command takes everything away.
#[test]
fn two_rules_on_one_gateway() {
    on_cluster(|cluster| async move { two_rules(cluster, |_, workloads| workloads.to_owned()).await });
}

/// The test, with what `change` makes of the workloads.
pub(super) async fn two_rules(cluster: Cluster, change: fn(&Cluster, &str) -> String) {
    let mut mesh = start(&cluster, "two-rules-on-one-gateway").await;
    cluster.kubectl(&["create", "namespace", "test"]);
    let workloads = plain("proxy", "app: proxy, version: v1", "service-proxy:go", 8090)
        + &plain("target", "app: target, version: v1", "service-proxy:go", 8090)
        + &plain("target2", "app: target, version: v2", "service-proxy:go-2", 8090)
        + &plain_service("proxy", "app: proxy", 80, 8090)
        + &plain_service("target", "app: target", 80, 8090);
    kubectl(&cluster, &["apply", "-n", "test"], &change(&cluster, &workloads));
    cluster.wait_ready("test", "", 3).await;
    gateway(&cluster, &mut mesh).await;
    kubectl(&cluster, &["create", "-n", "test"], &read("two-rules-on-one-gateway/mesh/document.yaml"));
    let ask = Ask::get("10.108.228.41", "/target/index");
    mesh.wait_share("gateway", "mirror/test/target/", 1_000_000).await;
    mesh.wait_targets("gateway", "|").await;
    mesh.wait_status("gateway", 80, &ask, 200).await;
    mesh.settle().await;
    cluster.agent().forget();

    let tally = mesh.send("gateway", 80, &ask, 100).await;
    assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
    let requests = at(&cluster, "test", "app=target,version=v1");
    let copies = at(&cluster, "test", "app=target,version=v2");
    assert_eq!((requests.len(), copies.len(), at(&cluster, "test", "app=proxy").len()), (100, 100, 0));
    assert!(requests.iter().chain(&copies).all(|r| r.path == "/index"), "{:?}", requests[0]);
    let tally = mesh.send("gateway", 80, &Ask::get("any.example", "/proxy/proxy?url=x"), 50).await;
    assert!(tally.all_ok(50), "{tally:?}");
    assert_eq!(at(&cluster, "test", "app=proxy").len(), 50);
    assert_eq!(at(&cluster, "test", "app=target").len(), 200, "the other rule's mirror stays out of it");
    mesh.assert_clean().await;

    cluster.kubectl(&["delete", "namespace/test"]);
    // The Gateway went with its namespace, and its port with it.
    mesh.wait_for("the gateway to serve nobody", || async {
        mesh.client("gateway", 80).ask(&ask).await.is_ok_and(|a| a.status == 404)
            || mesh.proxy("gateway").listeners().await.is_ok_and(|l| !l.values().any(|a| a.ends_with(":80")))
    })
    .await;
}

/// 004: a canary gets copies, then growing weights; the primary is upgraded. Requests flow all the time, and none fails.
#[test]
fn canary() {
    on_cluster(|cluster| async move {
        let mut mesh = start(&cluster, "canary").await;
        let versions = ["v1", "v2", "v3"].map(|version| {
            let labels = format!("app: reviews, version: {version}");
            plain(&format!("reviews-{version}"), &labels, &format!("reviews:{version}"), 9080)
        });
        cluster.apply(&(versions.concat() + &plain_service("reviews", "app: reviews", 9080, 9080)));
        cluster.wait_ready("default", "app=reviews", 3).await;
        gateway(&cluster, &mut mesh).await;
        for file in ["gateway", "destinationrule", "virtualservice"] {
            cluster.apply(&read(&format!("canary/mesh/{file}.yaml")));
        }
        let ask = Ask::get("reviews.example", "/reviews/1");
        mesh.wait_share("gateway", "mirror/default/reviews/", 1_000_000).await;
        mesh.wait_targets("gateway", "|").await;
        mesh.wait_status("gateway", 8080, &ask, 200).await;
        mesh.settle().await;
        cluster.agent().forget();
        let tally = mesh.send("gateway", 8080, &ask, 300).await;
        assert!(tally.all_ok(300) && tally.by("v1") == 300, "{tally:?}");
        let copies = at(&cluster, "default", "version=v2");
        assert!(copies.len() == 300 && copies.iter().all(|r| r.host == "reviews.example-shadow"));

        let client = mesh.client("gateway", 8080);
        let traffic = Traffic::through(client, ask.clone(), Duration::from_millis(2));
        let weights = read("canary/steps/2-weights.yaml");
        for (old, new) in [(80, 20), (40, 60), (0, 100)] {
            let step = weights.replace("80 # [60, 40, 20, 0]", &old.to_string());
            cluster.apply(&step.replace("20 # [40, 60, 80, 100]", &new.to_string()));
            mesh.wait_share("gateway", "mirror/default/reviews/", 0).await;
            let wanted = share::expected(500, f64::from(new) / 100.0);
            mesh.wait_for(&format!("{new} % at the canary"), || async {
                let tally = mesh.send("gateway", 8080, &ask, 500).await;
                assert!(tally.all_ok(500), "{tally:?}");
                wanted.contains(&tally.by("v2"))
            })
            .await;
        }
        cluster.kubectl(&["set", "image", "deployment/reviews-v1", "reviews=reviews:v2"]);
        cluster.kubectl(&["rollout", "status", "deployment/reviews-v1", "--timeout=300s"]);
        cluster.apply(&read("canary/steps/3-promoted.yaml"));
        mesh.wait_routes("gateway", "the promoted rule without a mirror", |r| !r.contains("mirror|")).await;
        let tally = mesh.send("gateway", 8080, &ask, 200).await;
        assert!(tally.all_ok(200) && tally.by("v2") == 200, "{tally:?}");
        let all = traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(all.by("v3"), 0, "nothing goes to a version that no rule names");
        mesh.assert_clean().await;
        cluster.kubectl(&["delete", "virtualservice,destinationrule,service", "reviews"]);
        cluster.kubectl(&["delete", "deployment", "reviews-v1", "reviews-v2", "reviews-v3"]);
        mesh.wait_status("gateway", 8080, &ask, 404).await;
    });
}
