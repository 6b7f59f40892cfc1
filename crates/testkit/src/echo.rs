//! An HTTP service that records every request and answers with what it got, in HTTP/1.1 or HTTP/2 without TLS.
//! `/headers` and `/index` answer as the services of the user documents do (httpbin, a small Go program).

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_64;

use crate::net::Net;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Record {
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The request's method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The `Host` header, or HTTP/2's `:authority`.
    pub host: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Length of the body in bytes.
    pub body_length: usize,
    /// XXH3 of the body, to compare two copies.
    pub body_hash: u64,
    /// When the whole request had arrived.
    pub at: Instant,
}

impl Record {
    /// A header's value, empty when it is absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// How the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 200 at once.
    Normal,
    /// Takes the request and never answers.
    Hang,
    /// 200 after a while.
    Delay(Duration),
    /// This status at once.
    Status(u16),
    /// 500 to one of so many requests, 200 to the others, at once.
    FailOneOf(usize),
    /// A wrong price in the `/order` of one of so many requests, all else at once.
    WrongOneOf(usize),
    /// Answers with this status and a part of the body, and breaks off.
    Cut(u16),
    /// Takes the request and breaks off: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    Break,
}

/// A running echo service; it ends on drop.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    name: String,
    mode: Mutex<Mode>,
    records: Mutex<Vec<Record>>,
    log: Option<fn(&str, &str)>,
}

impl Echo {
    /// Starts the service called `name` (its version in the answers) at `address` in `net`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(net: &Net, name: &str, address: SocketAddr) -> Result<Self> {
        Self::with_log(net, name, address, None)
    }

    /// As [`Echo::start`]; `log` gets the service's name and an access log line for every request, in the form
    /// of gunicorn, which the documents show.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn with_log(net: &Net, name: &str, address: SocketAddr, log: Option<fn(&str, &str)>) -> Result<Self> {
        let listener = net.listen(address)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            name: name.to_owned(),
            mode: Mutex::new(Mode::Normal),
            records: Mutex::default(),
            log,
        });
        let accepting = tokio::spawn(accept(listener, state.clone()));
        Ok(Self { address, state, accepting })
    }

    /// The name in its answers.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers this way from now on.
    pub fn set_mode(&self, mode: Mode) {
        *held(&self.state.mode) = mode;
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        held(&self.state.records).len()
    }

    /// The requests that have arrived.
    pub fn records(&self) -> Vec<Record> {
        held(&self.state.records).clone()
    }

    /// The requests that have arrived, which are forgotten.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut held(&self.state.records))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A lock that a failed test has poisoned is still good for the others.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is dropped, and every connection with it: a service that is gone answers nobody.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| serve(state.clone(), peer, request));
            // A client that goes away is no error of the service.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The body of an answer, whole or the beginning of one.
