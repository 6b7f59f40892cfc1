//! Every kind comes, changes and goes while requests flow; a file beside the cluster wins; CRDs come late and go.

use umbra_testkit::client::Ask;
use umbra_testkit::cluster::Mesh;
use umbra_testkit::cluster::stage::on_cluster;

use super::manifests::{plain, service};
use super::web::{self, SUBSETS, rule, wait_endpoints, wait_share};

/// The port of the gateway: no Service has it.
const DOOR: u16 = 8090;

/// A Gateway that admits this host, on [`DOOR`].
fn door(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata: {{name: door}}
spec:
  selector: {{istio: door}}
  servers: [{{port: {{number: {DOOR}, name: http, protocol: HTTP}}, hosts: [{host}]}}]
"
    )
}

/// What the gateway does for shop.example.
const SHOP: &str = "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [door]
  http: [{route: [{destination: {host: web, subset: v1}}]}]
";

/// ext.example, outside the cluster for all that Kubernetes knows, at this address.
fn entry(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {{name: ext}}
spec:
  hosts: [ext.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 8001, name: http, protocol: HTTP, targetPort: 8080}}]
  endpoints: [{{address: {address}}}]
"
    )
}

/// vm.example, on machines that are no Pods.
const MACHINES: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm}
spec:
  hosts: [vm.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8002, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {kind: machine}}
";

/// Proxies of `default` can call these Services of theirs, and nobody else.
fn only(services: &[&str]) -> String {
    let hosts: Vec<String> =
        services.iter().map(|name| format!("./{name}.default.svc.cluster.local")).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: only}}
spec: {{egress: [{{hosts: [{}]}}]}}
",
        hosts.join(", ")
    )
}

/// Such a machine, at this address.
fn machine(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1beta1
kind: WorkloadEntry
metadata: {{name: vm}}
spec: {{address: {address}, labels: {{kind: machine}}}}
"
    )
}

/// Waits until a request through an Envoy is answered by this version; `-` is a refusal of any kind.
async fn wait_answer(mesh: &Mesh, proxy: &str, port: u16, host: &str, server: &str) {
    let ask = Ask::get(host, "/");
    mesh.wait_for(&format!("{host} at {proxy} to be answered by {server}"), || async {
        match mesh.client(proxy, port).ask(&ask).await {
            Ok(answer) if answer.status == 200 => answer.served_by() == server,
            _ => server == "-",
        }
    })
    .await;
}

#[test]
fn every_kind_comes_changes_and_goes() {
    on_cluster(|cluster| async move {
        let mut mesh = web::start(&cluster).await;
        cluster.apply(&plain("door", "app: door, istio: door", "pause", 0));
        let pods = cluster.wait_ready("default", "app=door", 1).await;
        mesh.start_proxy("router", &pods[0]).await;
        let traffic = web::traffic(&mesh);

        cluster.apply(&door("shop.example"));
        cluster.apply(SHOP);
        wait_answer(&mesh, "door", DOOR, "shop.example", "v1").await;
        cluster.apply(&door("other.example"));
        wait_answer(&mesh, "door", DOOR, "shop.example", "-").await;
        cluster.apply(&door("'*.example'"));
        wait_answer(&mesh, "door", DOOR, "shop.example", "v1").await;
        cluster.apply(&SHOP.replace("subset: v1", "subset: v2"));
        wait_answer(&mesh, "door", DOOR, "shop.example", "v2").await;
        cluster.kubectl(&["delete", "virtualservice", "shop"]);
        wait_answer(&mesh, "door", DOOR, "shop.example", "-").await;
        cluster.apply(SHOP);
        wait_answer(&mesh, "door", DOOR, "shop.example", "v1").await;
        cluster.kubectl(&["delete", "gateway.networking.istio.io", "door"]);
        wait_answer(&mesh, "door", DOOR, "shop.example", "-").await;

        let address = |version: &str| {
            let pods = cluster.agent().pods("default", &format!("app=web,version={version}"));
            pods[0].address().expect("an address").to_string()
        };
        for version in ["v2", "v1"] {
            cluster.apply(&entry(&address(version)));
            wait_answer(&mesh, "client", 8001, "ext.example:8001", version).await;
        }
        cluster.kubectl(&["delete", "serviceentry", "ext"]);
        wait_answer(&mesh, "client", 8001, "ext.example:8001", "-").await;

        cluster.apply(MACHINES);
        for version in ["v2", "v1"] {
            cluster.apply(&machine(&address(version)));
            wait_answer(&mesh, "client", 8002, "vm.example:8002", version).await;
        }
        cluster.kubectl(&["delete", "workloadentry", "vm"]);
        wait_answer(&mesh, "client", 8002, "vm.example:8002", "-").await;

        // A Service goes and comes: its own requests have nowhere to go meanwhile, others do not notice.
        cluster.apply(&service("second", "web"));
        mesh.wait_status("client", 8000, &Ask::get("second:8000", "/"), 200).await;
        // A Sidecar says what can be called.
        for (host, status) in [("web", 404), ("second", 200), ("web", 404)] {
            cluster.apply(&only(&["web", host]));
            mesh.wait_status("client", 8000, &Ask::get("second:8000", "/"), status).await;
        }
        cluster.kubectl(&["delete", "sidecar", "only"]);
        mesh.wait_status("client", 8000, &Ask::get("second:8000", "/"), 200).await;
        cluster.kubectl(&["delete", "service", "second"]);
        mesh.wait_status("client", 8000, &Ask::get("second:8000", "/"), 404).await;

        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.assert_clean().await;
    });
}

