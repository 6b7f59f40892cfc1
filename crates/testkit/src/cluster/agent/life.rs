//! The life of one Pod: bound, started, probed, ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::site::HOST;
use super::containers::{self, Kind};
use super::ended::{before_stop, is_over};
use super::init::is_sidecar;
use super::network::Network;
use super::node::NODE;
use super::objects::Objects;
use super::pod::{PodState, held};
use super::probe::Readiness;
use super::status::{self, ContainerStatus, Times, now};
use super::volumes::Volumes;
use crate::process::Process;

/// How often a Pod is looked after.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How often the files of its volumes are compared with what the API server has.
const REFRESH: Duration = Duration::from_secs(1);

/// How long a container that has ended stays so at first; then twice as long each time.
const RESTART: Duration = Duration::from_millis(250);

/// The Pod is gone from the API server: nothing more is to be said to it.
pub(super) struct Gone;

/// One Pod and what looks after it.
pub(super) struct Life {
    pub(super) state: Arc<PodState>,
    /// The newest object; the sender is dropped when the Pod is gone.
    news: watch::Receiver<Pod>,
    pods: Api<Pod>,
    objects: Objects,
    volumes: Volumes,
    refreshed: Instant,
    times: Times,
    pub(super) containers: BTreeMap<String, Running>,
    /// All containers have ended for good.
    pub(super) over: bool,
    written: Option<Value>,
    ready: bool,
}

/// A started container.
pub(super) struct Running {
    container: Container,
    pub(super) kind: Kind,
    readiness: Readiness,
    pub(super) status: ContainerStatus,
    again: Option<Instant>,
    pub(super) init: bool,
}

/// Looks after a Pod until it is gone.
pub(super) async fn live(client: Client, state: Arc<PodState>, news: watch::Receiver<Pod>) {
    let pods = Api::namespaced(client.clone(), &state.namespace);
    let objects = Objects::new(client, &state.namespace);
    let times = Times { start: now(), ready: now() };
    let (volumes, containers) = (Volumes::default(), BTreeMap::new());
    let refreshed = Instant::now();
    let mut life = Life {
        state,
        news,
        pods,
        objects,
        volumes,
        refreshed,
        times,
        containers,
        over: false,
        written: None,
        ready: false,
    };
    // Whether it was deleted or has gone, nothing of it may stay.
    let _ = life.run().await;
    life.state.end();
}

impl Life {
    fn pod(&self) -> Pod {
        self.news.borrow().clone()
    }

    fn spec(&self) -> PodSpec {
        self.pod().spec.unwrap_or_default()
    }

