//! A real umbra that reads the cluster, and real Envoys in the networks of Pods, as sidecars or gateways.

#![allow(clippy::panic, reason = "only tests call this, and to fail is its way to speak")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::Cluster;
use super::agent::PodState;
use super::site::Site;
use super::user::User;
use super::world::PATIENCE;
use crate::client::{Answer, Ask, Client, Tally, send};
use crate::envoy::EnvoyProcess;
use crate::net::Net;
use crate::process::Process;
use crate::{paths, umbra, wait};

/// umbra and its proxies; dropped, they are killed. After a panic their logs are printed.
#[derive(Debug)]
pub struct Mesh {
    site: Site,
    user: User,
    folder: PathBuf,
    flags: Vec<String>,
    umbra: Option<Process>,
    proxies: BTreeMap<String, (Arc<PodState>, EnvoyProcess)>,
}

impl Mesh {
    /// Starts umbra on `cluster` with the rights of `user` and these further flags, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready, with what it wrote.
    pub async fn start(cluster: &Cluster, user: &User, flags: &[&str]) -> Result<Self> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (site, folder) = (cluster.plane.site(), cluster.folder().to_owned());
        let (user, proxies) = (user.clone(), BTreeMap::new());
        let mut mesh = Self { site, user, folder, flags, umbra: None, proxies };
        mesh.start_umbra()?;
        mesh.wait_ready().await?;
        Ok(mesh)
    }

    /// Starts umbra when it does not run, without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_umbra(&mut self) -> Result<()> {
        if self.umbra.is_some() {
            return Ok(());
        }
        let mut command = Net::here().command(&paths::umbra()?);
        command.arg("serve").arg("--kubeconfig").arg(self.user.kubeconfig());
        command
            .args(["--xds", &self.site.xds.to_string(), "--admin", &self.site.admin.to_string()])
            .args(&self.flags);
        self.umbra = Some(Process::start("umbra", command, &self.folder.join("umbra.log"))?);
        Ok(())
    }

    /// Kills umbra (SIGKILL); its proxies go on with what they have.
    pub fn kill_umbra(&mut self) {
        self.umbra = None;
    }

    /// What umbra has written, over all of its runs.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.join("umbra.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// umbra's process, while it runs.
    pub fn umbra(&self) -> Option<&Process> {
        self.umbra.as_ref()
    }

    /// Waits until `/readyz` says that umbra is ready.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`], or umbra ends.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.get("/readyz").await.is_err() {
            let umbra = self.umbra.as_mut().context("umbra was killed")?;
            umbra.check_alive()?;
            if start.elapsed() > PATIENCE {
                bail!("umbra is not ready after {PATIENCE:?}\n{}", umbra.tail());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Where umbra's admin interface is.
    pub fn admin(&self) -> SocketAddr {
        self.site.admin
    }

    /// The answer of umbra's admin interface to `GET path`.
    ///
    /// # Errors
    /// When it is not a 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let answer = Client::new(&Net::here(), self.site.admin).ask(&Ask::get("localhost", path)).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// Starts an Envoy beside `pod` with the bootstrap that umbra prints for it, as `kind` (`sidecar` or `router`), and
    /// waits until it is ready. It goes by the name of the Pod's label `app`, else of the Pod.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_proxy(&mut self, kind: &str, pod: &Arc<PodState>) {
        self.start_proxy_by(kind, pod, &[]).await;
    }

    /// As [`Mesh::start_proxy`], with further arguments of `umbra bootstrap`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_proxy_by(&mut self, kind: &str, pod: &Arc<PodState>, further: &[&str]) {
        let started = self.try_proxy(kind, pod, further, |bootstrap| bootstrap).await;
        self.keep(pod, started).await;
    }

    /// As [`Mesh::start_proxy`], after `change` has had its hands on the bootstrap.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_proxy_with(
        &mut self,
        kind: &str,
        pod: &Arc<PodState>,
        change: impl FnOnce(String) -> String,
    ) {
        let started = self.try_proxy(kind, pod, &[], change).await;
        self.keep(pod, started).await;
    }

    async fn keep(&mut self, pod: &Arc<PodState>, started: Result<EnvoyProcess>) {
        let envoy = started.unwrap_or_else(|e| panic!("{e:#}\n{}", self.tails()));
        let name = pod.labels().remove("app").unwrap_or_else(|| pod.name.clone());
        self.proxies.insert(name.clone(), (pod.clone(), envoy));
        let ready = || async { self.proxy(&name).ready().await.then_some(()) };
        let ready = wait::until(PATIENCE, ready).await;
        assert!(ready.is_some(), "the Envoy beside {name} is not ready\n{}", self.tails());
    }

    async fn try_proxy(
        &self,
        kind: &str,
        pod: &Arc<PodState>,
        further: &[&str],
        change: impl FnOnce(String) -> String,
    ) -> Result<EnvoyProcess> {
        let labels: Vec<_> = pod.labels().iter().map(|(k, v)| format!("{k}={v}")).collect();
        let proxy = format!("{kind}/{}/{}", pod.namespace, labels.join(","));
        let bootstrap = change(umbra::bootstrap_with(&proxy, self.site.xds, further)?);
        let binary = paths::envoy().context("no Envoy; run `make tools`")?;
        EnvoyProcess::start(&pod.net()?, &binary, &self.folder, &pod.name, &bootstrap).await
    }

    /// The Envoy of that name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn proxy(&self, name: &str) -> &EnvoyProcess {
        &self.proxies.get(name).unwrap_or_else(|| panic!("no Envoy {name}")).1
    }

    /// The Pod that an Envoy is beside.
    ///
    /// # Panics
    /// When there is no such Envoy.
    #[track_caller]
    pub fn pod(&self, name: &str) -> &Arc<PodState> {
        &self.proxies.get(name).unwrap_or_else(|| panic!("no Envoy {name}")).0
    }

    /// Kills an Envoy (SIGKILL); its Pod stays.
    pub fn kill_proxy(&mut self, name: &str) {
        self.proxies.remove(name);
    }

    /// The network of the Pod that the Envoy is beside.
    fn net(&self, name: &str) -> Net {
        let pod = self.proxies.get(name).map(|(pod, _)| pod);
        pod.and_then(|pod| pod.net().ok()).unwrap_or_else(|| panic!("no Envoy {name}"))
    }

    /// A client in the Pod of an Envoy, of this port: what the Pod's application would call.
    pub fn client(&self, name: &str, port: u16) -> Client {
        Client::new(&self.net(name), (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Asks once through an Envoy.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask(&self, name: &str, port: u16, ask: &Ask) -> Answer {
        self.client(name, port).ask(ask).await.unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Asks `n` times through an Envoy and waits until no copy is under way any more.
    pub async fn send(&self, name: &str, port: u16, ask: &Ask, n: usize) -> Tally {
        let tally = send(&self.net(name), (Ipv4Addr::LOCALHOST, port).into(), ask, n).await;
        self.settle().await;
        tally
    }

    /// Waits until no Envoy has a request or a copy under way.
    pub async fn settle(&self) {
        for name in self.proxies.keys() {
            self.wait_for(&format!("{name} to have nothing under way"), || async {
                self.proxy(name).in_flight().await.is_ok_and(|n| n == 0)
            })
            .await;
        }
    }

    /// Waits until an Envoy's route tables fulfil a condition on their JSON text.
    ///
    /// # Panics
    /// When they don't within [`PATIENCE`].
    pub async fn wait_routes(&self, name: &str, what: &str, holds: impl Fn(&str) -> bool) {
        self.wait_for(&format!("{name}: {what}"), || async {
            let routes = self.proxy(name).section("RoutesConfigDump").await.unwrap_or_default().to_string();
            holds(&routes)
        })
        .await;
    }

    /// Waits until an Envoy has this share of a million for a mirror whose runtime key contains `key`, and its route.
    pub async fn wait_share(&self, name: &str, key: &str, share: u32) {
        self.wait_for(&format!("{name} to mirror {share} of a million under {key}"), || {
            self.proxy(name).mirrors(key, share)
        })
        .await;
    }

    /// Waits until an Envoy has an endpoint of every cluster that its routes name and whose name contains `part`, and of
    /// one at least. Before, a request fails and a copy is lost by right: objects of several kinds arrive in any order, and
    /// EndpointSlices are written a while after the Pods are ready.
    pub async fn wait_targets(&self, name: &str, part: &str) {
        self.wait_for(&format!("{name} to have an endpoint of every {part} in its routes"), || async {
            let mut targets = self.proxy(name).targets().await.unwrap_or_default();
            targets.retain(|target| target.contains(part));
            let clusters = self.proxy(name).endpoints().await.unwrap_or_default();
            let known = |target| clusters.get(target).is_some_and(|endpoints| !endpoints.is_empty());
            !targets.is_empty() && targets.iter().all(known)
        })
        .await;
    }

    /// Waits until an Envoy has so many endpoints of a cluster.
    pub async fn wait_endpoints(&self, name: &str, cluster: &str, n: usize) {
        self.wait_for(&format!("{name} to have {n} endpoints of {cluster}"), || async {
            let clusters = self.proxy(name).endpoints().await.unwrap_or_default();
            clusters.get(cluster).is_some_and(|endpoints| endpoints.len() == n)
        })
        .await;
    }

    /// Waits until a request through an Envoy is answered with this status.
    pub async fn wait_status(&self, name: &str, port: u16, ask: &Ask, status: u16) {
        self.wait_for(&format!("{status} from {name} for {} {}", ask.host, ask.path), || async {
            self.client(name, port).ask(ask).await.is_ok_and(|answer| answer.status == status)
        })
        .await;
    }

    /// Waits for a condition.
    ///
    /// # Panics
    /// When it does not hold within [`PATIENCE`].
    pub async fn wait_for<F: Future<Output = bool>>(&self, what: &str, mut condition: impl FnMut() -> F) {
        let look = || {
            let holds = condition();
            async { holds.await.then_some(()) }
        };
        assert!(wait::until(PATIENCE, look).await.is_some(), "waited {PATIENCE:?} for {what}");
    }

    /// Fails when something went wrong at an Envoy: see [`EnvoyProcess::wrongs`].
    ///
    /// # Panics
    /// With the counters that should be zero.
    pub async fn assert_clean(&self) {
        for (name, (_, proxy)) in &self.proxies {
            let wrongs = proxy.wrongs().await.unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert!(wrongs.is_empty(), "{name}: {wrongs:?}");
        }
    }

    fn tails(&self) -> String {
        let proxies = self.proxies.values().map(|(_, envoy)| envoy.process());
        self.umbra.iter().chain(proxies).map(Process::tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::gate::say(&self.tails());
        }
    }
}
