//! A control plane, its test node and its user, together.

#![allow(clippy::panic, reason = "only tests call this, and to fail is its way to speak")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kube::Client;
use tempfile::TempDir;

use super::agent::{Agent, PodState};
use super::dns::{ClusterDns, Resolver};
use super::site::Site;
use super::user::User;
use super::{ControlPlane, assets};
use crate::{gate, wait};

/// How long something may take that several controllers have a part in: each of them takes a step back for seconds when
/// its cache turns out to be old, and the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// See the module. Dropped, it ends everything; after a panic its folder stays and the logs are printed.
pub struct Cluster {
    // In the order of their end: the node before the server that it talks to.
    agent: Agent,
    dns: ClusterDns,
    /// The control plane, to be killed, frozen and started again.
    pub plane: ControlPlane,
    client: Client,
    folder: TempDir,
}

impl Cluster {
    /// Starts everything in this process's network, which must be one of the test's own: see [`super::stage`].
    ///
    /// # Errors
    /// When a part does not start, with what it wrote.
    pub async fn start() -> Result<Self> {
        Self::start_at(Site::nth(0)).await
    }

    /// Starts a second cluster beside the first, with an API server, Pods and names of its own; the Pods of both reach
    /// each other.
    ///
    /// # Errors
    /// When a part does not start, with what it wrote.
    pub async fn second() -> Result<Self> {
        Self::start_at(Site::nth(1)).await
    }

    async fn start_at(site: Site) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("umbra-cluster-").tempdir()?;
        let plane = ControlPlane::start(folder.path(), site).await?;
        let client = plane.client().await?;
        let agent = Agent::start(client.clone(), site, &folder.path().join("pods")).await?;
        let dns = ClusterDns::start(client.clone(), site)?;
        Ok(Self { agent, dns, plane, client, folder })
    }

    /// The temporary folder of this cluster.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The test node.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// A client with all rights.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The person with all rights.
    pub fn admin(&self) -> User {
        self.plane.admin()
    }

    /// `kubectl` with all rights.
    ///
    /// # Panics
    /// When it fails, with its words.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.admin().kubectl(arguments).unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// `kubectl apply -f -` with all rights.
    ///
    /// # Panics
    /// When it fails, with its words.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        self.admin().apply(manifests).unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Installs the CRDs that a module ships: `istio`, `flagger` or `argo-rollouts`.
    ///
    /// # Panics
    /// When they are missing or refused.
    #[track_caller]
    pub fn install_crds(&self, name: &str) {
        let file = assets::crds(name).unwrap_or_else(|why| panic!("{why}"));
        self.admin().install_crds(&file).unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// What the names of Services lead to: the addresses of their ready Pods.
    pub fn resolver(&self) -> Resolver {
        self.dns.resolver()
    }

    /// Waits until exactly `n` Pods match `selector` in `namespace`, all of them ready, and gives them.
    ///
    /// # Panics
    /// When that does not happen within [`PATIENCE`].
    pub async fn wait_ready(&self, namespace: &str, selector: &str, n: usize) -> Vec<Arc<PodState>> {
        let look = || {
            let pods = self.agent.pods(namespace, selector);
            let all = pods.len() == n && pods.iter().all(|pod| pod.is_ready());
            std::future::ready(all.then_some(pods))
        };
        let found = wait::until(PATIENCE, look).await;
        found.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {n} ready Pods {namespace}/{selector}"))
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
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.folder.disable_cleanup(true);
        gate::say(&format!("the cluster of the failed test stays in {}", self.folder.path().display()));
        gate::say(&self.plane.tails());
        for pod in self.agent.living() {
            let count = pod.requests().len();
            gate::say(&format!(
                "Pod {}/{} ready: {}, requests: {count}",
                pod.namespace,
                pod.name,
                pod.is_ready()
            ));
            gate::say(&pod.tails());
        }
    }
}
