//! Gateways: hosts, several rules on one host, and what is not theirs.

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::{isolated, isolated_in_namespaces};
use umbra_testkit::net::Net;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{istio, web};

const GATE: &str = ":8888";

fn gateway(hosts: &str) -> String {
    let server = format!("- hosts: [{hosts}]\n  port: {{number: 8888, name: http, protocol: HTTP}}");
    istio("Gateway", "infra", "edge", &format!("selector:\n  istio: edge\nservers:\n{server}\n"))
}

/// A VirtualService on the Gateway `infra/edge`.
fn on_gateway(name: &str, host: &str, http: &str) -> String {
    istio(
        "VirtualService",
        "default",
        name,
        &format!("hosts: [\"{host}\"]\ngateways: [infra/edge]\nhttp:\n{http}"),
    )
}

fn to(version: &str, path: &str, further: &str) -> String {
    format!(
        "- match:\n  - uri: {{prefix: {path}}}\n  route:\n  - destination: {{host: web, subset: {version}}}\n{further}"
    )
}

/// A gateway Envoy, with these files beside `web`.
async fn edge(files: &[(&str, &str)]) -> World {
    edge_with(files, "").await
}

/// As [`edge`], with these settings.
async fn edge_with(files: &[(&str, &str)], settings: &str) -> World {
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &web());
    for (name, text) in files {
        world.write(name, text);
    }
    world.start_umbra_with(settings).await;
    world.start_proxy("edge", "router/infra/istio=edge").await;
    world
}

async fn served(world: &World, table: &[(&str, &str, &str)]) {
    for (host, path, by) in table {
        let answer = world.ask(GATE, &Ask::get(host, path)).await;
        let seen = if answer.status == 200 {
            answer.served_by().to_owned()
        } else {
            answer.status.as_u16().to_string()
        };
        assert_eq!(seen, *by, "{host} {path}");
    }
    world.assert_clean().await;
}

#[test]
fn rules_on_a_shared_host_are_merged_and_catch_alls_come_last() {
    isolated(async {
        let world = edge(&[
            ("gateway.yaml", &gateway("\"*\"")),
            (
                "a.yaml",
                &on_gateway("a", "shop.example", "- route:\n  - destination: {host: web, subset: v1}\n"),
            ),
            ("b.yaml", &on_gateway("b", "shop.example", &to("v2", "/cart", ""))),
        ])
        .await;
        world.wait_status(GATE, &Ask::get("shop.example", "/cart"), 200).await;
        world.wait_config("edge", "RoutesConfigDump", "/cart").await;
        served(
            &world,
            &[("shop.example", "/cart", "v2"), ("shop.example", "/", "v1"), ("other.example", "/", "404")],
        )
        .await;
    });
}

#[test]
fn the_closest_host_wins() {
    isolated(async {
        let rule = |version| format!("- route:\n  - destination: {{host: web, subset: {version}}}\n");
        let world = edge(&[
            ("gateway.yaml", &gateway("\"*\"")),
            ("a.yaml", &on_gateway("a", "*", &rule("v1"))),
            ("b.yaml", &on_gateway("b", "*.example", &rule("v2"))),
            ("c.yaml", &on_gateway("c", "shop.example", &rule("v3"))),
        ])
        .await;
        world.wait_config("edge", "RoutesConfigDump", "shop.example").await;
        world.wait_status(GATE, &Ask::get("any", "/"), 200).await;
        let table = [
            ("shop.example", "/", "v3"),
            ("x.example", "/", "v2"),
            ("else", "/", "v1"),
            ("SHOP.example:8888", "/", "v3"),
        ];
        served(&world, &table).await;
    });
}

#[test]
fn a_server_admits_its_hosts_and_their_shadows() {
    isolated(async {
        let rule = "- route:\n  - destination: {host: web, subset: v1}\n";
        let world = edge(&[
            ("gateway.yaml", &gateway("shop.example")),
            ("a.yaml", &on_gateway("a", "shop.example-shadow", rule)),
            ("b.yaml", &on_gateway("b", "other.example", rule)),
        ])
        .await;
        world.wait_status(GATE, &Ask::get("shop.example-shadow", "/"), 200).await;
        let table = [
            ("shop.example-shadow", "/", "v1"),
            ("shop.example-shadow:8888", "/", "v1"),
            ("shop.example", "/", "404"),
            ("other.example", "/", "404"),
        ];
        served(&world, &table).await;
    });
}

