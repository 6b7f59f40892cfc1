//! What `kubectl get` and `kubectl describe` say about objects, by umbra with the rights of its ServiceAccount.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use umbra_testkit::cluster::agent::PodState;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh, PATIENCE};
use umbra_testkit::{paths, wait};

use super::manifests::plain;
use super::web::{PORT, SUBSETS, ask, rule};
use super::{rights, web};

/// umbra with the rights of its ServiceAccount and these further flags.
pub(crate) async fn umbra(cluster: &Cluster, flags: &[&str]) -> Mesh {
    let user = rights::umbra(cluster);
    Mesh::start(cluster, &user, flags).await.unwrap_or_else(|e| panic!("{e:#}"))
}

pub(crate) fn install_own_crds(cluster: &Cluster) {
    let file = paths::workspace().join("deploy/crds/networking.istio.io.yaml");
    cluster.admin().install_crds(&file).unwrap_or_else(|e| panic!("{e:#}"));
}

/// The Pods of `web` and a client, without any rule.
pub(crate) async fn workloads(cluster: &Cluster) -> Arc<PodState> {
    cluster.apply(&(web::workloads(1) + &plain("client", "app: client", "pause", 0)));
    cluster.wait_ready("default", "app=web", 2).await;
    cluster.wait_ready("default", "app=client", 1).await.remove(0)
}

fn object(cluster: &Cluster, kind: &str, name: &str) -> Value {
    cluster.admin().json(&[kind, name]).unwrap_or_else(|e| panic!("{e:#}"))
}

/// Conditions as `Accepted=True/Accepted`, sorted; with `generation`, only those about the present version.
fn conditions(object: &Value) -> Vec<String> {
    // What is counted of requests has tests of its own, and comes when it comes.
    all_conditions(object).into_iter().filter(|it| !it.starts_with("Observed=")).collect()
}

fn all_conditions(object: &Value) -> Vec<String> {
    let generation = &object["metadata"]["generation"];
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words: Vec<_> = all
        .filter(|c| c.get("observedGeneration").is_none_or(|g| g == generation))
        .map(|c| format!("{}={}/{}", text(&c["type"]), text(&c["status"]), text(&c["reason"])))
        .collect();
    words.sort();
    words
}

