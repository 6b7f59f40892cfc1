//! What `umbra explain --server` and `umbra plan --server` ask: one proxy's configuration with the places where it is written, and
//! what would change. On the admin port alone: both show everything, and a plan costs as much as a start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use umbra_engine::ProxyId;
use umbra_explain::Written;
use umbra_ir::{ObjectId, ProxyKind};
use umbra_source::{Loaded, Place, load_texts};
use umbra_xds::ResourceType;

use super::Admin;
use crate::engine_task::ProxyConfig;
use crate::plan::{self, Wish};
use crate::proxies::Proxy;
use crate::written::written;

/// Plans at once; one more is refused.
const PLANS: usize = 1;

/// Room for plans.
#[derive(Clone)]
pub(super) struct Plans(Arc<Semaphore>);

impl Default for Plans {
    fn default() -> Self {
        Plans(Arc::new(Semaphore::new(PLANS)))
    }
}

/// Which proxy.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    /// Its number, its node id or `POD.NAMESPACE`; or `sidecar` or `router` with `namespace` and `labels`.
    proxy: String,
    namespace: Option<String>,
    /// `k=v,k=v`.
    labels: Option<String>,
}

impl Which {
    fn is(&self, proxy: &Proxy) -> bool {
        let kind = match self.proxy.as_str() {
            "sidecar" => ProxyKind::Sidecar,
            "router" => ProxyKind::Router,
            name => return proxy.node_id == name || proxy.name() == name || proxy.id.to_string() == name,
        };
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let labels = self.labels.as_deref().unwrap_or_default();
        let mut wanted = labels.split(',').filter_map(|label| label.split_once('='));
        let none = BTreeMap::new();
        let own = proxy.node.labels.as_ref().unwrap_or(&none);
        proxy.node.kind == kind
            && *proxy.node.namespace == *namespace
            && wanted.all(|(key, value)| own.get(key).is_some_and(|own| own == value))
    }
}

/// A proxy's configuration, as one verb gets it from the other end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// `POD.NAMESPACE`, or its node id.
    pub(crate) proxy: String,
    /// Type URL and bytes in base64.
    pub(crate) resources: Vec<(String, String)>,
    /// Table, virtual host, and where each of its routes is written.
    pub(crate) written: Vec<(String, String, Vec<Option<Written>>)>,
}

/// The configuration of the connected proxy that is meant; of several the newest.
pub(super) async fn config(State(admin): State<Admin>, Query(which): Query<Which>) -> Response {
    let found = admin.proxies.list().into_iter().rev().find(|proxy| which.is(proxy));
    let Some(proxy) = found else {
        return (StatusCode::NOT_FOUND, "no such proxy is connected; see /debug/proxies\n").into_response();
    };
    let Some(config) = admin.engine.proxy_config(proxy.id).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing was made for it yet\n").into_response();
    };
    let told = tokio::task::spawn_blocking(move || told(proxy.name(), &config)).await;
    match told {
        Ok(told) => Json(told).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn told(proxy: String, config: &ProxyConfig) -> Told {
    let of = |ty: ResourceType| {
        let all = config.snapshot.map(ty).values();
        all.map(move |it| (ty.type_url().to_owned(), BASE64_STANDARD.encode(&it.body)))
    };
    let written = config.written.iter().map(|host| {
        let routes = host.routes.iter().map(|rule| Some(written(rule.as_ref()?, &config.places)));
        (host.table.to_string(), host.host.to_string(), routes.collect())
    });
    Told {
        proxy,
        // Keys are nobody's business but of the proxy that ends TLS with them.
        resources: ResourceType::ALL
            .into_iter()
            .filter(|ty| *ty != ResourceType::Secret)
            .flat_map(of)
            .collect(),
        written: written.collect(),
    }
}

/// What is to be planned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// What would be applied: names of files, and what is in them.
    pub(crate) apply: Vec<(String, String)>,
    /// What would be deleted.
    pub(crate) delete: Vec<(String, String)>,
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Planned {
    /// Whether something changes.
    pub(crate) changes: bool,
    /// As `-o json` prints it.
    pub(crate) plan: serde_json::Value,
    /// As people read it.
    pub(crate) text: String,
}

/// What would change if these files were applied or deleted. It is played on a copy; the engine that serves does not see it.
pub(super) async fn plan(
    State(admin): State<Admin>,
    Extension(Plans(plans)): Extension<Plans>,
    Json(asked): Json<Asked>,
) -> Response {
    let Ok(permit) = plans.try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, "another plan is being made\n").into_response();
    };
    let Some(copied) = admin.engine.copied().await.filter(|_| admin.engine.is_ready()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the first load is not done\n").into_response();
    };
    let names: BTreeMap<ProxyId, String> =
        admin.proxies.list().iter().map(|proxy| (ProxyId(proxy.id), proxy.name())).collect();
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let delete = load_texts(&asked.delete);
        let wish = Wish { delete: upserted(&delete), apply: load_texts(&asked.apply), prune: false };
        let connected: BTreeSet<ProxyId> = copied.parts.proxies.iter().map(|(id, ..)| *id).collect();
        let names = names.into_iter().filter(|(id, _)| connected.contains(id)).collect();
        let engine = copied.parts.build();
        let plan = plan::plan(engine, &names, (copied.places, copied.file_diagnostics), wish);
        Planned { changes: plan.changes(), plan: json!(plan), text: plan::text(&plan) }
    });
    match made.await {
        Ok(planned) => Json(planned).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn upserted(loaded: &Loaded) -> BTreeSet<ObjectId> {
    let place = |(id, place): &(ObjectId, Option<Place>)| place.is_some().then(|| id.clone());
    loaded.places.iter().filter_map(place).collect()
}
