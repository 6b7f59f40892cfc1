//! HTTP/1 connections with deadlines: a client that dawdles must not keep a descriptor for ever, and many must not
//! take them all from the proxies.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How patient the admin interface is. Tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the headers of a request.
    pub(super) headers: Duration,
    /// After this a connection is ended behind its present request, and after as much again in any case.
    pub(super) lifetime: Duration,
    /// At once; more wait to be accepted.
    pub(super) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { headers: Duration::from_secs(10), lifetime: Duration::from_secs(120), connections: 256 }
    }
}

/// Serves until `stop`, then ends each connection behind its present request.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(stream, router, limits, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the admin interface");
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
    let service =
        service_fn(move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    // A client that breaks off is no event.
    tokio::select! {
        _ = &mut served => return,
        () = tokio::time::sleep(limits.lifetime) => {}
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.lifetime, served).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

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
        let short = Duration::from_millis(200);
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
        let limits = Limits { lifetime: Duration::from_millis(200), ..Limits::default() };
        let (address, _stop, _served) = start(limits).await;
        assert!(ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("here"));
    }
}
