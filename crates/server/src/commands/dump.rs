//! `umbra dump`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use umbra_engine::{Engine, Options, ProxyId};
use umbra_ir::{ProxyNode, Severity};
use umbra_xds::ResourceType;

use super::proxy::ProxySpec;
use super::validate::take_in;
use super::{load_config, print};
use crate::cli::{DumpArgs, DumpOutput, DumpType};
use crate::failure::usage;
use crate::resources;

/// Prints what a proxy with RTDS would get.
pub(super) fn dump(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    let mut node = node(args).map_err(usage)?;
    // Who asks for virtual hosts as resources of their own means an Envoy that takes them.
    node.takes_hosts = args.types.contains(&DumpType::Vhds);
    // As any Envoy of today.
    node.edits_copies = true;
    let loaded = umbra_source::load(std::slice::from_ref(&args.dir)).map_err(usage)?;
    let (mut engine, assemble) =
        take_in(Engine::new(Options { settings: config.settings, pods_as_endpoints: true }), loaded);
    let id = ProxyId(1);
    node.may_have_keys = true;
    engine.set_time(jiff::Timestamp::now().as_second());
    engine.connect(id, node, true);
    engine.settle();
    let snapshot = engine.snapshot(id).context("the engine made no snapshot")?;
    let value = Value::Object(resources::to_json(&snapshot, &types(&args.types))?);
    match args.output {
        DumpOutput::Json => print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?,
        DumpOutput::Yaml => print(&resources::to_yaml(&value)?)?,
    }
    let errors = assemble(&engine).iter().filter(|d| d.severity == Severity::Error).count();
    if errors > 0 {
        eprintln!("umbra: {errors} errors in these files: see `umbra validate {}`", args.dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn types(wanted: &[DumpType]) -> Vec<ResourceType> {
    let of = |wanted: &DumpType| match wanted {
        DumpType::Cds => ResourceType::Cluster,
        DumpType::Eds => ResourceType::Endpoint,
        DumpType::Lds => ResourceType::Listener,
        DumpType::Rds => ResourceType::Route,
        DumpType::Vhds => ResourceType::VirtualHost,
        DumpType::Rtds => ResourceType::Runtime,
        DumpType::Sds => ResourceType::Secret,
    };
    if wanted.is_empty() {
        ResourceType::ALL.into_iter().filter(|ty| *ty != ResourceType::VirtualHost).collect()
    } else {
        wanted.iter().map(of).collect()
    }
}

/// A node as the xDS protocol has it; other fields are passed over.
#[derive(Debug, Deserialize)]
struct NodeFile {
    #[serde(default)]
    id: String,
    #[serde(default)]
    metadata: Value,
}

fn node(args: &DumpArgs) -> anyhow::Result<ProxyNode> {
    let (id, metadata) = match (&args.proxy, &args.node) {
        (_, Some(file)) => read_node(file)?,
        (Some(proxy), None) => {
            let spec: ProxySpec = proxy.parse().map_err(anyhow::Error::msg)?;
            (String::new(), spec.metadata())
        }
        (None, None) => anyhow::bail!("say which proxy: --proxy or --node"),
    };
    Ok(umbra_istio::parse_node(&id, &metadata)?)
}

fn read_node(file: &Path) -> anyhow::Result<(String, Value)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let node: NodeFile =
        serde_json::from_str(&text).with_context(|| format!("{} is no node", file.display()))?;
    Ok((node.id, node.metadata))
}
