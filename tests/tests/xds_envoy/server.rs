//! A server of ADS that is nothing but umbra's session, and that loses streams on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::codec::Streaming;
use tonic::{Request, Response, Status};
use umbra_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use umbra_xds::{self as xds, Output, ResourceType, Session, SessionEvent, Snapshot, Variant};

/// The time as the session is told it. It goes slowly, so that on a busy machine too a deadline of the session runs out only
/// where something is stuck.
struct Clock(Instant);

impl Clock {
    const SLOWER: u32 = 6;

    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed() / Self::SLOWER
    }

    fn instant(&self, at: Duration) -> Instant {
        self.0 + at * Self::SLOWER
    }
}

/// See the module. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    snapshots: watch::Sender<Arc<Snapshot>>,
    holding: watch::Sender<bool>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Ends the streams that are open.
    cut: CancellationToken,
    /// The next response of this type is the last of its stream.
    cut_after: Option<ResourceType>,
    /// The newest generation that the newest stream's Envoy has taken.
    acked: u64,
    /// What was sent, and what went wrong.
    log: Vec<String>,
    bad: Vec<String>,
}

impl Server {
    pub(crate) async fn start(snapshot: Snapshot) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let (snapshots, holding) = (watch::Sender::new(Arc::new(snapshot)), watch::Sender::new(false));
        let server = Self { address, snapshots, holding, shared: Arc::default() };
        let service = AggregatedDiscoveryServiceServer::new(server.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        server
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// As long as this is on, delta requests wait from the first one on by which Envoy lets something go, so that it crosses
    /// what Envoy is told.
    pub(crate) fn hold(&self, on: bool) {
        self.holding.send_replace(on);
    }

    /// Ends every stream, before it sees anything that is published later.
    pub(crate) fn cut(&self) {
        self.with(|shared| {
            shared.log.push("cut".to_owned());
            std::mem::take(&mut shared.cut).cancel();
        });
    }

    /// Ends the stream that sends the next response of this type, behind that response.
    pub(crate) fn cut_after(&self, ty: ResourceType) {
        self.with(|shared| shared.cut_after = Some(ty));
    }

    /// Whether the stream that was to be cut still waits for it; it is let live then.
    pub(crate) fn forget_cut(&self) -> bool {
        self.with(|shared| shared.cut_after.take().is_some())
    }

    /// The newest generation that Envoy has taken.
    pub(crate) fn acked(&self) -> u64 {
        self.with(|shared| shared.acked)
    }

    /// What happened, newest last.
    pub(crate) fn log(&self) -> Vec<String> {
        self.with(|shared| shared.log.clone())
    }

    /// Refusals, and waits that only their deadline ended.
    pub(crate) fn bad(&self) -> Vec<String> {
        self.with(|shared| shared.bad.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().expect("nobody panics with it"))
    }

    fn open<Req, Resp>(
        &self,
        requests: Streaming<Req>,
        variant: Variant,
    ) -> ReceiverStream<Result<Resp, Status>>
    where
        Req: Into<xds::Request> + Send + 'static,
        Resp: FromResponse + Send + 'static,
    {
        let (out, responses) = mpsc::channel(64);
        let cut = self.with(|shared| shared.cut.clone());
        let server = self.clone();
        tokio::spawn(async move { server.run(requests, variant, &out, cut).await });
        ReceiverStream::new(responses)
    }

    async fn run<Req: Into<xds::Request>, Resp: FromResponse>(
        self,
        mut requests: Streaming<Req>,
        variant: Variant,
        out: &mpsc::Sender<Result<Resp, Status>>,
        cut: CancellationToken,
    ) {
        let (mut session, start) = (Session::new(variant), Clock::start());
        let (mut snapshots, mut holding) = (self.snapshots.subscribe(), self.holding.subscribe());
        let mut received: Option<xds::Request> = None;
        let first = snapshots.borrow_and_update().clone();
        let mut output = session.on_snapshot(first, start.elapsed());
        while self.send(std::mem::take(&mut output), out).await {
            self.with(|shared| shared.acked = session.acked_generation());
            let timer = async {
                match session.next_deadline() {
                    Some(at) => tokio::time::sleep_until(start.instant(at).into()).await,
                    None => std::future::pending().await,
                }
            };
            let request = async {
                if received.is_none() {
                    received = requests.message().await.ok().flatten().map(Into::into);
                }
                let lets_go = matches!(&received, Some(xds::Request::Delta(it)) if !it.resource_names_unsubscribe.is_empty());
                if lets_go {
                    holding.wait_for(|on| !on).await.expect("the server is there");
                }
                received.take()
            };
            output = tokio::select! {
                biased;
                () = cut.cancelled() => return,
                request = request => match request {
                    Some(request) => session.on_request(request, start.elapsed()).expect("Envoy's requests are valid"),
                    None => return,
                },
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    session.on_snapshot(snapshot, start.elapsed())
                }
                () = timer => session.on_timer(start.elapsed()),
            };
        }
    }

    /// False when the stream is to end.
    async fn send<Resp: FromResponse>(
        &self,
        output: Output,
        out: &mpsc::Sender<Result<Resp, Status>>,
    ) -> bool {
        for event in output.events {
            if matches!(event, SessionEvent::Nack { .. } | SessionEvent::Lag { .. }) {
                self.with(|shared| shared.bad.push(format!("{event:?}")));
            }
        }
        for response in output.responses {
            let ty = ResourceType::from_type_url(response.type_url());
            let cut = self.with(|shared| {
                shared.log.push(describe(&response));
                let cut = ty.is_some() && shared.cut_after == ty;
                if cut {
                    shared.cut_after = None;
                    shared.log.push("cut".to_owned());
                }
                cut
            });
            if out.send(Ok(Resp::from_response(response))).await.is_err() || cut {
                return false;
            }
        }
        true
    }
}

fn describe(response: &xds::Response) -> String {
    let ty = ResourceType::from_type_url(response.type_url()).map_or("other", ResourceType::short_name);
    match response.decode().expect("a response") {
        xds::Decoded::Delta(delta) => {
            let names: Vec<_> = delta.resources.iter().map(|it| it.name.as_str()).collect();
            format!("{ty} {names:?} without {:?}", delta.removed_resources)
        }
        xds::Decoded::Sotw(sotw) => format!("{ty} with {} resources", sotw.resources.len()),
    }
}

trait FromResponse {
    fn from_response(response: xds::Response) -> Self;
}

impl FromResponse for DiscoveryResponse {
    fn from_response(response: xds::Response) -> Self {
        match response.decode().expect("a response") {
            xds::Decoded::Sotw(response) => response,
            xds::Decoded::Delta(_) => panic!("a response of the other variant"),
        }
    }
}

impl FromResponse for DeltaDiscoveryResponse {
    fn from_response(response: xds::Response) -> Self {
        match response.decode().expect("a response") {
            xds::Decoded::Delta(response) => response,
            xds::Decoded::Sotw(_) => panic!("a response of the other variant"),
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(self.open(request.into_inner(), Variant::Sotw)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(self.open(request.into_inner(), Variant::Delta)))
    }
}
