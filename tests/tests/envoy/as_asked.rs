//! ServiceEntries with resolution DYNAMIC_DNS: who is meant is looked up when somebody asks for it. Names below `localhost`
//! are looked up without a server.

use umbra_testkit::client::Ask;
use umbra_testkit::gate;
use umbra_testkit::isolate::isolated;
use umbra_testkit::tls::Authority;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, rules, to_v1};

use super::bytes::{heard_tls, speak_tls};
use super::gateway_tls::Caller;
use super::{WEB, get, web_with};

const ENTRY: &str = "
    hosts: ['*.localhost']
    location: MESH_EXTERNAL
    resolution: DYNAMIC_DNS
    ports:
    - {number: 8000, name: http, protocol: HTTP}
    - {number: 9443, name: tls, protocol: TLS}
    ";

fn entry() -> String {
    istio("ServiceEntry", "default", "asked", ENTRY)
}

/// The Host of a request says who gets it, the port that stands in it too; also where a rule says another Host.
#[test]
fn the_host_of_a_request_is_looked_up() {
    isolated(async {
        let rewritten = "
            - match: [{uri: {prefix: /asked}}]
              route: [{destination: {host: '*.localhost', port: {number: 8000}}}]
              rewrite: {authority: 'b.localhost:9502'}
            ";
        let rule = rules("web", "web", &format!("{}{}", trimmed(rewritten), to_v1("")));
        let mut world = web_with(&[("entry.yaml", &entry()), ("rules.yaml", &rule)], "").await;
        world.start_echo("a", "127.0.0.1:9501");
        world.start_echo("b", "127.0.0.1:9502");
        world.wait_status(WEB, &Ask::get("a.localhost:9501", "/"), 200).await;
        for (ask, by) in [
            (Ask::get("a.localhost:9501", "/"), "a"),
            (Ask::get("deep.b.localhost:9502", "/"), "b"),
            (Ask::get("web:8000", "/asked"), "b"),
            (Ask::get("web:8000", "/"), "v1"),
        ] {
            assert_eq!(world.ask(WEB, &ask).await.served_by(), by, "{ask:?}");
        }
        let elsewhere = world.ask(WEB, &Ask::get("a.localhost.example:9501", "/")).await;
        assert_eq!(elsewhere.status, 404, "what its hosts do not cover is nobody's");
        world.assert_clean().await;
    });
}

/// A copy has the Host of its original, or one that nobody has: a mirror there is left out, and its rule stays.
#[test]
fn nothing_is_copied_to_what_a_host_names() {
    isolated(async {
        let rule = rules("web", "web", &to_v1("mirror: {host: '*.localhost', port: {number: 8000}}"));
        let world = web_with(&[("entry.yaml", &entry()), ("rules.yaml", &rule)], "").await;
        let tally = world.send(WEB, &get(), 20).await;
        assert!(tally.all_ok(20) && tally.by("v1") == 20, "{tally:?}");
        let config = world.proxy("client").section("RoutesConfigDump").await.unwrap_or_default().to_string();
        assert!(!config.contains("request_mirror_policies"), "{config}");
        world.assert_clean().await;
    });
}

/// At a gateway whoever asks would choose where it calls: such a destination is none there.
#[test]
fn a_gateway_calls_nobody_that_strangers_name() {
    isolated(async {
        let mut world = World::new();
        world.start_echo("a", "127.0.0.1:9501");
        let gateway = "
            selector: {istio: ingressgateway}
            servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
            ";
        let rule = "
            hosts: ['*']
            gateways: [gw]
            http:
            - match: [{uri: {prefix: /fixed}}]
              directResponse: {status: 200}
            - route: [{destination: {host: '*.localhost', port: {number: 8000}}}]
            ";
        let objects = [
            entry(),
            istio("Gateway", "default", "gw", gateway),
            istio("VirtualService", "default", "all", rule),
        ];
        world.write("mesh.yaml", &all(&objects));
        world.start_umbra().await;
        world.start_proxy("gateway", "router/default/istio=ingressgateway").await;
        world.wait_status(":8080", &Ask::get("a.localhost:9501", "/fixed"), 200).await;
        assert_eq!(world.ask(":8080", &Ask::get("a.localhost:9501", "/")).await.status, 503);
        assert_eq!(world.counts()["a"], 0);
    });
}

/// In TLS the name that the client asks for is looked up, and called at the port of the entry.
#[test]
fn the_name_in_tls_is_looked_up() {
    isolated(async {
        if !gate::require_openssl() {
            return;
        }
        let mut world = World::new();
        let authority =
            Authority::make(&world.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
        let issued =
            authority.issue("server", "DNS:a.localhost,DNS:other.test").unwrap_or_else(|e| panic!("{e:#}"));
        // The server is at 127.0.0.1, so that the sidecar has to listen elsewhere.
        let scope = "
            egress:
            - {port: {number: 9443, protocol: TLS, name: tls}, bind: 127.0.0.9, hosts: ['*/*']}
            ";
        world.write("mesh.yaml", &all(&[entry(), istio("Sidecar", "default", "default", scope)]));
        speak_tls(world.net(), "127.0.0.1:9443", &issued, "a");
        let caller = Caller::new(&world, &authority);
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world
            .wait_for("the name to be looked up", || async {
                heard_tls(&caller, "127.0.0.9:9443", "a.localhost").await.as_deref() == Some("a")
            })
            .await;
        assert_eq!(heard_tls(&caller, "127.0.0.9:9443", "other.test").await, None);
        world.assert_clean().await;
    });
}

/// Without the margin that all lines share.
fn trimmed(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines().map(|line| format!("{}\n", &line[margin..])).collect()
}
