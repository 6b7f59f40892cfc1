//! The admin HTTP interface: health, metrics, debug views. They read, and change nothing; what the API serves beside them
//! stops mirrors.

mod ahead;
mod debug;

pub(crate) use ahead::{Asked, Planned, Told};

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::certificate::Certificates;
use crate::engine_task::EngineHandle;
use crate::identity::{CallerMode, IdentityMode};
use crate::metrics::{self, Metrics};
use crate::observe::Observed;
use crate::proxies::Proxies;
use crate::sources;
use crate::tls;
use crate::ui;

/// What the views show.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Objects and diagnostics.
    pub engine: EngineHandle,
    /// Connected proxies.
    pub proxies: Arc<Proxies>,
    /// How the watches of the cluster are; `None` without one.
    pub health: Option<watch::Receiver<umbra_source::kubernetes::Health>>,
    /// The certificates that umbra makes itself.
    pub certificates: Certificates,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Those of mirrors.
    pub observed: Observed,
    /// What proxies have to prove.
    pub identity: IdentityMode,
    /// What callers of `--api` have to prove; `None`: there is no such port.
    pub callers: Option<CallerMode>,
    /// What `--xds-tls` shows them.
    pub certificate: Option<tls::Identity>,
    /// Cancelled when the process should end.
    pub shutdown: CancellationToken,
}

const INDEX: &str = "<!doctype html><title>umbra</title><h1>umbra</h1><ul>
<li><a href=/ui/>/ui/</a> the dashboard: every mirror, and how to stop it
<li><a href=/debug/objects>/debug/objects</a> every object with its diagnostics; <code>?kind=</code>, <code>?namespace=</code>, <code>?name=</code>
<li><a href=/debug/diagnostics>/debug/diagnostics</a> everything that is wrong; <code>?severity=error</code>
<li><a href=/debug/proxies>/debug/proxies</a> connected proxies: how far each has come, what it rejected
<li>/v1/live/KIND/NAMESPACE/NAME is that object live on every proxy that it reaches? 200 or 409; <code>?generation=</code>
<li>/debug/proxies/ID one proxy and its resources; ID is its number or its node id
<li><a href=/metrics>/metrics</a> for Prometheus
<li><a href=/readyz?verbose>/readyz?verbose</a>, <a href=/healthz>/healthz</a>
</ul>
";

impl Admin {
    /// Every path that is served, those of the API included. Where only this machine reaches it (`from_here`), only by a
    /// name of this machine.
    pub fn router(self, api: Api, from_here: bool) -> Router {
        let all = self.all(api);
        match from_here {
            true => all.layer(axum::middleware::from_fn(crate::host::check)),
            false => all,
        }
    }

    fn all(self, api: Api) -> Router {
        Router::new()
            .route("/", get(async || Html(INDEX)))
            .route("/debug", get(async || Html(INDEX)))
            .route("/debug/", get(async || Html(INDEX)))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/debug/objects", get(debug::objects))
            .route("/debug/diagnostics", get(debug::diagnostics))
            .route("/debug/proxies", get(debug::proxies))
            .route("/debug/proxies/{id}", get(debug::proxy))
            .route("/debug/config", get(ahead::config))
            .route("/debug/plan", post(ahead::plan).layer(Extension(ahead::Plans::default())))
            .fallback(async || (StatusCode::NOT_FOUND, "not here; see /debug/\n"))
            .with_state(self)
            .merge(ui::routes(api.clone()))
            .merge(api.routes())
    }

    /// What is meant for kubelets and Prometheus, on a network that others are on too: no views.
    pub fn probe_router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn ready(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let state = admin.engine.published();
    let leaving = admin.shutdown.is_cancelled();
    let Certificates { injector, xds } = &admin.certificates;
    let certified = [("injector", injector), ("xds over TLS", xds)]
        .map(|(whose, pair)| Some((whose, pair.as_ref()?.borrow().is_some())));
    let ok = state.ready && !leaving && certified.iter().flatten().all(|(_, has)| *has);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    if !verbose {
        return (status, if ok { "ok\n" } else { "not ready; see /readyz?verbose\n" }).into_response();
    }
    let sign = |ok: bool| if ok { "[+]" } else { "[-]" };
    let objects: usize = state.objects.values().sum();
    let loaded = if state.ready {
        format!("loaded: {objects} objects, generation {}", state.generation)
    } else {
        "the first load is not done; proxies wait unanswered".to_owned()
    };
    let serving = if leaving { "shutting down" } else { "serving" };
    let watches = admin.health.map(|health| sources::describe(&health.borrow())).unwrap_or_default();
    let certificates = certified.into_iter().flatten().map(|(whose, has)| match has {
        true => format!("[+] {whose}: has a certificate\n"),
        false => format!("[-] {whose}: has no certificate yet; the replica that holds the Lease makes it\n"),
    });
    let certificates: String = certificates.collect();
    let identity = match admin.identity {
        IdentityMode::None => "[!] proxies are who they say they are (--xds-identity none)\n",
        IdentityMode::Token => "[+] proxies prove who they are by a token\n",
        IdentityMode::Certificate => "[+] proxies prove who they are by a certificate\n",
    };
    let callers = match admin.callers {
        None => "",
        Some(CallerMode::None) => "[!] --api tells everything to whoever reaches it (--api-identity none)\n",
        Some(CallerMode::Token) => "[+] callers of --api prove who they are by a token\n",
    };
    let certificate = admin.certificate.and_then(|it| it.validity()).map(describe).unwrap_or_default();
    (
        status,
        format!(
            "{} {loaded}
{watches}{certificates}{identity}{callers}{certificate}{} {serving}
",
            sign(state.ready),
            sign(!leaving)
        ),
    )
        .into_response()
}

/// A line about the certificate of xDS over TLS. An expired one does not take readiness away: plaintext may be served beside it, and a
/// replica less would not mend it.
fn describe(validity: tls::Validity) -> String {
    let until = validity.until;
    match validity.standing(Timestamp::now()) {
        tls::Standing::Good => format!("[+] the certificate of --xds-tls is good until {until}\n"),
        tls::Standing::RunsOut => {
            format!("[!] the certificate of --xds-tls expires soon, {until}, and was not renewed\n")
        }
        tls::Standing::Over => {
            format!("[!] the certificate of --xds-tls has expired, {until}: proxies refuse it\n")
        }
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = admin.observed.encode() + &admin.metrics.encode();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}
