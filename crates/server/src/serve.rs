//! The wiring of `umbra serve`: source, engine, ADS, admin, and their end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use umbra_engine::Engine;
use umbra_source::kubernetes::{keep_certificate, take_part};
use umbra_source::{Update, Work};

use crate::abort;
use crate::admin::Admin;
use crate::ads::{self, Ads, Allowances, Drain, Patience};
use crate::api::Api;
use crate::certificate::{self, Certificates};
use crate::config::{Config, Options};
use crate::crowd::Crowd;
use crate::descriptors;
use crate::engine_task::EngineHandle;
use crate::failure::usage;
use crate::identity::{CallerMode, Callers, Gate, IdentityMode, Rights, Tokens};
use crate::injector::{self, Injector, InjectorOptions};
use crate::judging;
use crate::listen;
use crate::live::Live;
use crate::logging::Lost;
use crate::metrics::{ByMode, Metrics};
use crate::observe::Observed;
use crate::peers::Peers;
use crate::proxies::Proxies;
use crate::reload;
use crate::replica;
use crate::sources::{self, Sources, Started};
use crate::status;
use crate::stop::Stops;
use crate::supervise::{Fault, Vital};
use crate::tls::{CertificateSource, Identity, TlsOptions};
use crate::ui;
use crate::verdicts;
use crate::whereabouts;

/// Connections that wait to be accepted, as far as the system lets them.
const QUEUE: u32 = 4096;
/// The tasks that are waited for when the process ends.
const XDS: &str = "xds";
const XDS_TLS: &str = "xds-tls";
/// Streams of both, as they are counted.
const XDS_STREAMS: &str = "xds-streams";
const ADMIN: &str = "admin";
const PROBE: &str = "probe";
const API: &str = "api";
const INJECTOR: &str = "injector";
const STATUS: &str = "status";
/// How long streams may take to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// What a server needs to start.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// What the command line, the environment and the settings file say together. Port 0 takes a free one.
    pub options: Options,
    /// The settings file, to be looked after.
    pub config_file: Option<PathBuf>,
    /// What that file said, or the defaults.
    pub config: Config,
    /// With clients that do not answer.
    pub patience: Patience,
    /// What of the log was lost.
    pub lost: Lost,
    /// What a test makes fail.
    pub fault: Option<Fault>,
}

impl Setup {
    /// A server on free local ports without a settings file, for tests.
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        let local = || Some("127.0.0.1:0".to_owned());
        let options = Options { dir: Some(dir.into()), xds: local(), admin: local(), ..Options::default() };
        Setup { options, ..Setup::default() }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where proxies connect.
    pub xds: SocketAddr,
    /// Where they connect over TLS.
    pub xds_tls: Option<SocketAddr>,
    /// Where people look.
    pub admin: SocketAddr,
    /// Where only probes and metrics are answered.
    pub probe: Option<SocketAddr>,
    /// Where tools and other replicas ask.
    pub api: Option<SocketAddr>,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    engine: EngineHandle,
    shutdown: CancellationToken,
    drain: Drain,
    end: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Waits until the first load is done.
    pub async fn ready(&self) {
        self.engine.ready().await;
    }

    /// Asks it to end: it stops listening, ends the streams, and [`Running::wait`] returns within a few seconds.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Over how long its streams end then.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// The token of [`Running::stop`].
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Something ended that should not have.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.end.await.context("the server")?
    }
}

