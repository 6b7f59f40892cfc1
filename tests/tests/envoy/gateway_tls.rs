//! Gateways that end TLS or pass it through, by a real handshake.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use umbra_testkit::isolate::isolated;
use umbra_testkit::net::Net;
use umbra_testkit::tls::{Authority, Issued};
use umbra_testkit::world::World;
use umbra_testkit::{gate, umbra};
use umbra_tests::manifests::{istio, pod, service, web};

const EDGE: &str = "127.0.0.1:8443";

/// Who calls, and whom it believes.
pub(super) struct Caller {
    net: Net,
    roots: RootCertStore,
}

impl Caller {
    pub(super) fn new(world: &World, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority.certificate()).expect("a certificate");
        roots.add(root).expect("a root");
        Caller { net: world.net().clone(), roots }
    }

    /// A connection that asks for `name`, maybe with a certificate of its own.
    async fn connect(&self, name: &str, own: Option<&Issued>) -> Result<TlsStream<tokio::net::TcpStream>> {
        self.connect_to(EDGE, name, own).await
    }

    /// The same to another address.
    pub(super) async fn connect_to(
        &self,
        address: &str,
        name: &str,
        own: Option<&Issued>,
    ) -> Result<TlsStream<tokio::net::TcpStream>> {
        let config = ClientConfig::builder().with_root_certificates(self.roots.clone());
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => config.with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&own.certificate)?],
                PrivateKeyDer::from_pem_file(&own.key)?,
            )?,
        };
        let tcp = self.net.connect(address.parse()?).await?;
        let name = ServerName::try_from(name.to_owned())?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?)
    }

    /// Who answers `GET /` there.
    async fn ask(&self, name: &str, own: Option<&Issued>) -> Result<String> {
        let mut stream = self.connect(name, own).await?;
        say(&mut stream, name).await
    }
}

/// One request over a connection that stays, and the head of its answer.
async fn say(stream: &mut TlsStream<tokio::net::TcpStream>, host: &str) -> Result<String> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte).await? == 1, "the connection ended");
        head.extend(byte);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.context("no length")?.trim().parse()?];
    stream.read_exact(&mut body).await?;
    Ok(head)
}

/// A Secret in `edge` with a certificate and whom clients are believed by.
fn secret(name: &str, issued: &Issued, authority: &Authority) -> String {
    let text = |path: &Path| STANDARD.encode(std::fs::read(path).expect("a file"));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: edge}}\ntype: kubernetes.io/tls\n\
         data: {{tls.crt: {}, tls.key: {}, ca.crt: {}}}\n",
        text(&issued.certificate),
        text(&issued.key),
        text(&authority.certificate())
    )
}

fn server(name: &str, tls: &str) -> String {
    format!(
        "- port: {{number: 8443, name: {name}, protocol: HTTPS}}\n  hosts: [{name}.test]\n  tls: {{{tls}}}\n"
    )
}

fn gateway(servers: &[(&str, &str)]) -> String {
    let servers: String = servers.iter().map(|(name, tls)| server(name, tls)).collect();
    istio("Gateway", "edge", "edge", &format!("selector: {{istio: edge}}\nservers:\n{servers}"))
}

/// Every host of the gateway goes to `web`.
fn all_to_web() -> String {
    let spec = "hosts: [\"*\"]\ngateways: [edge/edge]\nhttp:\n- route: [{destination: {host: web}}]\n";
    istio("VirtualService", "default", "all", spec)
}

struct Stage {
    world: World,
    authority: Authority,
    caller: Caller,
}

impl Stage {
    fn issue(&self, name: &str) -> Issued {
        self.authority.issue(name, &format!("DNS:{name}.test")).unwrap_or_else(|e| panic!("{e:#}"))
    }

    async fn wait_answer(&self, name: &str, own: Option<&Issued>) {
        let what = format!("{name} to answer");
        self.world.wait_for(&what, || async { self.caller.ask(name, own).await.is_ok() }).await;
    }
}

/// `web` and umbra, and no proxy yet.
async fn stage() -> Option<Stage> {
    if !gate::require_openssl() {
        return None;
    }
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &web());
    world.write("rules.yaml", &all_to_web());
    world.start_umbra().await;
    let authority = Authority::make(&world.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
    let caller = Caller::new(&world, &authority);
    Some(Stage { world, authority, caller })
}

