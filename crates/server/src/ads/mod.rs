//! The gRPC side: ADS in both variants, and the limits that keep one client from hurting others.

mod connection;
mod node;
mod stream;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};
use umbra_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

use crate::engine_task::EngineHandle;
use crate::metrics::Metrics;
use crate::proxies::Proxies;
use crate::tls::Identity;
use wire::Wire;

pub use connection::ConnectionInfo;

/// A request larger than this is refused: 4 MiB are tens of thousands of names.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Streams of one connection: an Envoy opens one.
const MAX_STREAMS: u32 = 100;
/// Headers of one stream (HPACK bombs).
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What a client may send before it must wait for us.
const STREAM_WINDOW: u32 = 1 << 20;
/// How often a quiet connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Responses that wait in a stream for its client to read.
const QUEUE: usize = 4;

/// How patient umbra is with clients. Tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a connection may take to open its first stream.
    pub first_stream: Duration,
    /// How long a stream may take to say who it is.
    pub first_request: Duration,
    /// How long a client may leave a response unread before its connection is closed.
    pub slow_reader: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            first_stream: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            slow_reader: Duration::from_secs(20),
        }
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
    /// Cancelled when the process should end: streams end by themselves.
    pub shutdown: CancellationToken,
}

impl Ads {
    /// Serves (over TLS with an identity) until `shutdown`, then says goodbye (GOAWAY) and waits for the connections to end; cancelling
    /// `close` ends them at once. Each connection takes one of `slots`; more wait to be accepted.
    ///
    /// # Errors
    /// Those of the transport as a whole; a connection's faults end that connection only.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Identity>,
        slots: Arc<Semaphore>,
        close: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let shutdown = self.shutdown.clone();
        let tls = tls.map(|identity| (identity, self.metrics.clone()));
        let incoming = connection::incoming(listener, tls, slots, close, self.patience.first_stream);
        let service =
            AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES);
        tonic::transport::Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
    }

    fn open<W: Wire>(&self, request: Request<Streaming<W::Request>>) -> Response<Responses<W>> {
        let info = request.extensions().get::<ConnectionInfo>().cloned();
        if let Some(info) = &info {
            info.use_it();
        }
        let (out, responses) = tokio::sync::mpsc::channel(QUEUE);
        tokio::spawn(stream::run::<W>(self.clone(), request.into_inner(), out, info));
        Response::new(ReceiverStream::new(responses))
    }
}

type Responses<W> = ReceiverStream<Result<<W as Wire>::Response, Status>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(self.open::<wire::Sotw>(request))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(self.open::<wire::Delta>(request))
    }
}
