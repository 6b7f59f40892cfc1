//! Where requests and copies go: slices, named ports, headless Services.

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, pod, rules, service};

use super::{WEB, get, wait_share, web_with};

/// A slice of `web` with one port called `http`; endpoints are (address, version, ready).
fn slice(name: &str, port: u16, endpoints: &[(&str, &str, bool)]) -> String {
    let endpoint = |(address, version, ready): &(&str, &str, bool)| {
        format!(
            "- addresses: [{address}]\n  conditions: {{ready: {ready}}}\n  targetRef: {{kind: Pod, name: web-{version}, \
             namespace: default}}\n"
        )
    };
    let endpoints: String = endpoints.iter().map(endpoint).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: {name}\n  \
         namespace: default\n  labels: {{kubernetes.io/service-name: web}}\nports:\n- {{name: http, port: {port}}}\n\
         endpoints:\n{endpoints}"
    )
}

/// Waits until requests to `web` reach exactly these services.
async fn wait_served(world: &World, by: &[&str]) {
    world
        .wait_for(&format!("{by:?} to serve"), || async {
            world.forget().await;
            let tally = world.send(WEB, &get(), 60).await;
            tally.all_ok(60) && by.iter().all(|name| tally.by(name) > 0) && tally.servers.len() == by.len()
        })
        .await;
}

#[test]
fn slices_are_joined_and_followed() {
    isolated(async {
        let base = all(&[
            service("default", "web", &[("http", 8000, 1)]),
            pod("default", "web", "v1", "127.0.1.1", true),
            pod("default", "web", "v2", "127.0.1.2", true),
            pod("default", "web", "v3", "127.0.1.3", true),
        ]);
        let one = slice("one", 8080, &[("127.0.1.1", "v1", true), ("127.0.1.2", "v2", false)]);
        // Pods of another slice listen on another port under the same name.
        let two = slice("two", 8081, &[("127.0.1.3", "v3", true)]);
        let mut world = web_with(&[("web.yaml", &base), ("one.yaml", &one), ("two.yaml", &two)], "").await;
        world.start_echo("other", "127.0.1.3:8081");
        wait_served(&world, &["v1", "other"]).await;
        world.write("one.yaml", &slice("one", 8080, &[("127.0.1.1", "v1", true), ("127.0.1.2", "v2", true)]));
        wait_served(&world, &["v1", "v2", "other"]).await;
        world.remove("two.yaml");
        wait_served(&world, &["v1", "v2"]).await;
        world.assert_clean().await;
    });
}

#[test]
fn a_target_port_can_have_a_name() {
    isolated(async {
        let web =
            service("default", "web", &[("http", 8000, 1)]).replace("targetPort: 1", "targetPort: serving");
        let named = |version: &str, ip: &str, port: u16| {
            pod("default", "web", version, ip, true).replace(
                "  - name: main\n",
                &format!("  - name: main\n    ports:\n    - {{name: serving, containerPort: {port}}}\n"),
            )
        };
        let base = all(&[web, named("v1", "127.0.1.1", 8080), named("v2", "127.0.1.2", 8082)]);
        let mut world = web_with(&[("web.yaml", &base)], "").await;
        world.start_echo("other", "127.0.1.2:8082");
        wait_served(&world, &["v1", "other"]).await;
        world.assert_clean().await;
    });
}

#[test]
fn copies_reach_a_headless_service() {
    isolated(async {
        let headless = service("default", "peers", &[("http", 9000, 8080)])
            .replace("spec:\n  selector", "spec:\n  clusterIP: None\n  selector");
        let peers = all(&[headless, pod("default", "peers", "a", "127.0.1.9", true)]);
        let http = "- route:\n  - destination: {host: web, subset: v1}\n  mirror: {host: peers, port: {number: 9000}}\n";
        let rule = rules("web", "web", http);
        let mut world = web_with(&[("rules.yaml", &rule), ("peers.yaml", &peers)], "").await;
        world.start_echo("peer", "127.0.1.9:8080");
        wait_share(&world, "|peers.default", 1_000_000).await;
        let tally = world.send(WEB, &get(), 40).await;
        assert!(tally.all_ok(40) && world.echo("peer").count() == 40, "{:?}", world.counts());
        world.assert_clean().await;
    });
}

