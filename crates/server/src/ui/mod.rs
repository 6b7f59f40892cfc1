//! The dashboard: pages about mirrors, made here as HTML, with a script that asks for them again and again. They read what
//! `umbra.v1` tells and show what its caller may read; buttons ask `/v1/stop` and `/v1/resume`.
//!
//! Start reading at: [`routes`], then `overview.rs`, `mirror.rs` and `verdict.rs` (what a page says, pure), `page.rs` (what a browser may do with it).

mod chart;
mod figures;
mod mirror;
mod overview;
mod page;
mod standing;
mod verdict;
mod view;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use jiff::Timestamp;
use maud::html;
use serde::Deserialize;
use umbra_ir::Kind;
use umbra_source::kubernetes::{Verb, Wish};

use crate::api::{Api, Asker};
use crate::host;
use crate::messages::object_id;
use crate::supervise::blocking;
use overview::Now;
use view::Views;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the pages need.
#[derive(Clone, Debug)]
struct Ui {
    api: Api,
    views: Views,
}

/// The paths of the dashboard, for callers whom `api` knows.
pub(crate) fn routes(api: Api) -> Router {
    let of =
        |kind: &'static str, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
    let ui = Ui { views: Views::new(api.peers.clone()), api: api.clone() };
    let pages = Router::new()
        .route("/ui", get(async || Redirect::permanent("ui/")))
        .route("/ui/", get(all))
        .route("/ui/mirror", get(one))
        .route("/ui/app.css", of("text/css; charset=utf-8", STYLE))
        .route("/ui/app.js", of("text/javascript; charset=utf-8", SCRIPT))
        .layer(map_response(page::guard))
        .with_state(ui);
    // No page of a name that its owner lets lead here reads these.
    let pages = if api.is_only_here() { pages.layer(from_fn(host::check)) } else { pages };
    api.knowing(pages)
}

#[derive(Debug, Deserialize)]
struct Of {
    namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Which {
    /// A runtime key.
    key: String,
}

fn now() -> Now {
    Now { seconds: Timestamp::now().as_second() }
}

impl Ui {
    /// Who tells.
    fn replica(&self) -> &str {
        &self.api.identity.name
    }

    /// Before there is anything to be told.
    fn not_yet(&self) -> Option<Response> {
        let main = || html! { h2 { "Not yet" } p { "The first load is not done." } };
        (!self.api.ready())
            .then(|| page::page(StatusCode::SERVICE_UNAVAILABLE, "umbra", "not yet", self.replica(), &main()))
    }
}

async fn all(State(ui): State<Ui>, Extension(asker): Extension<Asker>, Query(of): Query<Of>) -> Response {
    let namespace = of.namespace.unwrap_or_default();
    if let Err(refusal) = asker.may(&[Wish::list(Kind::VirtualService, namespace.as_str())]).await {
        return page::refused(&refusal, ui.replica());
    }
    if let Some(response) = ui.not_yet() {
        return response;
    }
    let view = ui.views.get().await;
    // A thousand rows take a while; whoever else is served goes on meanwhile.
    blocking(move || {
        let of = |rule: &umbra_proto::umbra::v1::ObjectReference| rule.namespace == namespace;
        let shown = view.mirrors.iter().filter(|it| namespace.is_empty() || it.rule.as_ref().is_some_and(of));
        let shown: Vec<_> = shown.map(|mirror| (mirror, view.minutes(mirror))).collect();
        let main = overview::overview(&shown, &namespace, now());
        page::page(StatusCode::OK, "umbra: mirrors", "all", ui.replica(), &main)
    })
    .await
}

async fn one(
    State(ui): State<Ui>,
    Extension(asker): Extension<Asker>,
    Query(which): Query<Which>,
) -> Response {
    let view = match ui.not_yet() {
        Some(response) => return response,
        // Who may read nothing has not made it.
        None if asker.is_nobody() => Default::default(),
        None => ui.views.get().await,
    };
    let mirror = view.mirrors.iter().find(|it| it.runtime_key == which.key);
    let id = mirror.and_then(|it| object_id(it.rule.as_ref()?));
    let wish = match &id {
        Some(id) => Wish::one(Verb::Get, Kind::VirtualService, id.namespace.to_string(), id.name.to_string()),
        None => Wish::list(Kind::VirtualService, ""),
    };
    if let Err(refusal) = asker.may(&[wish]).await {
        return page::refused(&refusal, ui.replica());
    }
    let (Some(mirror), Some(id)) = (mirror, id) else {
        return page::missing(&format!("There is no mirror {}.", which.key), ui.replica());
    };
    let answer = ui.api.peers.object(&id).await;
    let known = mirror::Known {
        mirror,
        minutes: view.minutes(mirror),
        live: answer.objects.iter().find(|it| it.object == id),
        silent: &answer.silent,
    };
    let title = format!("umbra: {}", overview::rule_of(mirror));
    page::page(StatusCode::OK, &title, "one", ui.replica(), &mirror::page(&known, now())).into_response()
}
