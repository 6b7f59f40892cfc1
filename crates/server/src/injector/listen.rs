//! The webhook's port: TLS with the newest certificate, deadlines, and no more connections than an API server makes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, error};
use umbra_source::kubernetes::Pair;

use super::From;
use crate::crowd::{Crowd, Room};
use crate::listen::{self, Accepted};

/// For a handshake, and for the headers of a request.
const BEGIN: Duration = Duration::from_secs(5);
/// After this a connection is ended behind its present requests; API servers keep theirs, and make others.
const LIFETIME: Duration = Duration::from_secs(300);
/// Connections at once; beyond these the oldest gives way.
const CONNECTIONS: usize = 256;
/// Of these, those of one address: an API server keeps a few.
const CONNECTIONS_OF_ONE: usize = 32;
/// Streams of one HTTP/2 connection: an API server asks for many Pods at once.
const STREAMS: u32 = 100;
/// Headers of one request (HPACK bombs).
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What a client may send before it must wait, on a stream and on all of a connection; and the largest head over HTTP/1.
const WINDOW: u32 = 64 << 10;

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    pair: watch::Receiver<Option<Pair>>,
    gave_way: Counter,
    stop: CancellationToken,
) {
    let mut identity = Identity { pair, acceptor: None };
    let crowd = Crowd::new("injector", Room::alone(CONNECTIONS, CONNECTIONS_OF_ONE, 0), gave_way);
    let serve = |accepted| Some(connection(accepted, identity.newest()?, router.clone(), stop.clone()));
    listen::each("the injector", listener, crowd, stop.clone(), serve).await;
}

/// The certificate in force. A connection keeps the one it began with.
struct Identity {
    pair: watch::Receiver<Option<Pair>>,
    acceptor: Option<TlsAcceptor>,
}

impl Identity {
    /// `None` as long as there is none.
    fn newest(&mut self) -> Option<TlsAcceptor> {
        if self.acceptor.is_none() || self.pair.has_changed().unwrap_or_default() {
            let pair = self.pair.borrow_and_update().clone()?;
            match config(&pair) {
                Ok(config) => self.acceptor = Some(TlsAcceptor::from(config)),
                Err(why) => error!(why = format!("{why:#}"), "the injector's certificate cannot be used"),
            }
        }
        self.acceptor.clone()
    }
}

/// A server's side of TLS with this certificate.
///
/// # Errors
/// It cannot be used; the words do not quote it.
pub(crate) fn config(pair: &Pair) -> anyhow::Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let chain = chain.ok().context("tls.crt is not PEM")?;
    let key =
        PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).ok().context("tls.key is no key in PEM form")?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn connection(accepted: Accepted, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let Accepted { stream, place, peer } = accepted;
    let stream = match timeout(BEGIN, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "a TLS handshake with the injector failed"),
        Err(_) => return,
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(From(peer));
        let asking = place.ask();
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let _asking = asking;
            answer.await
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(BEGIN).max_buf_size(WINDOW as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Duration::from_secs(30));
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    // A client that breaks off is no event.
    tokio::select! {
        _ = &mut served => return,
        () = tokio::time::sleep(LIFETIME) => {}
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = timeout(BEGIN, served).await;
}
