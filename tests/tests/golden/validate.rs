//! A configuration in front of the real Envoy, as a static bootstrap: route tables inside their listeners, load
//! assignments inside clusters of their own, the runtime layer as a static one.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use umbra_envoy::{BootstrapOptions, bootstrap_json};
use umbra_testkit::paths::workspace;

pub(crate) fn validate(envoy: &Path, config: &Value) -> Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("umbra-golden-{}-{number}.json", std::process::id()));
    std::fs::write(&file, bootstrap(config)?.to_string())?;
    let out = Command::new(envoy).args(["--mode", "validate", "-l", "warning", "-c"]).arg(&file).output();
    let out = out.context("cannot run Envoy")?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() || said.to_lowercase().contains("deprecated") {
        bail!("{said}\n(the bootstrap is {})", file.display());
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

fn list<'a>(config: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    config[key].as_array().into_iter().flatten()
}

fn bootstrap(config: &Value) -> Result<Value> {
    let node_id = Some("golden".to_owned());
    let mut bootstrap =
        bootstrap_json(&BootstrapOptions { node_id, verdicts: true, ..BootstrapOptions::default() })?;
    let statics = &mut bootstrap["staticResources"];
    let mut clusters: Vec<Value> = list(config, "clusters").cloned().map(with_files).collect();
    // The name of an assignment is that of a cluster here already, so its holder has another.
    for (index, assignment) in list(config, "endpoints").enumerate() {
        clusters
            .push(json!({"name": format!("holder {index}"), "type": "STATIC", "loadAssignment": assignment}));
    }
    clusters.extend(list(statics, "clusters").cloned().collect::<Vec<_>>());
    statics["clusters"] = Value::Array(clusters);
    let listeners = list(config, "listeners").map(|listener| inline_routes(listener, config));
    statics["listeners"] = Value::Array(listeners.collect::<Result<_>>()?);
    let layers = bootstrap["layeredRuntime"]["layers"].as_array_mut().context("no layers")?;
    for runtime in list(config, "runtime") {
        layers.insert(0, json!({"name": "golden", "staticLayer": runtime["layer"]}));
    }
    Ok(bootstrap)
}

/// Files on a proxy's machine that need not exist here: a root certificate of ours stands for all of them.
fn with_files(mut cluster: Value) -> Value {
    let ca = workspace().join("crates/envoy/tests/it/ca.pem").display().to_string();
    let common = "/transportSocket/typedConfig/commonTlsContext";
    if let Some(context) = cluster.pointer_mut(common).and_then(Value::as_object_mut) {
        // A key of ours would have to be kept secret, or be a bad example.
        context.remove("tlsCertificates");
        if let Some(file) =
            context.get_mut("validationContext").and_then(|v| v.pointer_mut("/trustedCa/filename"))
        {
            *file = json!(ca);
        }
        // A list of revoked certificates is signed, with a key of ours again.
        if let Some(context) = context.get_mut("validationContext").and_then(Value::as_object_mut) {
            context.remove("crl");
        }
    }
    cluster
}

fn inline_routes(listener: &Value, config: &Value) -> Result<Value> {
    let mut listener = listener.clone();
    for chain in listener["filterChains"].as_array_mut().into_iter().flatten() {
        let filter = chain.pointer_mut("/filters/0/typedConfig").and_then(Value::as_object_mut);
        let filter = filter.context("a chain without a filter")?;
        // Captured connections also pass as bytes.
        let Some(rds) = filter.remove("rds") else { continue };
        let table = list(config, "routes").find(|table| table["name"] == rds["routeConfigName"]);
        filter.insert("routeConfig".to_owned(), table.cloned().context("a listener whose table is missing")?);
    }
    Ok(listener)
}