/// Starts a server in this tokio runtime.
///
/// # Errors
/// A source cannot be read at all, or an address cannot be bound; the message says which option.
pub async fn start(setup: Setup) -> anyhow::Result<Running> {
    let options = &setup.options;
    let sources = Sources::choose(options).map_err(usage)?;
    let tls_options = TlsOptions::choose(options).map_err(usage)?;
    let peers = peers(options).map_err(usage)?;
    if options.judge.as_ref().is_some_and(|judge| !is_named(judge)) {
        return Err(usage("--judge: expected HOST:PORT, where umbra judge has its --report"));
    }
    let injecting = InjectorOptions::choose(options).map_err(usage)?;
    let (mode, caller_mode) = (options.identity().map_err(usage)?, options.api_identity().map_err(usage)?);
    let laggard_patience = options.laggard_patience().map_err(usage)?;
    let (most, max_age) = (options.drain().map_err(usage)?, options.max_age().map_err(usage)?);
    let xds_listener = bind("--xds", options.xds()).await?;
    let mut made_for = None;
    let tls = match tls_options {
        Some(tls) => {
            let identity = match tls.certificate {
                CertificateSource::Files(files) => Identity::load(&files)?,
                CertificateSource::Made(hosts) => {
                    made_for = Some(hosts);
                    Identity::awaited()?
                }
            };
            Some((bind("--xds-tls", &tls.address).await?, identity))
        }
        None => None,
    };
    let admin_listener = bind("--admin", options.admin()).await?;
    let probe_listener = match &options.probe {
        Some(address) => Some(bind("--probe", address).await?),
        None => None,
    };
    let api_listener = match &options.api {
        Some(address) => Some(bind("--api", address).await?),
        None => None,
    };
    let injector_listener = match &injecting {
        Some(injector) => Some(bind("--injector", &injector.address).await?),
        None => None,
    };
    let (xds, admin) = (xds_listener.local_addr()?, admin_listener.local_addr()?);
    let probe = probe_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let xds_tls = tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let api = api_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let Started { updates, health, cluster, work } = sources.start().await?;
    let server = cluster.as_ref().map(|(server, _)| server.clone());
    let metrics = Arc::new(Metrics::new(&setup.lost));
    let settings = setup.config.settings.clone();
    let pods_as_endpoints = sources.pods_as_endpoints();
    let engine = Engine::new(umbra_engine::Options { settings, pods_as_endpoints });
    metrics.identity.get_or_create(&ByMode { mode: mode.as_str() }).set(1);
    let callers = match (caller_mode, &cluster) {
        // Who can reach a loopback address is on this machine, or in this Pod.
        (CallerMode::Token, Some((server, _))) if api.is_some_and(|api| !api.ip().is_loopback()) => {
            // Their questions do not wait behind those of proxies, nor the other way round.
            let tokens = Tokens::new(server.reviewer(options.xds_audience()));
            Callers::Asked { tokens, rights: Rights::new(server.rights_reviewer()) }
        }
        _ => Callers::Open,
    };
    if let Some(api) = api {
        let mode = callers.mode();
        metrics.api_identity.get_or_create(&ByMode { mode: mode.as_str() }).set(1);
        if mode == CallerMode::None && !api.ip().is_loopback() {
            warn!(%api, "whoever reaches --api is told everything; --api-identity token asks who it is");
        }
    }
    let gate = match (mode, &cluster) {
        (IdentityMode::Token, Some((server, _))) => {
            Gate::Token(Tokens::new(server.reviewer(options.xds_audience())))
        }
        (IdentityMode::Certificate, _) => Gate::Certificate,
        _ => Gate::Open { counts: true },
    };
    let (engine, engine_work) = EngineHandle::new(engine, metrics.clone());
    let proxies = Proxies::new(metrics.clone());
    let shutdown = CancellationToken::new();
    let observed = Observed::new(engine.clone());
    let (live, live_work) = Live::new(engine.clone(), proxies.clone());
    let certificate = tls.as_ref().map(|(_, identity)| identity.clone());
    // Where callers are asked, so are replicas.
    let known_by = certificate.clone().filter(|_| caller_mode == CallerMode::Token);
    let identity = replica::Identity::new();
    let live = live.with_patience(laggard_patience);
    let peers =
        Arc::new(Peers::new(peers, known_by, identity, engine.clone(), live.clone(), observed.clone()));
    info!(%xds, xds_tls = xds_tls.map(tracing::field::display), %admin, from = %sources, version = env!("CARGO_PKG_VERSION"), "umbra starts");

    let (injection, injection_settings) = watch::channel(Arc::new(setup.config.injection.clone()));
    let mut certificates = Certificates::default();
    let mut vital = Vital::new(setup.fault.clone());
    for work in work.into_iter().chain([engine_work, live_work]) {
        vital.work(work)?;
    }
    vital.task("sources", feed(updates, engine.clone()));
    vital.work(Work::task("away", whereabouts::follow(engine.clone(), proxies.clone(), peers.clone())))?;
    vital.task("hours", hours(engine.clone()));
    let writer = cluster.as_ref().map(|(server, _)| server.clone());
    let judging = judging::follow(engine.clone(), observed.clone(), peers.clone(), writer.clone());
    vital.task("judging", judging);
    if let Some(judge) = options.judge.clone() {
        // What is asked for decides what the judge keeps, so that nobody asks who knows no mirrors yet.
        let (engine, verdicts) = (engine.clone(), observed.verdicts().clone());
        vital.task("contents", async move {
            engine.ready().await;
            verdicts::follow(judge, verdicts).await
        });
    }
    vital.work(Work::task("lost lines", setup.lost.report()))?;
    if let Some(path) = setup.config_file {
        vital.work(Work::task(
            "settings",
            reload::follow(path, setup.config, engine.clone(), injection, metrics.clone()),
        ))?;
    }
    if let Some((_, identity)) = tls.as_ref().filter(|_| made_for.is_none()) {
        vital.work(Work::task("certificates", identity.clone().follow(metrics.clone())))?;
    }
    if let Some(health) = &health {
        vital.work(Work::task("watch health", sources::report(health.clone(), metrics.clone())))?;
    }
    vital.work(Work::task("aborts", abort::follow(engine.clone(), observed.clone(), writer)))?;
    if let Some(cluster) = cluster {
        let (leadership, lease) = take_part(&cluster.0, peers.identity().id.clone());
        vital.work(lease)?;
        if let Some(injector) = &injecting {
            let (kept, make) = (injector.kept(), injector.make());
            let (newest, work) = keep_certificate(&cluster.0, leadership.clone(), kept, make);
            vital.work(work)?;
            certificates.injector = Some(newest);
        }
        if let (Some(hosts), Some((_, identity))) = (made_for, &tls) {
            let (kept, make) = (certificate::kept(&hosts), certificate::make(hosts));
            let (newest, work) = keep_certificate(&cluster.0, leadership.clone(), kept, make);
            vital.work(work)?;
            let follow = identity.clone().follow_made(newest.clone(), metrics.clone());
            vital.work(Work::task("certificates", follow))?;
            certificates.xds = Some(newest);
        }
        let (published, live, metrics) = (engine.follow(), live.clone(), metrics.clone());
        let (peers, shutdown) = (peers.clone(), shutdown.clone());
        vital.task(STATUS, status::follow(cluster, leadership, published, live, peers, metrics, shutdown));
    }

    let drain = Drain::new(shutdown.clone(), most, proxies.clone());
    let ads = Ads {
        engine: engine.clone(),
        proxies: proxies.clone(),
        metrics: metrics.clone(),
        patience: setup.patience,
        observed: observed.clone(),
        shutdown: shutdown.clone(),
        drain: drain.clone(),
        laggard_patience,
        max_age,
    };
    let stop = Stop {
        streams: shutdown.clone(),
        connections: CancellationToken::new(),
        http: CancellationToken::new(),
    };
    let allowances = Allowances::default();
    let room = descriptors::for_proxies(1 + usize::from(tls.is_some()));
    let mut proxies_on = |name, listener, identity, gate| {
        let crowd = Crowd::new(name, room.clone(), metrics.gave_way(name));
        let limits = ads::Limits::new(crowd, metrics.gave_way(XDS_STREAMS), allowances.clone());
        let serve = ads.clone().serve(listener, identity, gate, limits, stop.connections.clone());
        vital.task(name, async move { Ok(serve.await?) });
    };
    // Who can reach a loopback address is on this machine, or in this Pod.
    let open =
        if xds.ip().is_loopback() { Gate::Open { counts: mode == IdentityMode::None } } else { gate.clone() };
    if mode == IdentityMode::None && !xds.ip().is_loopback() {
        warn!(%xds, "proxies are believed who they say they are; --xds-identity token asks for proof");
    }
    proxies_on(XDS, xds_listener, None, open);
    if let Some((listener, identity)) = tls {
        proxies_on(XDS_TLS, listener, Some(identity), gate);
    }
    let stops = Stops::new(server, engine.clone(), peers.clone());
    let asked =
        Api::new(engine.clone(), proxies.clone(), live, peers, observed.clone(), stops, shutdown.clone());
    let views = Admin {
        engine: engine.clone(),
        proxies,
        health,
        certificates: certificates.clone(),
        metrics: metrics.clone(),
        observed,
        identity: mode,
        callers: api_listener.as_ref().map(|_| callers.mode()),
        certificate: certificate.clone(),
        shutdown: shutdown.clone(),
    };
    if let (Some(listener), Some(pair)) = (injector_listener, certificates.injector) {
        let (settings, xds) = (injection_settings, certificates.xds);
        let allowances = Allowances::default();
        let injector = Injector { settings, xds, metrics: metrics.clone(), allowances };
        let serve =
            injector::serve(listener, injector.router(), pair, metrics.gave_way(INJECTOR), stop.http.clone());
        vital.task(INJECTOR, async move {
            serve.await;
            Ok(())
        });
    }
    let mut people_on = |name, listener, router, identity| {
        let port = listen::Port { name, gave_way: metrics.gave_way(name), identity, proven: false };
        let serve = listen::serve(port, listener, router, listen::Limits::default(), stop.http.clone());
        vital.task(name, async move {
            serve.await;
            Ok(())
        });
    };
    let from_here = admin.ip().is_loopback();
    people_on(ADMIN, admin_listener, views.clone().router(asked.clone().reached(from_here), from_here), None);
    if let Some(listener) = probe_listener {
        people_on(PROBE, listener, views.probe_router(), None);
    }
    if let Some(listener) = api_listener {
        let from_here = api.is_some_and(|api| api.ip().is_loopback());
        let asked = asked.reached(from_here).asking(callers);
        let pages = match options.api_dashboard.unwrap_or_default() {
            true => ui::routes(asked.clone()),
            false => Router::new(),
        };
        people_on(API, listener, asked.router(pages), certificate);
    }
    if let Some(fault) = setup.fault {
        fault.now.cancel();
    }
    let end = tokio::spawn(look_after(vital, stop, drain.clone()));
    Ok(Running { xds, xds_tls, admin, probe, api, metrics, engine, shutdown, drain, end })
}

