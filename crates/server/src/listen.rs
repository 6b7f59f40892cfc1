//! HTTP connections of both versions on one port, in plaintext or over TLS, with deadlines: a client that dawdles must not keep
//! a descriptor for ever, and many must not take them all from the proxies, nor from each other: see [`crate::crowd`].

use std::net::IpAddr;
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
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::crowd::{Crowd, Hold, Place, Room};
use crate::rounds::{Paced, Rounds};
use crate::tls::Identity;

/// How patient an interface for people and tools is. Tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the headers of a request.
    pub(crate) headers: Duration,
    /// After this a connection is ended behind its present requests, and after as much again in any case; but not while
    /// it is held.
    pub(crate) lifetime: Duration,
    /// Connections that are not held, at once; beyond these the oldest gives way.
    pub(crate) connections: usize,
    /// Of these, those of one address.
    pub(crate) of_one: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (headers, lifetime) = (Duration::from_secs(10), Duration::from_secs(120));
        Limits { headers, lifetime, connections: 256, of_one: 192 }
    }
}

/// Connections that are held: those of watches.
const HELD: usize = 64;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Streams that are refused beyond these, and what else breaks the rules of one stream, before a connection is closed: whoever
/// keeps to how many streams it was told that it may have has none.
pub(crate) const MAX_REFUSED: usize = 100;
/// Headers of one request (HPACK bombs).
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What a client may send before it must wait, on a stream and on all of an HTTP/2 connection; and the largest head of
/// a request over HTTP/1.
const WINDOW: u32 = 64 << 10;
/// How often a quiet HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// A port.
pub(crate) struct Port {
    /// Its name, for those who tell of it.
    pub(crate) name: &'static str,
    /// Counts connections that gave way.
    pub(crate) gave_way: Counter,
    /// What clients are shown who begin TLS, beside those who do not; `None`: there is no TLS.
    pub(crate) identity: Option<Identity>,
    /// Nobody is served who has not shown a certificate that `identity` believes.
    pub(crate) proven: bool,
}

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    /// In plaintext.
    Plain,
    /// Over TLS.
    Tls {
        /// From one who shows this umbra's own certificate.
        replica: bool,
    },
}

/// An extension of every request: by whom, how, and a way to keep the connection beyond its usual time.
#[derive(Clone, Debug)]
pub(crate) struct InUse {
    place: Arc<Place>,
    /// Who asks.
    pub(crate) peer: IpAddr,
    /// How.
    pub(crate) transport: Transport,
}

impl InUse {
    /// Keeps the connection; `None`: as many are kept as may be.
    pub(crate) fn keep(&self) -> Option<Hold> {
        self.place.hold()
    }
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    /// Its bytes, in their turn.
    pub(crate) stream: Paced,
    /// Who.
    pub(crate) peer: IpAddr,
    /// Where it stands among the others of the port.
    pub(crate) place: Arc<Place>,
}

/// Serves until `stop`, then ends each connection behind its present request.
pub(crate) async fn serve(
    Port { name, gave_way, identity, proven }: Port,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let crowd = Crowd::new(name, Room::alone(limits.connections, limits.of_one, HELD), gave_way);
    let door = Door { identity, proven };
    let serve = |accepted| Some(connection(accepted, router.clone(), limits, door.clone(), stop.clone()));
    each(name, listener, crowd, stop.clone(), serve).await;
}

