//! An HTTP client that keeps its connection, says any `Host`, and counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::net::Net;
use crate::wait::PATIENCE;

/// The header by which an echo service says its name.
pub const SERVED_BY: &str = "x-echo-version";

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET unless changed.
    pub method: Method,
    /// The `Host` header (`:authority` in HTTP/2), as written.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Empty unless changed.
    pub body: Bytes,
}

impl Ask {
    /// `GET path` at `host`.
    pub fn get(host: &str, path: &str) -> Self {
        let (host, path) = (host.to_owned(), path.to_owned());
        Self { method: Method::GET, host, path, headers: Vec::new(), body: Bytes::new() }
    }

    /// `POST path` at `host` with a body.
    pub fn post(host: &str, path: &str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(host, path) }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response's status.
    pub status: StatusCode,
    /// The response's headers.
    pub headers: HeaderMap,
    /// The response's body.
    pub body: Bytes,
    /// From sending the request to the last byte of the response.
    pub took: Duration,
}

impl Answer {
    /// The echo service that answered; empty when it was somebody else.
    pub fn served_by(&self) -> &str {
        self.headers.get(SERVED_BY).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A client of one address with one connection at a time, opened when needed.
pub struct Client {
    net: Net,
    address: SocketAddr,
    two: bool,
    sender: Option<Sender>,
}

impl Client {
    /// A client in `net` that speaks HTTP/1.1 to `address`.
    pub fn new(net: &Net, address: SocketAddr) -> Self {
        Self { net: net.clone(), address, two: false, sender: None }
    }

    /// The same in HTTP/2 without TLS, from the first byte.
    #[must_use]
    pub fn http2(self) -> Self {
        Self { two: true, ..self }
    }

    /// Asks once. Where a kept connection turns out to be closed before the request went out, a new one is opened.
    ///
    /// # Errors
    /// When there is no answer within [`PATIENCE`].
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        match self.ask_once(ask).await {
            Err(error) if never_sent(&error) => self.ask_once(ask).await,
            outcome => outcome,
        }
    }

    async fn ask_once(&mut self, ask: &Ask) -> Result<Answer> {
        // Taken out, so that a failed or abandoned exchange leaves no half-used connection behind.
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.open().await.with_context(|| format!("cannot connect to {}", self.address))?,
        };
        let start = Instant::now();
        let answered = tokio::time::timeout(PATIENCE, exchange(&mut sender, ask)).await;
        let (head, body) = answered
            .with_context(|| format!("no answer from {} to {} {}", self.address, ask.method, ask.path))??;
        self.sender = Some(sender);
        Ok(Answer { status: head.status, headers: head.headers, body, took: start.elapsed() })
    }

    async fn open(&self) -> Result<Sender> {
        let io = TokioIo::new(self.net.connect(self.address).await?);
        if self.two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(Sender::Two(sender));
        }
        let (sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(Sender::One(sender))
    }
}

/// Only what certainly reached nobody may be sent again: anything else is a failure that a test must see.
fn never_sent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_canceled() || e.is_closed())
}

async fn exchange(sender: &mut Sender, ask: &Ask) -> Result<(http::response::Parts, Bytes)> {
    let two = matches!(sender, Sender::Two(_));
    let mut request = Request::builder().method(&ask.method);
    request = match two {
        true => request.uri(format!("http://{}{}", ask.host, ask.path)),
        false => request.uri(&ask.path).header(http::header::HOST, &ask.host),
    };
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(ask.body.clone()))?;
    let response = match sender {
        Sender::One(sender) => {
            sender.ready().await?;
            sender.send_request(request).await?
        }
        Sender::Two(sender) => {
            sender.ready().await?;
            sender.send_request(request).await?
        }
    };
    let (head, body) = response.into_parts();
    Ok((head, body.collect().await?.to_bytes()))
}

/// What many requests came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Requests by the echo service that answered.
    pub servers: BTreeMap<String, usize>,
    /// How long each took, in ascending order.
    pub times: Vec<Duration>,
    /// Requests without an answer, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Whether every one of `n` requests got a 200.
    pub fn all_ok(&self, n: usize) -> bool {
        self.failures.is_empty() && self.statuses.get(&200) == Some(&n)
    }

    /// How many requests the service called `name` answered.
    pub fn by(&self, name: &str) -> usize {
        self.servers.get(name).copied().unwrap_or_default()
    }

    /// The time within which this share (0 to 1) of the requests was answered.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1) as f64;
        self.times.get((last * share.clamp(0.0, 1.0)).round() as usize).copied().unwrap_or_default()
    }

    /// Counts one outcome.
    pub fn add(&mut self, outcome: Result<Answer>) {
        match outcome {
            Ok(answer) => {
                *self.statuses.entry(answer.status.as_u16()).or_default() += 1;
                *self.servers.entry(answer.served_by().to_owned()).or_default() += 1;
                self.times.push(answer.took);
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    fn merge(&mut self, other: Self) {
        for (status, n) in other.statuses {
            *self.statuses.entry(status).or_default() += n;
        }
        for (server, n) in other.servers {
            *self.servers.entry(server).or_default() += n;
        }
        self.times.extend(other.times);
        self.failures.extend(other.failures);
    }
}

/// Asks the same thing `n` times over a few connections at once.
pub async fn send(net: &Net, address: SocketAddr, ask: &Ask, n: usize) -> Tally {
    send_by(|| Client::new(net, address), ask, n).await
}

/// As [`send`], by these clients.
pub async fn send_by(open: impl Fn() -> Client, ask: &Ask, n: usize) -> Tally {
    const CONNECTIONS: usize = 8;
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..CONNECTIONS.min(n) {
        let (mut client, ask) = (open(), ask.clone());
        let share = n / CONNECTIONS + usize::from(worker < n % CONNECTIONS);
        workers.spawn(async move {
            let mut tally = Tally::default();
            for _ in 0..share {
                tally.add(client.ask(&ask).await);
            }
            tally
        });
    }
    let mut total = Tally::default();
    while let Some(done) = workers.join_next().await {
        match done {
            Ok(tally) => total.merge(tally),
            Err(error) => total.failures.push(error.to_string()),
        }
    }
    total.times.sort_unstable();
    total
}
