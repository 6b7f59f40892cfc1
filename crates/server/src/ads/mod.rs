//! The gRPC side: ADS in both variants, and the limits that keep one client from hurting others.

mod allowance;
mod connection;
mod drain;
mod lines;
mod node;
mod requests;
mod responses;
mod statistics;
mod stream;
mod wire;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, header::AUTHORIZATION, header::CONTENT_TYPE};
use tonic::server::NamedService;

use crate::crowd::{Crowd, Place, Room};
use crate::descriptors;
use crate::engine_task::EngineHandle;
use crate::identity::Gate;
use crate::listen::MAX_REFUSED;
use crate::metrics::Metrics;
use crate::observe::Observed;
use crate::proxies::Proxies;
use crate::tls::Identity;
use lines::LineReceiver;
use responses::Budget;
use statistics::Receiver;
use wire::Wire;

pub(crate) use allowance::{Allowances, SMALL, Turn};
pub use connection::ConnectionInfo;
pub use drain::Drain;

/// A request larger than this is refused: 4 MiB are tens of thousands of names.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// The same for whoever has proven who it is: a large proxy that comes back names everything it has, with versions.
const MAX_PROVEN_REQUEST_BYTES: usize = 32 << 20;
/// Streams of one connection: an Envoy opens one.
const MAX_STREAMS: u32 = 100;
/// Headers of one stream (HPACK bombs).
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What a client may send before it must wait for us, on a stream and on all of a connection: all that one costs of whom
/// nothing is read yet.
const WINDOW: u32 = 64 << 10;
/// How often a quiet connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// How patient umbra is with clients. Tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a connection may go without a stream that was let in, the TLS handshake included.
    pub first_stream: Duration,
    /// How long a stream may take to say who it is.
    pub first_request: Duration,
    /// How long a message that has begun may take.
    pub message: Duration,
    /// How long a client may leave a response unread, or its system bytes unacknowledged, before its connection is closed.
    pub slow_reader: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            first_stream: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            message: Duration::from_secs(20),
            slow_reader: Duration::from_secs(20),
        }
    }
}

/// Streams of which nobody knows yet whether they are let in: in all, and of one address. Each takes some 9 KiB, and 16 KiB more when
/// its first message is half there.
const HOPEFUL: (usize, usize) = (16_384, 1280);

/// Who may stay on a port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections.
    pub(crate) crowd: Crowd,
    /// Streams that are not let in yet.
    pub(crate) hopeful: Crowd,
    /// What they make umbra keep.
    pub(crate) allowances: Allowances,
}

impl Default for Limits {
    fn default() -> Self {
        let crowd = Crowd::new("xds", descriptors::for_proxies(1), Counter::default());
        Limits::new(crowd, Counter::default(), Allowances::default())
    }
}

impl Limits {
    /// Connections as `crowd` says; `gave_way` counts streams.
    pub(crate) fn new(crowd: Crowd, gave_way: Counter, allowances: Allowances) -> Self {
        let (all, of_one) = HOPEFUL;
        let hopeful = Crowd::new("streams of xds", Room::alone(all, of_one, 0), gave_way);
        Limits { crowd, hopeful, allowances }
    }
}

/// The place of a stream that is not let in yet.
#[derive(Debug)]
pub(super) struct Hopeful {
    /// It leaves when this is dropped.
    _place: Arc<Place>,
    gives_way: CancellationToken,
}

impl Hopeful {
    fn new(crowd: &Crowd, address: std::net::IpAddr) -> Self {
        let gives_way = CancellationToken::new();
        Hopeful { _place: crowd.enter(address, gives_way.clone()), gives_way }
    }

    /// What comes of `what`, which takes no longer than `patience`.
    async fn within<T>(
        &self,
        patience: Duration,
        what: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            done = tokio::time::timeout(patience, what) => done.unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(format!("no whole message within {patience:?}")))
            }),
            () = self.gives_way.cancelled() => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Status {
        Status::unavailable("too many streams of this address have not said who they are; come again")
    }
}

/// What every stream needs.
#[derive(Clone, Debug)]
pub struct Ads {
    /// Where snapshots come from.
    pub engine: EngineHandle,
    /// The table that shows them.
    pub proxies: Arc<Proxies>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// With clients.
    pub patience: Patience,
    /// Where what proxies count goes.
    pub observed: Observed,
    /// Cancelled when the process should end: no stream is opened any more.
    pub shutdown: CancellationToken,
    /// When those that are open end.
    pub drain: Drain,
    /// How long a proxy may leave responses unanswered before it no longer holds a gate; `None`: for ever.
    pub laggard_patience: Option<Duration>,
    /// About how long a stream may stay; `None`: as long as it likes.
    pub max_age: Option<Duration>,
}

impl Ads {
    /// Serves (over TLS with an identity) whoever `gate` admits until `shutdown`, then says goodbye (GOAWAY) and waits for the connections to end; cancelling
    /// `close` ends them at once.
    ///
    /// # Errors
    /// Those of the transport as a whole; a connection's faults end that connection only.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Identity>,
        gate: Gate,
        limits: Limits,
        close: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let shutdown = self.shutdown.clone();
        let tls = tls.map(|identity| (identity, self.metrics.clone()));
        let incoming = connection::incoming(listener, tls, limits.crowd.clone(), close, self.patience);
        let receiver = Receiver {
            observed: self.observed.clone(),
            gate: gate.clone(),
            allowances: limits.allowances.clone(),
            hopeful: limits.hopeful.clone(),
        };
        let lines = LineReceiver {
            observed: self.observed.clone(),
            gate: gate.clone(),
            allowances: limits.allowances.clone(),
            hopeful: limits.hopeful.clone(),
            patience: self.patience,
            shutdown: self.shutdown.clone(),
        };
        let service = AdsService { ads: self, gate, budget: Budget::default(), limits };
        tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_local_error_reset_streams(Some(MAX_REFUSED))
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .add_service(service)
            .add_service(receiver)
            .add_service(lines)
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
    }
}

/// `envoy.service.discovery.v3.AggregatedDiscoveryService`. Not tonic's own: that decodes into a buffer and encodes into
/// another for each stream, and here all streams of a class are sent the same bytes.
#[derive(Clone)]
struct AdsService {
    ads: Ads,
    gate: Gate,
    budget: Budget,
    limits: Limits,
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl AdsService {
    fn open<W: Wire>(&self, request: Request<Body>) -> Response<Body> {
        let info = request.extensions().get::<ConnectionInfo>().cloned();
        let asking = info.as_ref().map(ConnectionInfo::ask);
        let hopeful = Some(Hopeful::new(&self.limits.hopeful, connection::address(info.as_ref())));
        let (out, responses) = responses::channel(self.budget.clone());
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let visitor = stream::Visitor {
            gate: self.gate.clone(),
            authorization,
            connection: info,
            asking,
            hopeful,
            allowances: self.limits.allowances.clone(),
        };
        tokio::spawn(stream::run::<W>(self.ads.clone(), request.into_body(), out, visitor));
        let mut response = Response::new(Body::new(responses));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl tower::Service<Request<Body>> for AdsService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next();
        ready(Ok(match method {
            Some("StreamAggregatedResources") => self.open::<wire::Sotw>(request),
            Some("DeltaAggregatedResources") => self.open::<wire::Delta>(request),
            _ => Status::unimplemented("").into_http(),
        }))
    }
}
