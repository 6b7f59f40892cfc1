//! Bytes and TLS that a sidecar passes on unopened, by `tcp` and `tls` rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use umbra_testkit::gate;
use umbra_testkit::isolate::{isolated, isolated_with_capture};
use umbra_testkit::net::Net;
use umbra_testkit::tls::{Authority, Issued};
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, service};

use super::capture::{self, Captured, DB, hear, hello, speak_first};
use super::gateway_tls::Caller;

/// A second database, and where its clients call it.
const SECOND: &str = "10.96.0.5";

fn captured_rules() -> String {
    all(&[
        capture::service("second", SECOND, "{name: tcp, port: 5432, targetPort: 9000}"),
        pod("default", "second", "v1", "10.2.0.2", true),
        istio(
            "VirtualService",
            "default",
            "db",
            "
            hosts: [db]
            tcp:
            - match: [{port: 5432, sourceLabels: {app: other}}]
              route: [{destination: {host: nobody}}]
            - match: [{port: 5432, sourceLabels: {app: client}, sourceNamespace: default}]
              route:
              - {destination: {host: db}, weight: 50}
              - {destination: {host: second}, weight: 50}
            ",
        ),
        istio(
            "VirtualService",
            "default",
            "block",
            "
            hosts: [block.example.com]
            tcp:
            - match: [{destinationSubnets: [203.0.113.128/25]}]
              route: [{destination: {host: db, port: {number: 5432}}}]
            ",
        ),
        istio(
            "VirtualService",
            "default",
            "peers",
            "
            hosts: [peers]
            tcp:
            - match: [{gateways: [elsewhere]}]
              route: [{destination: {host: db, port: {number: 5432}}}]
            ",
        ),
        istio(
            "VirtualService",
            "default",
            "api",
            "
            hosts: [api.example.com]
            tls:
            - match: [{port: 443, sniHosts: [api.example.com]}]
              route: [{destination: {host: second, port: {number: 5432}}}]
            ",
        ),
    ])
}

/// Weights are connections; a block of addresses within another, labels and gateways decide; TLS goes by its name.
#[test]
fn captured_bytes_follow_the_rules_of_their_service() {
    isolated_with_capture(async {
        let it = Captured::new("").await;
        it.world.write("bytes.yaml", &captured_rules());
        it.world.wait_config("client", "ListenersConfigDump", "weighted_10.96.0.2_5432").await;
        it.world.wait_config("client", "ListenersConfigDump", "203.0.113.128").await;
        let mut heard: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..60 {
            let who = it.hear(&format!("{DB}:5432")).await.expect("somebody");
            *heard.entry(who).or_default() += 1;
        }
        assert!(heard.len() == 2 && heard["one"] > 5 && heard["two"] > 5, "{heard:?}");
        for (address, who) in [
            (format!("{SECOND}:5432"), "two"),
            ("203.0.113.7:6000".to_owned(), "two"),
            ("203.0.113.200:6000".to_owned(), "one"),
            ("10.2.0.1:7000".to_owned(), "a"),
            ("10.2.0.2:7000".to_owned(), "b"),
        ] {
            assert_eq!(it.hear(&address).await.as_deref(), Some(who), "{address}");
        }
        let second = "outbound|5432||second.default.svc.cluster.local";
        let before = it.connections(second).await;
        hello(it.world.net(), "10.3.0.1:443", "api.example.com");
        it.world.wait_for("the handshake", || async { it.connections(second).await > before }).await;
        assert_eq!(it.connections("outbound|443||api.example.com").await, 0);
        // A rule that goes leaves its service as it was.
        it.world.remove("bytes.yaml");
        it.world
            .wait_for("the rule to go", || async {
                let dump = it.world.proxy("client").section("ListenersConfigDump").await.unwrap_or_default();
                !dump.to_string().contains("weighted_")
            })
            .await;
        for _ in 0..10 {
            assert_eq!(it.hear(&format!("{DB}:5432")).await.as_deref(), Some("one"));
        }
        it.world.assert_clean().await;
    });
}

