//! `POST /v1/stop` and `POST /v1/resume`: mirrors are stopped, or let go on, for whoever may patch their VirtualServices, and the
//! answer says who has taken it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use tracing::info;
use umbra_ir::Kind;
use umbra_source::kubernetes::{Verb as Right, Wish};

use super::asker::Asker;
use super::plain::{read, refuse, refused};
use super::{Api, STOPS_OF_ONE, origin};
use crate::config::options::duration;
use crate::identity::{Caller, Refusal};
use crate::stop::target::wanted;
use crate::stop::{Target, Verb, Wanted, annotations, is_done, told};

/// Mirrors that one question may name.
const MAX_NAMED: usize = 100;
/// How long it is waited for proxies unless the question says so, and at most.
const WAIT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a question may wait for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// `NAMESPACE/NAME`, `NAMESPACE/NAME/RULE`, or the runtime key of a mirror.
    #[serde(default)]
    mirrors: Vec<String>,
    /// Everything, in `namespace` or everywhere.
    #[serde(default)]
    all: bool,
    namespace: Option<String>,
    /// How long to wait until proxies have taken it.
    wait: Option<String>,
}

/// The same, understood.
#[derive(Debug)]
struct Order {
    meant: Meant,
    wait: Duration,
}

#[derive(Debug)]
enum Meant {
    These(Wanted),
    AllOf(Option<String>),
}

/// The answer to `/v1/stop`.
pub(super) async fn stop(
    api: State<Api>,
    asker: Extension<Asker>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(Verb::Stop, api, asker, (uri, headers), body).await
}

/// The answer to `/v1/resume`.
pub(super) async fn resume(
    api: State<Api>,
    asker: Extension<Asker>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(Verb::Resume, api, asker, (uri, headers), body).await
}

async fn answer(
    verb: Verb,
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    (uri, headers): (Uri, HeaderMap),
    body: Body,
) -> Response {
    if let Err((status, why)) = origin::check(&headers, &uri, api.from_here) {
        return refuse(status, why);
    }
    // Before anything is read: who asks may be nobody.
    if let Err(refusal) = anybody(&asker, api.from_here) {
        return refused(&refusal);
    }
    let order = match read(body).await.map(|bytes| understand(&bytes)) {
        Err(refused) => return refused,
        Ok(Err(why)) => return refuse(StatusCode::BAD_REQUEST, why),
        Ok(Ok(order)) => order,
    };
    if let Err(refusal) = asker.may(&wishes(&order.meant)).await {
        return refused(&refusal);
    }
    if !api.ready() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the first load is not done".to_owned());
    }
    let by = asker.who().ok().and_then(Caller::name).unwrap_or_else(|| "this machine".to_owned());
    let Some(_portion) = api.orders_by.take(by.clone()) else {
        let message = format!("{STOPS_OF_ONE} orders of {by} are not answered yet");
        return refuse(StatusCode::TOO_MANY_REQUESTS, message);
    };
    let Ok(_turn) = tokio::time::timeout(TURN, api.orders.acquire()).await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once".to_owned());
    };
    let wanted = match order.meant {
        Meant::These(wanted) => wanted,
        Meant::AllOf(namespace) => api.stops.everything(verb, namespace.as_deref()).await,
    };
    let written = api.stops.write(verb, wanted).await;
    for (id, written) in &written {
        match written {
            Ok(written) if written.changed => {
                info!(%by, object = %id, annotation = written.annotation, "{}", done(verb));
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(%by, object = %id, why, "not {}", done(verb)),
        }
    }
    let confirmed = match order.wait.is_zero() {
        true => None,
        false => Some(api.stops.confirm(&annotations(&written), order.wait).await),
    };
    let status = if written.values().any(Result::is_err) {
        StatusCode::CONFLICT
    } else if confirmed.is_some() && is_done(&written, confirmed.as_ref()) {
        StatusCode::OK
    } else {
        // It is written, and somebody has not taken it, or nobody was asked.
        StatusCode::ACCEPTED
    };
    (status, Json(told(&written, confirmed.as_ref()))).into_response()
}

fn done(verb: Verb) -> &'static str {
    match verb {
        Verb::Stop => "mirrors are stopped by the API",
        Verb::Resume => "mirrors are resumed by the API",
    }
}

