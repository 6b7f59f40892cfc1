//! The gRPC side over a real socket: who is refused and with which words, what a client may not do, how it ends.
//! What the protocol itself promises is tested in `umbra-xds`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use umbra_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use umbra_proto::type_url;
use umbra_server::ads::Patience;
use umbra_server::serve::{self, Running, Setup};

/// Far more than anything needs.
const PATIENCE: Duration = Duration::from_secs(120);

struct World {
    folder: tempfile::TempDir,
    server: Running,
}

/// `count` Services, so that responses can be made large.
fn services(count: usize) -> String {
    let one = |n: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web-{n}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
        )
    };
    (0..count).map(one).collect::<Vec<_>>().join("---\n")
}

impl World {
    async fn with(count: usize, patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), services(count)).unwrap();
        let server = serve::start(Setup { patience, ..Setup::local(folder.path()) }).await.unwrap();
        World { folder, server }
    }

    async fn new() -> Self {
        World::with(1, Patience::default()).await
    }

    async fn client(&self) -> AggregatedDiscoveryServiceClient<tonic::transport::Channel> {
        let endpoint = Endpoint::new(format!("http://{}", self.server.xds)).unwrap();
        // What fits into the window counts as read.
        let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
        AggregatedDiscoveryServiceClient::new(channel)
    }

    async fn delta(&self) -> (mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>) {
        let (out, requests) = mpsc::channel(10);
        let stream =
            self.client().await.delta_aggregated_resources(ReceiverStream::new(requests)).await.unwrap();
        (out, stream.into_inner())
    }

    /// Waits until a metric has a value.
    async fn metric(&self, line: &str) {
        let wait = async {
            while !self.server.metrics.encode().lines().any(|l| l == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, wait).await;
        assert!(seen.is_ok(), "{line}: {}", self.server.metrics.encode());
    }

    async fn stop(self) {
        self.server.stop();
        tokio::time::timeout(PATIENCE, self.server.wait()).await.expect("an end").unwrap();
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("an answer in time")
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn node(id: &str, metadata: &[(&str, Value)]) -> Node {
    let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Node { id: id.to_owned(), metadata: Some(Struct { fields }), ..Node::default() }
}

fn good() -> Node {
    node("web-1", &[("NAMESPACE", text("default"))])
}

fn ask(node: Option<Node>, type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { node, type_url: type_url.to_owned(), ..DeltaDiscoveryRequest::default() }
}

/// How the stream answers a first request.
async fn answer(
    world: &World,
    request: DeltaDiscoveryRequest,
) -> Result<Option<DeltaDiscoveryResponse>, Status> {
    let (out, mut responses) = world.delta().await;
    // A request that is too large may be refused while it is being sent.
    let _ = out.send(request).await;
    within(responses.message()).await
}

#[tokio::test]
async fn both_variants_answer_a_proxy() {
    let world = World::new().await;
    let response = answer(&world, ask(Some(good()), type_url::CLUSTER)).await.unwrap().unwrap();
    assert_eq!(response.resources[0].name, "outbound|80||web-0.default.svc.cluster.local");
    let (out, requests) = mpsc::channel(1);
    let mut client = world.client().await;
    let mut responses =
        client.stream_aggregated_resources(ReceiverStream::new(requests)).await.unwrap().into_inner();
    let request =
        DiscoveryRequest { node: Some(good()), type_url: type_url::CLUSTER.to_owned(), ..Default::default() };
    out.send(request).await.unwrap();
    let response = within(responses.message()).await.unwrap().unwrap();
    assert_eq!(response.resources.len(), 1);
    world.stop().await;
}

/// Istio's ids, metadata alone, and what cannot be understood.
#[tokio::test]
async fn who_cannot_be_understood_is_told_why() {
    let world = World::new().await;
    let nested = |depth: usize| {
        let list = |inner, _| Value { kind: Some(Kind::ListValue(ListValue { values: vec![inner] })) };
        (0..depth).fold(text("x"), list)
    };
    let default = || ("NAMESPACE", text("default"));
    for (name, node, expected) in [
        ("istio's id", Some(node("sidecar~10.0.0.1~a.ns~ns.svc.cluster.local", &[])), None),
        ("metadata", Some(good()), None),
        ("deep metadata", Some(node("a", &[default(), ("DEEP", nested(40))])), None),
        ("too deep metadata", Some(node("a", &[default(), ("DEEP", nested(1000))])), Some("recursion")),
        ("no node", None, Some("must carry the node")),
        ("no namespace", Some(node("a", &[])), Some("NAMESPACE")),
        ("no such kind", Some(node("a", &[default(), ("PROXY_TYPE", text("ztunnel"))])), Some("ztunnel")),
        (
            "captured otherwise",
            Some(node("a", &[default(), ("INTERCEPTION_MODE", text("TPROXY"))])),
            Some("TPROXY"),
        ),
        ("labels", Some(node("a", &[default(), ("LABELS", text("x"))])), Some("LABELS")),
        ("large metadata", Some(node("a", &[default(), ("X", text(&"x".repeat(200_000)))])), Some("bytes")),
    ] {
        match (answer(&world, ask(node, type_url::CLUSTER)).await, expected) {
            (Ok(Some(_)), None) => {}
            (Err(status), Some(part)) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
                assert!(status.message().contains(part), "{name}: {status}");
            }
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn requests_that_are_wrong_end_only_their_stream() {
    let world = World::new().await;
    let names = |count: usize| (0..count).map(|n| format!("name-{n}")).collect::<Vec<_>>();
    let huge = DeltaDiscoveryRequest {
        resource_names_subscribe: names(500_000),
        ..ask(Some(good()), type_url::ENDPOINT)
    };
    for (name, request, code) in [
        ("no type", ask(Some(good()), ""), Code::InvalidArgument),
        ("more than 4 MiB", huge, Code::ResourceExhausted),
    ] {
        let status = answer(&world, request).await.map(|it| it.is_some()).expect_err(name);
        // The connection may break before the status is read when the client still sends.
        assert!(status.code() == code || status.code() == Code::Unknown, "{name}: {status}");
    }
    // A type that umbra does not serve is answered with nothing, and the stream goes on.
    let (out, mut responses) = world.delta().await;
    out.send(ask(Some(good()), "type.googleapis.com/some.Other")).await.unwrap();
    out.send(ask(None, type_url::CLUSTER)).await.unwrap();
    let answered = within(async {
        loop {
            let response = responses.message().await.unwrap().unwrap();
            if response.type_url == type_url::CLUSTER {
                return response.resources.len();
            }
        }
    });
    assert_eq!(answered.await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_percentage_is_a_runtime_update_and_a_proxy_that_leaves_is_forgotten() {
    let world = World::new().await;
    let rule = |percent: u32| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web}}\nspec:\n  hosts: [web-0]\n  \
             http:\n  - route: [{{destination: {{host: web-0}}}}]\n    mirror: {{host: web-0}}\n    \
             mirrorPercentage: {{value: {percent}}}\n"
        )
    };
    let write = |percent: u32| std::fs::write(world.folder.path().join("rule.yaml"), rule(percent)).unwrap();
    write(10);
    let (out, mut responses) = world.delta().await;
    let runtime = DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["umbra".to_owned()],
        ..ask(Some(good()), type_url::RUNTIME)
    };
    out.send(runtime).await.unwrap();
    let mut seen = Vec::new();
    // Whatever state the folder was read in first, 10 comes, and then 20.
    for percent in [10, 20] {
        write(percent);
        within(async {
            loop {
                let response = responses.message().await.unwrap().unwrap();
                let body = response.resources[0].resource.clone().unwrap();
                let json = umbra_proto::json::to_json(&body.type_url, &body.value).unwrap().to_string();
                let ack =
                    DeltaDiscoveryRequest { response_nonce: response.nonce, ..ask(None, type_url::RUNTIME) };
                out.send(ack).await.unwrap();
                if json.contains(&format!("{}", percent * 10_000)) {
                    seen.push(percent);
                    return;
                }
            }
        })
        .await;
    }
    assert_eq!(seen, [10, 20]);
    world.metric("umbra_proxies{kind=\"sidecar\"} 1").await;
    drop((out, responses));
    world.metric("umbra_proxies{kind=\"sidecar\"} 0").await;
    world.metric("umbra_streams_closed_total{reason=\"client\"} 1").await;
    world.stop().await;
}

#[tokio::test]
async fn silence_and_slow_readers_are_ended_and_others_are_not_hurt() {
    // Long enough for who is not slow, on a busy machine.
    let short = Duration::from_secs(3);
    let patience = Patience { first_request: short, slow_reader: short, ..Patience::default() };
    let world = World::with(3000, patience).await;
    world.server.ready().await;
    let (_out, mut silent) = world.delta().await;
    let status = within(silent.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // Asks for everything and never reads: 3000 clusters are far more than its window.
    let (out, mut stuck) = world.delta().await;
    out.send(ask(Some(good()), type_url::CLUSTER)).await.unwrap();
    let names = (0..3000).map(|n| format!("outbound|80||web-{n}.default.svc.cluster.local")).collect();
    let assignments =
        DeltaDiscoveryRequest { resource_names_subscribe: names, ..ask(None, type_url::ENDPOINT) };
    out.send(assignments).await.unwrap();
    out.send(ask(None, type_url::LISTENER)).await.unwrap();
    // Another proxy is answered meanwhile.
    let response = answer(&world, ask(Some(good()), type_url::CLUSTER)).await.unwrap().unwrap();
    assert_eq!(response.resources.len(), 3000);
    world.metric("umbra_streams_closed_total{reason=\"slow_reader\"} 1").await;
    let end = within(async { while let Ok(Some(_)) = stuck.message().await {} });
    end.await;
    world.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_stream_is_closed() {
    use tokio::io::AsyncReadExt;
    let patience = Patience { first_stream: Duration::from_millis(100), ..Patience::default() };
    let world = World::with(1, patience).await;
    let mut idle = tokio::net::TcpStream::connect(world.server.xds).await.unwrap();
    let mut rest = Vec::new();
    let end = within(idle.read_to_end(&mut rest)).await;
    assert!(end.is_ok() || end.is_err(), "it ended");
    world.stop().await;
}

#[tokio::test]
async fn shutdown_ends_streams_without_an_error() {
    let world = World::new().await;
    let (out, mut responses) = world.delta().await;
    out.send(ask(Some(good()), type_url::CLUSTER)).await.unwrap();
    within(responses.message()).await.unwrap().unwrap();
    world.server.stop();
    assert!(within(responses.message()).await.unwrap().is_none());
    let World { server, .. } = world;
    within(server.wait()).await.unwrap();
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_finds_room() {
    // The runtime has one thread, and it makes connections: nobody accepts meanwhile.
    let world = World::new().await;
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let crowd: Vec<_> = (0..most.trim().parse().unwrap_or(0).min(600))
        .map(|_| std::net::TcpStream::connect_timeout(&world.server.xds, Duration::from_millis(900)))
        .collect();
    let missing = crowd.iter().filter(|it| it.is_err()).count();
    assert_eq!(missing, 0);
    drop(crowd);
    world.stop().await;
}
