//! What the agent writes into a Pod's status: kubelet's words, as strategic merge patches.

use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerStatus {
    /// Its name.
    pub(super) name: String,
    /// Its image, as written.
    pub(super) image: String,
    /// Whether its probe passes.
    pub(super) ready: bool,
    /// How often it was started again.
    pub(super) restarts: i32,
    /// When it started, while it runs.
    pub(super) started: Option<String>,
    /// The exit code of a container that has ended and is not started again.
    pub(super) ended: Option<i32>,
}

impl ContainerStatus {
    pub(super) fn waiting(container: &Container) -> Self {
        let image = container.image.clone().unwrap_or_default();
        Self { name: container.name.clone(), image, ready: false, restarts: 0, started: None, ended: None }
    }

    fn json(&self, reason: &str, message: &str) -> Value {
        let Self { name, image, ready, restarts, started, ended } = self;
        let state = match (started, ended) {
            (Some(at), Some(code)) => {
                let reason = if *code == 0 { "Completed" } else { "Error" };
                json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": at, "finishedAt": at}})
            }
            (Some(at), None) => json!({"running": {"startedAt": at}}),
            (None, _) => json!({"waiting": {"reason": reason, "message": message}}),
        };
        json!({
            "name": name, "image": image, "imageID": image, "ready": ready, "started": started.is_some() && ended.is_none(),
            "restartCount": restarts, "containerID": format!("test://{name}"), "state": state,
        })
    }
}

/// The time now as Kubernetes writes it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The times at which the conditions last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// When the Pod came to the node.
    pub(super) start: String,
    /// When it last turned ready or unready.
    pub(super) ready: String,
}

/// The status of a Pod whose containers wait for something, and why.
pub(super) fn waiting(host: &str, times: &Times, containers: &[ContainerStatus], why: &str) -> Value {
    let containers: Vec<_> = containers.iter().map(|c| c.json("ContainerCreating", why)).collect();
    json!({"status": {
        "phase": "Pending", "hostIP": host, "hostIPs": [{"ip": host}], "startTime": times.start,
        "conditions": conditions(times, false),
        "containerStatuses": containers,
    }})
}

/// The status of a Pod whose containers have started: `Running`, or how it ended.
pub(super) fn running(
    phase: &str,
    host: &str,
    address: &str,
    times: &Times,
    ready: bool,
    containers: &[ContainerStatus],
    init: &[ContainerStatus],
) -> Value {
    let all =
        |list: &[ContainerStatus]| list.iter().map(|c| c.json("CrashLoopBackOff", "")).collect::<Vec<_>>();
    json!({"status": {
        "phase": phase, "hostIP": host, "hostIPs": [{"ip": host}], "podIP": address, "podIPs": [{"ip": address}],
        "startTime": times.start, "conditions": conditions(times, ready),
        "containerStatuses": all(containers), "initContainerStatuses": all(init),
    }})
}

fn conditions(times: &Times, ready: bool) -> Value {
    let one = |kind: &str, status: bool, at: &str| json!({"type": kind, "status": if status { "True" } else { "False" }, "lastTransitionTime": at});
    json!([
        one("PodReadyToStartContainers", true, &times.start),
        one("Initialized", true, &times.start),
        one("PodScheduled", true, &times.start),
        one("ContainersReady", ready, &times.ready),
        one("Ready", ready, &times.ready),
    ])
}