/// Whether whoever asks has proven who he is, where somebody else than this machine can ask.
fn anybody(asker: &Asker, from_here: bool) -> Result<(), Refusal> {
    const NOBODY: &str = "this port asks nobody who he is, and others than this machine reach it: stop by --admin on a loopback address, or by --api with --api-identity token";
    const WHO: &str = "who stops mirrors proves who he is: `authorization: Bearer TOKEN` over TLS";
    match asker.who()? {
        Caller::Unasked if !from_here => Err(Refusal::Forbidden(NOBODY.to_owned())),
        Caller::Stranger => Err(Refusal::Unproven(WHO.to_owned())),
        Caller::Unasked | Caller::Replica | Caller::Account(_) => Ok(()),
    }
}

/// What it takes: the right to write what is written.
fn wishes(meant: &Meant) -> Vec<Wish> {
    let patch = |namespace: &str, name: &str| Wish::one(Right::Patch, Kind::VirtualService, namespace, name);
    match meant {
        Meant::These(wanted) => wanted.keys().map(|id| patch(&id.namespace, &id.name)).collect(),
        Meant::AllOf(namespace) => vec![patch(namespace.as_deref().unwrap_or_default(), "")],
    }
}

/// Reads an order.
///
/// # Errors
/// Why it is none.
fn understand(body: &[u8]) -> Result<Order, String> {
    const SHAPE: &str = r#"expected {"mirrors": ["NAMESPACE/NAME", …]} or {"all": true}, with "namespace" and "wait" if you like"#;
    let asked: Asked = serde_json::from_slice(body).map_err(|error| format!("{error}; {SHAPE}"))?;
    let wait = match &asked.wait {
        None => WAIT,
        Some(text) => duration(text)
            .filter(|wait| *wait <= LONGEST)
            .ok_or_else(|| format!("wait: expected a duration of at most {LONGEST:?}, such as 5s or 0s"))?,
    };
    if asked.all != asked.mirrors.is_empty() {
        return Err(SHAPE.to_owned());
    }
    if asked.mirrors.len() > MAX_NAMED {
        return Err(format!("{} mirrors, expected at most {MAX_NAMED}, or all", asked.mirrors.len()));
    }
    if asked.all {
        let namespace = asked.namespace.filter(|name| !name.is_empty());
        return Ok(Order { meant: Meant::AllOf(namespace), wait });
    }
    let targets: Vec<Target> =
        asked.mirrors.iter().map(|text| Target::parse(text)).collect::<Result<_, _>>()?;
    match asked.namespace.as_deref() {
        None if !targets.iter().all(Target::is_whole) => {
            Err("a mirror without a namespace: expected NAMESPACE/NAME, or a namespace for all".to_owned())
        }
        namespace => Ok(Order { meant: Meant::These(wanted(&targets, namespace.unwrap_or_default())), wait }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_what_it_takes() {
        for (body, want) in [
            (r#"{"all": true}"#, "patch virtualservices.networking.istio.io in all namespaces 5s"),
            (
                r#"{"all": true, "namespace": "shop", "wait": "1s"}"#,
                "patch virtualservices.networking.istio.io in namespace \"shop\" 1s",
            ),
            (
                r#"{"mirrors": ["shop/web/canary", "shop/web/rest"]}"#,
                "patch virtualservices.networking.istio.io \"web\" in namespace \"shop\" 5s",
            ),
            (
                r#"{"mirrors": ["web"], "namespace": "shop", "wait": "0s"}"#,
                "patch virtualservices.networking.istio.io \"web\" in namespace \"shop\" 0ns",
            ),
            (r#"{"mirrors": ["web"]}"#, "an error"),
            (r#"{"mirrors": []}"#, "an error"),
            (r#"{"mirrors": ["a/b"], "all": true}"#, "an error"),
            (r#"{"mirrors": ["a/b/c/d"]}"#, "an error"),
            (r#"{"all": true, "wait": "1h"}"#, "an error"),
            (r#"{"al": true}"#, "an error"),
            ("", "an error"),
        ] {
            let got = understand(body.as_bytes()).map(|order| {
                let wishes: Vec<String> = wishes(&order.meant).iter().map(Wish::to_string).collect();
                format!("{} {:?}", wishes.join(", "), order.wait)
            });
            assert_eq!(got.unwrap_or("an error".to_owned()), want, "{body}");
        }
        let many: Vec<String> = (0..=MAX_NAMED).map(|n| format!("\"shop/web-{n}\"")).collect();
        assert!(understand(format!("{{\"mirrors\": [{}]}}", many.join(",")).as_bytes()).is_err());
    }
}