#[test]
fn a_gateway_mirrors() {
    isolated(async {
        let mirror = "  mirror: {host: web, subset: v3}\n  mirrorPercentage: {value: 100}\n";
        let world = edge(&[
            ("gateway.yaml", &gateway("\"*\"")),
            ("a.yaml", &on_gateway("a", "shop.example", &to("v1", "/", mirror))),
        ])
        .await;
        world.wait_share("edge", "|v3|web", 1_000_000).await;
        world.wait_status(GATE, &Ask::get("shop.example", "/"), 200).await;
        world.forget().await;
        let tally = world.send(GATE, &Ask::get("shop.example", "/"), 100).await;
        assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
        let copies = world.echo("v3").take();
        assert!(copies.len() == 100 && copies[0].host == "shop.example-shadow", "{copies:?}");
        world.assert_clean().await;
    });
}

#[test]
fn a_gateway_that_no_rule_selects_is_ready_and_silent() {
    isolated(async {
        let elsewhere = gateway("\"*\"").replace("istio: edge", "istio: another");
        // `edge` returns when Envoy is ready: with an empty configuration it is.
        let world = edge(&[("gateway.yaml", &elsewhere)]).await;
        assert!(world.proxy("edge").listeners().await.expect("listeners").is_empty());
        world.write("gateway.yaml", &gateway("\"*\""));
        world.write("a.yaml", &on_gateway("a", "*", "- route:\n  - destination: {host: web, subset: v2}\n"));
        world
            .wait_for("a listener", || async {
                world.proxy("edge").listeners().await.is_ok_and(|all| all.len() == 1)
            })
            .await;
        world.wait_status(GATE, &Ask::get("any", "/"), 200).await;
    });
}

/// A gateway that redirects to https, behind a proxy that ends TLS: what that one says of its caller counts once it is trusted.
#[test]
fn https_ends_before_the_gateway() {
    isolated(async {
        let gateway = gateway("\"*\"") + "    tls: {httpsRedirect: true}\n";
        let rule = on_gateway("a", "shop.example", "- route:\n  - destination: {host: web, subset: v1}\n");
        let files = [("gateway.yaml", gateway.as_str()), ("a.yaml", &rule)];
        let world = edge_with(&files, "gatewayTopology: {numTrustedProxies: 0}\n").await;
        let plain = Ask::get("shop.example", "/");
        let secure = plain.clone().header("x-forwarded-proto", "https");
        world.wait_status(GATE, &plain, 301).await;
        assert_eq!(world.ask(GATE, &secure).await.status, 301, "a caller is not believed");
        world.write_config("gatewayTopology: {numTrustedProxies: 1}\n");
        world.wait_status(GATE, &secure, 200).await;
        assert_eq!(world.ask(GATE, &plain).await.status, 301);
        world.assert_clean().await;
    });
}

/// A mirror whose name DNS never answers: the resolver here asks a thousand times.
#[test]
fn a_name_that_dns_never_answers_holds_up_no_start() {
    isolated_in_namespaces(async {
        let silent =
            Net::here().datagrams("127.0.0.1:53".parse().expect("an address")).expect("the port of DNS");
        let nowhere = istio(
            "ServiceEntry",
            "default",
            "nowhere",
            "hosts: [nowhere.example.com]
resolution: DNS
ports:
- {number: 80, name: http, protocol: HTTP}
",
        );
        let copied = to("v1", "/", "  mirror: {host: nowhere.example.com}\n");
        let rule = on_gateway("shop", "shop.example.com", &copied);
        let gate = gateway("shop.example.com");
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:8080");
        for (name, text) in [("web", &web()), ("nowhere", &nowhere), ("gate", &gate), ("rule", &rule)] {
            world.write(&format!("{name}.yaml"), text);
        }
        world.start_umbra_with("").await;
        let bootstrap =
            umbra::bootstrap("router/infra/istio=edge", world.umbra().xds()).expect("a bootstrap");
        let resolver = "resolvers: [{socketAddress: {address: 127.0.0.1, portValue: 53}}]";
        let patient =
            bootstrap.replace("    queryTries: 2\n", &format!("    queryTries: 1000\n    {resolver}\n"));
        assert_ne!(patient, bootstrap, "the bootstrap says for how long a resolver asks");
        world.start_envoy("edge", &patient).await;
        served(&world, &[("shop.example.com", "/", "v1")]).await;
        let mut asked = [0; 512];
        let (length, _) = silent.recv_from(&mut asked).await.expect("a question");
        assert!(String::from_utf8_lossy(&asked[..length]).contains("nowhere"), "the name was asked for");
    });
}