/// Serves each connection by itself, with as much room as a crowd has, until `stop`, then waits until all have ended. `None`: a
/// connection that cannot be served now is closed.
pub(crate) async fn each<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    listener: TcpListener,
    crowd: Crowd,
    stop: CancellationToken,
    mut serve: impl FnMut(Accepted) -> Option<F>,
) {
    let connections = TaskTracker::new();
    let mut rounds = Rounds::default();
    let accept = async {
        loop {
            match rounds.beside(listener.accept()).await {
                Ok((stream, peer)) => {
                    let gives_way = CancellationToken::new();
                    let place = crowd.enter(peer.ip(), gives_way.clone());
                    // Small messages go out at once.
                    let _ = stream.set_nodelay(true);
                    let stream = rounds.enter(stream, peer.ip(), place.clone());
                    let accepted = Accepted { stream, peer: peer.ip(), place };
                    let Some(served) = serve(accepted) else { continue };
                    connections.spawn(async move {
                        tokio::select! {
                            () = served => {}
                            () = gives_way.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, for example: it passes when others leave.
                    tracing::warn!(%error, "cannot accept a connection to {what}");
                    rounds.beside(tokio::time::sleep(Duration::from_millis(100))).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop.cancelled() => {}
    }
    drop(rounds);
    connections.close();
    connections.wait().await;
}

/// How connections of a port begin.
#[derive(Clone)]
struct Door {
    identity: Option<Identity>,
    proven: bool,
}

async fn connection(accepted: Accepted, router: Router, limits: Limits, door: Door, stop: CancellationToken) {
    let Accepted { stream, peer, place } = accepted;
    let begun = tokio::select! {
        begun = tokio::time::timeout(limits.headers, begin(stream, door)) => begun,
        () = stop.cancelled() => return,
    };
    // A client that breaks off, or says nothing, is no event.
    let Ok(Ok(Begun { stream, version, transport })) = begun else { return };
    let service = {
        let in_use = InUse { place: place.clone(), peer, transport };
        service_fn(move |mut request: Request<Incoming>| {
            let asking = in_use.place.ask();
            request.extensions_mut().insert(in_use.clone());
            let answer = router.clone().oneshot(request.map(Body::new));
            async move {
                let _asking = asking;
                answer.await
            }
        })
    };
    let io = TokioIo::new(stream);
    match version {
        Version::Http1 => {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.headers)
                .max_buf_size(WINDOW as usize)
                .serve_connection(io, service);
            run(served, |served| served.graceful_shutdown(), &place, limits, &stop).await;
        }
        Version::Http2 => {
            let served = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_local_error_reset_streams(MAX_REFUSED)
                .max_header_list_size(MAX_HEADER_BYTES)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .keep_alive_interval(KEEPALIVE.0)
                .keep_alive_timeout(KEEPALIVE.1)
                .serve_connection(io, service);
            run(served, |served| served.graceful_shutdown(), &place, limits, &stop).await;
        }
    }
}

/// What a request is read from and answered on.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of which it is known what is spoken on it.
struct Begun {
    stream: Box<dyn Stream>,
    version: Version,
    transport: Transport,
}

/// Finds out what a client speaks, and greets it.
async fn begin(stream: Paced, Door { identity, proven }: Door) -> std::io::Result<Begun> {
    let version = match (sniff(stream.get_ref()).await?, identity) {
        (Opening::Http(_), _) if proven => return Err(std::io::ErrorKind::PermissionDenied.into()),
        (Opening::Http(version), _) => version,
        (Opening::Tls, Some(identity)) if proven => {
            let stream = identity.acceptor().accept(stream).await?;
            let (version, transport) = (Version::Http2, Transport::Tls { replica: false });
            return Ok(Begun { stream: Box::new(stream), version, transport });
        }
        (Opening::Tls, Some(identity)) => return handshake(stream, &identity).await,
        // It will say that this is none.
        (Opening::Tls, None) => Version::Http1,
    };
    Ok(Begun { stream: Box::new(stream), version, transport: Transport::Plain })
}

async fn handshake(stream: Paced, identity: &Identity) -> std::io::Result<Begun> {
    // Until there is a certificate, clients come again.
    let replicas = identity.replicas().ok_or(std::io::ErrorKind::ConnectionRefused)?;
    let stream = TlsAcceptor::from(replicas.server.clone()).accept(stream).await?;
    let session = stream.get_ref().1;
    let replica = session.peer_certificates().is_some_and(|shown| replicas.are(shown));
    let version = if session.alpn_protocol() == Some(b"h2") { Version::Http2 } else { Version::Http1 };
    Ok(Begun { stream: Box::new(stream), version, transport: Transport::Tls { replica } })
}

enum Version {
    Http1,
    Http2,
}

/// What a connection begins with.
enum Opening {
    Http(Version),
    Tls,
}

/// What the client speaks: a record of TLS begins with 22 (RFC 8446, 5.1), HTTP/2 with prior knowledge with `PRI` (RFC 9113,
/// 3.4); no method of HTTP/1 does.
async fn sniff(stream: &TcpStream) -> std::io::Result<Opening> {
    let mut start = [0; 3];
    loop {
        let seen = stream.peek(&mut start).await?;
        match &start[..seen] {
            [] => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            [22, ..] => return Ok(Opening::Tls),
            b"PRI" => return Ok(Opening::Http(Version::Http2)),
            // It is there already, so that another look would not wait.
            b"P" | b"PR" => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return Ok(Opening::Http(Version::Http1)),
        }
    }
}

/// Runs a connection until it ends, asking it to after its time or at `stop`.
async fn run<C: Future>(
    served: C,
    goodbye: impl Fn(Pin<&mut C>),
    place: &Place,
    limits: Limits,
    stop: &CancellationToken,
) {
    let mut served = pin!(served);
    loop {
        // A client that breaks off is no event.
        tokio::select! {
            _ = &mut served => return,
            () = tokio::time::sleep(limits.lifetime) => {
                if !place.is_held() {
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
        let port = Port { name: "test", gave_way: Counter::default(), identity: None, proven: false };
        (address, stop.clone(), tokio::spawn(serve(port, listener, router, limits, stop)))
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
            start(Limits { headers: short, lifetime: PATIENCE, connections: 1, of_one: 1 }).await;
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
                keep.lock().unwrap().push(in_use.keep().unwrap());
            }),
        );
        let limits = Limits { lifetime: Duration::from_secs(2), ..Limits::default() };
        let port = Port { name: "test", gave_way: Counter::default(), identity: None, proven: false };
        let _served = tokio::spawn(serve(port, listener, router, limits, CancellationToken::new()));
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

    #[tokio::test]
    async fn whoever_dawdles_gives_way() {
        let limits = Limits { headers: PATIENCE, connections: 2, of_one: 2, ..Limits::default() };
        let (address, _stop, _served) = start(limits).await;
        let mut crowd = Vec::new();
        for said in ["", "GET / HTTP/1.1\r\nHost: ", "", "PRI * HTTP/2.0\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            crowd.push(stream);
        }
        let asked = ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(asked.contains("here"), "{asked}");
        let mut nothing = Vec::new();
        let end = crowd[0].read_to_end(&mut nothing);
        let _ = tokio::time::timeout(PATIENCE, end).await.expect("the first has given way");
    }
}
