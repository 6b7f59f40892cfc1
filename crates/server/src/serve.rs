//! The wiring of `umbra serve`: source, engine, ADS, admin, and their end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use umbra_engine::{Engine, Options};

use crate::admin::Admin;
use crate::ads::{Ads, Patience};
use crate::api::{self, Api};
use crate::config::{self, Config};
use crate::descriptors;
use crate::engine_task::EngineHandle;
use crate::listen;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::proxies::Proxies;
use crate::reload;
use crate::sources::{self, Sources, Started};
use crate::status;
use crate::tls::{Identity, TlsOptions};

/// Connections that wait to be accepted, as far as the system lets them.
const QUEUE: u32 = 4096;
/// How long streams may take to end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// Where `--xds` listens unless told otherwise.
pub const DEFAULT_XDS: &str = "127.0.0.1:15010";
/// Where `--admin` listens unless told otherwise.
pub const DEFAULT_ADMIN: &str = "127.0.0.1:15014";

/// What a server needs to start.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where objects come from.
    pub sources: Sources,
    /// Where proxies connect; port 0 takes a free one.
    pub xds: String,
    /// Where they connect over TLS, and as whom umbra answers there.
    pub xds_tls: Option<TlsOptions>,
    /// Where people look; port 0 takes a free one.
    pub admin: String,
    /// Where only probes and metrics are answered.
    pub probe: Option<String>,
    /// Where tools and other replicas ask.
    pub api: Option<String>,
    /// `HOST:PORT`s of all replicas' APIs.
    pub peers: Vec<String>,
    /// The settings file, to be looked after.
    pub config_file: Option<PathBuf>,
    /// What that file said, or the defaults.
    pub config: Config,
    /// With clients that do not answer.
    pub patience: Patience,
}

