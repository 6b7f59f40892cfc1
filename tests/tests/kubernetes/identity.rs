//! Proxies prove who they are by tokens that a real API server vouches for.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Streaming};
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use umbra_proto::google::protobuf::{Struct, Value as Field, value::Kind};
use umbra_testkit::client::Ask;
use umbra_testkit::cluster::stage::{on_cluster, on_cluster_with_users};
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::cluster::{Cluster, Mesh, PATIENCE, Part};
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::tls::{Authority, Issued};
use umbra_xds::ResourceType;

use super::manifests::{plain, plain_service};

/// What a stream came to: how many resources its first response has, or how it was refused.
type Outcome = Result<usize, Code>;

/// `kubectl create token`, with more arguments.
fn token(cluster: &Cluster, namespace: &str, account: &str, more: &[&str]) -> String {
    let all = [&["-n", namespace, "create", "token", account][..], more].concat();
    cluster.kubectl(&all).trim().to_owned()
}

/// A token as a projected volume has it: of umbra's audience, bound to a Pod.
pub(crate) fn bound(cluster: &Cluster, namespace: &str, account: &str, pod: &str) -> String {
    let more = ["--audience", "umbra", "--bound-object-kind", "Pod", "--bound-object-name", pod];
    token(cluster, namespace, account, &more)
}

/// A node that says these things of itself.
pub(crate) fn node(id: &str, metadata: &[(&str, &str)], labels: &[(&str, &str)]) -> Node {
    let text = |text: &&str| Field { kind: Some(Kind::StringValue((*text).to_owned())) };
    let map = |pairs: &[(&str, &str)]| Struct {
        fields: pairs.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect(),
    };
    let mut all = map(metadata);
    all.fields.insert("LABELS".to_owned(), Field { kind: Some(Kind::StructValue(map(labels))) });
    Node { id: id.to_owned(), metadata: Some(all), ..Node::default() }
}

/// The first answer to a subscription to all listeners, in either variant.
async fn listeners(cluster: &Cluster, token: Option<&str>, node: &Node, delta: bool) -> Outcome {
    ask(cluster, token, node, ResourceType::Listener.type_url(), delta).await
}

async fn ask(cluster: &Cluster, token: Option<&str>, node: &Node, ty: &str, delta: bool) -> Outcome {
    let address = format!("http://{}", cluster.plane.site().xds);
    let channel = Endpoint::from_shared(address).expect("an address").connect().await.expect("umbra");
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let waited = tokio::time::timeout(PATIENCE, async {
        if delta {
            let first = DeltaDiscoveryRequest {
                node: Some(node.clone()),
                type_url: ty.to_owned(),
                ..DeltaDiscoveryRequest::default()
            };
            let mut request = Request::new(requests(first));
            authorize(token, request.metadata_mut());
            let answer = client.delta_aggregated_resources(request).await.map_err(|it| it.code())?;
            let first: DeltaDiscoveryResponse = next(answer.into_inner()).await?;
            Ok(first.resources.len())
        } else {
            let first = DiscoveryRequest {
                node: Some(node.clone()),
                type_url: ty.to_owned(),
                ..DiscoveryRequest::default()
            };
            let mut request = Request::new(requests(first));
            authorize(token, request.metadata_mut());
            let answer = client.stream_aggregated_resources(request).await.map_err(|it| it.code())?;
            let first: DiscoveryResponse = next(answer.into_inner()).await?;
            Ok(first.resources.len())
        }
    });
    waited.await.expect("an answer")
}

pub(crate) fn authorize(token: Option<&str>, metadata: &mut tonic::metadata::MetadataMap) {
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a header");
        metadata.insert("authorization", value);
    }
}

/// One request, and then nothing more, without an end.
pub(crate) fn requests<T: Send + 'static>(first: T) -> impl tokio_stream::Stream<Item = T> + Send + 'static {
    use tokio_stream::StreamExt;
    tokio_stream::once(first).chain(tokio_stream::pending())
}

pub(crate) async fn next<T>(mut answers: Streaming<T>) -> Result<T, Code> {
    match answers.message().await {
        Ok(Some(first)) => Ok(first),
        Ok(None) => Err(Code::Ok),
        Err(status) => Err(status.code()),
    }
}