/// Waits until umbra says something with this code about the rule `web`.
async fn wait_said(mesh: &Mesh, code: &str, said: bool) {
    mesh.wait_for(&format!("{code}: {said}"), || async {
        let all = mesh.get("/debug/diagnostics").await.unwrap_or_default();
        all.contains(code) == said
    })
    .await;
}

#[test]
fn a_file_beside_the_cluster_wins() {
    on_cluster(|cluster| async move {
        let folder = cluster.folder().join("files");
        std::fs::create_dir(&folder).expect("a folder");
        let flag = folder.to_str().expect("a path in UTF-8");
        let mesh = web::start_with(&cluster, &["--dir", flag]).await;
        let traffic = web::traffic(&mesh);
        wait_said(&mesh, "DuplicateObject", false).await;

        std::fs::write(folder.join("web.yaml"), rule(50.0)).expect("a file");
        wait_share(&mesh, 50.0).await;
        wait_said(&mesh, "DuplicateObject", true).await;
        cluster.apply(&rule(25.0));
        // Something after it that can be seen: the rule in between was read, and did not count.
        let more = SUBSETS.replace("  - {name: v2", "  - {name: v3, labels: {version: v3}}\n  - {name: v2");
        cluster.apply(&more);
        mesh.wait_for("the subset v3", || async {
            let clusters = mesh.proxy("client").get("/clusters").await.unwrap_or_default();
            clusters.contains("outbound|8000|v3|")
        })
        .await;
        wait_share(&mesh, 50.0).await;

        std::fs::remove_file(folder.join("web.yaml")).expect("a file");
        wait_share(&mesh, 25.0).await;
        wait_said(&mesh, "DuplicateObject", false).await;
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.assert_clean().await;
    });
}

/// Waits until `/readyz?verbose` has a line with all of these words.
async fn wait_readyz(mesh: &Mesh, words: &[&str]) {
    mesh.wait_for(&format!("{words:?} in /readyz?verbose"), || async {
        let text = mesh.get("/readyz?verbose").await.unwrap_or_default();
        text.lines().any(|line| words.iter().all(|word| line.contains(word)))
    })
    .await;
}

const CRD: &str = "virtualservices.networking.istio.io";

/// Without CRDs umbra is ready: nobody can have written a rule. They are picked up when they come, and when they go
/// their objects go with them, but nothing else.
#[test]
fn crds_come_late_and_go() {
    on_cluster(|cluster| async move {
        let mut mesh = web::start_workloads(&cluster, &[]).await;
        let traffic = web::traffic(&mesh);
        wait_readyz(&mesh, &["VirtualService", "no objects"]).await;
        cluster.install_crds("istio");
        // The rule after the subsets that it names: until they are there, its requests have nowhere to go.
        cluster.apply(SUBSETS);
        wait_endpoints(&mesh, "v1", 3).await;
        cluster.apply(&rule(100.0));
        wait_share(&mesh, 100.0).await;

        cluster.kubectl(&["delete", "crd", CRD]);
        mesh.wait_routes("client", "no mirror without its rule", |r| !r.contains("mirror|")).await;
        wait_readyz(&mesh, &["VirtualService", "degraded"]).await;
        cluster.install_crds("istio");
        cluster.apply(&rule(50.0));
        wait_share(&mesh, 50.0).await;
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.assert_clean().await;
    });
}
