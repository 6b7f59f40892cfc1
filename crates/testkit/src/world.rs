//! A small world of its own: a directory of manifests, umbra, Envoys, echo services and traffic. Whatever fails
//! panics, and the logs of all processes are shown then.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests call this, and to fail is its way to speak"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::client::{Answer, Ask, Client, Tally, send};
use crate::echo::Echo;
use crate::envoy::EnvoyProcess;
use crate::net::Net;
use crate::ports::Port;
use crate::umbra::{self, UmbraProcess};
use crate::wait::{self, PATIENCE};
use crate::{capture, gate, paths};

/// See the module. Dropped, it ends everything; after a panic its folder stays and the logs are printed.
pub struct World {
    net: Net,
    folder: TempDir,
    echoes: BTreeMap<String, Echo>,
    umbra: Option<UmbraProcess>,
    proxies: BTreeMap<String, EnvoyProcess>,
}

impl World {
    /// An empty world in this process's network.
    #[track_caller]
    pub fn new() -> Self {
        Self::in_net(&Net::here())
    }

    /// An empty world in `net`.
    #[track_caller]
    pub fn in_net(net: &Net) -> Self {
        let folder = tempfile::Builder::new().prefix("umbra-test-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("mesh")).expect("a folder for manifests");
        let (echoes, proxies) = (BTreeMap::new(), BTreeMap::new());
        Self { net: net.clone(), folder, echoes, umbra: None, proxies }
    }

    /// The network that everything is in.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The folder that everything of this world is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The directory that umbra serves.
    pub fn mesh(&self) -> PathBuf {
        self.folder.path().join("mesh")
    }

    /// Puts a file into the directory, in one step.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) {
        ok(umbra::write(&self.mesh(), name, text));
    }

    /// Takes a file out of the directory.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.mesh().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Copies the YAML files that stand directly in `folder` into the directory.
    #[track_caller]
    pub fn copy(&self, folder: &Path) {
        for (name, text) in ok(umbra::yaml_files(folder)) {
            self.write(&name, &text);
        }
    }

    /// Starts an echo service at `address`, such as `127.0.1.1:80`.
    #[track_caller]
    pub fn start_echo(&mut self, name: &str, address: &str) {
        let echo = ok(Echo::start(&self.net, name, socket(address)));
        self.echoes.insert(name.to_owned(), echo);
    }

    /// Takes an echo service away: its port answers no more.
    pub fn stop_echo(&mut self, name: &str) {
        self.echoes.remove(name);
    }

    /// The echo service of that name.
    #[track_caller]
    pub fn echo(&self, name: &str) -> &Echo {
        self.echoes.get(name).unwrap_or_else(|| panic!("no echo service {name}"))
    }

