//! The server, a real Envoy, the echo services behind it, and whether everything is as it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use umbra_envoy::BootstrapOptions;
use umbra_testkit::client::{Ask, Client, Tally};
use umbra_testkit::echo::Echo;
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_xds::{Snapshot, Variant};

use crate::model::{ASSIGNMENTS, Model, PORT, endpoint};
use crate::server::Server;

/// A change is there within tens of milliseconds, with a lost stream within a second or so. Nothing in Envoy ends a
/// wait, and what ends one in the session shows as [`Server::bad`].
const DEADLINE: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) model: Model,
    pub(crate) envoy: EnvoyProcess,
    _folder: TempDir,
}

/// What the endpoints of all assignments are, for as long as it is kept.
pub(crate) fn echoes() -> Vec<Echo> {
    let echo = |name: char, state: usize| {
        let (host, port) = endpoint(name, state);
        let address = format!("{host}:{port}").parse().expect("an address");
        Echo::start(&Net::here(), &format!("{name}{state}"), address).expect("an echo service")
    };
    ASSIGNMENTS.iter().flat_map(|name| [0, 1].map(|state| echo(*name, state))).collect()
}

impl World {
    /// Envoy starts cold with the model that these words make.
    pub(crate) async fn start(variant: Variant, words: &str) -> Self {
        let net = Net::here();
        let mut model = Model::default();
        model.change(words);
        let server = Server::start(model.snapshot(&Snapshot::empty(1, 0))).await;
        let bootstrap = umbra_envoy::bootstrap_json(&BootstrapOptions {
            server_port: server.address.port(),
            state_of_the_world: variant == Variant::Sotw,
            // The model has the one layer.
            runtime_digits: 0,
            ..BootstrapOptions::default()
        });
        let (bootstrap, folder) =
            (bootstrap.expect("a bootstrap").to_string(), tempfile::tempdir().expect("a folder"));
        let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
        let envoy =
            EnvoyProcess::start(&net, &binary, folder.path(), "envoy", &bootstrap).await.expect("Envoy");
        let ready = wait::until(PATIENCE, || async { envoy.ready().await.then_some(()) }).await;
        let world = Self { server, model, envoy, _folder: folder };
        assert!(ready.is_some(), "Envoy is not ready\n{:#?}", world.server.log());
        world
    }

    /// Changes the model, without waiting.
    pub(crate) fn change(&mut self, words: &str) {
        self.model.change(words);
        self.server.publish(self.model.snapshot(&self.server.snapshot()));
    }

    /// Waits until Envoy has taken the newest snapshot, every path is answered as it should be and nothing warms; says how long it took.
    pub(crate) async fn whole(&self, what: &str) -> Duration {
        let start = Instant::now();
        let whole = wait::until(DEADLINE, || async { self.wrong().await.is_none().then_some(()) }).await;
        if whole.is_none() {
            let (wrong, tail) = (self.wrong().await, self.envoy.process().tail());
            panic!("{what}: {wrong:?}\n{:#?}\n{tail}", self.server.log());
        }
        assert!(self.server.bad().is_empty(), "{what}: {:?}", self.server.bad());
        start.elapsed()
    }

    /// Waits until every path is answered as it should be, whatever Envoy has refused.
    pub(crate) async fn served(&self, what: &str) {
        let served = wait::until(DEADLINE, || async { self.misrouted().await.is_none().then_some(()) }).await;
        let Some(()) = served else {
            panic!("{what}: {:?}\n{:#?}", self.misrouted().await, self.server.log());
        };
    }

    /// What is not as it should be.
    async fn wrong(&self) -> Option<String> {
        if let Some(path) = self.misrouted().await {
            return Some(path);
        }
        let (acked, newest) = (self.server.acked(), self.server.snapshot().generation());
        if acked != newest {
            return Some(format!("Envoy has taken generation {acked} of {newest}"));
        }
        let stats = self.envoy.stats().await.expect("statistics");
        let warming = stats.get("cluster_manager.warming_clusters").copied();
        (warming != Some(0)).then(|| format!("{warming:?} clusters warm"))
    }

    /// A path that is not answered as it should be.
    async fn misrouted(&self) -> Option<String> {
        let mut client = Client::new(&Net::here(), ([127, 0, 0, 1], PORT).into());
        let expected = self.model.expected();
        for name in 'A'..='E' {
            let answer = match client.ask(&Ask::get("test", &format!("/{name}"))).await {
                Ok(answer) => answer,
                Err(error) => return Some(format!("/{name}: {error:#}")),
            };
            let is = (answer.status.as_u16(), answer.served_by().to_owned());
            let should = expected.get(&name).map_or((404, String::new()), |by| (200, by.clone()));
            if is != should {
                return Some(format!("/{name} is {is:?} and should be {should:?}"));
            }
        }
        None
    }

    /// Asks for /x until the traffic is stopped.
    pub(crate) fn traffic() -> Traffic {
        let end = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let end = end.clone();
            async move {
                let (mut client, mut tally) =
                    (Client::new(&Net::here(), ([127, 0, 0, 1], PORT).into()), Tally::default());
                // At least a few, however short the row.
                while !end.load(Ordering::Relaxed) || tally.times.len() < 20 {
                    tally.add(client.ask(&Ask::get("test", "/x")).await);
                }
                tally
            }
        });
        Traffic { end, task }
    }

    /// Nothing was refused in all that time.
    pub(crate) async fn assert_clean(&self) {
        let stats = self.envoy.stats().await.expect("statistics");
        let rejected: Vec<_> =
            stats.iter().filter(|(name, n)| name.ends_with(".update_rejected") && **n > 0).collect();
        assert!(rejected.is_empty(), "{rejected:?}");
        assert!(self.server.bad().is_empty(), "{:?}", self.server.bad());
    }
}

/// Requests under way.
pub(crate) struct Traffic {
    end: Arc<AtomicBool>,
    task: JoinHandle<Tally>,
}

impl Traffic {
    pub(crate) async fn stop(self) -> Tally {
        self.end.store(true, Ordering::Relaxed);
        self.task.await.expect("the traffic ends")
    }
}
