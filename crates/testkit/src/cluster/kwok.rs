//! Pods that are only numbers, by kwok: they become ready at once and have addresses that nobody answers at.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::site::HOST;
use super::{Cluster, assets};
use crate::process::Process;
use crate::wait;

/// The node that kwok plays. A Pod belongs to it when it names it.
pub const NODE: &str = "kwok-node";

/// How long the Pods may take to be ready: seconds here, but a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many writes are under way at once.
pub const WRITERS: usize = 12;

/// A running kwok; it is killed on drop.
#[derive(Debug)]
pub struct Kwok {
    process: Process,
}

impl Kwok {
    /// Starts it with one node.
    ///
    /// # Errors
    /// When kwok is missing or the node is refused.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = Command::new(assets::kwok().map_err(anyhow::Error::msg)?);
        command.arg("--kubeconfig").arg(cluster.admin().kubeconfig());
        command.args([
            "--manage-single-node",
            NODE,
            "--cidr=10.245.0.1/16",
            "--node-lease-duration-seconds=0",
        ]);
        command.args(["--node-ip", &HOST.to_string(), "--node-port=10250"]).env("HOME", cluster.folder());
        let process = Process::start("kwok", command, &cluster.folder().join("kwok.log"))?;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": NODE, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": NODE},
        }});
        let nodes: Api<Node> = Api::all(cluster.client().clone());
        nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        Ok(Self { process })
    }

    /// Creates a Pod for each pair of name and label `app`, and waits until all are ready.
    ///
    /// # Errors
    /// When one is refused, or not all of them are ready in time.
    pub async fn pods(&self, cluster: &Cluster, pods: Vec<(String, String)>) -> Result<()> {
        let api: Api<Pod> = Api::default_namespaced(cluster.client().clone());
        let wanted = pods.len();
        stream::iter(pods)
            .map(|(name, app)| {
                let api = api.clone();
                async move {
                    let pod = json!({
                        "apiVersion": "v1", "kind": "Pod",
                        "metadata": {"name": name, "labels": {"app": app, "by": "kwok"}},
                        "spec": {"nodeName": NODE, "containers": [
                            {"name": "app", "image": "app", "ports": [{"containerPort": 8080, "name": "http"}]},
                        ]},
                    });
                    api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(WRITERS)
            .try_collect::<()>()
            .await?;
        let listing = ListParams::default().labels("by=kwok");
        let ready = || async {
            let listed = api.list(&listing).await.ok()?;
            let is_ready = |pod: &&Pod| {
                let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
                conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
            };
            (listed.items.iter().filter(is_ready).count() >= wanted).then_some(())
        };
        let found = wait::until(PATIENCE, ready).await;
        found.with_context(|| format!("not all of {wanted} Pods are ready\n{}", self.process.tail()))
    }
}
