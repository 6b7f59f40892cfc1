//! A case computed, in every order that must not matter.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Map, Value};
use umbra_api::{Change, Object};
use umbra_engine::{Engine, Options, ProxyId};
use umbra_xds::{ResourceType, Snapshot};

use crate::case::Case;
use crate::ir;

/// The first second of 2030: when certificates of cases are looked at.
const NOW: i64 = 1_893_456_000;

/// What a case comes to.
pub(crate) struct Outcome {
    /// What each proxy gets: the lists of `umbra dump -o json`, virtual hosts always in their tables, as Envoy has them.
    pub(crate) configs: Vec<Value>,
    /// The files that say so, by name.
    pub(crate) files: Vec<(String, String)>,
}

pub(crate) fn outcome(case: &Case) -> Result<Outcome> {
    let mut engine = start(case);
    let objects: Vec<&Arc<Object>> = case.objects.iter().collect();
    upsert(&mut engine, &objects);
    engine.settle();
    check_orders(case, &engine)?;

    let mut configs = Vec::new();
    let mut files = Vec::new();
    for (index, proxy) in case.proxies.iter().enumerate() {
        let snapshot = snapshot(&engine, index)?;
        check_requires(&snapshot, &engine)?;
        let config = config(&snapshot)?;
        files.push((case.file(proxy), format!("# For {proxy}.\n{}", serde_saphyr::to_string(&config)?)));
        configs.push(with_hosts_inside(config)?);
    }
    if let Some(ir) = ir::readable(&engine.said())? {
        files.push(("ir.yaml".to_owned(), ir));
    }
    let mut diagnostics = String::new();
    for diagnostic in case.diagnostics.iter().chain(&engine.diagnostics()) {
        writeln!(diagnostics, "{diagnostic}")?;
    }
    if !diagnostics.is_empty() {
        files.push(("diagnostics.txt".to_owned(), diagnostics));
    }
    Ok(Outcome { configs, files })
}

fn start(case: &Case) -> Engine {
    let mut engine = Engine::new(Options { settings: case.settings.clone(), pods_as_endpoints: true });
    engine.set_time(NOW);
    for (index, proxy) in case.proxies.iter().enumerate() {
        engine.connect(ProxyId(index as u64), proxy.node.clone(), proxy.rtds);
    }
    engine
}

fn upsert(engine: &mut Engine, objects: &[&Arc<Object>]) {
    for object in objects {
        engine.apply(Change::Upsert(Arc::clone(object)));
    }
}

fn snapshot(engine: &Engine, proxy: usize) -> Result<Arc<Snapshot>> {
    engine.snapshot(ProxyId(proxy as u64)).ok_or_else(|| anyhow::anyhow!("proxy {proxy} has no snapshot"))
}

/// Reverse arrival, one object at a time with everything recomputed between, and each object gone for a moment:
/// the same bytes, the same diagnostics.
fn check_orders(case: &Case, expected: &Engine) -> Result<()> {
    let mut reversed = start(case);
    let backwards: Vec<&Arc<Object>> = case.objects.iter().rev().collect();
    upsert(&mut reversed, &backwards);
    reversed.settle();
    same(case, expected, &reversed, "objects in reverse order")?;

    let mut stepwise = start(case);
    for object in &backwards {
        upsert(&mut stepwise, &[object]);
        stepwise.settle();
    }
    same(case, expected, &stepwise, "one object at a time")?;

    for object in &case.objects {
        stepwise.apply(Change::Delete(object.id()));
        stepwise.settle();
        upsert(&mut stepwise, &[object]);
        stepwise.settle();
    }
    same(case, expected, &stepwise, "each object deleted and created again")
}

fn same(case: &Case, expected: &Engine, found: &Engine, how: &str) -> Result<()> {
    for (index, proxy) in case.proxies.iter().enumerate() {
        let (a, b) = (snapshot(expected, index)?, snapshot(found, index)?);
        for ty in ResourceType::ALL {
            let versions = |s: &Snapshot| -> Vec<String> {
                s.map(ty).values().map(|r| format!("{} {}", r.name, r.version)).collect()
            };
            let (a, b) = (versions(&a), versions(&b));
            ensure!(a == b, "{how}: {proxy} gets another {ty}:\n{a:#?}\nand\n{b:#?}");
        }
    }
    ensure!(expected.said() == found.said(), "{how}: the front ends say something else");
    let (a, b) = (expected.diagnostics(), found.diagnostics());
    ensure!(a == b, "{how}: other diagnostics:\n{a:#?}\nand\n{b:#?}");
    Ok(())
}

/// What a resource says that it needs is there. Only a cluster may be missing, and then the author of the rule that
/// names it has been told what happens to its requests.
fn check_requires(snapshot: &Snapshot, engine: &Engine) -> Result<()> {
    let told = engine.diagnostics().iter().any(|d| d.message.contains(" 503"));
    for ty in ResourceType::ALL {
        for resource in snapshot.map(ty).values() {
            for needed in resource.requires.iter() {
                if needed.resource_type == ResourceType::VirtualHost {
                    // The marker of a table: the session makes it.
                    ensure!(
                        *needed.name == *format!("{}/~", resource.name),
                        "{ty} {} needs {needed}",
                        resource.name
                    );
                    continue;
                }
                let there = snapshot.get(needed.resource_type, &needed.name).is_some();
                let a_cluster = needed.resource_type == ResourceType::Cluster;
                let excused = told && a_cluster && !needed.name.starts_with("mirror|");
                ensure!(there || excused, "{ty} {} needs {needed}, which is not there", resource.name);
            }
        }
    }
    Ok(())
}

/// The lists of a snapshot in Envoy's JSON; that of virtual hosts only where these are resources of their own.
fn config(snapshot: &Snapshot) -> Result<Value> {
    let mut config = Map::new();
    for (key, ty) in [
        ("listeners", ResourceType::Listener),
        ("routes", ResourceType::Route),
        ("clusters", ResourceType::Cluster),
        ("endpoints", ResourceType::Endpoint),
        ("virtualHosts", ResourceType::VirtualHost),
        ("runtime", ResourceType::Runtime),
        ("secrets", ResourceType::Secret),
    ] {
        if matches!(ty, ResourceType::VirtualHost | ResourceType::Secret) && snapshot.map(ty).is_empty() {
            continue;
        }
        let list = snapshot.map(ty).values().map(|r| umbra_proto::json::to_json(ty.type_url(), &r.body));
        config.insert(key.to_owned(), Value::Array(list.collect::<Result<_, _>>()?));
    }
    Ok(Value::Object(config))
}

/// Puts virtual hosts that are resources of their own into their tables, under their short names.
fn with_hosts_inside(mut config: Value) -> Result<Value> {
    let hosts = config.as_object_mut().and_then(|lists| lists.remove("virtualHosts")).unwrap_or_default();
    for table in config["routes"].as_array_mut().into_iter().flatten().filter(|it| it["vhds"].is_object()) {
        let begin = format!("{}/", table["name"].as_str().unwrap_or_default());
        let own = hosts.as_array().into_iter().flatten().filter_map(|host| {
            let mut host = host.clone();
            host["name"] = host["name"].as_str()?.strip_prefix(&begin)?.into();
            Some(host)
        });
        table["virtualHosts"] = own.collect();
        table.as_object_mut().map(|table| table.remove("vhds"));
    }
    Ok(config)
}