/// The stable name of one pod of a StatefulSet is answered by that pod alone, as soon as its slice names it; another name
/// below the Service by nobody.
#[test]
fn a_pod_by_its_own_name() {
    isolated(async {
        let headless = service("default", "peers", &[("http", 9000, 8080)])
            .replace("spec:\n  selector", "spec:\n  clusterIP: None\n  selector");
        let slice = |named: &[(&str, &str)]| {
            let endpoint = |(name, ip): &(&str, &str)| format!("- {{addresses: [{ip}], hostname: {name}}}\n");
            let endpoints: String = named.iter().map(endpoint).collect();
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: peers\n  \
                 namespace: default\n  labels: {{kubernetes.io/service-name: peers}}\nports:\n- {{name: http, port: 8080}}\n\
                 endpoints:\n{endpoints}"
            )
        };
        let both = [("peers-0", "127.0.1.8"), ("peers-1", "127.0.1.9")];
        let files = [("peers.yaml", headless.as_str()), ("slice.yaml", &slice(&both[..1]))];
        let mut world = web_with(&files, "").await;
        for (name, ip) in both {
            world.start_echo(name, &format!("{ip}:8080"));
        }
        let by = async |world: &World, host: &str| {
            let answer = world.ask(":9000", &Ask::get(host, "/")).await;
            (answer.status.as_u16(), answer.served_by().to_owned())
        };
        world.wait_status(":9000", &Ask::get("peers-0.peers", "/"), 200).await;
        assert_eq!(by(&world, "peers-1.peers").await.0, 404);
        world.write("slice.yaml", &slice(&both));
        world.wait_status(":9000", &Ask::get("peers-1.peers", "/"), 200).await;
        for n in 0..20 {
            let (name, host) =
                (format!("peers-{}", n % 2), ["peers.default", "peers.default.svc.cluster.local"][n / 10]);
            assert_eq!(by(&world, &format!("{name}.{host}:9000")).await, (200, name));
        }
        let tally = world.send(":9000", &Ask::get("peers", "/"), 100).await;
        assert!(tally.all_ok(100) && tally.by("peers-0") > 0 && tally.by("peers-1") > 0, "{tally:?}");
        world.assert_clean().await;
    });
}

/// The Pods that a ServiceEntry selects are its endpoints, as they become ready and no longer are.
#[test]
fn an_entry_can_select_pods() {
    isolated(async {
        let entry = umbra_tests::manifests::istio(
            "ServiceEntry",
            "default",
            "old",
            "hosts: [old.example.com]\nlocation: MESH_INTERNAL\nresolution: STATIC\nports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}]\nworkloadSelector: {labels: {app: old}}\n",
        );
        let rule = rules("web", "web", "- route: [{destination: {host: old.example.com}}]\n");
        let pods = |ready: bool| {
            all(&[
                pod("default", "old", "v1", "127.0.1.1", true),
                pod("default", "old", "v2", "127.0.1.2", ready),
                pod("other", "old", "v3", "127.0.1.3", true),
            ])
        };
        let files = [("entry.yaml", entry), ("rules.yaml", rule), ("pods.yaml", pods(true))];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let world = web_with(&files, "").await;
        wait_served(&world, &["v1", "v2"]).await;
        world.write("pods.yaml", &pods(false));
        wait_served(&world, &["v1"]).await;
        // A machine that is no Pod.
        let spec = "address: 127.0.1.3\nlabels: {app: old}\n";
        world.write("vm.yaml", &umbra_tests::manifests::istio("WorkloadEntry", "default", "vm", spec));
        wait_served(&world, &["v1", "v3"]).await;
        world.remove("vm.yaml");
        wait_served(&world, &["v1"]).await;
        world.assert_clean().await;
    });
}

/// A DestinationRule for some clients alone: the subset that it defines is there for them.
#[test]
fn a_rule_can_be_for_some_clients() {
    isolated(async {
        let own = umbra_tests::manifests::istio(
            "DestinationRule",
            "default",
            "own",
            "host: web\nworkloadSelector: {matchLabels: {app: client}}\nsubsets: [{name: only, labels: {version: v3}}]\n",
        );
        let rule = rules("web", "web", "- route: [{destination: {host: web, subset: only}}]\n");
        let mut world = web_with(&[("own.yaml", &own), ("rules.yaml", &rule)], "").await;
        wait_served(&world, &["v3"]).await;
        world.assert_clean().await;
        world.stop_proxy("client");
        world.start_proxy("client", "sidecar/default/app=other").await;
        world.wait_status(WEB, &get(), 503).await;
    });
}