/// Two namespaces with a Pod each, of which one is the gateway of a Gateway.
pub(crate) async fn world(cluster: &Cluster) -> (String, String) {
    cluster.install_crds("istio");
    for namespace in ["shop", "bank"] {
        cluster.kubectl(&["create", "namespace", namespace]);
        cluster.kubectl(&["-n", namespace, "create", "serviceaccount", "web"]);
    }
    let workload = |labels: &str| {
        plain("web", labels, "web", 8080)
            .replace("spec: {containers", "spec: {serviceAccountName: web, containers")
    };
    for (namespace, labels) in [("shop", "app: web"), ("bank", "app: door")] {
        let done = cluster.admin().on_manifests(&["apply", "-n", namespace], &workload(labels));
        done.unwrap_or_else(|e| panic!("{e:#}"));
    }
    cluster.apply(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: bank}
spec: {selector: {app: door}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
",
    );
    let shop = cluster.wait_ready("shop", "app=web", 1).await[0].name.clone();
    let bank = cluster.wait_ready("bank", "app=door", 1).await[0].name.clone();
    (shop, bank)
}

/// A listener for the gateway's own Pod, and for nobody who only says so.
#[test]
fn a_proxy_is_who_its_token_says() {
    on_cluster(|mut cluster| async move {
        let (shop, bank) = world(&cluster).await;
        let flags = ["--xds-identity", "token"];
        let mesh = Mesh::start(&cluster, &cluster.admin(), &flags).await;
        let mut mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        let (ours, theirs) = (bound(&cluster, "bank", "web", &bank), bound(&cluster, "shop", "web", &shop));
        let other = token(
            &cluster,
            "bank",
            "web",
            &["--audience", "other", "--bound-object-kind", "Pod", "--bound-object-name", &bank],
        );
        let unbound = token(&cluster, "bank", "web", &["--audience", "umbra"]);
        let default = token(&cluster, "bank", "web", &[]);
        let door = [("app", "door")];
        let router = |namespace: &'static str| vec![("PROXY_TYPE", "router"), ("NAMESPACE", namespace)];
        let pod = |namespace: &str, name: &str| format!("router~10.0.0.1~{name}.{namespace}~{namespace}.svc");
        let forged = pod("shop", &bank);
        for (title, token, id, metadata, want) in [
            ("its own", Some(&ours), "n", router("bank"), Ok(1)),
            ("it says nothing", Some(&ours), "n", vec![("PROXY_TYPE", "router")], Ok(1)),
            ("forged labels", Some(&theirs), "n", router("shop"), Ok(0)),
            ("a forged Pod", Some(&theirs), &forged, router("shop"), Ok(0)),
            ("a forged namespace", Some(&theirs), "n", router("bank"), Err(Code::PermissionDenied)),
            ("no token", None, "n", router("bank"), Err(Code::Unauthenticated)),
            ("another audience", Some(&other), "n", router("bank"), Err(Code::Unauthenticated)),
            ("the API server's audience", Some(&default), "n", router("bank"), Err(Code::Unauthenticated)),
            ("bound to no Pod", Some(&unbound), "n", router("bank"), Err(Code::Unauthenticated)),
            ("garbage", Some(&"x.y.z".to_owned()), "n", router("bank"), Err(Code::Unauthenticated)),
            (
                "cut off",
                Some(&ours[..ours.len() - 9].to_owned()),
                "n",
                router("bank"),
                Err(Code::Unauthenticated),
            ),
        ] {
            for delta in [true, false] {
                let node = node(id, &metadata, &door);
                let got = listeners(&cluster, token.map(String::as_str), &node, delta).await;
                assert_eq!(got, want, "{title}, delta {delta}\n{}", mesh.log());
            }
        }
        // Types that nobody serves, and services that are not there, tell nobody anything.
        let me = node("n", &router("bank"), &door);
        let unknown = "type.googleapis.com/envoy.config.core.v3.Node";
        assert_eq!(ask(&cluster, None, &me, unknown, true).await, Err(Code::Unauthenticated));
        assert_eq!(ask(&cluster, None, &me, unknown, false).await, Err(Code::Unauthenticated));
        let mut other = umbra_testkit::client::Client::new(&Net::here(), cluster.plane.site().xds).http2();
        for service in [
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
        ] {
            let ask =
                Ask::post("umbra", &format!("/{service}"), "").header("content-type", "application/grpc");
            let answer = other.ask(&ask).await.expect("an answer");
            assert_eq!(answer.headers["grpc-status"], "12", "{service}");
        }
        let ready = mesh.get("/readyz?verbose").await.expect("its state");
        assert!(ready.contains("[+] proxies prove who they are by a token"), "{ready}");
        let metrics = mesh.get("/metrics").await.expect("metrics");
        assert!(metrics.contains("umbra_xds_identity{mode=\"token\"} 1"), "{metrics}");

        // While the API server is away whoever was vouched for stays so; nobody else comes in.
        let fresh = bound(&cluster, "bank", "web", &bank);
        cluster.plane.freeze(Part::ApiServer, true).expect("frozen");
        assert_eq!(listeners(&cluster, Some(&ours), &me, true).await, Ok(1));
        assert_eq!(listeners(&cluster, Some(&fresh), &me, true).await, Err(Code::Unavailable));
        cluster.plane.freeze(Part::ApiServer, false).expect("it goes on");
        // With its Pod a token goes, also one that was good.
        cluster.kubectl(&["-n", "bank", "delete", "deployment", "web"]);
        mesh.wait_for("the token to go with its Pod", || async {
            listeners(&cluster, Some(&ours), &me, true).await == Err(Code::Unavailable)
        })
        .await;
        mesh.kill_umbra();
    });
}

