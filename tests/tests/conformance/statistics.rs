//! Where proxies send what they counted: who may, and how much.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Endpoint;
use umbra_engine::{Engine, Options};
use umbra_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use umbra_proto::opentelemetry::proto::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use umbra_proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value,
};
use umbra_server::ads::{Ads, Drain, Limits, Patience};
use umbra_server::engine_task::EngineHandle;
use umbra_server::identity::Gate;
use umbra_server::metrics::Metrics;
use umbra_server::observe::Observed;
use umbra_server::proxies::Proxies;

/// A message of so many statistics of mirrors that there are not.
fn message(count: usize) -> ExportMetricsServiceRequest {
    let metric = |n: usize| {
        let data_points = vec![NumberDataPoint { value: Some(Value::AsInt(1)) }];
        let aggregation_temporality = AggregationTemporality::Delta.into();
        let name = format!("cluster.mirror|80||nowhere-{n:032}.upstream_rq_total");
        Metric { name, data: Some(Data::Sum(Sum { data_points, aggregation_temporality })) }
    };
    let scope = ScopeMetrics { metrics: (0..count).map(metric).collect() };
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics: vec![scope] }] }
}

/// What a port with this gate answers to so many statistics.
async fn check(gate: Gate, count: usize, want: Code) {
    let metrics = Arc::new(Metrics::default());
    let (engine, thread) = EngineHandle::new(Engine::new(Options::default()), metrics.clone());
    thread.start_alone();
    let (proxies, observed) = (Proxies::new(metrics.clone()), Observed::new(engine.clone()));
    let (patience, shutdown) = (Patience::default(), CancellationToken::new());
    let drain = Drain::new(shutdown.clone(), Duration::ZERO, proxies.clone());
    let (laggard_patience, max_age) = (None, None);
    let ads = Ads {
        engine,
        proxies,
        metrics,
        patience,
        observed: observed.clone(),
        shutdown,
        drain,
        laggard_patience,
        max_age,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let what = format!("{gate:?} {count}");
    tokio::spawn(ads.serve(listener, None, gate, Limits::default(), CancellationToken::new()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let answer = MetricsServiceClient::new(channel).export(message(count)).await;
    assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), want, "{what}");
    // Nothing is kept of what does not exist.
    assert_eq!(observed.encode(), "", "{what}");
}

#[tokio::test]
async fn who_may_open_a_stream_may_say_what_it_counted() {
    check(Gate::Open { counts: true }, 10_000, Code::Ok).await;
    check(Gate::Open { counts: true }, 100_000, Code::ResourceExhausted).await;
    check(Gate::Open { counts: false }, 10, Code::PermissionDenied).await;
    check(Gate::Certificate, 10, Code::Unauthenticated).await;
}
