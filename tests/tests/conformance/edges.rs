//! Before the first load, what nobody serves, who is not welcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use umbra_engine::{Engine, Options};
use umbra_envoy::BootstrapOptions;
use umbra_ir::ProxyKind;
use umbra_proto::envoy::config::core::v3::Node;
use umbra_server::ads::{Ads, Drain, Limits, Patience};
use umbra_server::engine_task::EngineHandle;
use umbra_server::metrics::Metrics;
use umbra_server::observe::Observed;
use umbra_server::proxies::Proxies;
use umbra_source::Update;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_xds::{MAX_UNSERVED_TYPES, ResourceType, Variant};

use crate::client::{Client, Say};

const VARIANTS: [Variant; 2] = [Variant::Delta, Variant::Sotw];

/// umbra's xDS server without a source: it is loaded when the test says so.
struct Unloaded {
    engine: EngineHandle,
    proxies: Arc<Proxies>,
    address: std::net::SocketAddr,
}

impl Unloaded {
    async fn start() -> Self {
        let metrics = Arc::new(Metrics::default());
        let (engine, thread) = EngineHandle::new(Engine::new(Options::default()), metrics.clone());
        thread.start_alone();
        let proxies = Proxies::new(metrics.clone());
        let shutdown = CancellationToken::new();
        let patience = Patience::default();
        let observed = Observed::new(engine.clone());
        let drain = Drain::new(shutdown.clone(), Duration::ZERO, proxies.clone());
        let (engine_too, proxies_too) = (engine.clone(), proxies.clone());
        let (laggard_patience, max_age) = (None, None);
        let ads = Ads {
            engine: engine_too,
            proxies: proxies_too,
            metrics,
            shutdown,
            patience,
            observed,
            drain,
            laggard_patience,
            max_age,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(ads.serve(
            listener,
            None,
            umbra_server::identity::Gate::Open { counts: true },
            Limits::default(),
            CancellationToken::new(),
        ));
        Self { engine, proxies, address }
    }

    async fn connect(&self, variant: Variant, node: Node) -> Client {
        let mut client = Client::new(variant);
        client.connect(self.address, node).await;
        client
    }
}

fn node(kind: ProxyKind) -> Node {
    let options = BootstrapOptions { node_id: Some("n".to_owned()), kind, ..BootstrapOptions::default() };
    umbra_envoy::build_bootstrap(&options).node.expect("a node")
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn before_the_first_load_nothing_is_answered_and_then_an_empty_answer_is_one() {
    on_a_runtime(async {
        for variant in VARIANTS {
            let server = Unloaded::start().await;
            // A gateway that no rule selects: nothing, which is what makes it live.
            let mut client = server.connect(variant, node(ProxyKind::Router)).await;
            for ty in [ResourceType::Cluster, ResourceType::Listener] {
                client.ask(ty.type_url(), &[]).await;
            }
            assert!(client.fence().await.is_empty(), "{variant:?}: answered before the first load");
            server.engine.update(Update::default()).await;
            for ty in [ResourceType::Cluster, ResourceType::Listener] {
                let received = client.receive().await.expect("an answer");
                assert_eq!(received.type_url, ty.type_url());
                assert!(received.resources.is_empty() && received.removed.is_empty());
                client.keep(ty, &received);
                client.say(ty, Say { nonce: Some(received.nonce), ..Say::default() }).await;
            }
            assert!(client.fence().await.is_empty(), "{variant:?}: one answer is enough");
            let live = wait::until(PATIENCE, || async {
                let view = serde_json::to_value(server.proxies.list()[0].view()).unwrap();
                (view["ackedGeneration"] == view["generation"] && view["generation"] != 0).then_some(())
            });
            assert!(live.await.is_some(), "{variant:?}: live");
        }
    });
}

#[test]
fn what_nobody_serves_does_not_exist_and_harms_nothing() {
    on_a_runtime(async {
        for variant in VARIANTS {
            let server = Unloaded::start().await;
            server.engine.update(Update::default()).await;
            let mut client = server.connect(variant, node(ProxyKind::Sidecar)).await;
            let secrets = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
            client.ask(secrets, &["default", "ca"]).await;
            let received = client.receive().await.expect("an answer");
            assert_eq!(received.type_url, secrets);
            assert!(received.resources.is_empty());
            let gone: Vec<_> = received.removed.iter().map(String::as_str).collect();
            let expected: &[&str] = if variant == Variant::Delta { &["ca", "default"] } else { &[] };
            assert_eq!(gone, expected, "{variant:?}");
            client.ask(ResourceType::Cluster.type_url(), &[]).await;
            let clusters = client.receive().await.expect("an answer");
            assert_eq!(clusters.type_url, ResourceType::Cluster.type_url());
        }
    });
}

#[test]
fn who_cannot_be_served_is_told_why() {
    let nobody = Node { id: "nobody".to_owned(), ..Node::default() };
    let captured = Node { id: "sidecar~10.0.0.1~a.b".to_owned(), ..Node::default() };
    let cds = ResourceType::Cluster.type_url();
    let cases: &[(Node, &str, Code, &str)] = &[
        (nobody, cds, Code::InvalidArgument, "NAMESPACE"),
        (captured, cds, Code::InvalidArgument, "sidecar~10.0.0.1~a.b"),
        (node(ProxyKind::Sidecar), "", Code::InvalidArgument, "type_url"),
    ];
    on_a_runtime(async {
        for variant in VARIANTS {
            let server = Unloaded::start().await;
            server.engine.update(Update::default()).await;
            for (node, type_url, code, words) in cases {
                let mut client = server.connect(variant, node.clone()).await;
                client.ask(type_url, &[]).await;
                let status = client.receive().await.expect_err("the stream ends");
                assert_eq!(status.code(), *code, "{variant:?} {}: {}", node.id, status.message());
                assert!(status.message().contains(words), "{variant:?} {}: {}", node.id, status.message());
            }
            let mut client = server.connect(variant, node(ProxyKind::Sidecar)).await;
            for n in 0..=MAX_UNSERVED_TYPES {
                client.ask(&format!("type.googleapis.com/none.{n}"), &[]).await;
            }
            let mut last = client.receive().await;
            while last.is_ok() {
                last = client.receive().await;
            }
            assert_eq!(last.expect_err("the end").code(), Code::ResourceExhausted, "{variant:?}");
        }
    });
}

#[test]
fn the_node_may_be_missing_only_once_it_was_said() {
    on_a_runtime(async {
        for variant in VARIANTS {
            let server = Unloaded::start().await;
            server.engine.update(Update::default()).await;
            let mut client = Client::new(variant);
            client.connect_without_node(server.address).await;
            client.ask(ResourceType::Cluster.type_url(), &[]).await;
            let status = client.receive().await.expect_err("the stream ends");
            assert_eq!((status.code(), status.message().contains("node")), (Code::InvalidArgument, true));
        }
    });
}