    /// The Pod's grace period, once somebody has deleted it.
    pub(super) fn deleted(&self) -> Option<Duration> {
        let meta = &self.news.borrow().metadata;
        meta.deletion_timestamp.as_ref()?;
        Some(Duration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(30).max(0) as u64))
    }

    fn check(&self) -> Result<(), Gone> {
        if self.news.has_changed().is_err() { Err(Gone) } else { Ok(()) }
    }

    async fn run(&mut self) -> Result<(), Gone> {
        if self.spec().node_name.is_none() {
            self.bind().await?;
        }
        if self.start().await? {
            while self.deleted().is_none() {
                self.check()?;
                self.look_after().await?;
                if let Some(phase) = self.ended() {
                    self.end_by_itself(phase).await?;
                }
                tokio::time::sleep(TICK).await;
            }
        }
        self.finish().await
    }

    /// Does what a scheduler would.
    async fn bind(&self) -> Result<(), Gone> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.state.name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        self.say(|| async {
            let bound: Result<Value, _> = self
                .pods
                .create_subresource("binding", &self.state.name, &PostParams::default(), &binding)
                .await;
            match bound {
                // Bound already: by an answer that was lost, or by somebody else.
                Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
                bound => bound.map(|_| ()),
            }
        })
        .await
    }

    /// Starts the containers; false when the Pod was deleted before that could happen.
    async fn start(&mut self) -> Result<bool, Gone> {
        loop {
            self.check()?;
            if self.deleted().is_some() {
                return Ok(false);
            }
            match self.try_start().await {
                Ok(()) => return Ok(true),
                Err(why) => self.write_waiting(&format!("{why:#}")).await?,
            }
            tokio::time::sleep(TICK * 4).await;
        }
    }

    async fn try_start(&mut self) -> Result<()> {
        let (pod, spec) = (self.pod(), self.spec());
        std::fs::create_dir_all(&self.state.folder)?;
        if self.state.network.get().is_none() {
            let host = spec.host_network == Some(true);
            let made = move || if host { Ok(Network::of_host()) } else { Network::make() };
            let network = tokio::task::spawn_blocking(made).await??;
            for wanted in spec.security_context.iter().flat_map(|it| it.sysctls.iter().flatten()) {
                network.net.sysctl(&wanted.name, &wanted.value)?;
            }
            let _ = self.state.network.set(network);
        }
        let address = self.address();
        self.volumes.update(&self.state.folder, &pod, &address, &self.objects).await?;
        let init = spec.init_containers.iter().flatten().map(|c| (c, true));
        for (container, init) in init.chain(spec.containers.iter().map(|c| (c, false))) {
            if self.containers.contains_key(&container.name) {
                continue;
            }
            let kind = containers::kind(container)?;
            match init {
                true => self.run_init(container, &kind).await?,
                false => self.start_container(container, &kind).await?,
            }
            let ended = (init && !is_sidecar(container)).then_some(0);
            let status =
                ContainerStatus { started: Some(now()), ended, ..ContainerStatus::waiting(container) };
            let mut readiness = Readiness::started(container);
            readiness.look(container, &self.network()?).await;
            let (container, again) = (container.clone(), None);
            let running = Running { kind, readiness, status, again, init, container };
            self.containers.insert(running.container.name.clone(), running);
        }
        Ok(())
    }

    pub(super) async fn start_container(&self, container: &Container, kind: &Kind) -> Result<()> {
        let network = self.network()?;
        match kind {
            Kind::Echo => containers::start_echoes(&self.state, container, &network),
            Kind::Process(binary) => {
                let (state, pod) = (&self.state, self.pod());
                containers::start_process(state, &pod, container, &network, binary, &self.objects).await
            }
        }
    }

    pub(super) fn network(&self) -> Result<Network> {
        self.state.network.get().cloned().ok_or_else(|| anyhow::anyhow!("no network yet"))
    }

    fn address(&self) -> String {
        self.state.address().map(|a| a.to_string()).unwrap_or_default()
    }

    /// Probes, starts again what has ended, keeps the volumes fresh, and says what has changed.
    async fn look_after(&mut self) -> Result<(), Gone> {
        let Ok(network) = self.network() else { return Ok(()) };
        if self.over {
            return Ok(());
        }
        *held(&self.state.labels) = self.pod().metadata.labels.unwrap_or_default();
        if self.refreshed.elapsed() > REFRESH {
            let (pod, address) = (self.pod(), self.address());
            // A ConfigMap that is gone or an API server that is away: the files stay as they are.
            let _ = self.volumes.update(&self.state.folder, &pod, &address, &self.objects).await;
            self.refreshed = Instant::now();
        }
        let names: Vec<_> = self.containers.keys().cloned().collect();
        for name in names {
            self.revive(&name).await;
            let Some(running) = self.containers.get_mut(&name) else { continue };
            if running.status.started.is_some() {
                running.readiness.look(&running.container, &network).await;
            }
            let runs = running.status.started.is_some() && (running.init || running.status.ended.is_none());
            running.status.ready = runs && running.readiness.ready;
        }
        let forced = *held(&self.state.forced);
        let ready = forced.unwrap_or_else(|| self.containers.values().all(|c| c.status.ready));
        if self.ready != ready {
            self.ready = ready;
            self.times.ready = now();
        }
        // Who waits for a ready Pod looks at the API server next.
        if self.write_running("Running", ready).await? {
            self.state.ready.store(ready, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Starts a process again that has ended, after a while.
    async fn revive(&mut self, name: &str) {
        let Some(running) = self.containers.get_mut(name) else { return };
        if running.status.ended.is_some() || running.kind == Kind::Echo {
            return;
        }
        let ended = match held(&self.state.processes).get_mut(name).map(Process::ended) {
            Some(Ok(None)) => return,
            Some(Ok(Some(status))) => status.code(),
            Some(Err(_)) | None => None,
        };
        let policy = self.news.borrow().spec.as_ref().and_then(|spec| spec.restart_policy.clone());
        if !running.init && is_over(policy.as_deref(), ended) {
            running.status.ended = Some(ended.unwrap_or(137));
            return;
        }
        match running.again {
            None => {
                let doublings = running.status.restarts.clamp(0, 5) as u32;
                running.again = Some(Instant::now() + RESTART * 2_u32.pow(doublings));
                running.status.started = None;
            }
            Some(at) if Instant::now() >= at => {
                let (container, kind) = (running.container.clone(), running.kind.clone());
                if self.start_container(&container, &kind).await.is_ok()
                    && let Some(running) = self.containers.get_mut(name)
                {
                    running.readiness = Readiness::started(&container);
                    running.status.started = Some(now());
                    running.status.restarts += 1;
                    running.again = None;
                }
            }
            Some(_) => {}
        }
    }

    pub(super) async fn write_running(&mut self, phase: &str, ready: bool) -> Result<bool, Gone> {
        let list = |init: bool| -> Vec<_> {
            let wanted = self.containers.values().filter(|c| c.init == init);
            // A forced readiness is what the containers say too, else the Pod would contradict itself.
            wanted.map(|c| ContainerStatus { ready: c.status.ready || ready, ..c.status.clone() }).collect()
        };
        let patch = status::running(
            phase,
            &HOST.to_string(),
            &self.address(),
            &self.times,
            ready,
            &list(false),
            &list(true),
        );
        self.write(patch).await
    }

    async fn write_waiting(&mut self, why: &str) -> Result<(), Gone> {
        let spec = self.spec();
        let containers: Vec<_> = spec.containers.iter().map(ContainerStatus::waiting).collect();
        let patch = status::waiting(&HOST.to_string(), &self.times, &containers, why);
        self.write(patch).await.map(|_| ())
    }

    /// Whether the API server has it.
    async fn write(&mut self, patch: Value) -> Result<bool, Gone> {
        if self.written.as_ref() == Some(&patch) {
            return Ok(true);
        }
        // The uid keeps a successor of the same name from getting it.
        let mut guarded = patch.clone();
        guarded["metadata"] = json!({"uid": self.state.uid});
        let params = PatchParams::default();
        // An API server that is away, or has another writer just now, is asked again at the next tick, with what is true
        // then. Where the conflict is a successor of the same name, the watch says so.
        match self.pods.patch_status(&self.state.name, &params, &Patch::Strategic(&guarded)).await {
            Ok(_) => self.written = Some(patch),
            Err(kube::Error::Api(error)) if error.code == 404 => return Err(Gone),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Ends the containers, or the sidecars, as the Pod's grace period allows.
    pub(super) async fn stop(&self, end: Instant, init: bool) {
        let stopped: Vec<_> = self.containers.values().filter(|c| c.init == init).collect();
        let network = self.network();
        let hooks = stopped.iter().map(|running| async {
            if let Ok(network) = &network {
                before_stop(&running.container, network).await;
            }
        });
        let _ = tokio::time::timeout_at(end.into(), futures::future::join_all(hooks)).await;
        let mut processes = Vec::new();
        for running in stopped {
            processes.extend(held(&self.state.processes).remove(&running.container.name));
        }
        let left = end.saturating_duration_since(Instant::now());
        // Who does not end in time is killed.
        let _ = futures::future::join_all(processes.into_iter().map(|process| process.terminate(left))).await;
    }

    /// Ends the containers as their grace period allows, then takes the object away.
    async fn finish(&mut self) -> Result<(), Gone> {
        let end = Instant::now() + self.deleted().unwrap_or_default();
        // Sidecars end after those that they serve.
        for init in [false, true] {
            self.stop(end, init).await;
        }
        self.state.end();
        let preconditions = Preconditions { uid: Some(self.state.uid.clone()), ..Preconditions::default() };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        self.say(|| async { self.pods.delete(&self.state.name, &now).await.map(|_| ()) }).await
    }

    /// Says something to the API server until it has heard.
    async fn say<F: Future<Output = Result<(), kube::Error>>>(
        &self,
        what: impl Fn() -> F,
    ) -> Result<(), Gone> {
        loop {
            match what().await {
                Ok(()) => return Ok(()),
                Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => return Err(Gone),
                Err(_) => tokio::time::sleep(TICK * 4).await,
            }
            self.check()?;
        }
    }
}