/// umbra over TLS for the Pods' own names and the node's address.
fn tls(cluster: &Cluster) -> (Authority, Issued) {
    let authority = Authority::make(&cluster.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
    let good_for = format!("IP:{}", cluster.plane.site().xds.ip());
    let issued = authority.issue("umbra", &good_for).unwrap_or_else(|e| panic!("{e:#}"));
    (authority, issued)
}

/// A token of the API server's own key, which lives for so many seconds: the API server itself gives none shorter than ten
/// minutes.
fn short(cluster: &Cluster, pod: &str, seconds: u64) -> String {
    let text = |arguments: &[&str]| cluster.kubectl(arguments).trim().to_owned();
    let pod_uid = text(&["get", "pod", pod, "-o", "jsonpath={.metadata.uid}"]);
    let account_uid = text(&["get", "serviceaccount", "default", "-o", "jsonpath={.metadata.uid}"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "aud": ["umbra"], "sub": "system:serviceaccount:default:default",
        "iat": now, "nbf": now - 5, "exp": now + seconds,
        "kubernetes.io": {
            "namespace": "default", "pod": {"name": pod, "uid": pod_uid},
            "serviceaccount": {"name": "default", "uid": account_uid},
        },
    });
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(br#"{"alg":"ES256"}"#), encode(claims.to_string().as_bytes()));
    let folder = cluster.folder().join("signing");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("text"), &signed).expect("a file");
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign", "../accounts.key", "text"]).current_dir(&folder);
    let out = openssl.output().expect("openssl");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    format!("{signed}.{}", encode(&plain_signature(&out.stdout)))
}

/// The two numbers of a signature in DER (`SEQUENCE` of two `INTEGER`s) as RFC 7518 wants them: 32 bytes each.
fn plain_signature(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let digits = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - digits.len()).chain(digits.iter().copied()));
        rest = after;
    }
    out
}

/// As a kubelet renews a token: what others read is one file or the other.
fn place(file: &Path, token: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, token).expect("a file");
    std::fs::rename(&new, file).expect("in its place");
}