/// A server of TLS that says its name to whoever shakes hands with it.
pub(super) fn speak_tls(net: &Net, address: &str, issued: &Issued, name: &'static str) {
    let chain = vec![CertificateDer::from_pem_file(&issued.certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = net.listen(address.parse().expect("an address")).expect("a listener");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(name.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
}

/// Two databases on one port, two services of TLS on another, and a port with HTTP beside TLS.
fn called_mesh() -> String {
    all(&[
        service("default", "adb", &[("tcp", 5432, 9000)]),
        service("default", "bdb", &[("tcp", 5432, 9000), ("tcp-own", 5433, 9000)]),
        service("default", "api", &[("tls", 9443, 9444), ("https", 8000, 9444)]),
        service("default", "bpi", &[("tls", 9443, 9444)]),
        service("default", "web", &[("http", 8000, 8080)]),
        pod("default", "adb", "v1", "127.0.1.1", true),
        pod("default", "bdb", "v1", "127.0.1.2", true),
        pod("default", "api", "v1", "127.0.1.1", true),
        pod("default", "bpi", "v1", "127.0.1.2", true),
        pod("default", "web", "v1", "127.0.1.1", true),
    ])
}

const API: &str = "api.default.svc.cluster.local";
const BPI: &str = "bpi.default.svc.cluster.local";

/// What the server of a name says at an address of the sidecar's own; `None`: the connection ends.
pub(super) async fn heard_tls(caller: &Caller, address: &str, name: &str) -> Option<String> {
    let mut stream = caller.connect_to(address, name, None).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

/// What a sidecar does that is called at 127.0.0.1: bytes go to the first service of the port, TLS by name, HTTP by the
/// routes; rules move them.
#[test]
fn a_called_sidecar_passes_bytes_on() {
    isolated(async {
        if !gate::require_openssl() {
            return;
        }
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:8080");
        let net = world.net().clone();
        speak_first(&net, "127.0.1.1:9000", "adb");
        speak_first(&net, "127.0.1.2:9000", "bdb");
        let authority =
            Authority::make(&world.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
        let names = format!("DNS:{API},DNS:{BPI},DNS:shop.test");
        let issued = authority.issue("server", &names).unwrap_or_else(|e| panic!("{e:#}"));
        speak_tls(&net, "127.0.1.1:9444", &issued, "api");
        speak_tls(&net, "127.0.1.2:9444", &issued, "bpi");
        let caller = Caller::new(&world, &authority);
        world.write("mesh.yaml", &called_mesh());
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        let listen = |port: u16| {
            let net = net.clone();
            async move {
                let address = format!("127.0.0.1:{port}").parse().expect("an address");
                let mut stream = net.connect(address).await.ok()?;
                hear(&mut stream).await
            }
        };
        world.wait_for("bytes", || async { listen(5432).await.as_deref() == Some("adb") }).await;
        assert_eq!(listen(5433).await.as_deref(), Some("bdb"));
        for (port, name, who) in
            [(9443, API, "api"), (9443, BPI, "bpi"), (9443, "shop.test", "api"), (8000, API, "api")]
        {
            let address = format!("127.0.0.1:{port}");
            assert_eq!(heard_tls(&caller, &address, name).await.as_deref(), Some(who), "{port} {name}");
        }
        let get = umbra_testkit::client::Ask::get("web:8000", "/");
        world.wait_status(":8000", &get, 200).await;
        let rules = format!(
            "hosts: [{API}, shop.test]\ntls:\n- match: [{{port: 9443, sniHosts: [shop.test]}}]\n  route: [{{destination: {{host: bpi}}}}]\n\
             - match: [{{port: 9443, sniHosts: [{API}]}}]\n  route: [{{destination: {{host: api}}}}]\n"
        );
        let tcp = "hosts: [adb]\ntcp:\n- match: [{port: 5432}]\n  route: [{destination: {host: bdb}}]\n";
        let rules = all(&[
            istio("VirtualService", "default", "api", &rules),
            istio("VirtualService", "default", "adb", tcp),
        ]);
        world.write("rules.yaml", &rules);
        world.wait_for("the tcp rule", || async { listen(5432).await.as_deref() == Some("bdb") }).await;
        world
            .wait_for("the tls rule", || async {
                heard_tls(&caller, "127.0.0.1:9443", "shop.test").await.as_deref() == Some("bpi")
            })
            .await;
        assert_eq!(heard_tls(&caller, "127.0.0.1:9443", API).await.as_deref(), Some("api"));
        let live = world.umbra().get("/debug/live").await.unwrap_or_default();
        assert!(!live.contains("refused"), "{live}");
        world.assert_clean().await;
    });
}

/// TLS that a sidecar begins around bytes: a server whose certificate was revoked (`caCrl`) is not believed.
#[test]
fn a_revoked_certificate_is_not_believed() {
    isolated(async {
        if !gate::require_openssl() {
            return;
        }
        let mut world = World::new();
        let net = world.net().clone();
        let authority =
            Authority::make(&world.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
        let [good, bad] = ["good", "bad"].map(|name| {
            authority.issue(name, &format!("DNS:{name}.test")).unwrap_or_else(|e| panic!("{e:#}"))
        });
        let revoked = authority.revoke(&bad).unwrap_or_else(|e| panic!("{e:#}"));
        speak_tls(&net, "127.0.1.1:9444", &good, "good\n");
        speak_tls(&net, "127.0.1.2:9444", &bad, "bad\n");
        let policy = |name: &str, crl: &str| {
            let ca = authority.certificate();
            let tls = format!(
                "mode: SIMPLE, sni: {name}.test, subjectAltNames: [{name}.test], caCertificates: {}{crl}",
                ca.display()
            );
            istio(
                "DestinationRule",
                "default",
                name,
                &format!("host: {name}\ntrafficPolicy: {{tls: {{{tls}}}}}\n"),
            )
        };
        let mesh = |crl: &str| {
            all(&[
                service("default", "good", &[("tcp", 5001, 9444)]),
                service("default", "bad", &[("tcp", 5002, 9444)]),
                pod("default", "good", "v1", "127.0.1.1", true),
                pod("default", "bad", "v1", "127.0.1.2", true),
                policy("good", crl),
                policy("bad", crl),
            ])
        };
        world.write("mesh.yaml", &mesh(""));
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        let ask = |port: u16| {
            let net = net.clone();
            async move {
                let address = format!("127.0.0.1:{port}").parse().expect("an address");
                let mut stream = net.connect(address).await.ok()?;
                hear(&mut stream).await
            }
        };
        for (port, who) in [(5001, "good"), (5002, "bad")] {
            world.wait_for(who, || async { ask(port).await.as_deref() == Some(who) }).await;
        }
        world.write("mesh.yaml", &mesh(&format!(", caCrl: {}", revoked.display())));
        world.wait_for("the revoked one to be refused", || async { ask(5002).await.is_none() }).await;
        assert_eq!(ask(5001).await.as_deref(), Some("good"));
        assert!(ask(5002).await.is_none());
    });
}
