//! Who asks `--api`, and what that caller is told: with tokens over TLS, an API server that vouches for them and goes away,
//! and two replicas that know each other.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request as Ask};
use umbra_proto::umbra::v1::umbra_client::UmbraClient;
use umbra_proto::umbra::v1::{
    ListMirrorsRequest, ListObjectsRequest, ListProxiesRequest, ObjectReference, WatchMirrorsRequest,
    WatchProxiesRequest,
};
use umbra_server::identity::CallerMode;
use umbra_server::serve::{self, Running, Setup};
use umbra_testkit::gate;
use umbra_testkit::ports::Port;
use umbra_testkit::tls::{Authority, Issued};
use umbra_testkit::umbra::write;
use umbra_testkit::wait::PATIENCE;

use crate::mesh::Mesh;

/// An API server without objects that knows the ServiceAccounts of the namespace `shop`: each may read rules there, and
/// `auditor` everywhere.
#[derive(Clone, Default)]
struct ApiServer {
    away: Arc<AtomicBool>,
    reviews: Arc<AtomicUsize>,
}

impl ApiServer {
    async fn start() -> (Self, SocketAddr) {
        let server = ApiServer::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }
}

async fn answer(State(server): State<ApiServer>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if request.method() == Method::GET && query.contains("watch=") {
        let silence = futures::stream::pending::<std::io::Result<Vec<u8>>>();
        return Response::new(Body::from_stream(silence));
    }
    let asks = path.ends_with("reviews") && request.method() == Method::POST;
    if request.method() == Method::GET {
        return Json(
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}),
        )
        .into_response();
    }
    if !asks || server.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    server.reviews.fetch_add(1, Ordering::Relaxed);
    let body = axum::body::to_bytes(Body::new(request.into_body()), 1 << 20).await.expect("a body");
    let mut review: Value = serde_json::from_slice(&body).expect("JSON");
    let spec = &review["spec"];
    review["status"] = if path.ends_with("tokenreviews") {
        let payload = spec["token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a token");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("claims");
        let known = claims["sub"].as_str().is_some_and(|sub| sub.starts_with("system:serviceaccount:shop:"));
        json!({"authenticated": known, "audiences": ["umbra"], "user": {"username": claims["sub"]}})
    } else {
        let attributes = &spec["resourceAttributes"];
        let allowed =
            spec["user"] == "system:serviceaccount:shop:auditor" || attributes["namespace"] == "shop";
        json!({"allowed": allowed})
    };
    (StatusCode::CREATED, Json(review)).into_response()
}

/// A token that says so, which the API server above believes.
fn token(account: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({"sub": format!("system:serviceaccount:{account}"), "exp": now + 3600});
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// What a caller shows and believes.
#[derive(Clone)]
struct Caller {
    config: Arc<ClientConfig>,
    token: Option<String>,
}

impl Caller {
    fn new(authority: &Authority, shows: Option<&Issued>, account: Option<&str>) -> Self {
        let pem = |path: &Path| std::fs::read(path).expect("a file");
        let certificates = |path: &Path| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(path)).collect();
            all.expect("PEM")
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(&authority.certificate()));
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(&pem(&shown.key)).expect("a key");
                builder.with_client_auth_cert(certificates(&shown.certificate), key).expect("a pair")
            }
        };
        Caller { config: Arc::new(config), token: account.map(token) }
    }

    fn config(&self, protocol: &[u8]) -> TlsConnector {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    async fn grpc(&self, api: SocketAddr) -> UmbraClient<Channel> {
        let connector = self.config(b"h2");
        let endpoint = Endpoint::from_shared(format!("http://{api}")).expect("an address");
        let connect = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(api).await?;
                let name = ServerName::try_from("umbra.x.svc").map_err(std::io::Error::other)?;
                connector.connect(name, stream).await.map(hyper_util::rt::TokioIo::new)
            }
        });
        UmbraClient::new(endpoint.connect_with_connector(connect).await.expect("a connection"))
    }

    fn ask<T>(&self, message: T) -> Ask<T> {
        let mut ask = Ask::new(message);
        if let Some(token) = &self.token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a header");
            ask.metadata_mut().insert("authorization", value);
        }
        ask
    }

    /// What a stop over TLS comes to: the status and the body.
    async fn stop(&self, api: SocketAddr, order: &Value) -> (u16, Value) {
        let stream = TcpStream::connect(api).await.expect("umbra");
        let name = ServerName::try_from("umbra.x.svc").expect("a name");
        let stream = self.config(b"http/1.1").connect(name, stream).await.expect("TLS");
        let body = order.to_string();
        let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        ask(stream, ("POST", "/v1/stop"), self.token.as_deref(), (&more, &body)).await
    }

    /// What the gate says over TLS: the status and the body.
    async fn gate(&self, api: SocketAddr, path: &str) -> (u16, Value) {
        let stream = TcpStream::connect(api).await.expect("umbra");
        let name = ServerName::try_from("umbra.x.svc").expect("a name");
        let stream = self.config(b"http/1.1").connect(name, stream).await.expect("TLS");
        get(stream, path, self.token.as_deref()).await
    }
}

