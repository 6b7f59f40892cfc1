//! The Node that the Pods are bound to.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::super::site::HOST;
use super::status::now;

/// The name of the node.
pub const NODE: &str = "test-node";

/// Creates the Node, ready and large. Without one the controllers leave its Pods out of the EndpointSlices.
pub(super) async fn register(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let labels = json!({
        "kubernetes.io/hostname": NODE,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/region": "test",
        "topology.kubernetes.io/zone": "test-a",
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "10000"});
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": HOST}, {"type": "Hostname", "address": NODE}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "TestNodeReady", "message": "umbra's test node, not a kubelet",
            "lastHeartbeatTime": now(), "lastTransitionTime": now(),
        }],
        "nodeInfo": {
            "kubeletVersion": "v0.0.0-umbra-test", "kubeProxyVersion": "", "architecture": "amd64",
            "operatingSystem": "linux", "osImage": "", "kernelVersion": "", "machineID": "", "systemUUID": "",
            "bootID": "", "containerRuntimeVersion": "test://0",
        },
    }});
    nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(status)).await?;
    // Registering adds the taint, which the node lifecycle controller, off here, would take away again.
    let untainted = json!({"spec": {"taints": null}});
    nodes.patch(NODE, &PatchParams::default(), &Patch::Merge(untainted)).await?;
    Ok(())
}
