//! Connections, plain or over TLS, that can be closed from within, whatever their client does.
//!
//! Ending a gRPC stream needs the client to read; a client that does not would keep its connection and what is
//! queued for it for ever. So each connection carries a token, and cancelling it fails the next read or write. Patience
//! with a connection runs as long as no stream on it has been let in, whichever of handshake, silence or refused streams
//! that is.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tokio_rustls::Accept;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::Patience;
use crate::crowd::{Asking, Crowd, Hold, Place};
use crate::identity::Leaf;
use crate::metrics::Metrics;
use crate::rounds::{Paced, Rounds};
use crate::tls::Identity;

/// What a stream knows of its connection; an extension of its request.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Who.
    pub peer: SocketAddr,
    close: CancellationToken,
    place: Arc<Place>,
    leaf: Arc<OnceLock<Leaf>>,
    /// What the client has shown, and who is asked about it.
    shown: Arc<OnceLock<Vec<CertificateDer<'static>>>>,
    identity: Option<Identity>,
}

/// Whose connection it is; of one without any, nobody's.
pub(super) fn address(connection: Option<&ConnectionInfo>) -> IpAddr {
    connection.map_or(IpAddr::from([0; 4]), |it| it.peer.ip())
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

    /// Waits until nobody vouches any more for the certificate that the client has shown, if it has.
    pub(super) async fn disowned(&self) {
        match (&self.identity, self.shown.get()) {
            (Some(identity), Some(shown)) => identity.disowned(shown).await,
            _ => std::future::pending().await,
        }
    }

    /// Notes that a stream was opened, of which nobody knows yet whether it is let in.
    pub(super) fn ask(&self) -> Asking {
        self.place.ask()
    }

    /// Notes that a stream was let in: the connection stays as long as it does. `None`: as many stay as may.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.place.hold()
    }
}

/// What a connection is read from and written to.
enum Transport {
    Plain(Paced),
    /// The first read or write brings the handshake to its end, in the connection's own task: nobody waits for it.
    Handshake(Box<Accept<Paced>>, Arc<Metrics>),
    Tls(Box<TlsStream<Paced>>),
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
                    if let Some(shown @ [leaf, ..]) = stream.get_ref().1.peer_certificates() {
                        let _ = info.leaf.set(Leaf::new(leaf.as_ref()));
                        let _ = info.shown.set(shown.to_vec());
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
    patience: Patience,
    /// Runs while no stream is let in.
    waiting: Option<Waiting>,
}

/// How long it may go on like this.
struct Waiting {
    end: Pin<Box<Sleep>>,
    /// Not even for somebody of whom it is not yet known who he is.
    last: bool,
}

impl Connection {
    fn new(
        stream: Transport,
        peer: SocketAddr,
        place: Arc<Place>,
        close: CancellationToken,
        patience: Patience,
        identity: Option<Identity>,
    ) -> Self {
        let closed = Box::pin(close.clone().cancelled_owned());
        let (leaf, shown) = (Arc::default(), Arc::default());
        let info = ConnectionInfo { peer, close, place, leaf, shown, identity };
        Connection { stream, info, closed, patience, waiting: None }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "closed by umbra"));
        }
        if self.info.place.is_held() {
            self.waiting = None;
            return Poll::Pending;
        }
        let Patience { first_stream, first_request, .. } = self.patience;
        let sleep = |time| Box::pin(tokio::time::sleep(time));
        let waiting = self.waiting.get_or_insert_with(|| Waiting { end: sleep(first_stream), last: false });
        loop {
            ready!(waiting.end.as_mut().poll(cx));
            if waiting.last || !self.info.place.is_asking() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "no stream was let in"));
            }
            // For its first request, and for what it names to be seen.
            *waiting = Waiting { end: sleep(2 * first_request), last: true };
        }
    }
}