/// A real Envoy goes through many tokens, and no request fails; without a new one it goes on with what it has.
#[test]
fn a_proxy_whose_token_is_renewed() {
    on_cluster(|cluster| async move {
        cluster.install_crds("istio");
        let (authority, issued) = tls(&cluster);
        let file = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let at = SocketAddr::new(cluster.plane.site().xds.ip(), 15012);
        let (certificate, key, ca) =
            (file(&issued.certificate), file(&issued.key), file(&authority.certificate()));
        let address = at.to_string();
        let flags =
            ["--xds-identity", "token", "--xds-tls", &address, "--tls-cert", &certificate, "--tls-key", &key];
        let mesh = Mesh::start(&cluster, &cluster.admin(), &flags).await;
        let mut mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        let workloads = plain("web", "app: web, version: v1", "web", 8080)
            + &plain_service("web", "app: web", 80, 8080)
            + &plain("caller", "app: caller", "caller", 8081);
        cluster.apply(&workloads);
        cluster.wait_ready("default", "app=web", 1).await;
        let caller = cluster.wait_ready("default", "app=caller", 1).await[0].clone();
        let (token, secret) = (cluster.folder().join("token"), cluster.folder().join("token-secret.json"));
        place(&token, &short(&cluster, &caller.name, 20));
        let bootstrap = |more: &[&str]| {
            let mut command = Command::new(paths::umbra().unwrap_or_else(|e| panic!("{e:#}")));
            command.args(["bootstrap", "--proxy", "sidecar/default/app=anything", "--server", &address]);
            command.args(["--ca", &ca, "--token", &file(&token), "--token-secret", &file(&secret)]);
            let out = command.args(more).output().expect("umbra bootstrap");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).expect("text")
        };
        std::fs::write(&secret, bootstrap(&["--print-token-secret"])).expect("a file");
        mesh.start_proxy_with("sidecar", &caller, |_| bootstrap(&[])).await;
        let ask = Ask::get("web", "/");
        mesh.wait_status("caller", 80, &ask, 200).await;
        let traffic = Traffic::through(mesh.client("caller", 80), ask.clone(), Duration::from_millis(20));
        let seen = || async {
            let all: Value = serde_json::from_str(&mesh.get("/debug/proxies").await.ok()?).ok()?;
            let proxies = all["proxies"].as_array().or(all.as_array())?.clone();
            let one = (proxies.len() == 1).then(|| proxies[0].clone())?;
            Some((one["id"].as_u64()?, one["account"].as_str()?.to_owned(), one["pod"].as_str()?.to_owned()))
        };
        let streams = Mutex::new(BTreeSet::new());
        mesh.wait_for("three streams, each with a token of its own", || async {
            if let Some((id, account, pod)) = seen().await {
                assert_eq!((&*account, &*pod), ("default/default", &*caller.name));
                streams.lock().expect("no panic").insert(id);
            }
            place(&token, &short(&cluster, &caller.name, 20));
            streams.lock().expect("no panic").len() >= 3
        })
        .await;
        // Nobody renews it any more: the stream ends, and traffic goes on.
        mesh.wait_for("nobody to be let in", || async {
            mesh.get("/debug/proxies").await.is_ok_and(|all| !all.contains("\"id\""))
                && mesh.log().contains("the token has expired")
        })
        .await;
        let metrics = mesh.get("/metrics").await.expect("metrics");
        assert!(metrics.contains("umbra_streams_closed_total{reason=\"expired\"}"), "{metrics}");
        traffic.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        place(&token, &short(&cluster, &caller.name, 600));
        mesh.wait_for("it to be back", || async { seen().await.is_some() }).await;
    });
}