/// Has certificates judged again now and then: whether one is still good changes without anybody's doing.
async fn hours(engine: EngineHandle) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(Duration::from_secs(600)).await;
        engine.another_hour().await;
    }
}

/// Hands on what the sources say; `None` in place of an update is somebody else's end, who is vital himself.
async fn feed(mut updates: mpsc::Receiver<Update>, engine: EngineHandle) -> anyhow::Result<()> {
    while let Some(update) = updates.recv().await {
        engine.update(update).await;
    }
    Ok(())
}

/// What ends what, in this order.
struct Stop {
    /// Cancelled when the process should end: proxies are told, and nothing is begun.
    streams: CancellationToken,
    /// Closes the connections of proxies that do not end.
    connections: CancellationToken,
    /// The interfaces for people and tools, which answer till last.
    http: CancellationToken,
}

/// Runs until the process should end, or something ends that should not; then everything else ends as politely as time
/// allows.
async fn look_after(mut vital: Vital, stop: Stop, drain: Drain) -> anyhow::Result<()> {
    let result = tokio::select! {
        biased;
        () = stop.streams.cancelled() => Ok(()),
        reason = vital.end() => Err(reason),
    };
    if let Err(reason) = &result {
        error!(%reason, "something vital has ended; leaving");
    }
    if result.is_err() {
        drain.hurry();
    }
    stop.streams.cancel();
    if !vital.ended(&[XDS, XDS_TLS], drain.window() + GRACE).await {
        warn!("closing connections that did not end in time");
        stop.connections.cancel();
        vital.ended(&[XDS, XDS_TLS], GRACE).await;
    }
    // It gives up its part in writing them, so that another replica need not wait.
    vital.ended(&[STATUS, "lease"], GRACE).await;
    stop.http.cancel();
    // Somebody's browser may keep its connection.
    vital.ended(&[ADMIN, PROBE, API, INJECTOR], Duration::from_millis(200)).await;
    result
}

