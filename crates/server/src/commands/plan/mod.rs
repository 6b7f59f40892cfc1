//! `umbra plan`.

mod proxies;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use hyper::Method;
use serde_json::json;
use umbra_api::{Change, Object};
use umbra_engine::{Engine, Options, ProxyId};
use umbra_source::Loaded;

use self::proxies::derive_proxies;
use super::inject::{files, read};
use super::proxy::ProxySpec;
use super::{http, load_config, print};
use crate::admin::{Asked, Planned};
use crate::cli::{Output, PlanArgs};
use crate::failure::{usage, words};
use crate::plan::{self, Wish};

/// Something changes.
const CHANGES: u8 = 2;

/// Prints what would change; exit code 2 when something does, 1 also for wrong usage.
pub(super) fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let planned = match (&args.dir, &args.server) {
        (Some(dir), _) => of_folder(args, dir),
        (None, Some(server)) => of_server(args, server),
        (None, None) => Err(usage("say what is in force: --dir or --server")),
    };
    // Of wrong usage nobody should read that something changes.
    let planned = planned.map_err(|error| anyhow::anyhow!("{}", words(&error)))?;
    match args.output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&planned.plan)?))?,
        Output::Text => print(&planned.text)?,
    }
    Ok(if planned.changes { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

fn of_folder(args: &PlanArgs, dir: &Path) -> anyhow::Result<Planned> {
    let config = load_config(args.config.as_deref())?;
    let now = umbra_source::load(&[dir.to_owned()]).map_err(usage)?;
    let apply = umbra_source::load(&args.files).map_err(usage)?;
    let delete = umbra_source::load(&args.delete).map_err(usage)?;
    let delete = delete.changes.iter().filter_map(upserted).map(Object::id).collect();
    let wish = Wish { delete, apply, prune: args.prune };
    let specs = match args.proxy.as_slice() {
        [] => derive_proxies(now.changes.iter().chain(&wish.apply.changes).filter_map(upserted)),
        named => named.iter().map(|it| it.parse()).collect::<Result<Vec<ProxySpec>, _>>().map_err(usage)?,
    };
    let mut engine = Engine::new(Options { settings: config.settings, pods_as_endpoints: true });
    engine.set_time(jiff::Timestamp::now().as_second());
    let Loaded { changes, places, diagnostics, .. } = now;
    changes.into_iter().for_each(|change| engine.apply(change));
    let mut proxies = BTreeMap::new();
    for (nth, spec) in specs.iter().enumerate() {
        let id = ProxyId(nth as u64);
        let mut node = umbra_istio::parse_node("", &spec.metadata()).map_err(usage)?;
        node.may_have_keys = true;
        // As any Envoy of today.
        node.edits_copies = true;
        engine.connect(id, node, true);
        proxies.insert(id, spec.to_string());
    }
    let places = places.into_iter().filter_map(|(id, place)| Some((id, place?))).collect();
    let plan = plan::plan(engine, &proxies, (places, diagnostics), wish);
    Ok(Planned { changes: plan.changes(), plan: json!(plan), text: plan::text(&plan) })
}

fn of_server(args: &PlanArgs, server: &str) -> anyhow::Result<Planned> {
    let server = http::address(server)?;
    let asked = Asked { apply: texts(&args.files)?, delete: texts(&args.delete)? };
    let Planned { changes, plan, text } =
        http::ask(&server, Method::POST, "/debug/plan", serde_json::to_vec(&asked)?)?;
    // What others say goes to a terminal.
    let text = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    Ok(Planned { changes, plan, text })
}

/// The files and what is in them.
fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let one = |path: PathBuf| {
        let text = read(&path).with_context(|| format!("cannot read {}", path.display()));
        Ok((path.display().to_string(), text.map_err(usage)?))
    };
    files(paths).map_err(usage)?.into_iter().map(one).collect()
}

fn upserted(change: &Change) -> Option<&Object> {
    match change {
        Change::Upsert(object) => Some(object),
        Change::Delete(_) => None,
    }
}