async fn get(
    stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    path: &str,
    token: Option<&str>,
) -> (u16, Value) {
    ask(stream, ("GET", path), token, ("", "")).await
}

/// A request with further headers and a body: the status and the answer.
async fn ask(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    (method, path): (&str, &str),
    token: Option<&str>,
    (more, body): (&str, &str),
) -> (u16, Value) {
    let header = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let ask =
        format!("{method} {path} HTTP/1.1\r\nHost: umbra\r\n{header}{more}Connection: close\r\n\r\n{body}");
    stream.write_all(ask.as_bytes()).await.expect("umbra reads");
    let mut answer = Vec::new();
    // One that ends TLS without a word has answered all the same.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_default())
}

struct World {
    running: Running,
    api: SocketAddr,
    _folder: tempfile::TempDir,
}

/// An umbra that asks its callers, with one rule and no proxies.
async fn umbra(
    server: SocketAddr,
    shows: &Issued,
    authority: Option<&Authority>,
    api: u16,
    peers: &[u16],
) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mesh = Mesh::default();
    mesh.change("+w");
    write(folder.path(), "mesh/mesh.yaml", &mesh.yaml()).expect("manifests");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{server}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    write(folder.path(), "kubeconfig", &kubeconfig.to_string()).expect("a kubeconfig");
    let mut setup = Setup::local(folder.path().join("mesh"));
    let options = &mut setup.options;
    options.kubeconfig = Some(folder.path().join("kubeconfig"));
    options.xds_tls = Some("127.0.0.1:0".to_owned());
    options.tls_cert = Some(shows.certificate.clone());
    options.tls_key = Some(shows.key.clone());
    options.tls_client_ca = authority.map(Authority::certificate);
    // Not the loopback alone, which asks nobody.
    options.api = Some(format!("0.0.0.0:{api}"));
    options.api_identity = Some(CallerMode::Token);
    options.api_dashboard = Some(true);
    options.peers = Some(peers.iter().map(|port| format!("127.0.0.1:{port}")).collect());
    let running = serve::start(setup).await.expect("umbra starts");
    tokio::time::timeout(PATIENCE, running.ready()).await.expect("it is ready");
    let port = running.api.expect("--api").port();
    World { running, api: ([127, 0, 0, 1], port).into(), _folder: folder }
}

struct Pki {
    authority: Authority,
    own: Issued,
    other: Issued,
    _folder: tempfile::TempDir,
}

fn pki() -> Option<Pki> {
    if !gate::require_openssl() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::make(folder.path(), "ca").expect("an authority");
    let own = authority.issue("own", "DNS:umbra.x.svc").expect("a certificate");
    let other = authority.issue("other", "DNS:web.shop.svc").expect("a certificate");
    Some(Pki { authority, own, other, _folder: folder })
}

/// The codes of listing mirrors and proxies in `shop`, of listing mirrors everywhere, and of asking about an object of `shop`
/// and about all objects.
async fn asked(caller: &Caller, api: SocketAddr) -> [Code; 5] {
    let mut client = caller.grpc(api).await;
    let shop = || "shop".to_owned();
    let object = ObjectReference {
        group: "networking.istio.io".to_owned(),
        kind: "VirtualService".to_owned(),
        namespace: shop(),
        name: "web".to_owned(),
    };
    let code = |result: Result<(), tonic::Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    let mirrors = |namespace| caller.ask(ListMirrorsRequest { namespace });
    let objects = |objects| caller.ask(ListObjectsRequest { objects, all_replicas: false });
    [
        code(client.list_mirrors(mirrors(shop())).await.map(drop)),
        code(client.list_proxies(caller.ask(ListProxiesRequest { namespace: shop() })).await.map(drop)),
        code(client.list_mirrors(mirrors(String::new())).await.map(drop)),
        code(client.list_objects(objects(vec![object])).await.map(drop)),
        code(client.list_objects(objects(Vec::new())).await.map(drop)),
    ]
}

