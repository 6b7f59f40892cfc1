//! The test node: what a kubelet, a container runtime and a scheduler do, as far as tests of umbra need it.
//!
//! It registers a Node, binds every Pod to it, and gives each a network namespace with an address of 10.244.0.0/16.
//! A container of the images `umbra` and `envoy` (whatever registry, tag or digest) is the real binary with the Pod's
//! arguments, variables (downward API, ConfigMaps, Secrets), mounts and ServiceAccount token, in a root of its own;
//! **every other image is an echo service on each of its container ports**. Init containers run one after the other: of
//! those two images to their end, and again until that is a good one; a sidecar (`restartPolicy: Always`) stays, and the next
//! waits until its startup probe passes; of any other image they do nothing. Readiness probes (httpGet, tcpSocket) are
//! honoured, processes that end are started again, and a deleted Pod gets its `preStop` sleep or request, SIGTERM and
//! the rest of its grace period before its object goes, its sidecars last. The image `curl` whose command is `curl` is the
//! machine's own, and ends: by `restartPolicy` it is started again, or its Pod ends with it, sidecars last, as that of a Job does.
//!
//! Users, groups, capabilities and `allowPrivilegeEscalation` are honoured where the machine has users: in a test that is
//! [`on_cluster_with_users`](super::stage::on_cluster_with_users). Elsewhere every container is root.
//!
//! It does not: pull or run images, know the user that an image names, limit resources, give `fsGroup`, SELinux, seccomp or
//! read-only mounts, probe liveness or startup of other containers, honour a `preStop` command other than `sleep`, serve
//! `kubectl logs`, `exec` and `port-forward`, or schedule by anything at all.

mod containers;
mod ended;
mod environment;
mod init;
mod life;
mod network;
mod node;
mod objects;
mod pod;
mod probe;
mod security;
mod status;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::site::Site;

pub use node::NODE;
pub use pod::PodState;

pub(super) use pod::held;

/// The pause after a failed watch, so that a Pod is looked after soon once the API server is back.
const AGAIN: Duration = Duration::from_millis(200);

/// The running test node; dropped, it ends, and every Pod's processes with it.
#[derive(Debug)]
pub struct Agent {
    pods: Arc<Mutex<Vec<Arc<PodState>>>>,
    watching: JoinHandle<()>,
}

impl Agent {
    /// Registers the Node and starts to look after Pods. The logs of their containers go to folders below `folder`.
    ///
    /// # Errors
    /// When the API server refuses the Node.
    pub async fn start(client: Client, site: Site, folder: &Path) -> Result<Self> {
        node::register(&client).await?;
        let pods = Arc::new(Mutex::new(Vec::new()));
        let keeper =
            Keeper { client, site, folder: folder.to_owned(), pods: pods.clone(), living: BTreeMap::new() };
        Ok(Self { pods, watching: tokio::spawn(keeper.watch()) })
    }

    /// Every Pod that the node has ever had in `namespace` and whose labels match `selector` (`k=v,k=v`), in the order
    /// of their coming. Those that ended are among them, since requests are counted over them all.
    pub fn all(&self, namespace: &str, selector: &str) -> Vec<Arc<PodState>> {
        let pods = held(&self.pods);
        pods.iter().filter(|p| p.namespace == namespace && p.matches(selector)).cloned().collect()
    }

    /// As [`Agent::all`], only those that live.
    pub fn pods(&self, namespace: &str, selector: &str) -> Vec<Arc<PodState>> {
        let mut pods = self.all(namespace, selector);
        pods.retain(|pod| !pod.is_ended());
        pods
    }

    /// Every Pod that lives, in any namespace.
    pub fn living(&self) -> Vec<Arc<PodState>> {
        held(&self.pods).iter().filter(|p| !p.is_ended()).cloned().collect()
    }

    /// Forgets the requests that any Pod has got.
    pub fn forget(&self) {
        for pod in held(&self.pods).iter() {
            pod.forget();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.watching.abort();
        for pod in held(&self.pods).iter() {
            pod.end();
        }
    }
}

/// Follows the Pods and keeps one task for each that lives.
struct Keeper {
    client: Client,
    site: Site,
    folder: PathBuf,
    pods: Arc<Mutex<Vec<Arc<PodState>>>>,
    living: BTreeMap<String, watch::Sender<Pod>>,
}

impl Keeper {
    async fn watch(mut self) {
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.take(pod);
                }
                // What is not listed any more went while the watch was down.
                Ok(Event::InitDone) => self.living.retain(|uid, _| listed.contains(uid)),
                Ok(Event::Apply(pod)) => self.take(pod),
                Ok(Event::Delete(pod)) => {
                    self.living.remove(pod.metadata.uid.as_deref().unwrap_or_default());
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn take(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(sender) = self.living.get(&uid) {
            sender.send_replace(pod);
            return;
        }
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let elsewhere = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|n| n != NODE);
        if elsewhere || matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        let state = Arc::new(PodState::new(&pod, self.site, &self.folder));
        held(&self.pods).push(state.clone());
        let (sender, news) = watch::channel(pod);
        self.living.insert(uid, sender);
        tokio::spawn(life::live(self.client.clone(), state, news));
    }
}
