//! Sockets of the Unix domain: endpoints behind them, sidecars called at them, servers of gateways that listen at them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, rules, service, to_v1};

use super::{WEB, get, wait_share, web_with};

/// What connects to the socket is passed on to an address.
fn socket_before(path: &Path, address: &str) {
    let (listener, address) = (UnixListener::bind(path).expect("a socket"), address.to_owned());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let address = address.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect(address).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
}

/// What connects to an address is passed on to the socket, by which clients of addresses call it.
async fn address_before(path: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let path = path.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = UnixStream::connect(path).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    address.to_string()
}

/// The machine's own agent behind a socket gets requests, and copies.
#[test]
fn an_endpoint_is_a_socket() {
    isolated(async {
        let mut world = web_with(&[], "").await;
        world.start_echo("agent", "127.0.1.8:8080");
        let path = world.folder().join("agent.sock");
        socket_before(&path, "127.0.1.8:8080");
        let entry = format!(
            "
            hosts: [agent.example.org]
            resolution: STATIC
            location: MESH_INTERNAL
            ports: [{{number: 8000, name: http, protocol: HTTP}}]
            endpoints: [{{address: 'unix://{}'}}]
            ",
            path.display()
        );
        world.write("entry.yaml", &istio("ServiceEntry", "default", "agent", &entry));
        world.wait_status(WEB, &Ask::get("agent.example.org:8000", "/"), 200).await;
        assert_eq!(world.ask(WEB, &Ask::get("agent.example.org:8000", "/")).await.served_by(), "agent");
        world.write("rules.yaml", &rules("web", "web", &to_v1("mirror: {host: agent.example.org}")));
        wait_share(&world, "|agent.example.org", 1_000_000).await;
        world.forget().await;
        let tally = world.send(WEB, &get(), 30).await;
        assert!(tally.all_ok(30) && tally.by("v1") == 30, "{tally:?}");
        world.settle().await;
        assert_eq!(world.echo("agent").count(), 30);
        world.assert_clean().await;
    });
}

/// At a socket a sidecar is called for all ports of its services: the Host says for which. Rules and mirrors count there.
#[test]
fn a_sidecar_is_called_at_a_socket() {
    isolated(async {
        let mut world = World::new();
        for (name, address) in
            [("v1", "127.0.1.1:8080"), ("v2", "127.0.1.2:8080"), ("other", "127.0.1.1:9090")]
        {
            world.start_echo(name, address);
        }
        let path = world.folder().join("sidecar.sock");
        let scope = format!(
            "
            egress:
            - port: {{number: 0, protocol: HTTP, name: all}}
              bind: 'unix://{}'
              hosts: ['*/*']
            ",
            path.display()
        );
        let rule = to_v1("").replace("{host: web, subset: v1}", "{host: web, port: {number: 8000}}");
        let mirror = "  mirror: {host: copy, port: {number: 8000}}\n";
        world.write(
            "mesh.yaml",
            &all(&[
                service("default", "web", &[("http", 8000, 8080), ("http-other", 9000, 9090)]),
                pod("default", "web", "v1", "127.0.1.1", true),
                service("default", "copy", &[("http", 8000, 8080)]),
                pod("default", "copy", "v1", "127.0.1.2", true),
                rules(
                    "web",
                    "web",
                    &format!(
                        "- match: [{{uri: {{prefix: /copied}}, port: 8000}}]\n{}{mirror}",
                        rule.replacen("- route", "  route", 1)
                    ),
                ),
                istio("Sidecar", "default", "default", &scope),
            ]),
        );
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world.wait_share("client", "/web/", 1_000_000).await;
        let at = address_before(path).await;
        world.wait_status(&at, &Ask::get("copy", "/"), 200).await;
        world.forget().await;
        for (host, path, by) in [
            ("web:8000", "/copied", "v1"),
            ("web", "/copied", "v1"),
            ("copy.default:8000", "/", "v2"),
            ("copy", "/", "v2"),
        ] {
            assert_eq!(world.ask(&at, &Ask::get(host, path)).await.served_by(), by, "{host} {path}");
        }
        world.settle().await;
        assert_eq!(world.echo("v2").count(), 4, "two requests and two copies");
        // The other port has no rule for this host that counts, and goes to the service itself.
        assert_eq!(world.ask(&at, &Ask::get("web:9000", "/")).await.served_by(), "other");
        for host in ["web:1", "nobody"] {
            assert_eq!(world.ask(&at, &Ask::get(host, "/")).await.status, 404, "{host}");
        }
        world.assert_clean().await;
    });
}

/// A server of a Gateway listens at a socket, of gateways of its own namespace alone: Envoy deletes what it finds there.
#[test]
fn a_gateway_listens_at_a_socket() {
    isolated(async {
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:8080");
        let (own, foreign) = (world.folder().join("own.sock"), world.folder().join("foreign.sock"));
        std::fs::write(&foreign, "kept").expect("a file");
        let gateway = |namespace: &str, path: &Path| {
            let spec = format!(
                "
                selector: {{istio: ingressgateway}}
                servers: [{{port: {{number: 0, name: http, protocol: HTTP}}, bind: 'unix://{}', hosts: [a.example.com]}}]
                ",
                path.display()
            );
            istio("Gateway", namespace, "gw", &spec)
        };
        let rule = "
            hosts: [a.example.com]
            gateways: [default/gw, other/gw]
            http: [{route: [{destination: {host: web}}]}]
            ";
        world.write(
            "mesh.yaml",
            &all(&[
                service("default", "web", &[("http", 8000, 8080)]),
                pod("default", "web", "v1", "127.0.1.1", true),
                gateway("default", &own),
                gateway("other", &foreign),
                istio("VirtualService", "default", "a", rule),
            ]),
        );
        world.start_umbra().await;
        world.start_proxy("gateway", "router/default/istio=ingressgateway").await;
        let at = address_before(own).await;
        world
            .wait_for("the socket", || async {
                let answer = world.proxy("gateway").section("ListenersConfigDump").await.unwrap_or_default();
                answer.to_string().contains("own.sock")
            })
            .await;
        world.wait_status(&at, &Ask::get("a.example.com", "/"), 200).await;
        assert_eq!(world.ask(&at, &Ask::get("a.example.com:80", "/")).await.served_by(), "v1");
        assert_eq!(world.ask(&at, &Ask::get("b.example.com", "/")).await.status, 404);
        assert_eq!(std::fs::read_to_string(&foreign).ok().as_deref(), Some("kept"));
        world.assert_clean().await;
    });
}