/// Waits until a VirtualService has this condition, among others, and gives it.
pub(crate) async fn wait_condition(cluster: &Cluster, mesh: &Mesh, name: &str, want: &str) -> Value {
    let look = || async {
        let now = object(cluster, "virtualservice", name);
        if all_conditions(&now).iter().any(|it| it == want) {
            return Some(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        None
    };
    wait::until(PATIENCE, look).await.unwrap_or_else(|| {
        let status = &object(cluster, "virtualservice", name)["status"];
        panic!("{name}: not {want} but {status:#}\n{}", mesh.log())
    })
}

/// The line about all mirrors, without what was seen of their copies.
fn mirrors(object: &Value) -> &str {
    let line = object["status"]["mirrors"].as_str().unwrap_or_default();
    line.split(", seen").next().unwrap_or_default()
}

/// The message of a condition.
pub(crate) fn message(object: &Value, kind: &str) -> String {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.filter(|c| c["type"] == kind).map(|c| c["message"].as_str().unwrap_or_default());
    found.collect()
}

/// Waits until the present version of an object has exactly these conditions, and gives the object.
pub(crate) async fn wait_conditions(
    cluster: &Cluster,
    mesh: &Mesh,
    kind: &str,
    name: &str,
    want: &[&str],
) -> Value {
    let look = || async {
        let now = object(cluster, kind, name);
        if conditions(&now) == want {
            return Some(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        None
    };
    wait::until(PATIENCE, look).await.unwrap_or_else(|| {
        panic!("{kind} {name}: not {want:?} but {:#}\n{}", object(cluster, kind, name)["status"], mesh.log())
    })
}

/// The table of `kubectl get`, without the age.
fn columns(cluster: &Cluster, kind: &str) -> String {
    let table = cluster.kubectl(&["get", kind]);
    let lines = table.lines().map(|line| line.rsplit_once("   ").map_or(line, |(row, _)| row).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

/// Events about an object: type, reason and how often.
pub(crate) fn events(cluster: &Cluster, name: &str) -> Vec<String> {
    let selector = format!("--field-selector=involvedObject.name={name},reportingComponent=umbra");
    let list = cluster.admin().json(&["events", &selector]).unwrap_or_else(|e| panic!("{e:#}"));
    let mut events: Vec<Value> = list["items"].as_array().cloned().unwrap_or_default();
    events.sort_by_key(|event| event["eventTime"].as_str().unwrap_or_default().to_owned());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |event: &Value| format!("{} {}", text(&event["type"]), text(&event["reason"]));
    events.iter().map(one).collect()
}

/// Waits until these are the Events about an object: umbra tells of a status once it is written.
async fn wait_events(cluster: &Cluster, name: &str, want: &[&str]) {
    cluster
        .wait_for(&format!("the Events {want:?} about {name}"), || {
            std::future::ready(events(cluster, name) == want)
        })
        .await;
}

const READY: [&str; 3] = ["Accepted=True/Accepted", "MirrorsReady=True/Ready", "Programmed=True/Live"];

/// A mirror to a subset that nobody defines is accepted and said to lead nowhere, until the DestinationRule comes.
#[test]
fn a_mirror_tells_what_it_lacks_until_it_has_it() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = umbra(&cluster, &[]).await;
        let client = workloads(&cluster).await;
        let route = "route: [{destination: {host: web}}]";
        cluster.apply(&rule(10.0).replace("route: [{destination: {host: web, subset: v1}}]", route));
        let want = ["Accepted=True/AcceptedWithWarnings", "MirrorsReady=False/SubsetNotFound"];
        let unknown = [want[0], want[1], "Programmed=Unknown/NoProxies"];
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &unknown).await;
        let words = message(&now, "MirrorsReady");
        for part in ["v2 10%", "spec.http[0].mirror", "subset"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let lacks = &now["status"]["validationMessages"][0]["type"];
        assert_eq!((&lacks["name"], &lacks["code"]), (&"SubsetNotFound".into(), &"IST0101".into()));
        wait_events(&cluster, "web", &["Warning MirrorsNotReady"]).await;
        let table = columns(&cluster, "virtualservice");
        assert!(table.contains("v2 10% (SubsetNotFound)"), "{table}");

        mesh.start_proxy("sidecar", &client).await;
        let reached = [want[0], want[1], "Programmed=True/Live"];
        wait_conditions(&cluster, &mesh, "virtualservice", "web", &reached).await;
        cluster.apply(SUBSETS);
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &READY).await;
        assert_eq!(message(&now, "Programmed"), "live on 1 of 1 proxies");
        assert_eq!(message(&now, "MirrorsReady"), "v2 10% to web subset v2: 1 endpoint");
        assert_eq!(now["status"]["validationMessages"], Value::Null);
        wait_events(&cluster, "web", &["Warning MirrorsNotReady", "Normal MirrorsReady"]).await;
        let table = columns(&cluster, "virtualservice");
        let cells: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
            .collect();
        assert_eq!(cells[0], ["NAME", "HOSTS", "GATEWAYS", "ACCEPTED", "MIRRORS"], "{table}");
        assert_eq!(cells[1], ["web", "[\"web\"]", "True", "v2 10% live 1/1"], "{table}");
        wait_conditions(
            &cluster,
            &mesh,
            "destinationrule",
            "web",
            &["Accepted=True/Accepted", "Programmed=True/Live"],
        )
        .await;
        mesh.wait_status("client", PORT, &ask(), 200).await;

        // A proxy that does not answer is waited for by its name.
        mesh.proxy("client").process().freeze(true).expect("asleep");
        cluster.apply(&rule(15.0));
        let waits = [READY[0], READY[1], "Programmed=False/Pending"];
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &waits).await;
        let words = message(&now, "Programmed");
        assert!(words.starts_with("live on 0 of 1 proxies: waiting for client-"), "{words}");
        assert_eq!(mirrors(&now), "v2 15% live 0/1");
        mesh.proxy("client").process().freeze(false).expect("awake");
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &READY).await;
        assert_eq!(mirrors(&now), "v2 15% live 1/1");

        // A mirror whose cluster Envoy refuses is not live, though its route is there.
        let bad = "{version: v2}, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /no/such/file}}}";
        cluster.apply(&SUBSETS.replace("{version: v2}}", bad));
        let refused = [READY[0], READY[1], "Programmed=False/Rejected"];
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &refused).await;
        let words = message(&now, "Programmed");
        assert!(
            words.contains("rejected cds/mirror|8000|v2|web") && words.contains("/no/such/file"),
            "{words}"
        );
        assert_eq!(mirrors(&now), "v2 15% live 0/1");
        cluster.apply(SUBSETS);
        wait_conditions(&cluster, &mesh, "virtualservice", "web", &READY).await;

        // Without mirrors nothing is said about mirrors.
        cluster.kubectl(&[
            "patch",
            "virtualservice",
            "web",
            "--type=json",
            "-p",
            r#"[{"op": "remove", "path": "/spec/http/0/mirror"}, {"op": "remove", "path": "/spec/http/0/mirrorPercentage"}]"#,
        ]);
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &[READY[0], READY[2]]).await;
        assert_eq!(now["status"]["mirrors"], Value::Null);
        assert_eq!(message(&now, "MirrorsReady"), "", "neither about an older version: {now:#}");
        assert_quiet(&cluster, &mesh).await;

        // One that starts and finds everything as it should be has nothing to say.
        let (before, told) = (versions(&cluster), events(&cluster, "web"));
        mesh.kill_umbra();
        mesh.start_umbra().expect("umbra starts");
        mesh.wait_ready().await.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.wait_for("it to lead", || async { metric(&mesh, "umbra_leader").await == 1 }).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(metric(&mesh, "umbra_status_writes_total").await, 0);
        assert_eq!((versions(&cluster), events(&cluster, "web")), (before, told));
    });
}

