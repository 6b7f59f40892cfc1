//! The process: a port on which Envoys send what passes, one on which umbra asks, and nothing that is written anywhere.

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::routing::{any_service, get};
use futures::StreamExt;
use futures::stream::{BoxStream, once};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::info;
use umbra_envoy::{COPY, PRIMARY, SIDE};
use umbra_proto::envoy::service::ext_proc::v3::external_processor_server::{
    ExternalProcessor, ExternalProcessorServer,
};
use umbra_proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use umbra_proto::umbra::v1::judge_server::{Judge as Asked, JudgeServer};
use umbra_proto::umbra::v1::{ListContentsRequest, ListContentsResponse};

use super::body::Room;
use super::exchange::{Exchange, Passed, Side};
use super::hold::{Hold, PATIENCE};
use super::ledger::{Ledger, compare};
use crate::descriptors;
use crate::listen::{self, Limits, Port};
use crate::metrics::Metrics;
use crate::serve::bind;
use crate::supervise::{Vital, blocking};
use crate::tls::{Identity, TlsFiles};

/// How often what has waited for too long is let go.
const TURN: Duration = Duration::from_secs(1);
/// A connection of an Envoy's is made anew after so long.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long the ports have to end.
const GRACE: Duration = Duration::from_secs(2);

const BODIES: &str = "bodies";
const REPORT: &str = "report";