/// An injected Pod shows the token that it mounts, over TLS, with nothing said but umbra's authority.
#[test]
fn an_injected_pod_proves_who_it_is() {
    on_cluster_with_users(|cluster| async move {
        cluster.install_crds("istio");
        let (authority, issued) = tls(&cluster);
        let file = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let address = SocketAddr::new(cluster.plane.site().xds.ip(), 15012).to_string();
        let (certificate, key) = (file(&issued.certificate), file(&issued.key));
        let flags =
            ["--xds-identity", "token", "--xds-tls", &address, "--tls-cert", &certificate, "--tls-key", &key];
        let mesh = Mesh::start(&cluster, &cluster.admin(), &flags).await;
        let mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        let settings = cluster.folder().join("umbra.yaml");
        let injection = json!({"injection": {"server": address, "caFile": authority.certificate()}});
        std::fs::write(&settings, injection.to_string()).expect("a file");
        let manifests = cluster.folder().join("web.yaml");
        let web =
            plain("web", "app: web, version: v1", "web", 8080) + &plain_service("web", "app: web", 80, 8080);
        std::fs::write(&manifests, web).expect("a file");
        let mut inject = Command::new(paths::umbra().unwrap_or_else(|e| panic!("{e:#}")));
        inject.args(["inject", "-f", &file(&manifests), "--config", &file(&settings)]);
        let out = inject.output().expect("umbra inject");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        cluster.apply(&String::from_utf8(out.stdout).expect("text"));
        let web = cluster.wait_ready("default", "app=web", 1).await[0].clone();
        let proxies = mesh.get("/debug/proxies").await.expect("the proxies");
        assert!(
            proxies.contains("\"account\":\"default/default\"")
                || proxies.contains("\"account\": \"default/default\""),
            "{proxies}"
        );
        let tally = web.curl("http://web/", 20).await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(tally.all_ok(20) && tally.by("v1") == 20, "{tally:?}");
    });
}

/// Callers of the API are told what RBAC lets their ServiceAccounts read, by the program that people use.
#[test]
fn a_caller_is_told_what_it_may_read() {
    on_cluster(|cluster| async move {
        let (_, _) = world(&cluster).await;
        cluster.apply(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reads-rules, namespace: shop}
rules: [{apiGroups: [networking.istio.io], resources: [virtualservices], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reads-rules, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads-rules}
subjects: [{kind: ServiceAccount, name: web, namespace: shop}]
",
        );
        let (authority, issued) = tls(&cluster);
        let file = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let on = |port| SocketAddr::new(cluster.plane.site().xds.ip(), port).to_string();
        let (xds, api) = (on(15012), on(15013));
        let (certificate, key, ca) =
            (file(&issued.certificate), file(&issued.key), file(&authority.certificate()));
        let flags = [
            ["--xds-tls", &xds],
            ["--tls-cert", &certificate],
            ["--tls-key", &key],
            ["--api", &api],
            ["--api-identity", "token"],
        ];
        let mesh = Mesh::start(&cluster, &cluster.admin(), flags.as_flattened()).await;
        let mut mesh = mesh.unwrap_or_else(|e| panic!("{e:#}"));
        let audience = ["--audience", "umbra"];
        let (ours, theirs) =
            (token(&cluster, "shop", "web", &audience), token(&cluster, "bank", "web", &audience));
        let other = token(&cluster, "shop", "web", &[]);
        let asked = |token: Option<&str>, more: &[&str]| {
            let mut command = Command::new(paths::umbra().unwrap_or_else(|e| panic!("{e:#}")));
            command.args(["mirrors", "--server", &api, "--ca", &ca]).args(more);
            if let Some(token) = token {
                let path = cluster.folder().join("caller");
                std::fs::write(&path, token).expect("a file");
                command.arg("--token-file").arg(path);
            }
            let out = command.output().expect("umbra mirrors");
            String::from_utf8_lossy(&out.stderr).into_owned()
        };
        let missing = "list virtualservices.networking.istio.io";
        for (title, token, more, part) in [
            ("its own", Some(&ours), &["-n", "shop"][..], "there is no mirror".to_owned()),
            ("another's", Some(&ours), &["-n", "bank"], format!("may not: {missing} in namespace \"bank\"")),
            ("everybody's", Some(&ours), &[], format!("may not: {missing} in all namespaces")),
            ("without a right", Some(&theirs), &["-n", "shop"], format!("may not: {missing} in namespace")),
            ("another audience", Some(&other), &["-n", "shop"], "the token is refused".to_owned()),
            ("without a token", None, &["-n", "shop"], "asks who you are".to_owned()),
        ] {
            let said = asked(token.map(String::as_str), more);
            assert!(said.contains(&part), "{title}: {said}\n{}", mesh.log());
        }
        let ready = mesh.get("/readyz?verbose").await.expect("its state");
        assert!(ready.contains("[+] callers of --api prove who they are by a token"), "{ready}");
        mesh.kill_umbra();
    });
}