/// Listens on `HOST:PORT` or `:PORT` (all addresses).
pub(crate) async fn bind(option: &str, address: &str) -> anyhow::Result<TcpListener> {
    let what = || format!("{option}: cannot listen on {address:?} (expected HOST:PORT or :PORT)");
    match address.strip_prefix(':') {
        // Both IP versions where the machine has both.
        Some(port) => match listen_on(&format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(_) => listen_on(&format!("0.0.0.0:{port}")).await.with_context(what),
        },
        None => listen_on(address).await.with_context(what),
    }
}

/// As [`TcpListener::bind`], with a longer queue: a whole mesh may come back at once, and a connection that finds the
/// queue full is tried again only after a second.
async fn listen_on(address: &str) -> std::io::Result<TcpListener> {
    let mut failed = std::io::Error::other("the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port whose last connections still linger is free.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(QUEUE)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// As [`start`], and when something ended that should not have.
pub async fn run(setup: Setup) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    descriptors::raise();
    let running = start(setup).await?;
    let (shutdown, drain) = (running.shutdown_token(), running.drain());
    let wait = running.wait();
    tokio::pin!(wait);
    loop {
        let name = tokio::select! {
            result = &mut wait => return result,
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => {
                // Somebody waits for it.
                drain.hurry();
                "SIGINT"
            }
        };
        if shutdown.is_cancelled() {
            warn!(signal = name, "leaving at once");
            return Ok(());
        }
        info!(signal = name, over = ?drain.window(), "shutting down");
        shutdown.cancel();
    }
}

/// Whether it is a `HOST:PORT`.
fn is_named(peer: &str) -> bool {
    peer.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The `HOST:PORT`s of all replicas' APIs.
fn peers(options: &Options) -> Result<Vec<String>, &'static str> {
    let peers = options.peers.clone().unwrap_or_default();
    match peers.iter().all(|peer| is_named(peer)) {
        true => Ok(peers),
        false => Err("--peers: expected HOST:PORT, the name of all replicas and the port of their --api"),
    }
}
