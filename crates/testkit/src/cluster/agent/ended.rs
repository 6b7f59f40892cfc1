//! How a Pod ends: by itself, when all of its containers have ended for good, and what is done before a container stops.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Container;

use super::containers::Kind;
use super::life::{Gone, Life};
use super::network::Network;
use super::probe;

/// How long sidecars may take when nobody has deleted their Pod: Kubernetes' own `terminationGracePeriodSeconds`.
const GRACE: Duration = Duration::from_secs(30);

/// Whether a container that has ended with this code (none: it was killed) stays so, by its Pod's `restartPolicy`.
pub(super) fn is_over(policy: Option<&str>, code: Option<i32>) -> bool {
    match policy {
        Some("Never") => true,
        Some("OnFailure") => code == Some(0),
        _ => false,
    }
}

impl Life {
    /// The phase of a Pod whose containers have all ended for good, sidecars aside.
    pub(super) fn ended(&self) -> Option<&'static str> {
        let mut good = true;
        for running in self.containers.values().filter(|c| !c.init) {
            if running.kind == Kind::Echo {
                return None;
            }
            good &= running.status.ended? == 0;
        }
        Some(if good { "Succeeded" } else { "Failed" })
    }

    /// Ends the sidecars and says how the Pod ended. It stays known until somebody deletes it.
    pub(super) async fn end_by_itself(&mut self, phase: &str) -> Result<(), Gone> {
        if !self.over {
            self.stop(Instant::now() + GRACE, true).await;
            for running in self.containers.values_mut() {
                let _ = running.status.ended.get_or_insert(0);
                running.status.ready = false;
            }
            self.state.end();
            self.over = true;
        }
        self.write_running(phase, false).await.map(|_| ())
    }
}

/// The hook `preStop`: `sleep` in either form, or an HTTP request.
pub(super) async fn before_stop(container: &Container, network: &Network) {
    let hook = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    let Some(hook) = hook else { return };
    if let Some(get) = &hook.http_get {
        let _ = probe::http(get, container, network).await;
    }
    let command = hook.exec.as_ref().and_then(|exec| exec.command.clone()).unwrap_or_default();
    let words: Vec<_> = command.iter().flat_map(|word| word.split_whitespace()).collect();
    let spoken = match words[..] {
        ["sleep" | "/bin/sleep", seconds] | [.., "-c", "sleep", seconds] => seconds.parse().ok(),
        _ => None,
    };
    let seconds = hook.sleep.as_ref().map(|sleep| sleep.seconds.max(0) as u64).or(spoken);
    tokio::time::sleep(Duration::from_secs(seconds.unwrap_or_default())).await;
}