/// Each server by its name, from Secrets and files; who must show a certificate and does not is not served.
#[test]
fn servers_are_told_apart_by_name_and_clients_by_their_certificate() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let [simple, mutual, optional, files] =
            ["simple", "mutual", "optional", "files"].map(|name| stage.issue(name));
        for (name, issued) in [("simple", &simple), ("mutual", &mutual), ("optional", &optional)] {
            stage.world.write(&format!("{name}.yaml"), &secret(name, issued, &stage.authority));
        }
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let by_files = format!("mode: SIMPLE, serverCertificate: {certificate}, privateKey: {key}");
        stage.world.write(
            "gateway.yaml",
            &gateway(&[
                ("simple", "mode: SIMPLE, credentialName: simple"),
                ("mutual", "mode: MUTUAL, credentialName: mutual, subjectAltNames: [client.test]"),
                ("optional", "mode: OPTIONAL_MUTUAL, credentialName: optional"),
                ("files", &by_files),
                ("missing", "mode: SIMPLE, credentialName: missing"),
            ]),
        );
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        let (client, stranger) = (stage.issue("client"), stage.issue("stranger"));
        let other = Authority::make(&stage.world.folder().join("tls"), "other");
        let forged =
            other.and_then(|it| it.issue("forged", "DNS:client.test")).unwrap_or_else(|e| panic!("{e:#}"));
        stage.wait_answer("simple.test", None).await;
        stage.wait_answer("files.test", None).await;
        for (name, own, served) in [
            ("simple.test", None, true),
            ("mutual.test", None, false),
            ("mutual.test", Some(&client), true),
            ("mutual.test", Some(&stranger), false),
            ("mutual.test", Some(&forged), false),
            ("optional.test", None, true),
            ("optional.test", Some(&client), true),
            ("optional.test", Some(&forged), false),
            ("missing.test", None, false),
        ] {
            let answer = stage.caller.ask(name, own).await;
            let ok = answer.as_ref().is_ok_and(|head| head.starts_with("http/1.1 200"));
            assert_eq!(ok, served, "{name} {own:?}: {answer:?}");
        }
        // The service is told who the client is.
        let records: Vec<_> = ["v1", "v2", "v3"].iter().flat_map(|v| stage.world.echo(v).records()).collect();
        assert!(records.iter().any(|it| it.header("x-forwarded-client-cert").contains("client.test")));
        let dump = stage.world.umbra().get("/debug/proxies/edge").await.unwrap_or_default();
        assert!(dump.contains("[redacted]") && !dump.contains("PRIVATE KEY"), "{dump}");
    });
}

/// A renewed certificate costs no request and no connection; a deleted and a broken one stay in force and are said.
#[test]
fn a_certificate_changes_under_traffic() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let first = stage.issue("shop");
        stage.world.write("secret.yaml", &secret("shop", &first, &stage.authority));
        stage.world.write("gateway.yaml", &gateway(&[("shop", "mode: SIMPLE, credentialName: shop")]));
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        stage.wait_answer("shop.test", None).await;
        let mut kept = stage.caller.connect("shop.test", None).await.unwrap_or_else(|e| panic!("{e:#}"));
        let shown = |stream: &TlsStream<tokio::net::TcpStream>| {
            stream.get_ref().1.peer_certificates().and_then(|all| all.first()).map(|it| it.to_vec())
        };
        let caller = Caller::new(&stage.world, &stage.authority);
        let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (done.clone(), asked.clone());
        let traffic = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                caller.ask("shop.test", None).await.unwrap_or_else(|e| panic!("{e:#}"));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let updates = stage.world.proxy("edge").stat("listener_manager.lds.update_success").await;
        for round in 0..5 {
            let next = stage.issue("shop");
            stage.world.write("secret.yaml", &secret("shop", &next, &stage.authority));
            let wanted = CertificateDer::from_pem_file(&next.certificate).expect("a certificate").to_vec();
            stage
                .world
                .wait_for(&format!("certificate {round}"), || async {
                    let stream = stage.caller.connect("shop.test", None).await;
                    stream.is_ok_and(|it| shown(&it).is_some_and(|it| it == wanted))
                })
                .await;
            say(&mut kept, "shop.test").await.unwrap_or_else(|e| panic!("{e:#}"));
        }
        let said = |code: &'static str| {
            let world = &stage.world;
            async move {
                let all = world.umbra().get("/debug/diagnostics").await.unwrap_or_default();
                all.contains(code)
            }
        };
        let text = std::fs::read_to_string(stage.world.mesh().join("secret.yaml")).expect("a Secret");
        stage.world.write("secret.yaml", &text.replace("tls.key: ", "tls.key: AAAA"));
        stage.world.wait_for("the broken key to be said", || said("SecretBroken")).await;
        stage.caller.ask("shop.test", None).await.unwrap_or_else(|e| panic!("{e:#}"));
        stage.world.remove("secret.yaml");
        stage.world.wait_for("the deletion to be said", || said("SecretGone")).await;
        stage.caller.ask("shop.test", None).await.unwrap_or_else(|e| panic!("{e:#}"));
        say(&mut kept, "shop.test").await.unwrap_or_else(|e| panic!("{e:#}"));
        done.store(true, Ordering::Relaxed);
        traffic.await.expect("no request failed");
        assert!(asked.load(Ordering::Relaxed) > 10, "{asked:?}");
        assert_eq!(stage.world.proxy("edge").stat("listener_manager.lds.update_success").await, updates);
    });
}

