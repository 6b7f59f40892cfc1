//! Snapshots as static configuration, so that `envoy --mode validate` judges everything in them at once.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use umbra_envoy::{BootstrapOptions, bootstrap_json};
use umbra_xds::{ResourceType, Snapshot};

/// Where Envoy's images keep the system's roots; without that file it refuses clusters that trust them.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One bootstrap with the contents of all snapshots: routes inside their listeners, load assignments inside static
/// clusters, runtime layers as static layers. Names and ports get a number in front, to be unique.
///
/// # Errors
/// When a resource cannot be written as JSON.
pub fn bootstrap(snapshots: &[std::sync::Arc<Snapshot>]) -> Result<Value> {
    let node_id = Some("random".to_owned());
    let mut whole = bootstrap_json(&BootstrapOptions { node_id, verdicts: true, ..Default::default() })?;
    let own = whole["staticResources"]["clusters"].as_array().cloned().unwrap_or_default();
    let (mut clusters, mut listeners, mut layers) = (own, Vec::new(), Vec::new());
    for (nth, snapshot) in snapshots.iter().enumerate() {
        for (name, mut cluster) in json(snapshot, ResourceType::Cluster)? {
            let unreadable = cluster.to_string().contains(SYSTEM_ROOTS);
            if unreadable && !std::path::Path::new(SYSTEM_ROOTS).exists() {
                continue;
            }
            cluster["name"] = format!("{nth} {name}").into();
            clusters.push(cluster);
        }
        for (name, assignment) in json(snapshot, ResourceType::Endpoint)? {
            clusters.push(json!({
                "name": format!("{nth} holder {name}"), "type": "STATIC", "loadAssignment": assignment,
            }));
        }
        let mut tables = json(snapshot, ResourceType::Route)?;
        for (name, table) in tables.iter_mut().filter(|(_, table)| table["vhds"].is_object()) {
            let hosts = json(snapshot, ResourceType::VirtualHost)?.into_iter();
            let own = hosts.filter(|(host, _)| host.rsplit_once('/').is_some_and(|(of, _)| of == name));
            table["virtualHosts"] = own.map(|(_, host)| host).collect();
            table.as_object_mut().map(|table| table.remove("vhds"));
        }
        for (name, mut listener) in json(snapshot, ResourceType::Listener)? {
            listener["name"] = format!("{nth} {name}").into();
            listener["address"]["socketAddress"]["portValue"] = (10_000 + listeners.len() % 50_000).into();
            for more in listener["additionalAddresses"].as_array_mut().into_iter().flatten() {
                more["address"]["socketAddress"]["portValue"] = (10_000 + listeners.len() % 50_000).into();
            }
            for chain in listener["filterChains"].as_array_mut().into_iter().flatten() {
                // Captured connections also pass as bytes.
                let Some(manager) =
                    chain.pointer_mut("/filters/0/typedConfig").filter(|m| !m["rds"].is_null())
                else {
                    continue;
                };
                let table = manager["rds"]["routeConfigName"].as_str().unwrap_or_default().to_owned();
                let (_, table) = tables.iter().find(|(name, _)| *name == table).context("no such table")?;
                manager["routeConfig"] = table.clone();
                manager.as_object_mut().context("a connection manager")?.remove("rds");
            }
            listeners.push(listener);
        }
        for (_, runtime) in json(snapshot, ResourceType::Runtime)? {
            layers.push(json!({"name": format!("{nth} runtime"), "staticLayer": runtime["layer"]}));
        }
    }
    whole["staticResources"] = json!({"clusters": clusters, "listeners": listeners});
    whole["layeredRuntime"]["layers"] = layers.into();
    Ok(whole)
}

fn json(snapshot: &Snapshot, ty: ResourceType) -> Result<Vec<(String, Value)>> {
    let one = |(name, resource): (&std::sync::Arc<str>, &std::sync::Arc<umbra_xds::Resource>)| {
        let json = umbra_proto::json::to_json(ty.type_url(), &resource.body);
        Ok((name.to_string(), json.with_context(|| format!("{ty} {name}"))?))
    };
    snapshot.map(ty).iter().map(one).collect()
}
