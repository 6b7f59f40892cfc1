//! What is known of proxies: their configuration, and where its routes are written.

use std::collections::BTreeMap;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use umbra_engine::{Engine, Options, ProxyId};
use umbra_explain::{Config, Explanation, Request, Written};
use umbra_ir::ObjectId;
use umbra_source::Place;
use umbra_xds::ResourceType;

use super::super::proxy::ProxySpec;
use super::super::{http, load_config};
use crate::admin::Told;
use crate::cli::ExplainArgs;
use crate::failure::usage;
use crate::written::written;

/// Where proxies' configurations come from, and those that came.
pub(super) struct Source {
    from: From,
    known: BTreeMap<String, Known>,
}

enum From {
    Folder(Box<Engine>, BTreeMap<ObjectId, Place>),
    Server(String),
}

impl Source {
    /// Reads the folder; a server is asked later.
    pub(super) fn open(args: &ExplainArgs) -> anyhow::Result<Self> {
        let from = match (&args.dir, &args.server) {
            (Some(dir), _) => {
                let config = load_config(args.config.as_deref())?;
                let loaded = umbra_source::load(std::slice::from_ref(dir)).map_err(usage)?;
                let mut engine = Engine::new(Options { settings: config.settings, pods_as_endpoints: true });
                loaded.changes.into_iter().for_each(|change| engine.apply(change));
                let places = loaded.places.into_iter().filter_map(|(id, place)| Some((id, place?)));
                From::Folder(Box::new(engine), places.collect())
            }
            (None, Some(server)) => From::Server(http::address(server)?),
            (None, None) => return Err(usage("say where the rules are: --dir or --server")),
        };
        Ok(Source { from, known: BTreeMap::new() })
    }

    /// What is known of a proxy (`sidecar/NS/k=v`).
    pub(super) fn known(&mut self, proxy: &str) -> anyhow::Result<&Known> {
        if !self.known.contains_key(proxy) {
            let nth = self.known.len() as u64;
            let known = match &mut self.from {
                From::Folder(engine, places) => Known::of_folder(engine, places, proxy, nth)?,
                From::Server(server) => Known::of_server(server, proxy)?,
            };
            self.known.insert(proxy.to_owned(), known);
        }
        self.known.get(proxy).context("it was just put there")
    }
}

/// A proxy's configuration, and where the routes of its virtual hosts (table, name), and those of its listeners that pass
/// bytes on (the listener twice), are written.
pub(super) struct Known {
    config: Config,
    written: BTreeMap<(String, String), Vec<Option<Written>>>,
}

impl Known {
    fn of_folder(
        engine: &mut Engine,
        places: &BTreeMap<ObjectId, Place>,
        proxy: &str,
        nth: u64,
    ) -> anyhow::Result<Self> {
        let spec: ProxySpec = proxy.parse().map_err(usage)?;
        let id = ProxyId(nth);
        let mut node = umbra_istio::parse_node("", &spec.metadata()).map_err(usage)?;
        node.may_have_keys = true;
        // As any Envoy of today.
        node.takes_hosts = true;
        node.edits_copies = true;
        engine.connect(id, node, true);
        engine.settle();
        let snapshot = engine.snapshot(id).context("the engine made no snapshot")?;
        let of =
            |ty: ResourceType| snapshot.map(ty).values().map(move |it| (ty.type_url(), it.body.as_ref()));
        let config = Config::read(ResourceType::ALL.into_iter().flat_map(of))?;
        let class = engine.class(id).context("the engine made no class")?;
        let all = engine.written(class).into_iter().map(|host| {
            let routes = host.routes.iter().map(|rule| Some(written(rule.as_ref()?, places))).collect();
            ((host.table.to_string(), host.host.to_string()), routes)
        });
        Ok(Known { config, written: all.collect() })
    }

    fn of_server(server: &str, proxy: &str) -> anyhow::Result<Self> {
        let query = match proxy.parse::<ProxySpec>() {
            Ok(spec) => {
                let labels: Vec<_> =
                    spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let labels = http::escape(&labels.join(","));
                let namespace = http::escape(&spec.namespace);
                format!("proxy={}&namespace={namespace}&labels={labels}", spec.kind.as_str())
            }
            Err(_) => format!("proxy={}", http::escape(proxy)),
        };
        let told: Told = http::ask(server, Method::GET, &format!("/debug/config?{query}"), Vec::new())
            .with_context(|| format!("--from {proxy}"))?;
        let mut resources = Vec::with_capacity(told.resources.len());
        for (type_url, body) in &told.resources {
            resources.push((type_url.as_str(), BASE64_STANDARD.decode(body)?));
        }
        let config = Config::read(resources.iter().map(|(type_url, body)| (*type_url, body.as_slice())))?;
        let written = told.written.into_iter().map(|(table, host, routes)| ((table, host), routes));
        Ok(Known { config, written: written.collect() })
    }

    /// What becomes of a request, each route with the place where it is written.
    pub(super) fn explain(&self, request: &Request) -> Explanation {
        let mut said = self.config.explain(request);
        let table = said.listener.as_ref().and_then(|listener| listener.table.clone());
        let host = said.virtual_host.as_ref().map(|host| host.name.clone());
        if let Some(written) = table.zip(host).and_then(|at| self.written.get(&at)) {
            for (route, written) in said.routes.iter_mut().zip(written) {
                route.written.clone_from(written);
            }
        }
        if let Some(listener) = &mut said.listener
            && let Some(ways) = self.written.get(&(listener.name.clone(), listener.name.clone()))
        {
            // The last is the one for all others.
            let nth = listener.nth.or_else(|| ways.len().checked_sub(1));
            listener.written = nth.and_then(|nth| ways.get(nth)?.clone());
        }
        said
    }
}
