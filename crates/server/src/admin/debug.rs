//! The debug views, all JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use umbra_ir::{Diagnostic, Kind, ObjectId};
use umbra_xds::ResourceType;

use super::Admin;
use crate::diagnostics::{Shown, severity_name};
use crate::proxies::Proxy;
use crate::resources;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Which {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    severity: Option<String>,
}

impl Which {
    fn wants(&self, id: &ObjectId) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        self.kind.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case(id.kind.as_str()))
            && same(&self.namespace, &id.namespace)
            && same(&self.name, &id.name)
    }
}

#[derive(Debug, Serialize)]
struct ObjectView {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    diagnostics: Vec<Diagnostic>,
}

/// Every object with its diagnostics, sorted by kind, namespace and name.
pub(super) async fn objects(State(admin): State<Admin>, Query(which): Query<Which>) -> Response {
    let listed = admin.engine.objects().await;
    let state = admin.engine.published();
    let mut by_object: BTreeMap<&ObjectId, Vec<Diagnostic>> = BTreeMap::new();
    for diagnostic in state.diagnostics.iter() {
        if let Some(id) = &diagnostic.object {
            by_object.entry(id).or_default().push(diagnostic.clone());
        }
    }
    let views = listed.into_iter().filter(|listed| which.wants(&listed.id)).map(|listed| ObjectView {
        diagnostics: by_object.remove(&listed.id).unwrap_or_default(),
        kind: listed.id.kind,
        namespace: listed.id.namespace,
        name: listed.id.name,
        file: listed.place.as_ref().map(|place| place.file.clone()),
        line: listed.place.and_then(|place| place.locate("").map(|(line, _)| line)),
    });
    let views: Vec<_> = views.collect();
    Json(json!({ "generation": state.generation, "objects": views })).into_response()
}

/// All diagnostics, as `umbra validate -o json` prints them.
pub(super) async fn diagnostics(State(admin): State<Admin>, Query(which): Query<Which>) -> Response {
    let state = admin.engine.published();
    let wanted = |d: &&Diagnostic| {
        which.severity.as_deref().is_none_or(|wanted| wanted == severity_name(d.severity))
            && d.object.as_ref().is_none_or(|id| which.wants(id))
    };
    let diagnostics: Vec<_> = state.diagnostics.iter().filter(wanted).map(Shown::from).collect();
    Json(json!({ "diagnostics": diagnostics })).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct OneProxy {
    proxy: Option<String>,
}

/// The connected proxies; with `?proxy=ID` as [`proxy`].
pub(super) async fn proxies(State(admin): State<Admin>, Query(query): Query<OneProxy>) -> Response {
    if let Some(id) = query.proxy {
        return one(&admin, &id).await;
    }
    let views: Vec<_> = admin.proxies.list().iter().map(|proxy| proxy.view()).collect();
    let state = admin.engine.published();
    Json(json!({ "generation": state.generation, "proxies": views })).into_response()
}

/// One proxy and the resources made for it; of several streams with the same node id the newest.
pub(super) async fn proxy(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    one(&admin, &id).await
}

async fn one(admin: &Admin, id: &str) -> Response {
    let Some(proxy) = admin.proxies.find(id).pop() else {
        let text = format!("no connected proxy has the number or node id {id:?}; see /debug/proxies\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    // Opening every resource takes a while; the other streams go on meanwhile.
    match tokio::task::spawn_blocking(move || with_resources(&proxy)).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn with_resources(proxy: &Proxy) -> anyhow::Result<Value> {
    let mut all = match proxy.snapshot() {
        Some(snapshot) => resources::to_json(&snapshot, &ResourceType::ALL)?,
        None => serde_json::Map::new(),
    };
    all.insert("proxy".to_owned(), serde_json::to_value(proxy.view())?);
    Ok(Value::Object(all))
}