/// `umbra judge`.
#[derive(Clone, Debug)]
pub(crate) struct JudgeOptions {
    /// Where Envoys send answers.
    pub(crate) listen: String,
    /// Where umbra asks.
    pub(crate) report: String,
    /// The certificate that Envoys are shown; `None`: there is no TLS.
    pub(crate) tls: Option<TlsFiles>,
    /// Values of fields may be told, of mirrors whose rule's author allows it.
    pub(crate) values: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A port cannot be had, a file cannot be read, or something ended that should not have.
pub(crate) async fn run(options: JudgeOptions) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    descriptors::raise();
    let (bodies, report) =
        (bind("--listen", &options.listen).await?, bind("--report", &options.report).await?);
    let identity = options.tls.as_ref().map(Identity::load).transpose()?;
    info!(bodies = %bodies.local_addr()?, report = %report.local_addr()?, tls = identity.is_some(), "judging");
    let (judge, stop) = (Judge::new(options.values), CancellationToken::new());
    let mut vital = Vital::new(None);
    if let Some(identity) = identity.clone() {
        let following = identity.follow(Arc::new(Metrics::default()));
        vital.task("certificates", async move {
            following.await;
            Ok(())
        });
    }
    let most = descriptors::for_proxies(1).held;
    let limits = Limits { lifetime: LIFETIME, connections: most, of_one: most, ..Limits::default() };
    let proven = options.tls.as_ref().is_some_and(|files| files.client_authority.is_some());
    let shown = Port { name: BODIES, gave_way: Counter::default(), identity, proven };
    let asked = Port { name: REPORT, gave_way: Counter::default(), identity: None, proven: false };
    vital.task(BODIES, port(shown, bodies, judge.bodies(), limits, stop.clone()));
    vital.task(REPORT, port(asked, report, judge.report(), Limits::default(), stop.clone()));
    vital.task("turn", judge.turn());
    let ended = tokio::select! {
        reason = vital.end() => Err(reason),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop.cancel();
    vital.ended(&[BODIES, REPORT], GRACE).await;
    ended.context("something vital has ended")
}

async fn port(
    port: Port,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    listen::serve(port, listener, router, limits, stop.clone()).await;
    // Whoever was told to end has not ended early.
    stop.cancelled().await;
    Ok(())
}

/// What is known. Clones are the same.
#[derive(Clone, Debug)]
struct Judge {
    room: Room,
    hold: Arc<Mutex<Hold>>,
    ledger: Arc<Mutex<Ledger>>,
    answers: Counter,
    broken: Counter,
    /// Values may be told.
    values: bool,
}

impl Judge {
    fn new(values: bool) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new(Instant::now())));
        let (answers, broken) = Default::default();
        Judge { room: Room::default(), hold: Arc::default(), ledger, answers, broken, values }
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bodies(&self) -> Router {
        let service = ExternalProcessorServer::new(self.clone());
        Router::new().route("/envoy.service.ext_proc.v3.ExternalProcessor/{method}", any_service(service))
    }

    fn report(&self) -> Router {
        let judge = self.clone();
        Router::new()
            .route("/umbra.v1.Judge/{method}", any_service(JudgeServer::new(self.clone())))
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(async || "ok"))
            .route("/metrics", get(async move || judge.metrics()))
    }

    fn metrics(&self) -> String {
        let (mut registry, mut text) = (Registry::with_prefix("umbra_judge"), String::new());
        let gauge = |value: usize| {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            gauge
        };
        registry.register("answers", "Answers that came whole", self.answers.clone());
        registry.register("broken", "Streams of which nothing could be known", self.broken.clone());
        registry.register("kept_bytes", "Bytes of answers that are kept", gauge(self.room.taken()));
        registry.register("waiting", "Requests of which not all has come", gauge(self.hold().waiting()));
        // Writing to a text does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    async fn turn(self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(TURN).await;
            let ended = self.hold().expire(Instant::now());
            self.count(ended).await;
            self.ledger().turn(Instant::now());
        }
    }

    /// Reads until an answer has come whole, or it takes too long. Envoy waits for nothing.
    async fn read(&self, side: Side, mut messages: Streaming<ProcessingRequest>) {
        let mut exchange = Exchange::new(side, self.room.clone());
        let whole = async {
            while let Ok(Some(message)) = messages.message().await {
                match exchange.take(message) {
                    Ok(false) => {}
                    Ok(true) => return true,
                    Err(why) => {
                        tracing::debug!(why, ?side, "a stream is passed over");
                        return false;
                    }
                }
            }
            false
        };
        let whole = tokio::time::timeout(PATIENCE, whole).await.unwrap_or_default();
        match exchange.end().filter(|_| whole) {
            Some(Passed { key, of, answer }) => {
                self.answers.inc();
                let ended = self.hold().take(key, of, answer, Instant::now());
                self.count(ended).await;
            }
            None => drop(self.broken.inc()),
        }
    }

    async fn count(&self, ended: Vec<super::hold::Whole>) {
        if ended.is_empty() {
            return;
        }
        let shows = self.ledger().shows();
        let compare = move || ended.iter().flat_map(|whole| compare(whole, &shows)).collect::<Vec<_>>();
        let compared = blocking(compare).await;
        self.ledger().add(&compared);
    }
}

#[tonic::async_trait]
impl ExternalProcessor for Judge {
    type ProcessStream = BoxStream<'static, Result<ProcessingResponse, Status>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let side = request.metadata().get(SIDE).and_then(|side| side.to_str().ok());
        let side = match side {
            Some(PRIMARY) => Side::Primary,
            Some(COPY) => Side::Copy,
            _ => return Err(Status::invalid_argument("which side is it?")),
        };
        let judge = self.clone();
        // The stream ends, without a word, when what it is of has come.
        let read = async move {
            judge.read(side, request.into_inner()).await;
            None
        };
        Ok(Response::new(once(read).filter_map(ready).boxed()))
    }
}

#[tonic::async_trait]
impl Asked for Judge {
    async fn list_contents(
        &self,
        request: Request<ListContentsRequest>,
    ) -> Result<Response<ListContentsResponse>, Status> {
        let ListContentsRequest { since, values } = request.into_inner();
        let mut ledger = self.ledger();
        ledger.anew(&since);
        if self.values {
            ledger.show(values.into_iter().collect(), Instant::now());
        }
        let mirrors = ledger.told();
        Ok(Response::new(ListContentsResponse { mirrors }))
    }
}