impl ServeOptions {
    /// A server on free local ports without a settings file, for tests.
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        ServeOptions {
            sources: Sources { dir: Some(dir.into()), cluster: None },
            xds: "127.0.0.1:0".to_owned(),
            xds_tls: None,
            admin: "127.0.0.1:0".to_owned(),
            probe: None,
            api: None,
            peers: Vec::new(),
            config_file: None,
            config: Config::default(),
            patience: Patience::default(),
        }
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
pub async fn start(options: ServeOptions) -> anyhow::Result<Running> {
    let xds_listener = bind("--xds", &options.xds).await?;
    let tls = match &options.xds_tls {
        Some(tls) => Some((bind("--xds-tls", &tls.address).await?, Identity::load(&tls.files)?)),
        None => None,
    };
    let admin_listener = bind("--admin", &options.admin).await?;
    let probe_listener = match &options.probe {
        Some(address) => Some(bind("--probe", address).await?),
        None => None,
    };
    let api_listener = match &options.api {
        Some(address) => Some(bind("--api", address).await?),
        None => None,
    };
    let (xds, admin) = (xds_listener.local_addr()?, admin_listener.local_addr()?);
    let probe = probe_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let xds_tls = tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    let api = api_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let Started { mut updates, health, cluster } = options.sources.start().await?;
    let metrics = Arc::new(Metrics::new());
    let settings = options.config.settings.clone();
    let engine = Engine::new(Options { settings, pods_as_endpoints: options.sources.pods_as_endpoints() });
    let engine = EngineHandle::start(engine, metrics.clone()).context("cannot start the engine's thread")?;
    let proxies = Proxies::new(metrics.clone());
    let shutdown = CancellationToken::new();
    let live = Live::new(engine.clone(), proxies.clone());
    let peers = Arc::new(Peers::new(options.peers, api::Identity::new(), engine.clone(), live.clone()));
    info!(%xds, xds_tls = xds_tls.map(tracing::field::display), %admin, from = %options.sources, version = env!("CARGO_PKG_VERSION"), "umbra starts");

    let files = {
        let engine = engine.clone();
        async move {
            while let Some(update) = updates.recv().await {
                engine.files(update).await;
            }
        }
    };
    let reload = reload::follow(options.config_file, options.config, engine.clone(), metrics.clone());
    let ads = Ads {
        engine: engine.clone(),
        proxies: proxies.clone(),
        metrics: metrics.clone(),
        patience: options.patience,
        shutdown: shutdown.clone(),
    };
    let statuses = {
        let (published, live, metrics) = (engine.follow(), live.clone(), metrics.clone());
        let (peers, shutdown) = (peers.clone(), shutdown.clone());
        async move {
            if let Some((server, observed)) = cluster {
                status::follow(server, observed, published, live, peers, metrics, shutdown).await;
            }
        }
    };
    let statuses = tokio::spawn(statuses);
    let certificates = {
        let (identity, metrics) = (tls.as_ref().map(|(_, identity)| identity.clone()), metrics.clone());
        async move {
            match identity {
                Some(identity) => identity.follow(metrics).await,
                None => std::future::pending().await,
            }
        }
    };
    let watches = sources::report(health.clone(), metrics.clone());
    let asked = Api::new(engine.clone(), proxies.clone(), live, peers, shutdown.clone());
    let views = Admin {
        engine: engine.clone(),
        proxies,
        health,
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let mut http = vec![(admin_listener, views.clone().router(asked.clone()))];
    http.extend(probe_listener.map(|listener| (listener, views.probe_router())));
    http.extend(api_listener.map(|listener| (listener, asked.router())));
    let servers = Servers { ads, xds: xds_listener, tls, http, statuses };
    let background = {
        let engine = engine.clone();
        async move {
            tokio::select! {
                () = files => bail!("the sources are no longer watched"),
                _ = async { tokio::join!(reload, watches, certificates) } => bail!("the settings are no longer watched"),
                () = engine.closed() => bail!("the engine has stopped"),
            }
        }
    };
    let end = tokio::spawn(servers.run(shutdown.clone(), background));
    Ok(Running { xds, xds_tls, admin, probe, api, metrics, engine, shutdown, end })
}

struct Servers {
    ads: Ads,
    xds: TcpListener,
    tls: Option<(TcpListener, Identity)>,
    http: Vec<(TcpListener, Router)>,
    statuses: JoinHandle<()>,
}

impl Servers {
    /// Runs until `shutdown`, or until something ends that should not.
    async fn run(
        self,
        shutdown: CancellationToken,
        background: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (close, stop_http) = (CancellationToken::new(), CancellationToken::new());
        let slots = Arc::new(Semaphore::new(descriptors::for_proxies()));
        let encrypted = self.tls.map(|(listener, identity)| {
            self.ads.clone().serve(listener, Some(identity), slots.clone(), close.clone())
        });
        let plain = self.ads.serve(self.xds, None, slots, close.clone());
        let mut ads = tokio::spawn(async move {
            match encrypted {
                Some(encrypted) => {
                    let _ = tokio::join!(plain, encrypted);
                }
                None => {
                    let _ = plain.await;
                }
            }
        });
        let http = TaskTracker::new();
        for (listener, router) in self.http {
            http.spawn(listen::serve(listener, router, listen::Limits::default(), stop_http.clone()));
        }
        http.close();
        let background = tokio::spawn(background);
        let background_end = background.abort_handle();
        let result = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            result = background => result.context("a background task").and_then(|result| result),
        };
        shutdown.cancel();
        if tokio::time::timeout(GRACE, &mut ads).await.is_err() {
            warn!("closing connections that did not end in time");
            close.cancel();
            let _ = tokio::time::timeout(GRACE, &mut ads).await;
        }
        // It gives up its part in writing them, so that another replica need not wait.
        let _ = tokio::time::timeout(GRACE, self.statuses).await;
        stop_http.cancel();
        // Somebody's browser may keep its connection.
        let _ = tokio::time::timeout(Duration::from_millis(200), http.wait()).await;
        background_end.abort();
        result
    }
}

/// Listens on `HOST:PORT` or `:PORT` (all addresses).
async fn bind(option: &str, address: &str) -> anyhow::Result<TcpListener> {
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
pub async fn run(options: ServeOptions) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    descriptors::raise();
    let running = start(options).await?;
    let shutdown = running.shutdown_token();
    let wait = running.wait();
    tokio::pin!(wait);
    loop {
        let name = tokio::select! {
            result = &mut wait => return result,
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if shutdown.is_cancelled() {
            warn!(signal = name, "leaving at once");
            return Ok(());
        }
        info!(signal = name, "shutting down");
        shutdown.cancel();
    }
}

/// What the command line, the environment and the settings file say together.
///
/// # Errors
/// No source is named, or two clusters are, or only a part of what TLS needs.
pub fn options(
    flags: config::Options,
    config_file: Option<PathBuf>,
    config: Config,
) -> Result<ServeOptions, String> {
    let file = &config.options;
    let sources = Sources::choose(&flags, file)?;
    let xds_tls = TlsOptions::choose(&flags, file)?;
    let xds = flags.xds.or_else(|| file.xds.clone()).unwrap_or_else(|| DEFAULT_XDS.to_owned());
    let admin = flags.admin.or_else(|| file.admin.clone()).unwrap_or_else(|| DEFAULT_ADMIN.to_owned());
    let probe = flags.probe.or_else(|| file.probe.clone());
    let api = flags.api.or_else(|| file.api.clone());
    let peers = flags.peers.or_else(|| file.peers.clone()).unwrap_or_default();
    let is_named = |peer: &String| {
        peer.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !peers.iter().all(is_named) {
        return Err(
            "--peers: expected HOST:PORT, the name of all replicas and the port of their --api".to_owned()
        );
    }
    let patience = Patience::default();
    Ok(ServeOptions { sources, xds, xds_tls, admin, probe, api, peers, config_file, config, patience })
}
