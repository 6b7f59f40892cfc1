//! Mirrors that leave the mesh, through ServiceEntries.

use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{istio, rules, to_v1};

use super::{WEB, get, wait_share, web_with};

fn entry(port: u16, resolution: &str) -> String {
    let spec = format!(
        "hosts: [Audit.Example.com]
location: MESH_EXTERNAL
resolution: {resolution}
ports:
- {{number: {port}, name: http, protocol: HTTP, targetPort: 8080}}
endpoints:
- address: 127.0.1.8
"
    );
    istio("ServiceEntry", "default", "audit", &spec)
}

/// A mirror to the entry; the host that its copies carry.
async fn check(entry: &str, port: u16, settings: &str) -> String {
    let mirror = format!("mirror: {{host: audit.example.com, port: {{number: {port}}}}}");
    let rule = rules("web", "web", &to_v1(&mirror));
    let mut world: World = web_with(&[("rules.yaml", &rule), ("entry.yaml", entry)], settings).await;
    world.start_echo("audit", "127.0.1.8:8080");
    wait_share(&world, "|audit.example.com", 1_000_000).await;
    let tally = world.send(WEB, &get(), 50).await;
    assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
    let copies = world.echo("audit").take();
    assert_eq!(copies.len(), 50);
    assert!(world.echo("v1").take().iter().all(|r| r.host == "web:8000"), "the primary keeps its host");
    world.assert_clean().await;
    copies[0].host.to_lowercase()
}

#[test]
fn fixed_endpoints() {
    isolated(async {
        assert_eq!(check(&entry(8000, "STATIC"), 8000, "").await, "audit.example.com-shadow:8000")
    });
}

#[test]
fn endpoints_by_dns() {
    isolated(async {
        assert_eq!(check(&entry(8000, "DNS"), 8000, "").await, "audit.example.com-shadow:8000")
    });
}

#[test]
fn one_endpoint_of_dns_at_a_time() {
    isolated(async {
        let entry = entry(8000, "DNS_ROUND_ROBIN");
        assert_eq!(check(&entry, 8000, "").await, "audit.example.com-shadow:8000")
    });
}

/// Without capture nobody knows where a caller wanted to go: 503 at once, and no way back into the proxy.
#[test]
fn the_called_address_is_known_to_captured_sidecars_alone() {
    isolated(async {
        let entry = entry(8000, "NONE");
        let world: World = web_with(&[("entry.yaml", &entry)], "").await;
        let ask = umbra_testkit::client::Ask::get("audit.example.com:8000", "/");
        world.wait_status(WEB, &ask, 503).await;
        assert!(world.send(WEB, &get(), 5).await.all_ok(5));
        world.assert_clean().await;
    });
}

#[test]
fn the_port_of_the_scheme_is_not_said() {
    isolated(async { assert_eq!(check(&entry(80, "STATIC"), 80, "").await, "audit.example.com-shadow") });
}

#[test]
fn no_suffix_when_it_is_off() {
    let settings = "mirror: {shadowSuffix: false}\n";
    isolated(async {
        assert_eq!(check(&entry(8000, "STATIC"), 8000, settings).await, "audit.example.com:8000")
    });
}