/// The resource version of every Istio object.
fn versions(cluster: &Cluster) -> String {
    cluster.kubectl(&[
        "get",
        "virtualservices,destinationrules,serviceentries,gateways",
        "-A",
        "-o",
        r#"jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{"\n"}{end}"#,
    ])
}

/// When nothing changes, nothing is written; and what is written is no change of what proxies get.
async fn assert_quiet(cluster: &Cluster, mesh: &Mesh) {
    // Words alone may come up to five seconds late, and on a busy machine later.
    for _ in 0..20 {
        let before = (versions(cluster), metric(mesh, "umbra_xds_pushes_total").await);
        tokio::time::sleep(Duration::from_secs(6)).await;
        if before == (versions(cluster), metric(mesh, "umbra_xds_pushes_total").await) {
            break;
        }
    }
    let pushes = metric(mesh, "umbra_xds_pushes_total").await;
    let writes = metric(mesh, "umbra_status_writes_total").await;
    assert!(writes > 0);
    // Another version for the API server, and nothing new for umbra.
    cluster.kubectl(&["annotate", "destinationrule", "web", "note=nothing"]);
    let before = versions(cluster);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(versions(cluster), before, "umbra writes although nothing changes");
    assert_eq!(metric(mesh, "umbra_status_writes_total").await, writes);
    assert_eq!(metric(mesh, "umbra_xds_pushes_total").await, pushes);
}