struct Sent {
    rest: Option<Bytes>,
    /// What follows never comes.
    cut: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(match self.rest.take() {
            Some(text) => Some(Ok(Frame::data(text))),
            None if self.cut => Some(Err(std::io::ErrorKind::ConnectionReset.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(text) if !self.cut => SizeHint::with_exact(text.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

async fn serve(
    state: Arc<State>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Sent>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let authority = head.uri.authority().map(|a| a.as_str().to_owned());
    let host = head.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let record = Record {
        version: head.version,
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        host: host.or(authority).unwrap_or_default(),
        method: head.method,
        headers: head.headers,
        body_length: body.len(),
        body_hash: xxh3_64(&body),
        at: Instant::now(),
    };
    let nth = {
        let mut records = held(&state.records);
        records.push(record.clone());
        records.len()
    };
    let mode = match *held(&state.mode) {
        Mode::FailOneOf(many) if nth.is_multiple_of(many) => Mode::Status(500),
        Mode::WrongOneOf(many) if !nth.is_multiple_of(many) => Mode::Normal,
        mode => mode,
    };
    match mode {
        Mode::Normal | Mode::Status(_) | Mode::Cut(_) | Mode::FailOneOf(_) | Mode::WrongOneOf(_) => {}
        Mode::Hang => std::future::pending().await,
        Mode::Delay(time) => tokio::time::sleep(time).await,
        Mode::Break => return Err(std::io::ErrorKind::ConnectionReset.into()),
    }
    let (status, kind, text) = answer(&state.name, mode, &record).await;
    if let Some(log) = state.log {
        log(&state.name, &access_line(peer, &record, status, text.len()));
    }
    let mut response = Response::new(Sent { rest: Some(text.into()), cut: matches!(mode, Mode::Cut(_)) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    if let Ok(name) = http::HeaderValue::from_str(&state.name) {
        headers.insert(crate::client::SERVED_BY, name);
    }
    Ok(response)
}

/// Status, content type and text of the answer.
async fn answer(name: &str, mode: Mode, record: &Record) -> (StatusCode, &'static str, String) {
    const JSON: &str = "application/json";
    let headers: serde_json::Map<_, _> = record
        .headers
        .iter()
        .map(|(name, value)| (title_case(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let path = record.path.split('?').next().unwrap_or_default();
    let mut status = match mode {
        Mode::Status(code) | Mode::Cut(code) => {
            StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        _ => StatusCode::OK,
    };
    let value = match path.split('/').collect::<Vec<_>>()[..] {
        ["", "headers"] => serde_json::json!({ "headers": headers }),
        ["", "index"] => return (status, "text/plain", "index".to_owned()),
        // With what is another in each answer, as most have.
        ["", "order"] => serde_json::json!({
            "id": record.at.elapsed().as_nanos().to_string(),
            "time": jiff::Timestamp::now(),
            "currency": "EUR",
            "items": [{ "name": "a", "price": if matches!(mode, Mode::WrongOneOf(_)) { 1 } else { 100 } }],
        }),
        ["", "bytes", bytes] => {
            let bytes = bytes.parse().unwrap_or_default();
            return (status, JSON, "1".repeat(usize::min(bytes, 64 << 20)));
        }
        _ => {
            if let Some(Ok(code)) = path.strip_prefix("/status/").map(str::parse) {
                status = code;
            }
            if let Some(Ok(seconds)) = path.strip_prefix("/delay/").map(str::parse) {
                tokio::time::sleep(Duration::from_secs_f64(f64::clamp(seconds, 0.0, 10.0))).await;
            }
            serde_json::json!({
                "version": name,
                "method": record.method.as_str(),
                "path": record.path,
                "host": record.host,
                "headers": headers,
                "bodyLength": record.body_length,
            })
        }
    };
    (status, JSON, format!("{value:#}\n"))
}

/// `user-agent` is shown as `User-Agent`, as httpbin does.
fn title_case(name: &str) -> String {
    let words =
        name.split('-').map(|word| word.get(..1).map_or(String::new(), |a| a.to_uppercase() + &word[1..]));
    words.collect::<Vec<_>>().join("-")
}

/// `127.0.0.1 - - [07/Mar/2018:19:26:44 +0000] "GET /headers HTTP/1.1" 200 361 "-" "curl/7.35.0"`
fn access_line(peer: SocketAddr, record: &Record, status: StatusCode, length: usize) -> String {
    let time = jiff::Timestamp::now().strftime("%d/%b/%Y:%H:%M:%S +0000");
    let or_dash = |name| Some(record.header(name)).filter(|v| !v.is_empty()).unwrap_or("-").to_owned();
    let (ip, method, path, version) = (peer.ip(), &record.method, &record.path, record.version);
    let (code, referer, agent) = (status.as_u16(), or_dash("referer"), or_dash("user-agent"));
    format!("{ip} - - [{time}] \"{method} {path} {version:?}\" {code} {length} \"{referer}\" \"{agent}\"")
}