/// So many connections stay open, and each sends a request every 40 ms: 500 a second.
const KEPT: usize = 20;

/// Rotation under 500 requests a second drops none, on connections that stay and on such as are made anew: ten rotations, and
/// load for as long as they take, five seconds at least.
#[test]
fn rotation_under_load_drops_nothing() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let first = stage.issue("shop");
        stage.world.write("secret.yaml", &secret("shop", &first, &stage.authority));
        stage.world.write("gateway.yaml", &gateway(&[("shop", "mode: SIMPLE, credentialName: shop")]));
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        stage.wait_answer("shop.test", None).await;
        let done = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut load = tokio::task::JoinSet::new();
        for nth in 0..=KEPT {
            let caller = Caller::new(&stage.world, &stage.authority);
            let (done, asked) = (done.clone(), asked.clone());
            load.spawn(async move {
                let mut pace = tokio::time::interval(std::time::Duration::from_millis(40));
                let mut kept = caller.connect("shop.test", None).await?;
                while !done.load(Ordering::Relaxed) {
                    pace.tick().await;
                    if nth == KEPT {
                        // One of them shakes hands each time.
                        kept = caller.connect("shop.test", None).await?;
                    }
                    let head = say(&mut kept, "shop.test").await?;
                    ensure!(head.starts_with("http/1.1 200"), "{head}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        for round in 0..10 {
            let next = stage.issue("shop");
            stage.world.write("secret.yaml", &secret("shop", &next, &stage.authority));
            let wanted = CertificateDer::from_pem_file(&next.certificate).expect("a certificate").to_vec();
            stage
                .world
                .wait_for(&format!("certificate {round}"), || async {
                    let stream = stage.caller.connect("shop.test", None).await;
                    stream.is_ok_and(|it| {
                        let shown = it.get_ref().1.peer_certificates().and_then(|all| all.first());
                        shown.is_some_and(|it| it.to_vec() == wanted)
                    })
                })
                .await;
        }
        stage
            .world
            .wait_for("five seconds of load", || async { asked.load(Ordering::Relaxed) >= 2500 })
            .await;
        done.store(true, Ordering::Relaxed);
        while let Some(ended) = load.join_next().await {
            let ended: Result<()> = ended.expect("no panic");
            ended.unwrap_or_else(|e| panic!("a request was dropped: {e:#}"));
        }
        let edge = stage.world.proxy("edge");
        let closed = edge.stat("http.outbound_0.0.0.0_8443.downstream_cx_destroy_local_with_active_rq").await;
        assert_eq!(closed, 0);
    });
}

/// A gateway of another namespace is selected as well, and asks for the Secret by its name besides: it gets nothing.
#[test]
fn a_gateway_of_another_namespace_gets_no_secret() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let issued = stage.issue("shop");
        stage.world.write("secret.yaml", &secret("shop", &issued, &stage.authority));
        stage.world.write("gateway.yaml", &gateway(&[("shop", "mode: SIMPLE, credentialName: shop")]));
        let plain = umbra::bootstrap("router/thief/istio=edge", stage.world.umbra().xds());
        let mut bootstrap: Value =
            serde_saphyr::from_str(&plain.unwrap_or_else(|e| panic!("{e:#}"))).expect("a bootstrap");
        let sds = json!({"name": "kubernetes://shop", "sdsConfig": {"ads": {}, "resourceApiVersion": "V3",
            "initialFetchTimeout": "1s"}});
        bootstrap["staticResources"]["listeners"] = json!([{
            "name": "thief",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 9443}},
            "filterChains": [{
                "filters": [{"name": "envoy.filters.network.echo", "typedConfig": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}],
                "transportSocket": {"name": "envoy.transport_sockets.tls", "typedConfig": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    "commonTlsContext": {"tlsCertificateSdsSecretConfigs": [sds]}}},
            }],
        }]);
        stage.world.start_envoy("thief", &bootstrap.to_string()).await;
        let thief = stage.world.proxy("thief");
        assert!(
            thief
                .listeners()
                .await
                .unwrap_or_else(|e| panic!("{e:#}"))
                .keys()
                .all(|name| name != "0.0.0.0_8443")
        );
        let secrets = thief.get("/config_dump?resource=dynamic_active_secrets").await.unwrap_or_default();
        assert!(!secrets.contains("certificate_chain"), "{secrets}");
        // The same file for its own namespace: what it asked for is served there.
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        stage.wait_answer("shop.test", None).await;
    });
}

