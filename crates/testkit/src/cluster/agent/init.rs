//! Init containers: one after the other, each to its end, or as a sidecar until it has started.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Container;

use super::containers::Kind;
use super::life::{Life, TICK};
use super::pod::held;
use super::probe;

/// How often a startup probe is tried: kubelet waits the whole period, which a test need not.
const EAGER: Duration = Duration::from_millis(200);

/// Whether an init container stays beside the others.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

impl Life {
    /// Runs an init container and waits for what the next one may rely on: its end with 0, or, for a sidecar, that its
    /// startup probe passes.
    ///
    /// # Errors
    /// When it ends otherwise, is not started in time, or the Pod is deleted meanwhile; it is tried again then.
    pub(super) async fn run_init(&self, container: &Container, kind: &Kind) -> Result<()> {
        if !is_sidecar(container) && *kind == Kind::Echo {
            // Nobody knows what its image does, and no test may depend on it.
            return Ok(());
        }
        let _ = held(&self.state.processes).remove(&container.name);
        self.start_container(container, kind).await?;
        if is_sidecar(container) {
            self.wait_started(container).await
        } else {
            self.wait_end(container).await
        }
    }

    async fn wait_end(&self, container: &Container) -> Result<()> {
        let name = &container.name;
        loop {
            let ended = match held(&self.state.processes).get_mut(name) {
                Some(process) => process.ended()?,
                None => bail!("init container {name} was killed"),
            };
            if let Some(status) = ended {
                let process = held(&self.state.processes).remove(name).context("its process")?;
                ensure!(status.success(), "init container {name} failed: {status}\n{}", process.tail());
                return Ok(());
            }
            ensure!(self.deleted().is_none(), "the Pod is deleted");
            tokio::time::sleep(TICK).await;
        }
    }

    async fn wait_started(&self, container: &Container) -> Result<()> {
        let Some(startup) = &container.startup_probe else { return Ok(()) };
        let network = self.network()?;
        let seconds = |value: Option<i32>, default: i32| value.unwrap_or(default).max(1) as u64;
        let patience = seconds(startup.period_seconds, 10) * seconds(startup.failure_threshold, 3);
        let end = Instant::now() + Duration::from_secs(patience);
        while !probe::passes(startup, container, &network).await {
            let alive = held(&self.state.processes)
                .get_mut(&container.name)
                .is_none_or(|process| process.check_alive().is_ok());
            ensure!(alive, "the sidecar {} ended before it had started", container.name);
            ensure!(
                Instant::now() < end,
                "the sidecar {} has not started within {patience} s",
                container.name
            );
            ensure!(self.deleted().is_none(), "the Pod is deleted");
            tokio::time::sleep(EAGER).await;
        }
        Ok(())
    }
}
