//! Where proxies send what they counted: OpenTelemetry's metrics service (OTLP over gRPC), on the port of xDS and for whoever may
//! open a stream there.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header::AUTHORIZATION};
use tonic::server::NamedService;
use umbra_proto::opentelemetry::proto::collector::metrics::v1::metrics_service_server::MetricsServiceServer;

use super::connection::{self, ConnectionInfo};
use crate::identity::Gate;
use crate::observe::Observed;

/// The largest message: a proxy's has at most 2000 numbers, a megabyte.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Messages that are read at once; more wait.
const READERS: usize = 4;
/// How long a proxy may take to send one, its turn included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Receives what the proxies of a port count.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    observed: Observed,
    gate: Gate,
    readers: Arc<Semaphore>,
}

impl Receiver {
    /// For those whom `gate` admits.
    pub(super) fn new(observed: Observed, gate: Gate) -> Self {
        Receiver { observed, gate, readers: Arc::new(Semaphore::new(READERS)) }
    }

    async fn take(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let leaf = connection.as_ref().and_then(ConnectionInfo::leaf);
        let authorization = authorization.as_ref().map(|value| value.as_bytes());
        let admitted = self.gate.admit(authorization, leaf, connection::address(connection.as_ref())).await;
        let admission = admitted.map_err(|refusal| refusal.status())?;
        if !admission.counts {
            return Err(Status::permission_denied("who has proven nothing counts nowhere"));
        }
        // Before a byte is read. The semaphore is never closed.
        let _turn = self.readers.acquire().await;
        self.observed.refresh().await;
        self.observed.heard();
        let mut service =
            MetricsServiceServer::new(self.observed.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        match tower::Service::call(&mut service, request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

impl NamedService for Receiver {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl tower::Service<Request<Body>> for Receiver {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move {
            let taken = tokio::time::timeout(PATIENCE, receiver.take(request)).await;
            let late = |_| Status::deadline_exceeded(format!("not read within {PATIENCE:?}"));
            Ok(taken.map_err(late).flatten().unwrap_or_else(Status::into_http))
        })
    }
}