const GATE: &str = "/v1/live/vs/shop/web";

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_what_they_may_read() {
    let Some(pki) = pki() else { return };
    let (server, address) = ApiServer::start().await;
    let world = umbra(address, &pki.own, None, 0, &[]).await;
    let api = world.api;
    let caller = |shows, account| Caller::new(&pki.authority, shows, account);
    use Code::{Ok, PermissionDenied as No, Unauthenticated as Who};
    for (title, caller, want, status) in [
        ("nobody", caller(None, None), [Who; 5], 409),
        ("a reader", caller(None, Some("shop:web")), [Ok, Ok, No, Ok, No], 409),
        ("an auditor", caller(None, Some("shop:auditor")), [Ok; 5], 409),
        ("an account that nobody knows", caller(None, Some("bank:door")), [Who; 5], 401),
        ("a replica", caller(Some(&pki.own), None), [Ok; 5], 409),
        ("who shows another certificate", caller(Some(&pki.other), None), [Who; 5], 409),
    ] {
        assert_eq!(asked(&caller, api).await, want, "{title}");
        let (got, body) = caller.gate(api, GATE).await;
        assert_eq!(got, status, "{title}: {body}");
        let silent = body.get("silent").is_some();
        assert_eq!(silent, want[0] == Ok, "{title}: {body}");
    }
    // Of another namespace's objects: a stranger knows no more, and an account is told that it may not.
    let reader = caller(None, Some("shop:web"));
    assert_eq!(reader.gate(api, "/v1/live/vs/bank/web").await.0, 403);
    // The pages show what may be read, and a stranger nothing but a form.
    let (nobody, auditor) = (caller(None, None), caller(None, Some("shop:auditor")));
    for (title, caller, path, want) in [
        ("nobody", &nobody, "/ui/", 401),
        ("nobody, one", &nobody, "/ui/mirror?key=mirror/shop/web/r/x", 401),
        ("nobody, the style", &nobody, "/ui/app.css", 200),
        ("a reader of its namespace", &reader, "/ui/?namespace=shop", 200),
        ("a reader of all", &reader, "/ui/", 403),
        ("a reader of one that is not there", &reader, "/ui/mirror?key=x", 403),
        ("an auditor", &auditor, "/ui/", 200),
        ("an auditor of one that is not there", &auditor, "/ui/mirror?key=x", 404),
    ] {
        assert_eq!(caller.gate(api, path).await.0, want, "{title}");
    }
    // In plaintext: the gate as canary tools ask it, and nobody's token.
    let plain =
        async |token: Option<&str>| get(TcpStream::connect(api).await.expect("umbra"), GATE, token).await;
    let (status, body) = plain(None).await;
    assert_eq!((status, &body["live"], body.get("laggards")), (409, &json!(0), None), "{body}");
    assert_eq!(plain(Some(&token("shop:web"))).await.0, 401);
    let endpoint = Endpoint::from_shared(format!("http://{api}")).expect("an address");
    let mut client = UmbraClient::new(endpoint.connect().await.expect("a connection"));
    let refused = client.list_mirrors(ListMirrorsRequest::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Who);
    // The API server goes: who was known goes on, and so do replicas; nobody else is told anything.
    let asked_before = server.reviews.load(Ordering::Relaxed);
    server.away.store(true, Ordering::Relaxed);
    assert_eq!(asked(&reader, api).await[..2], [Ok, Ok]);
    assert_eq!(asked(&caller(Some(&pki.own), None), api).await, [Ok; 5]);
    assert_eq!(asked(&caller(None, Some("shop:new")), api).await, [Code::Unavailable; 5]);
    assert_eq!(caller(None, Some("shop:new")).gate(api, GATE).await.0, 503);
    assert_eq!(server.reviews.load(Ordering::Relaxed), asked_before);
    let metrics = world.running.metrics.encode();
    assert!(metrics.contains("umbra_api_identity{mode=\"token\"} 1"), "{metrics}");
}

