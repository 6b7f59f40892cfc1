//! What a test sees of a Pod: its address, the requests that reached it, its processes and logs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;

use super::super::site::Site;
use super::containers;
use super::network::Network;
use crate::client::{SERVED_BY, Tally};
use crate::echo::{Echo, Mode, Record};
use crate::net::Net;
use crate::process::Process;

/// How the agent's probes call themselves; kubelet's say `kube-probe/VERSION`.
pub(super) const PROBE: &str = "kube-probe/test";

/// A Pod of the test node. It stays known after its end, so that requests can be counted.
#[derive(Debug)]
pub struct PodState {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The folder with the logs of its containers.
    pub folder: PathBuf,
    pub(super) site: Site,
    /// Lines for the `/etc/hosts` of its containers, of `hostAliases`.
    pub(super) aliases: String,
    pub(super) network: OnceLock<Network>,
    pub(super) labels: Mutex<BTreeMap<String, String>>,
    pub(super) echoes: Mutex<Vec<Echo>>,
    pub(super) processes: Mutex<BTreeMap<String, Process>>,
    pub(super) forced: Mutex<Option<bool>>,
    pub(super) ready: AtomicBool,
    pub(super) ended: AtomicBool,
    records: Mutex<Vec<Record>>,
}

pub(in super::super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a kubelet writes into `/etc/hosts` for `hostAliases`.
fn aliases(pod: &Pod) -> String {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    aliases
        .map(|alias| format!("{} {}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join(" ")))
        .collect()
}

impl PodState {
    pub(super) fn new(pod: &Pod, site: Site, folder: &Path) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let uid = text(&pod.metadata.uid);
        Self {
            folder: folder.join(&namespace).join(format!("{name}-{}", uid.get(..8).unwrap_or(&uid))),
            namespace,
            name,
            uid,
            site,
            aliases: aliases(pod),
            network: OnceLock::new(),
            labels: Mutex::new(pod.metadata.labels.clone().unwrap_or_default()),
            echoes: Mutex::default(),
            processes: Mutex::default(),
            forced: Mutex::default(),
            ready: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            records: Mutex::default(),
        }
    }

    /// Its address, once it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.network.get().map(|network| network.address)
    }

    /// Its network namespace, to be a client in it.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn net(&self) -> Result<Net> {
        let network = self.network.get().with_context(|| format!("{} has no network yet", self.name))?;
        Ok(network.net.clone())
    }

    /// Whether the agent has found it ready and told the API server.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether its containers have ended for good.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Its labels now.
    pub fn labels(&self) -> BTreeMap<String, String> {
        held(&self.labels).clone()
    }

    /// Whether its labels match a selector in the form `k=v,k=v`; the empty one matches every Pod.
    pub fn matches(&self, selector: &str) -> bool {
        let labels = held(&self.labels);
        selector
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .all(|(key, value)| labels.get(key).is_some_and(|v| v == value))
    }

    /// The requests that its echo services got since [`PodState::forget`], in order, without the probes.
    pub fn requests(&self) -> Vec<Record> {
        let mut all = held(&self.records).clone();
        all.extend(held(&self.echoes).iter().flat_map(Echo::records));
        all.retain(|record| record.header("user-agent") != PROBE);
        all
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        held(&self.records).clear();
        for echo in held(&self.echoes).iter() {
            echo.take();
        }
    }

    /// Lets its echo services answer this way. It stays ready, as a service does whose health is another path than what is
    /// wrong with it: who counts bad answers must get them, and not a Service without endpoints after the next probe.
    pub fn set_mode(&self, mode: Mode) {
        self.set_ready((!matches!(mode, Mode::Normal)).then_some(true));
        for echo in held(&self.echoes).iter() {
            echo.set_mode(mode);
        }
    }

    /// Says that it is ready or not, whatever its probes find; `None` believes the probes again.
    pub fn set_ready(&self, ready: Option<bool>) {
        *held(&self.forced) = ready;
    }

    /// Cuts it off from the network, or joins it again: a partition.
    ///
    /// # Errors
    /// When it has no network of its own.
    pub fn cut(&self, cut: bool) -> Result<()> {
        self.network.get().with_context(|| format!("{} has no network yet", self.name))?.cut(cut)
    }

    /// Stops the work of its processes (SIGSTOP), or lets them go on.
    ///
    /// # Errors
    /// When one is gone.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        held(&self.processes).values().try_for_each(|process| process.freeze(frozen))
    }

    /// Kills the process of a container (SIGKILL); the agent starts it again.
    pub fn kill(&self, container: &str) {
        // Dropped, it is killed; the agent misses it.
        held(&self.processes).remove(container);
    }

    /// `curl` of the same URL `n` times over one connection, as a person runs it in a container of the Pod by `kubectl exec`:
    /// names are asked of the cluster's DNS, Services are their cluster IPs.
    ///
    /// # Errors
    /// When the Pod has no network or curl cannot be started.
    pub async fn curl(&self, url: &str, n: usize) -> Result<Tally> {
        let network = self.network.get().with_context(|| format!("{} has no network yet", self.name))?;
        let mut command = containers::curl(self, network)?;
        command.args(["-sS", "-w", &format!("%{{http_code}} %header{{{SERVED_BY}}}\\n")]);
        for _ in 0..n {
            command.args(["-o", "/dev/null", url]);
        }
        let out = tokio::process::Command::from(command).output().await?;
        let mut tally = Tally::default();
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let (status, server) = line.split_once(' ').unwrap_or((line, ""));
            *tally.statuses.entry(status.parse()?).or_default() += 1;
            *tally.servers.entry(server.to_owned()).or_default() += 1;
        }
        if !out.status.success() {
            tally.failures.push(String::from_utf8_lossy(&out.stderr).into_owned());
        }
        Ok(tally)
    }

    /// What the kernel says of a container's process (`/proc/PID/status`): its users and capabilities.
    ///
    /// # Errors
    /// When the container has no process.
    pub fn kernel_status(&self, container: &str) -> Result<String> {
        let id = held(&self.processes).get(container).map(Process::id);
        let id = id.with_context(|| format!("{container} of {} is no process", self.name))?;
        Ok(std::fs::read_to_string(format!("/proc/{id}/status"))?)
    }

    /// What a container that is a process has written, over all of its runs.
    pub fn log(&self, container: &str) -> String {
        let bytes = std::fs::read(self.folder.join(format!("{container}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the logs of its processes: what a failed test shows.
    pub fn tails(&self) -> String {
        held(&self.processes).values().map(Process::tail).collect::<Vec<_>>().join("\n")
    }

    /// Ends everything at once; what its echo services got stays known.
    pub(super) fn end(&self) {
        held(&self.processes).clear();
        let echoes = std::mem::take(&mut *held(&self.echoes));
        held(&self.records).extend(echoes.iter().flat_map(Echo::records));
        self.ready.store(false, Ordering::Relaxed);
        self.ended.store(true, Ordering::Relaxed);
    }
}
