//! The admission webhook: new Pods of namespaces that ask for it get their sidecars, by the template that `umbra inject` uses.
//!
//! Start reading at: `review.rs` (what is answered, pure), then [`Injector::start`].

mod listen;
mod review;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::watch;
use umbra_inject::settings::Settings;
use umbra_source::kubernetes::{Kept, Make, Pair, Told};

use crate::certificate;
use crate::config::Options;
use crate::metrics::{ByResult, Metrics};

#[cfg(test)]
pub(crate) use listen::config;
pub(crate) use listen::serve;

/// The Secret with the certificate, in umbra's own namespace.
const SECRET: &str = "umbra-injector";
/// The largest question: an API server's objects are 1.5 MiB at most, and it may send two of them as JSON.
const MAX_BODY: usize = 8 << 20;

/// `--injector` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InjectorOptions {
    /// Where it listens.
    pub(crate) address: String,
    host: String,
    webhook: String,
}

impl InjectorOptions {
    /// What the options say; `None`: no injector.
    ///
    /// # Errors
    /// Only some of the options are there, or there is no cluster.
    pub(crate) fn choose(options: &Options) -> Result<Option<Self>, &'static str> {
        let Options { injector, injector_host: host, injector_webhook: webhook, .. } = options.clone();
        match (injector, host, webhook) {
            (None, None, None) => Ok(None),
            (Some(address), Some(host), Some(webhook)) => {
                if options.kubeconfig.is_none() && !options.in_cluster.unwrap_or_default() {
                    return Err(
                        "--injector is asked by an API server: name it with --kubeconfig FILE or --in-cluster",
                    );
                }
                Ok(Some(InjectorOptions { address, host, webhook }))
            }
            _ => Err("--injector, --injector-host and --injector-webhook belong together"),
        }
    }

    /// What is kept for it in the cluster.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            owner: "the injector",
            secret: SECRET.to_owned(),
            made_for: self.host.clone(),
            told: Told::Webhook(self.webhook.clone()),
        }
    }

    /// How its certificates are made.
    pub(crate) fn make(&self) -> Make {
        let host = self.host.clone();
        Arc::new(move |before| certificate::make_once(&host, before))
    }
}

/// What answers.
#[derive(Clone, Debug)]
pub(crate) struct Injector {
    /// The settings in force.
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    /// The certificate that umbra makes itself for its proxies; `None`: it has none.
    pub(crate) xds: Option<watch::Receiver<Option<Pair>>>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
}

impl Injector {
    /// What is served.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/inject", post(inject))
            .fallback(async || (StatusCode::NOT_FOUND, "only /inject is here\n"))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }

    /// The settings, with the authorities that they name as they are now.
    async fn settings(&self) -> Result<Settings, String> {
        let mut settings = Settings::clone(&self.settings.borrow());
        if let Some(path) = &settings.ca_file {
            let read = tokio::fs::read_to_string(path).await;
            settings.ca =
                Some(read.map_err(|error| format!("injection.caFile {}: {error}", path.display()))?);
        } else if let Some(xds) = &self.xds {
            let pair = xds.borrow();
            let pair = pair.as_ref().ok_or("umbra has no certificate for its proxies yet")?;
            settings.ca = Some(pair.authorities.clone());
        }
        Ok(settings)
    }
}

async fn inject(State(injector): State<Injector>, body: Bytes) -> Response {
    let answer = match injector.settings().await {
        Ok(settings) => review::answer(&body, &settings),
        Err(why) => review::Answer { result: "failed", body: Err(why) },
    };
    injector.metrics.injections.get_or_create(&ByResult { result: answer.result }).inc();
    match answer.body {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response(),
        Err(why) if answer.result == "failed" => {
            (StatusCode::INTERNAL_SERVER_ERROR, why + "\n").into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
    }
}