/// The sum of a metric over its labels.
async fn metric(mesh: &Mesh, name: &str) -> u64 {
    let text = mesh.get("/metrics").await.unwrap_or_else(|e| panic!("{e:#}"));
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    lines.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

const DOOR: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec: {selector: {app: client}, servers: [{port: {number: 8085, name: http, protocol: HTTP}, hosts: [web.example.com]}]}
---
";

const OTHERS: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [outside.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.244.200.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken}
spec:
  hosts: [broken.example.com]
  http: [{route: [{destination: {host: web}}], mirror: {host: web}, mirrorPercentage: {value: 400}}]
---
";

/// Every kind has a status, also with Istio's CRDs, where the conditions of all writers are one value; what others
/// write stays, of each version of the API there is one object, and a file wins.
#[test]
fn every_kind_has_a_status_beside_those_of_others() {
    on_cluster(|cluster| async move {
        cluster.install_crds("istio");
        let folder = cluster.folder().join("files");
        let hidden =
            rule(5.0).replace("name: web}", "name: hidden}").replace("[web]", "[hidden.example.com]");
        umbra_testkit::umbra::write(&folder, "hidden.yaml", &hidden).unwrap_or_else(|e| panic!("{e:#}"));
        let client = workloads(&cluster).await;
        cluster.apply(&(DOOR.to_owned() + OTHERS + SUBSETS + &rule(10.0)));
        cluster.apply(&hidden);
        // Another writer, by the usual way and by server-side apply.
        let other =
            r#"{"status": {"conditions": [{"type": "Reconciled", "status": "True", "reason": "Theirs"}]}}"#;
        for kind in ["virtualservice/web", "destinationrule/web"] {
            cluster.kubectl(&["patch", kind, "--subresource=status", "--type=merge", "-p", other]);
        }
        let mut mesh = umbra(&cluster, &["--dir", folder.to_str().expect("UTF-8")]).await;
        mesh.start_proxy("sidecar", &client).await;
        let (accepted, live) = ("Accepted=True/Accepted", "Programmed=True/Live");
        let theirs = "Reconciled=True/Theirs";
        let web = [READY[0], READY[1], READY[2], theirs];
        let no_gateway = "Programmed=Unknown/NoProxies";
        let bad = ["Accepted=False/InvalidPercentage", "MirrorsReady=False/InvalidPercentage", live];
        for (kind, name, want) in [
            ("virtualservice", "web", &web[..]),
            ("destinationrule", "web", &[accepted, live, theirs]),
            ("serviceentry", "outside", &[accepted, live]),
            ("gateway", "door", &[accepted, no_gateway]),
            (
                "virtualservice",
                "hidden",
                &["Accepted=False/DuplicateObject", "Programmed=False/DuplicateObject"],
            ),
        ] {
            wait_conditions(&cluster, &mesh, kind, name, want).await;
        }
        let now = wait_conditions(&cluster, &mesh, "virtualservice", "broken", &bad).await;
        assert!(message(&now, "Accepted").contains("spec.http[0].mirrorPercentage.value"), "{now:#}");
        assert_eq!(now["status"]["validationMessages"][0]["level"], "ERROR");
        cluster
            .wait_for("an Event about what is not accepted", || {
                let told = events(&cluster, "broken");
                std::future::ready(told.contains(&"Warning NotAccepted".to_owned()))
            })
            .await;

        for version in ["v1beta1", "v1alpha3", "v1"] {
            let percent = format!("{}", 30 + version.len());
            let text = rule(percent.parse().expect("a number"));
            cluster.apply(&text.replace("istio.io/v1", &format!("istio.io/{version}")));
            let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &web).await;
            assert_eq!(mirrors(&now), format!("v2 {percent}% live 1/1"), "{version}");
        }
        // The other writer goes on, and neither takes anything from the other.
        let other = other.replace("Theirs", "Again");
        cluster.kubectl(&[
            "patch",
            "destinationrule",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            &other,
        ]);
        let again = [accepted, live, "Reconciled=True/Again"];
        wait_conditions(&cluster, &mesh, "destinationrule", "web", &again).await;
        assert_quiet(&cluster, &mesh).await;
    });
}