    /// How many requests each echo service got since the last [`World::forget`].
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        self.echoes.iter().map(|(name, echo)| (name.as_str(), echo.count())).collect()
    }

    /// Waits until nothing is under way, and forgets what the echo services have recorded.
    pub async fn forget(&self) {
        self.settle().await;
        for echo in self.echoes.values() {
            echo.take();
        }
    }

    /// Starts umbra on the directory and waits until it is ready.
    pub async fn start_umbra(&mut self) {
        self.start_umbra_with("").await;
    }

    /// As [`World::start_umbra`], with this text as its `umbra.yaml`.
    pub async fn start_umbra_with(&mut self, config: &str) {
        let path = self.folder.path().join("umbra.yaml");
        std::fs::write(&path, config).expect("umbra.yaml");
        let config = (!config.is_empty()).then_some(path.as_path());
        let started = UmbraProcess::start(&self.net, &self.mesh(), config, self.folder.path()).await;
        self.umbra = Some(ok(started));
    }

    /// Replaces the settings of the running umbra, in one step.
    #[track_caller]
    pub fn write_config(&self, config: &str) {
        ok(umbra::write(self.folder.path(), "umbra.yaml", config));
    }

    /// The running umbra.
    #[track_caller]
    pub fn umbra(&self) -> &UmbraProcess {
        self.umbra.as_ref().expect("umbra was started")
    }

    /// Ends umbra by SIGTERM and starts it again on the same ports.
    pub async fn restart_umbra(&mut self) {
        let ports = self.stop_umbra().await;
        self.start_umbra_on(ports).await;
    }

    /// Ends umbra by SIGTERM; what it listened on is [`World::start_umbra_on`]'s.
    pub async fn stop_umbra(&mut self) -> (Port, Port) {
        let umbra = self.umbra.take().expect("umbra was started");
        ok(umbra.terminate(PATIENCE).await).1
    }

    /// Starts umbra again on these ports.
    pub async fn start_umbra_on(&mut self, ports: (Port, Port)) {
        let config = Some(self.folder.path().join("umbra.yaml")).filter(|path| path.exists());
        let (net, logs) = (&self.net, self.folder.path());
        let started = UmbraProcess::start_on(net, &self.mesh(), config.as_deref(), logs, ports).await;
        self.umbra = Some(ok(started));
    }

    /// Starts an Envoy called `name` with the bootstrap that umbra prints for `proxy` (`sidecar/NS/k=v` or
    /// `router/NS/k=v`), and waits until it is ready.
    pub async fn start_proxy(&mut self, name: &str, proxy: &str) {
        self.start_proxy_with(name, proxy, &[]).await;
    }

    /// As [`World::start_proxy`], with further arguments of `umbra bootstrap`.
    pub async fn start_proxy_with(&mut self, name: &str, proxy: &str, further: &[&str]) {
        let bootstrap = ok(umbra::bootstrap_with(proxy, self.umbra().xds(), further));
        self.start_envoy(name, &bootstrap).await;
    }

    /// Starts an Envoy called `name` with this bootstrap, and waits until it is ready.
    pub async fn start_envoy(&mut self, name: &str, bootstrap: &str) {
        let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
        let started = EnvoyProcess::start(&self.net, &binary, self.folder.path(), name, bootstrap).await;
        self.proxies.insert(name.to_owned(), ok(started));
        self.wait_for(&format!("{name} to be ready"), || self.proxy(name).ready()).await;
    }

    /// Captures what leaves this world's network, and starts an Envoy called `name` as the user that it leaves alone, with
    /// the bootstrap for `proxy` on a node with these addresses; waits until it is ready.
    pub async fn start_captured(&mut self, name: &str, proxy: &str, addresses: &[IpAddr]) {
        let bootstrap = ok(umbra::bootstrap(proxy, self.umbra().xds()));
        let bootstrap = ok(capture::captured(&bootstrap, addresses));
        let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.folder(), everybody).expect("a folder for another user");
        let (id, net) = (capture::PROXY_ID, &self.net);
        let started = EnvoyProcess::start_as(id, net, &binary, self.folder.path(), name, &bootstrap).await;
        self.proxies.insert(name.to_owned(), ok(started));
        ok(capture::capture(&self.net));
        self.wait_for(&format!("{name} to be ready"), || self.proxy(name).ready()).await;
    }

    /// The Envoy of that name.
    #[track_caller]
    pub fn proxy(&self, name: &str) -> &EnvoyProcess {
        self.proxies.get(name).unwrap_or_else(|| panic!("no Envoy {name}"))
    }

    /// Kills an Envoy.
    pub fn stop_proxy(&mut self, name: &str) {
        self.proxies.remove(name);
    }

    /// Asks `address` once.
    pub async fn ask(&self, address: &str, ask: &Ask) -> Answer {
        ok(Client::new(&self.net, socket(address)).ask(ask).await)
    }

    /// Asks `address` `n` times and waits until no copy is under way any more, so that counts are final.
    pub async fn send(&self, address: &str, ask: &Ask, n: usize) -> Tally {
        let tally = send(&self.net, socket(address), ask, n).await;
        self.settle().await;
        tally
    }

    /// Waits until no Envoy has a request or a copy under way.
    pub async fn settle(&self) {
        for (name, proxy) in &self.proxies {
            let idle = || async { proxy.in_flight().await.is_ok_and(|n| n == 0) };
            self.wait_for(&format!("{name} to have nothing under way"), idle).await;
        }
    }

    /// Fails when something went wrong at an Envoy: see [`EnvoyProcess::wrongs`].
    ///
    /// # Panics
    /// With the counters that should be zero.
    pub async fn assert_clean(&self) {
        for (name, proxy) in &self.proxies {
            let wrongs = ok(proxy.wrongs().await);
            assert!(wrongs.is_empty(), "{name}: {wrongs:?}");
        }
    }

    /// Waits for a condition.
    ///
    /// # Panics
    /// When it does not hold within [`PATIENCE`].
    pub async fn wait_for<F: Future<Output = bool>>(&self, what: &str, condition: impl FnMut() -> F) {
        self.wait_within(PATIENCE, what, condition).await;
    }

    /// As [`World::wait_for`] with a deadline.
    ///
    /// # Panics
    /// When the condition does not hold within `deadline`.
    pub async fn wait_within<F: Future<Output = bool>>(
        &self,
        deadline: Duration,
        what: &str,
        mut condition: impl FnMut() -> F,
    ) {
        let look = || {
            let holds = condition();
            async { holds.await.then_some(()) }
        };
        assert!(wait::until(deadline, look).await.is_some(), "waited {deadline:?} for {what}");
    }

    /// Waits until `address` answers `ask` with this status.
    pub async fn wait_status(&self, address: &str, ask: &Ask, status: u16) {
        let look = || async {
            let answer = Client::new(&self.net, socket(address)).ask(ask).await;
            answer.is_ok_and(|answer| answer.status == status)
        };
        self.wait_for(&format!("{status} from {address} for {} {}", ask.host, ask.path), look).await;
    }

    /// Waits until the Envoy called `name` has this share of a million for a mirror whose runtime key contains `key`, and
    /// its route.
    pub async fn wait_share(&self, name: &str, key: &str, share: u32) {
        let look = || self.proxy(name).mirrors(key, share);
        self.wait_for(&format!("{name} to mirror {share} of a million under a key with {key}"), look).await;
    }

    /// Waits until a section of the configuration of the Envoy called `name` (such as `RoutesConfigDump`) has this text.
    pub async fn wait_config(&self, name: &str, section: &str, text: &str) {
        let look =
            || async { self.proxy(name).section(section).await.is_ok_and(|s| s.to_string().contains(text)) };
        self.wait_for(&format!("{text:?} in the {section} of {name}"), look).await;
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.folder.disable_cleanup(true);
        gate::say(&format!("the world of the failed test stays in {}", self.folder.path().display()));
        gate::say(&format!("requests at the echo services: {:?}", self.counts()));
        let umbra = self.umbra.iter().map(UmbraProcess::process);
        for process in umbra.chain(self.proxies.values().map(EnvoyProcess::process)) {
            gate::say(&process.tail());
        }
    }
}

fn socket(address: &str) -> SocketAddr {
    match address.strip_prefix(':') {
        Some(port) => (Ipv4Addr::LOCALHOST, port.parse().expect("a port")).into(),
        None => address.parse().unwrap_or_else(|e| panic!("{address}: {e}")),
    }
}

#[track_caller]
fn ok<T>(result: Result<T>) -> T {
    result.context("in a test's world").unwrap_or_else(|e| panic!("{e:#}"))
}
