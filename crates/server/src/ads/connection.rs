//! Connections, plain or over TLS, that can be closed from within, whatever their client does.
//!
//! Ending a gRPC stream needs the client to read; a client that does not would keep its connection and what is
//! queued for it for ever. So each connection carries a token, and cancelling it fails the next read.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::identity::Leaf;
use crate::metrics::Metrics;
use crate::tls::Identity;

/// What a stream knows of its connection; an extension of its request.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Who.
    pub peer: SocketAddr,
    close: CancellationToken,
    used: Arc<AtomicBool>,
    leaf: Arc<OnceLock<Leaf>>,
}

impl ConnectionInfo {
    /// Closes the connection at once, with all its streams.
    pub fn close(&self) {
        self.close.cancel();
    }

    /// The client's certificate, once there was a handshake in which it showed one.
    pub fn leaf(&self) -> Option<&Leaf> {
        self.leaf.get()
    }

    /// Notes that a stream was opened: the connection may stay.
    pub fn use_it(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

/// What a connection is read from and written to.
enum Transport {
    Plain(TcpStream),
    /// The first read or write brings the handshake to its end, in the connection's own task: nobody waits for it.
    Handshake(Box<Accept<TcpStream>>, Arc<Metrics>),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Dead,
}

/// What the bytes go through once there is no handshake any more.
trait Channel: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel for T {}

impl Transport {
    fn poll_ready(
        &mut self,
        info: &ConnectionInfo,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut dyn Channel>>> {
        if let Transport::Handshake(accept, metrics) = self {
            match Pin::new(&mut **accept).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    if let Some(leaf) = shown {
                        let _ = info.leaf.set(Leaf::new(leaf.as_ref()));
                    }
                    *self = Transport::Tls(Box::new(stream));
                }
                Poll::Ready(Err(error)) => {
                    // Also what a port scanner causes: counted, and told to whoever looks into it.
                    metrics.tls_handshake_failures.inc();
                    tracing::debug!(peer = %info.peer, %error, "no TLS connection");
                    *self = Transport::Dead;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match self {
            Transport::Plain(stream) => Ok(Pin::new(stream)),
            Transport::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Transport::Handshake(..) | Transport::Dead => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

/// A connection that can be closed.
pub(super) struct Connection {
    stream: Transport,
    info: ConnectionInfo,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    patience: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: Transport,
        peer: SocketAddr,
        slot: OwnedSemaphorePermit,
        parent: &CancellationToken,
        patience: Duration,
    ) -> Self {
        let close = parent.child_token();
        let closed = Box::pin(close.clone().cancelled_owned());
        let info = ConnectionInfo { peer, close, used: Arc::default(), leaf: Arc::default() };
        let patience = Some(Box::pin(tokio::time::sleep(patience)));
        Connection { stream, info, closed, patience, _slot: slot }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "closed by umbra"));
        }
        let used = self.info.used.load(Ordering::Relaxed);
        if used {
            self.patience = None;
        }
        let out_of_patience = self.patience.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready());
        if out_of_patience {
            return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "no stream was opened"));
        }
        Poll::Pending
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_end(cx) {
            return Poll::Ready(Err(error));
        }
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, info, .. } = &mut *self;
        match stream {
            // There is nothing to say goodbye to.
            Transport::Handshake(..) | Transport::Dead => Poll::Ready(Ok(())),
            stream => ready!(stream.poll_ready(info, cx))?.poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
            // It is asked once, before the handshake; TLS gathers what it is given.
            Transport::Handshake(..) | Transport::Dead => true,
        }
    }
}

/// The connections that a listener accepts, each a child of `close`: cancelling that closes them all. Each has
/// `patience` to open its first stream, a TLS handshake included, and one of the `slots`.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<(Identity, Arc<Metrics>)>,
    slots: Arc<Semaphore>,
    close: CancellationToken,
    patience: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold((listener, tls, slots, close), move |(listener, tls, slots, close)| async move {
        loop {
            // The semaphore is never closed.
            let slot = slots.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Small messages go out at once.
                    let _ = stream.set_nodelay(true);
                    let stream = match &tls {
                        None => Transport::Plain(stream),
                        Some((identity, metrics)) => {
                            let handshake = identity.acceptor().accept(stream);
                            Transport::Handshake(Box::new(handshake), metrics.clone())
                        }
                    };
                    let connection = Connection::new(stream, peer, slot, &close, patience);
                    if slots.available_permits() == 0 {
                        tracing::warn!("proxies have every connection that they may have; others wait");
                    }
                    return Some((Ok(connection), (listener, tls, slots, close)));
                }
                Err(error) => {
                    // Out of file descriptors, for example: it passes when others leave.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::tls::TlsFiles;

    const LONG: Duration = Duration::from_secs(60);

    fn slots(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    async fn pair(patience: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let slot = slots(1).acquire_owned().await.unwrap();
        let close = CancellationToken::new();
        (Connection::new(Transport::Plain(stream), peer, slot, &close, patience), client)
    }

    #[tokio::test]
    async fn a_waiting_read_ends_when_the_connection_is_closed() {
        let (mut connection, _client) = pair(LONG).await;
        let info = connection.connect_info();
        let read = tokio::spawn(async move { connection.read_u8().await });
        info.close();
        assert_eq!(read.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_connection_without_a_stream_is_closed_and_one_with_a_stream_is_not() {
        let (mut connection, _client) = pair(Duration::from_millis(1)).await;
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut connection, client) = pair(Duration::from_millis(1)).await;
        connection.connect_info().use_it();
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(client);
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_handshake_that_fails_or_dawdles_ends_the_connection() {
        if !umbra_testkit::gate::require_openssl() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let authority = umbra_testkit::tls::Authority::make(folder.path(), "ca").unwrap();
        let issued = authority.issue("umbra", "DNS:umbra").unwrap();
        let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_authority: None };
        let identity = Identity::load(&files).unwrap();
        for (said, patience, kind, failures) in [
            ("", Duration::from_millis(1), io::ErrorKind::TimedOut, 0),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", LONG, io::ErrorKind::InvalidData, 1),
        ] {
            let metrics = Arc::new(Metrics::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            let tls = Some((identity.clone(), metrics.clone()));
            let mut incoming =
                Box::pin(incoming(listener, tls, slots(1), CancellationToken::new(), patience));
            let mut connection = incoming.next().await.unwrap().unwrap();
            assert_eq!(connection.read_u8().await.unwrap_err().kind(), kind, "{said:?}");
            assert_eq!(metrics.tls_handshake_failures.get(), failures, "{said:?}");
        }
    }

    #[tokio::test]
    async fn closing_the_parent_closes_every_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let close = CancellationToken::new();
        let mut incoming = Box::pin(incoming(listener, None, slots(1), close.clone(), LONG));
        let _client = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        close.cancel();
        assert!(connection.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn beyond_the_slots_a_connection_waits_for_another_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Box::pin(incoming(listener, None, slots(1), CancellationToken::new(), LONG));
        let mut clients = Vec::new();
        for client in [b'a', b'b'] {
            clients.push(TcpStream::connect(address).await.unwrap());
            clients.last_mut().unwrap().write_all(&[client]).await.unwrap();
        }
        let mut first = incoming.next().await.unwrap().unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'a');
        assert!(futures::poll!(incoming.next()).is_pending());
        drop(first);
        assert_eq!(incoming.next().await.unwrap().unwrap().read_u8().await.unwrap(), b'b');
    }
}