/// What Envoy refuses is told in its own words, with an Event, until it is mended; so are targets that are not ready.
#[test]
fn a_refusal_and_an_empty_target_are_told() {
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mut mesh = umbra(&cluster, &[]).await;
        let client = workloads(&cluster).await;
        // The subsets first, or the rule may be told to lack them, which is another Event.
        cluster.apply(SUBSETS);
        let idle = [READY[0], "Programmed=Unknown/NoProxies"];
        wait_conditions(&cluster, &mesh, "destinationrule", "web", &idle).await;
        cluster.apply(&rule(10.0));
        // Somebody has the port already, and does not share it.
        let taken = client.net().and_then(|net| net.listen("0.0.0.0:8085".parse().expect("an address")));
        let taken = taken.unwrap_or_else(|e| panic!("{e:#}"));
        mesh.start_proxy("router", &client).await;
        cluster.apply(DOOR);
        let (accepted, live) = (READY[0], READY[2]);
        let refused = [accepted, "Programmed=False/Rejected"];
        let now = wait_conditions(&cluster, &mesh, "gateway", "door", &refused).await;
        let words = message(&now, "Programmed");
        for part in ["live on 0 of 1 proxies", &client.name, "rejected lds/0.0.0.0_8085", "already in use"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        wait_events(&cluster, "door", &["Warning Rejected"]).await;
        cluster.apply(&DOOR.replace("8085", "8086"));
        wait_conditions(&cluster, &mesh, "gateway", "door", &[accepted, live]).await;
        wait_events(&cluster, "door", &["Warning Rejected", "Normal Programmed"]).await;
        drop(taken);

        let rule = [accepted, READY[1], "Programmed=Unknown/NoProxies"];
        wait_conditions(&cluster, &mesh, "virtualservice", "web", &rule).await;
        let empty = ["Accepted=True/AcceptedWithWarnings", "MirrorsReady=False/NoEndpoints", rule[2]];
        // The second time is no more news: it is the same Event again.
        for _ in 0..2 {
            cluster.kubectl(&["scale", "deployment/web-v2", "--replicas=0"]);
            let now = wait_conditions(&cluster, &mesh, "virtualservice", "web", &empty).await;
            assert_eq!(now["status"]["mirrors"], "v2 10% (NoEndpoints)");
            cluster.kubectl(&["scale", "deployment/web-v2", "--replicas=1"]);
            wait_conditions(&cluster, &mesh, "virtualservice", "web", &rule).await;
        }
        wait_events(&cluster, "web", &["Warning MirrorsNotReady", "Normal MirrorsReady"]).await;

        // Who goes in peace leaves the Lease to whoever wants it.
        let holder = || {
            let path = "jsonpath={.spec.holderIdentity}";
            cluster.kubectl(&["get", "lease", "umbra", "-n", rights::NAMESPACE, "-o", path])
        };
        assert_ne!(holder(), "");
        let id = mesh.umbra().expect("umbra").id().to_string();
        let kill = std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(kill.success());
        cluster.wait_for("the Lease to be free", || std::future::ready(holder().is_empty())).await;
    });
}

/// As many rules as a large team has, all of which turn at once, and one that somebody waits for meanwhile.
#[test]
fn three_hundred_rules_that_turn_are_all_told() {
    const RULES: usize = 300;
    on_cluster(|cluster| async move {
        install_own_crds(&cluster);
        let mesh = umbra(&cluster, &[]).await;
        workloads(&cluster).await;
        let one = |n: usize| {
            let rule = rule(10.0).replace("name: web}", &format!("name: rule-{n}}}"));
            rule.replace("hosts: [web]", &format!("hosts: [h{n}.example.com]"))
        };
        cluster.apply(&((0..RULES).map(one).collect::<String>() + SUBSETS));
        wait_told(&cluster, "Ready", RULES).await;
        cluster.kubectl(&["delete", "destinationrule", "web"]);
        cluster.apply(&one(RULES));
        wait_told(&cluster, "SubsetNotFound", RULES + 1).await;
        cluster.apply(SUBSETS);
        wait_told(&cluster, "Ready", RULES + 1).await;
        let failed = mesh.get("/metrics").await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(failed.contains("umbra_status_writes_total{result=\"failed\"} 0"), "{failed}");
    });
}

/// Waits until exactly so many rules have this reason in `MirrorsReady`.
async fn wait_told(cluster: &Cluster, reason: &str, n: usize) {
    let path =
        r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="MirrorsReady")].reason}{"\n"}{end}"#;
    let holds = || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let list = cluster.kubectl(&["get", "virtualservices", "-o", path]);
        list.lines().filter(|line| *line == reason).count() == n
    };
    cluster.wait_for(&format!("{reason} of {n} rules"), holds).await;
}
