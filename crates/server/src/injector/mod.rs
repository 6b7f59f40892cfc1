//! The admission webhook: new Pods of namespaces that ask for it get their sidecars, by the template that `umbra inject` uses.
//!
//! Start reading at: `review.rs` (what is answered, pure), then [`Injector::start`].

mod listen;
mod review;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use tokio::sync::watch;
use tokio::time::timeout;
use umbra_inject::settings::Settings;
use umbra_source::kubernetes::{Kept, Make, Pair, Told};

use crate::ads::{Allowances, SMALL, Turn};
use crate::certificate;
use crate::config::Options;
use crate::metrics::{ByResult, Metrics};

#[cfg(test)]
pub(crate) use listen::config;
pub(crate) use listen::serve;

/// The Secret with the certificate, in umbra's own namespace.
const SECRET: &str = "umbra-injector";
/// The largest question: an API server's objects are 1.5 MiB at most, and it sends one that is new, as JSON.
const MAX_BODY: usize = 4 << 20;
/// What a question comes to when it is read: so many times its length.
const READ: usize = 4;
/// How long an API server may take to send one that has its turn.
const BODY: Duration = Duration::from_secs(5);
/// How long one may wait for its turn.
const TURN: Duration = Duration::from_secs(5);

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
    /// What questions may come to.
    pub(crate) allowances: Allowances,
}

/// Who asks, as an extension of each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct From(pub(super) IpAddr);

impl Injector {
    /// What is served.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/inject", post(inject))
            .fallback(async || (StatusCode::NOT_FOUND, "only /inject is here\n"))
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

/// Reads a question. Anybody reaches the port, so that a large one waits until it is its turn among those of its address, and all
/// have their time.
async fn read(
    allowances: &Allowances,
    from: IpAddr,
    length: Option<usize>,
    body: Body,
) -> Result<(Bytes, Option<Turn>), StatusCode> {
    let length = length.unwrap_or(MAX_BODY);
    if length > MAX_BODY {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let turn = match length > SMALL {
        true => {
            let allowance = allowances.of(from, false);
            let turn = timeout(TURN, allowance.turn(READ * length)).await;
            turn.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?
        }
        false => None,
    };
    match timeout(BODY, axum::body::to_bytes(body, length)).await {
        Ok(Ok(bytes)) => Ok((bytes, turn)),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

async fn inject(
    State(injector): State<Injector>,
    from: Option<Extension<From>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Without a connection it is a test.
    let from = from.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Extension(From(peer))| peer);
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let (body, _turn) = match read(&injector.allowances, from, length, body).await {
        Ok(read) => read,
        Err(status) => return (status, "the question is too large, or too slow\n").into_response(),
    };
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

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    /// What becomes of a question of this length, of which nothing comes.
    async fn read_nothing(allowances: &Allowances, from: [u8; 4], length: Option<usize>) -> StatusCode {
        let body = Body::new(StreamBody::new(futures::stream::pending::<
            Result<http_body::Frame<Bytes>, std::convert::Infallible>,
        >()));
        read(allowances, from.into(), length, body).await.err().unwrap_or(StatusCode::OK)
    }

    #[tokio::test(start_paused = true)]
    async fn questions_take_turns_and_end() {
        let (all, a, b) = (Allowances::default(), [10, 0, 0, 1], [10, 0, 0, 2]);
        let whole = read(&all, a.into(), Some(3), Body::from("abc")).await;
        assert!(whole.is_ok_and(|(bytes, turn)| bytes == "abc" && turn.is_none()));
        let longer = read(&all, a.into(), Some(2), Body::from("abc")).await;
        assert_eq!(longer.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(read_nothing(&all, a, Some(MAX_BODY + 1)).await, StatusCode::PAYLOAD_TOO_LARGE);
        // Those of one address wait for each other, and for nobody else; a small one waits for nobody.
        let late = StatusCode::REQUEST_TIMEOUT;
        let (first, second, other, small) = tokio::join!(
            read_nothing(&all, a, None),
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let begun = tokio::time::Instant::now();
                let end = read_nothing(&all, a, Some(SMALL + 1)).await;
                (end, begun.elapsed().as_secs())
            },
            read_nothing(&all, b, None),
            read_nothing(&all, a, Some(SMALL)),
        );
        assert_eq!((first, second, other, small), (late, (late, 9), late, late));
    }
}