/// Fails when the connection should end.
fn go_on(end: Poll<io::Error>) -> io::Result<()> {
    match end {
        Poll::Ready(error) => Err(error),
        Poll::Pending => Ok(()),
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
        go_on(self.poll_end(cx))?;
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    // Also here: a handshake that hangs is driven by what should be written, and a client that takes nothing is not read.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        go_on(self.poll_end(cx))?;
        let Self { stream, info, .. } = &mut *self;
        ready!(stream.poll_ready(info, cx))?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        go_on(self.poll_end(cx))?;
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
        go_on(self.poll_end(cx))?;
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

/// The connections that a listener accepts, each a child of `close`: cancelling that closes them all. None waits for a
/// place in the `crowd`; those who have one may have to give way.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<(Identity, Arc<Metrics>)>,
    crowd: Crowd,
    close: CancellationToken,
    patience: Patience,
) -> impl Stream<Item = io::Result<Connection>> {
    let state = (listener, tls, crowd, close, Rounds::default());
    futures::stream::unfold(state, move |(listener, tls, crowd, close, mut rounds)| async move {
        loop {
            match rounds.beside(listener.accept()).await {
                Ok((stream, peer)) => {
                    // Small messages go out at once.
                    let _ = stream.set_nodelay(true);
                    // What its system does not acknowledge in time, nobody reads: also with room left in HTTP/2's windows.
                    let unread = u32::try_from(patience.slow_reader.as_millis()).unwrap_or(u32::MAX);
                    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, unread);
                    let gives_way = close.child_token();
                    let place = crowd.enter(peer.ip(), gives_way.clone());
                    let stream = rounds.enter(stream, peer.ip(), place.clone());
                    let identity = tls.as_ref().map(|(identity, _)| identity.clone());
                    let stream = match &tls {
                        None => Transport::Plain(stream),
                        Some((identity, metrics)) => {
                            let handshake = identity.acceptor().accept(stream);
                            Transport::Handshake(Box::new(handshake), metrics.clone())
                        }
                    };
                    let connection = Connection::new(stream, peer, place, gives_way, patience, identity);
                    return Some((Ok(connection), (listener, tls, crowd, close, rounds)));
                }
                Err(error) => {
                    // Out of file descriptors, for example: it passes when others leave.
                    tracing::warn!(%error, "cannot accept a connection");
                    rounds.beside(tokio::time::sleep(Duration::from_millis(100))).await;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::crowd::Room;
    use crate::tls::TlsFiles;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(5);

    fn crowd(idle: usize) -> Crowd {
        Crowd::new("test", Room::alone(idle, idle, 1), Counter::default())
    }

    fn patience(first_stream: Duration) -> Patience {
        Patience { first_stream, first_request: LONG, ..Patience::default() }
    }

    async fn pair(patience: Patience) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut incoming = Box::pin(incoming(listener, None, crowd(1), CancellationToken::new(), patience));
        (incoming.next().await.unwrap().unwrap(), client)
    }

    #[tokio::test]
    async fn a_waiting_read_ends_when_the_connection_is_closed() {
        let (mut connection, _client) = pair(patience(LONG)).await;
        let info = connection.connect_info();
        let read = tokio::spawn(async move { connection.read_u8().await });
        info.close();
        assert_eq!(read.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    /// How a read ends of a connection that is used like this.
    async fn end<T>(first_request: Duration, usage: impl FnOnce(&ConnectionInfo) -> T) -> io::ErrorKind {
        let (mut connection, _client) = pair(Patience { first_request, ..patience(SHORT) }).await;
        let _kept = usage(&connection.connect_info());
        let read = tokio::time::timeout(20 * SHORT, connection.read_u8());
        read.await.map_or(io::ErrorKind::WouldBlock, |read| read.unwrap_err().kind())
    }

    #[tokio::test]
    async fn patience_runs_while_no_stream_is_let_in() {
        let (out_of_it, stays) = (io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock);
        assert_eq!(end(LONG, |_| ()).await, out_of_it, "silence");
        assert_eq!(end(LONG, |info| info.hold().unwrap()).await, stays, "a stream");
        assert_eq!(end(LONG, |info| drop(info.hold())).await, out_of_it, "a stream that has ended");
        assert_eq!(end(LONG, |info| drop(info.ask())).await, out_of_it, "a stream that was refused");
        assert_eq!(end(LONG, ConnectionInfo::ask).await, stays, "a stream that is looked at");
        assert_eq!(end(SHORT, ConnectionInfo::ask).await, out_of_it, "but not for ever");
    }

    /// hyper writes its settings before it reads anything.
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
        for (said, first_stream, kind, failures) in [
            ("", SHORT, io::ErrorKind::TimedOut, 0),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", LONG, io::ErrorKind::InvalidData, 1),
        ] {
            for writes in [false, true] {
                let metrics = Arc::new(Metrics::default());
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                client.write_all(said.as_bytes()).await.unwrap();
                let tls = Some((identity.clone(), metrics.clone()));
                let close = CancellationToken::new();
                let mut incoming = Box::pin(incoming(listener, tls, crowd(1), close, patience(first_stream)));
                let mut connection = incoming.next().await.unwrap().unwrap();
                let error = match writes {
                    false => connection.read_u8().await.map(|_| ()),
                    true => connection.write_all(b"settings").await,
                };
                assert_eq!(error.unwrap_err().kind(), kind, "{said:?}, writes: {writes}");
                assert_eq!(metrics.tls_handshake_failures.get(), failures, "{said:?}");
            }
        }
    }

    #[tokio::test]
    async fn closing_the_parent_closes_every_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let close = CancellationToken::new();
        let mut incoming = Box::pin(incoming(listener, None, crowd(1), close.clone(), patience(LONG)));
        let _client = TcpStream::connect(address).await.unwrap();
        let mut connection = incoming.next().await.unwrap().unwrap();
        close.cancel();
        assert!(connection.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming =
            Box::pin(incoming(listener, None, crowd(1), CancellationToken::new(), patience(LONG)));
        let mut clients = Vec::new();
        for client in [b'a', b'b'] {
            clients.push(TcpStream::connect(address).await.unwrap());
            clients.last_mut().unwrap().write_all(&[client]).await.unwrap();
        }
        let mut first = incoming.next().await.unwrap().unwrap();
        let mut second = incoming.next().await.unwrap().unwrap();
        assert_eq!(first.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(second.read_u8().await.unwrap(), b'b');
    }
}
