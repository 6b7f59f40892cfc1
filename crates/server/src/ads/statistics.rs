//! Where proxies send what they counted: OpenTelemetry's metrics service (OTLP over gRPC), on the port of xDS and for whoever may
//! open a stream there.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::codegen::http::{
    HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION, header::CONTENT_TYPE,
};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::Hopeful;
use super::allowance::Allowances;
use super::connection::{self, ConnectionInfo};
use super::requests::{PREFIX, Raw, Requests};
use crate::crowd::Crowd;
use crate::identity::Gate;
use crate::observe::Observed;
use crate::parts::NoMessage;

/// The largest message: a proxy's has at most 2000 numbers, a megabyte.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// How long a proxy may take to send one, its turn included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Receives what the proxies of a port count.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) observed: Observed,
    pub(super) gate: Gate,
    pub(super) allowances: Allowances,
    pub(super) hopeful: Crowd,
}

impl Receiver {
    async fn take(&self, request: Request<Body>) -> Result<(), Status> {
        let connection = request.extensions().get::<ConnectionInfo>().cloned();
        let hopeful = Hopeful::new(&self.hopeful, connection::address(connection.as_ref()));
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let leaf = connection.as_ref().and_then(ConnectionInfo::leaf);
        let authorization = authorization.as_ref().map(|value| value.as_bytes());
        let address = connection::address(connection.as_ref());
        let admitted = self.gate.admit(authorization, leaf, address).await;
        let admission = admitted.map_err(|refusal| refusal.status())?;
        if !admission.counts {
            return Err(Status::permission_denied("who has proven nothing counts nowhere"));
        }
        let allowance = self.allowances.of(address, admission.proven.is_some());
        let mut requests = Requests::<Raw>::new(request.into_body(), MAX_MESSAGE_BYTES, PATIENCE, allowance);
        let Some(Raw(message)) = hopeful.within(PATIENCE, requests.message()).await?.map(|raw| *raw) else {
            return Err(Status::invalid_argument("there is no message"));
        };
        self.observed.refresh().await;
        self.observed.heard();
        let none = |NoMessage| Status::invalid_argument("these are no metrics of OpenTelemetry");
        self.observed.take(&message).map_err(none)
    }
}

/// A message that says nothing, and that all is well.
fn answered() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Ok as i32));
    let message = Full::new(Bytes::from_static(&[0; PREFIX]));
    let mut response = Response::new(Body::new(message.with_trailers(async { Some(Ok(trailers)) })));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
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
            Ok(match taken.map_err(late).flatten() {
                Ok(()) => answered(),
                Err(status) => status.into_http(),
            })
        })
    }
}