/// A server without TLS on the port of an older one with TLS: how a connection begins tells which is meant.
#[test]
fn plaintext_beside_older_tls_is_told() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let issued = stage.issue("shop");
        stage.world.write("secret.yaml", &secret("shop", &issued, &stage.authority));
        stage.world.write("gateway.yaml", &gateway(&[("shop", "mode: SIMPLE, credentialName: shop")]));
        let plain = "selector: {istio: edge}\nservers:\n- port: {number: 8443, name: http, protocol: HTTP}\n  hosts: [plain.test]\n";
        stage.world.write("plain.yaml", &istio("Gateway", "edge", "plain", plain));
        let rules =
            "hosts: [plain.test]\ngateways: [edge/plain]\nhttp:\n- route: [{destination: {host: web}}]\n";
        stage.world.write("plain-rules.yaml", &istio("VirtualService", "default", "plain", rules));
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        stage.wait_answer("shop.test", None).await;
        let get = |host: &str| umbra_testkit::client::Ask::get(host, "/");
        stage.world.wait_status(":8443", &get("plain.test"), 200).await;
        // Neither serves the other's host.
        stage.world.wait_status(":8443", &get("shop.test"), 404).await;
        assert!(stage.caller.ask("plain.test", None).await.is_err());
    });
}

/// TLS that is passed through goes by its server name, TCP by its port; weights are connections.
#[test]
fn connections_pass_unopened() {
    isolated(async {
        let Some(mut stage) = stage().await else { return };
        let issued = stage.issue("shop");
        stage.world.write("secret.yaml", &secret("shop", &issued, &stage.authority));
        // The service behind is a gateway itself.
        let inner = "selector: {istio: inner}\nservers:\n- port: {number: 9443, name: https, protocol: HTTPS}\n  hosts: [\"*\"]\n  tls: {mode: SIMPLE, credentialName: shop}\n";
        stage.world.write("inner.yaml", &istio("Gateway", "edge", "inner", inner));
        let rules = "hosts: [\"*\"]\ngateways: [edge/inner]\nhttp:\n- route: [{destination: {host: web}}]\n";
        stage.world.write("inner-rules.yaml", &istio("VirtualService", "default", "inner", rules));
        stage.world.write("secure.yaml", &service("default", "secure", &[("tls", 443, 9443)]));
        stage.world.write("secure-pod.yaml", &pod("default", "secure", "v1", "127.0.0.1", true));
        let outer = "selector: {istio: edge}\nservers:\n- port: {number: 8443, name: tls, protocol: TLS}\n  hosts: [\"*.test\"]\n  tls: {mode: PASSTHROUGH}\n- port: {number: 8444, name: tcp, protocol: TCP}\n  hosts: [\"*\"]\n";
        stage.world.write("outer.yaml", &istio("Gateway", "edge", "edge", outer));
        let rules = "hosts: [\"*.test\"]\ngateways: [edge/edge]\ntls:\n- match: [{sniHosts: [shop.test]}]\n  route: [{destination: {host: secure, port: {number: 443}}}]\ntcp:\n- match: [{port: 8444}]\n  route: [{destination: {host: web, subset: v1}, weight: 50}, {destination: {host: web, subset: v2}, weight: 50}]\n";
        stage.world.write("rules.yaml", &istio("VirtualService", "default", "all", rules));
        stage.world.start_proxy("inner", "router/edge/istio=inner").await;
        stage.world.start_proxy("edge", "router/edge/istio=edge").await;
        stage.wait_answer("shop.test", None).await;
        assert!(stage.caller.ask("other.test", None).await.is_err());
        let ask = umbra_testkit::client::Ask::get("any", "/");
        stage.world.wait_status(":8444", &ask, 200).await;
        stage.world.forget().await;
        for _ in 0..40 {
            stage.world.ask(":8444", &ask).await;
        }
        let counts = stage.world.counts();
        assert!(counts["v1"] > 0 && counts["v2"] > 0 && counts["v3"] == 0, "{counts:?}");
    });
}
