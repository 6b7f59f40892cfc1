//! HTTP connections of both versions on one port, with deadlines: a client that dawdles must not keep a descriptor for
//! ever, and many must not take them all from the proxies.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How patient an interface for people and tools is. Tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the headers of a request.
    pub(crate) headers: Duration,
    /// After this a connection is ended behind its present requests, and after as much again in any case; but not while
    /// a request keeps its [`InUse`].
    pub(crate) lifetime: Duration,
    /// At once; more wait to be accepted.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { headers: Duration::from_secs(10), lifetime: Duration::from_secs(120), connections: 256 }
    }
}

/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Headers of one request (HPACK bombs).
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// How often a quiet HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// An extension of every request: as long as a clone is kept, the connection lives beyond its usual time.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse(Arc<()>);

/// Serves until `stop`, then ends each connection behind its present request.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let serve = |stream| Some(connection(stream, router.clone(), limits, stop.clone()));
    each("an HTTP interface", listener, limits.connections, stop.clone(), serve).await;
}

/// Serves each connection by itself, no more than `most` at once, until `stop`, then waits until all have ended. `None`: a
/// connection that cannot be served now is closed.
pub(crate) async fn each<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    listener: TcpListener,
    most: usize,
    stop: CancellationToken,
    mut serve: impl FnMut(TcpStream) -> Option<F>,
) {
    let slots = Arc::new(Semaphore::new(most));
    let connections = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Some(served) = serve(stream) else { continue };
                    connections.spawn(async move {
                        served.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, for example: it passes when others leave.
                    tracing::warn!(%error, "cannot accept a connection to {what}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop.cancelled() => {}
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let version = tokio::select! {
        version = tokio::time::timeout(limits.headers, sniff(&stream)) => version,
        () = stop.cancelled() => return,
    };
    // A client that breaks off, or says nothing, is no event.
    let Ok(Ok(version)) = version else { return };
    let in_use = InUse::default();
    let service = {
        let in_use = in_use.clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(in_use.clone());
            router.clone().oneshot(request.map(Body::new))
        })
    };
    // Small messages go out at once.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    match version {
        Version::Http1 => {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.headers)
                .serve_connection(io, service);
            run(served, |served| served.graceful_shutdown(), &in_use, limits, &stop).await;
        }
        Version::Http2 => {
            let served = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEADER_BYTES)
                .keep_alive_interval(KEEPALIVE.0)
                .keep_alive_timeout(KEEPALIVE.1)
                .serve_connection(io, service);
            run(served, |served| served.graceful_shutdown(), &in_use, limits, &stop).await;
        }
    }
}

enum Version {
    Http1,
    Http2,
}

/// What the client speaks: HTTP/2 with prior knowledge begins with `PRI` (RFC 9113, 3.4), no method of HTTP/1 does.
async fn sniff(stream: &TcpStream) -> std::io::Result<Version> {
    let mut start = [0; 3];
    loop {
        let seen = stream.peek(&mut start).await?;
        match &start[..seen] {
            [] => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            b"PRI" => return Ok(Version::Http2),
            // It is there already, so that another look would not wait.
            b"P" | b"PR" => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return Ok(Version::Http1),
        }
    }
}

/// Runs a connection until it ends, asking it to after its time or at `stop`.
async fn run<C: Future>(
    served: C,
    goodbye: impl Fn(Pin<&mut C>),
    in_use: &InUse,
    limits: Limits,
    stop: &CancellationToken,
) {
    // Here and in the service.
    let idle = Arc::strong_count(&in_use.0);
    let mut served = pin!(served);
    loop {
        // A client that breaks off is no event.
        tokio::select! {
            _ = &mut served => return,
            () = tokio::time::sleep(limits.lifetime) => {
                if Arc::strong_count(&in_use.0) <= idle {
                    break;
                }
            }
            () = stop.cancelled() => break,
        }
    }
    goodbye(served.as_mut());
    let _ = tokio::time::timeout(limits.lifetime, served).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(120);

    async fn start(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        let stop = CancellationToken::new();
        (address, stop.clone(), tokio::spawn(serve(listener, router, limits, stop)))
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the end of the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn dawdling_connections_end_and_leave_their_slot() {
        let short = Duration::from_secs(2);
        let (address, stop, served) =
            start(Limits { headers: short, lifetime: PATIENCE, connections: 1 }).await;
        for (request, part) in [
            ("", ""),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: ", ""),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "here"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "here"),
        ] {
            assert!(ask(address, request).await.contains(part), "{request:?}");
        }
        stop.cancel();
        tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_long_connection_is_ended_politely() {
        let limits = Limits { lifetime: Duration::from_secs(2), ..Limits::default() };
        let (address, _stop, _served) = start(limits).await;
        assert!(ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("here"));
    }

    /// Asks over HTTP/2; the connection is told by the task that drives it, which ends with it.
    async fn connect(
        address: SocketAddr,
    ) -> (hyper::client::conn::http2::SendRequest<Body>, tokio::task::JoinHandle<()>) {
        let stream = TcpStream::connect(address).await.unwrap();
        let io = TokioIo::new(stream);
        let (client, driven) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (client, tokio::spawn(async move { drop(driven.await) }))
    }

    #[tokio::test]
    async fn a_connection_in_use_outlives_one_that_rests() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let keep = kept.clone();
        let router = Router::new().route("/", get(async || "here")).route(
            "/keep",
            get(async move |axum::Extension(in_use): axum::Extension<InUse>| {
                keep.lock().unwrap().push(in_use);
            }),
        );
        let limits = Limits { lifetime: Duration::from_secs(2), ..Limits::default() };
        let _served = tokio::spawn(serve(listener, router, limits, CancellationToken::new()));
        let ask = |path: &str| Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap();
        let (mut used, used_end) = connect(address).await;
        assert!(used.send_request(ask("/keep")).await.unwrap().status().is_success());
        // Two that rest, one behind the other: each is ended, the one in use is not.
        for _ in 0..2 {
            let (mut resting, end) = connect(address).await;
            assert!(resting.send_request(ask("/")).await.unwrap().status().is_success());
            tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
        }
        assert!(used.send_request(ask("/")).await.unwrap().status().is_success());
        kept.lock().unwrap().clear();
        tokio::time::timeout(PATIENCE, used_end).await.unwrap().unwrap();
    }
}