/// Whether its rule is stopped is written in the file, whoever asks; who may is said by rights on the object.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_patch_a_rule_stops_it() {
    let Some(pki) = pki() else { return };
    let (_, address) = ApiServer::start().await;
    let world = umbra(address, &pki.own, None, 0, &[]).await;
    let caller = |account| Caller::new(&pki.authority, None, account);
    let (reader, auditor) = (caller(Some("shop:web")), caller(Some("shop:auditor")));
    let file = || std::fs::read_to_string(world._folder.path().join("mesh/mesh.yaml")).expect("the file");
    let before = file();
    let (all, elsewhere) = (json!({"all": true}), json!({"mirrors": ["shop/none", "bank/web"]}));
    for (title, caller, order, want, part) in [
        ("nobody", caller(None), &all, 401, "proves who he is"),
        ("an account that nobody knows", caller(Some("bank:door")), &all, 401, "refused"),
        ("all, of a part of them", reader.clone(), &all, 403, "may not: patch virtualservices"),
        (
            "one of two",
            reader.clone(),
            &elsewhere,
            403,
            "patch virtualservices.networking.istio.io \"web\" in namespace \"bank\"",
        ),
        // It may, and umbra asks an API server that has no such kind.
        ("what is not there", reader, &json!({"mirrors": ["shop/none"]}), 409, ""),
    ] {
        let (status, told) = caller.stop(world.api, order).await;
        assert_eq!(status, want, "{title}: {told}");
        assert!(told.to_string().replace("\\\"", "\"").contains(part), "{title}: {told}");
        assert_eq!(file(), before, "{title}");
    }
    let (status, told) = auditor.stop(world.api, &all).await;
    assert_eq!((status, &told["done"]), (200, &json!(true)), "{told}");
    // In plaintext a token is refused, and a stranger too.
    for token in [None, Some(token("shop:auditor"))] {
        let stream = TcpStream::connect(world.api).await.expect("umbra");
        let more = "Content-Type: application/json\r\nContent-Length: 13\r\n";
        let (status, told) =
            ask(stream, ("POST", "/v1/resume"), token.as_deref(), (more, "{\"all\": true}")).await;
        assert_eq!(status, 401, "{told}");
    }
}

/// Orders wait for proxies, and the one who gives many of them for those before: no gate does, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_keeps_nobody_waiting() {
    let Some(pki) = pki() else { return };
    let (_, address) = ApiServer::start().await;
    // A replica that accepts and says nothing: whoever asks it waits.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let world = umbra(address, &pki.own, None, 0, &[port]).await;
    let caller = |account| Caller::new(&pki.authority, None, Some(account));
    let (reader, auditor) = (caller("shop:web"), caller("shop:auditor"));
    let order = json!({"all": true, "wait": "30s"});
    let many: Vec<_> = (0..4)
        .map(|_| {
            let (auditor, order) = (auditor.clone(), order.clone());
            // Anew whenever it is answered: the one who looks may have taken a turn before it.
            tokio::spawn(async move {
                loop {
                    auditor.stop(world.api, &order).await;
                }
            })
        })
        .collect();
    let refused = umbra_testkit::wait::until(PATIENCE, || async {
        let (status, told) = auditor.stop(world.api, &json!({"all": true, "wait": "0s"})).await;
        (status == 429).then_some(told)
    });
    let told = refused.await.expect("a refusal").to_string();
    assert!(told.contains("4 orders of") && told.contains("auditor"), "{told}");
    let (status, told) = reader.stop(world.api, &json!({"mirrors": ["shop/none"], "wait": "0s"})).await;
    assert_eq!(status, 409, "somebody else's: {told}");
    let (status, told) = auditor.gate(world.api, GATE).await;
    assert!(status == 409 && told.to_string().contains("not every replica"), "{status} {told}");
    many.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_does_not_have_all_watches() {
    let Some(pki) = pki() else { return };
    let (_, address) = ApiServer::start().await;
    let world = umbra(address, &pki.own, None, 0, &[]).await;
    let auditor = Caller::new(&pki.authority, None, Some("shop:auditor"));
    let mut client = auditor.grpc(world.api).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let watch = client.watch_mirrors(auditor.ask(WatchMirrorsRequest::default())).await;
        open.push(watch.expect("a watch").into_inner());
    }
    let refused =
        client.watch_mirrors(auditor.ask(WatchMirrorsRequest::default())).await.expect_err("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let stranger = Caller::new(&pki.authority, None, None);
    let refused = stranger
        .grpc(world.api)
        .await
        .watch_proxies(WatchProxiesRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(open[7].message().await.expect("an update").is_some());
}

/// Replicas with one certificate, and with one that is renewed, hear each other; one that has another is silent.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_know_each_other() {
    let Some(pki) = pki() else { return };
    let renewed = pki.authority.issue("renewed", "DNS:umbra.x.svc").expect("a certificate");
    let (_, address) = ApiServer::start().await;
    for (title, shows, silent) in [
        ("the same", &pki.own, 0),
        ("a renewed one", &renewed, 0),
        ("somebody else's of the same authority", &pki.other, 1),
    ] {
        let ports = [Port::free().expect("a port"), Port::free().expect("a port")];
        let numbers = ports.each_ref().map(Port::number);
        let one = umbra(address, &pki.own, Some(&pki.authority), numbers[0], &numbers).await;
        let two = umbra(address, shows, Some(&pki.authority), numbers[1], &numbers).await;
        let replica = Caller::new(&pki.authority, Some(&pki.own), None);
        let (_, body) = replica.gate(one.api, GATE).await;
        assert_eq!(body["silent"].as_array().map(Vec::len), Some(silent), "{title}: {body}");
        drop((one, two));
    }
}
