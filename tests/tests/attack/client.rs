//! An xDS client that does only what it is told to: HTTP/2 frames of a test's choice.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use umbra_proto::google::protobuf::{Struct, Value, value::Kind};
use umbra_testkit::tls::Authority;

/// An HTTP/2 connection.
pub(crate) struct Peer {
    requests: SendRequest<Bytes>,
    driven: JoinHandle<()>,
}

/// A stream of delta ADS.
pub(crate) struct Ads {
    pub(crate) out: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
    rest: BytesMut,
}

/// Connects from an address.
pub(crate) async fn tcp(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// What trusts an authority and speaks HTTP/2.
pub(crate) fn trusting(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.certificate()).expect("a certificate"))
        .expect("a root");
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl Peer {
    /// Connects, over TLS when there is somebody to trust.
    pub(crate) async fn connect(
        from: Ipv4Addr,
        to: SocketAddr,
        tls: Option<&TlsConnector>,
    ) -> io::Result<Self> {
        Self::with(from, to, tls, &Builder::new()).await
    }

    /// The same with other settings of HTTP/2.
    pub(crate) async fn with(
        from: Ipv4Addr,
        to: SocketAddr,
        tls: Option<&TlsConnector>,
        settings: &Builder,
    ) -> io::Result<Self> {
        let stream = tcp(from, to).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => Self::over(stream, settings).await,
            Some(tls) => {
                let name = ServerName::try_from("umbra").expect("a name");
                Self::over(tls.connect(name, stream).await?, settings).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        settings: &Builder,
    ) -> io::Result<Self> {
        let (requests, connection) = settings.handshake(stream).await.map_err(io::Error::other)?;
        let driven = tokio::spawn(async move { drop(connection.await) });
        Ok(Peer { requests, driven })
    }

    /// Opens a stream of delta ADS.
    pub(crate) async fn open(&self) -> io::Result<Ads> {
        self.call("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources").await
    }

    /// Calls a method of gRPC.
    pub(crate) async fn call(&self, method: &str) -> io::Result<Ads> {
        let request = http::Request::post(format!("http://umbra.localhost{method}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let (answer, out) = requests.send_request(request, false).map_err(io::Error::other)?;
        Ok(Ads { out, answer: Some(answer), body: None, rest: BytesMut::new() })
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(self) {
        // As long as somebody may ask, it goes on.
        let Peer { requests, driven } = self;
        let _ = driven.await;
        drop(requests);
    }
}

impl Ads {
    /// Sends a message.
    pub(crate) async fn say(&mut self, message: &impl Message) -> io::Result<()> {
        self.send(framed(message)).await
    }

    /// Sends bytes, as the other side takes them.
    pub(crate) async fn send(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            self.out.reserve_capacity(data.len());
            let room = std::future::poll_fn(|cx| self.out.poll_capacity(cx)).await;
            let room = room.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
            let part = data.split_to(room.min(data.len()));
            self.out.send_data(part, false).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Says that nothing more will be said.
    pub(crate) fn finish(&mut self) {
        let _ = self.out.send_data(Bytes::new(), true);
    }

    /// The next response; `None` when the stream has ended.
    pub(crate) async fn response(&mut self) -> io::Result<Option<DeltaDiscoveryResponse>> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(Some(message));
            }
            let Some(data) = self.data().await? else { return Ok(None) };
            self.rest.extend_from_slice(&data);
        }
    }

    /// The next bytes; `None` when the stream has ended. They count as read.
    pub(crate) async fn data(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(answer) = self.answer.take() {
            self.body = Some(answer.await.map_err(io::Error::other)?.into_body());
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        let Some(data) = body.data().await.transpose().map_err(io::Error::other)? else { return Ok(None) };
        let _ = body.flow_control().release_capacity(data.len());
        Ok(Some(data))
    }

    fn whole(&mut self) -> Option<DeltaDiscoveryResponse> {
        let (prefix, rest) = self.rest.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let message = rest.get(..length)?;
        let message = DeltaDiscoveryResponse::decode(message).expect("a response");
        let _ = self.rest.split_to(5 + length);
        Some(message)
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).expect("a short message"));
    message.encode(&mut out).expect("room");
    out.freeze()
}

/// Somebody of namespace default asks for a type.
pub(crate) fn ask(id: &str, type_url: &str) -> DeltaDiscoveryRequest {
    ask_as("default", "", id, type_url)
}

/// A proxy of this namespace and type asks.
pub(crate) fn ask_as(namespace: &str, kind: &str, id: &str, type_url: &str) -> DeltaDiscoveryRequest {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields =
        [("NAMESPACE", namespace), ("PROXY_TYPE", kind)].into_iter().filter(|(_, it)| !it.is_empty());
    let fields = fields.map(|(name, it)| (name.to_owned(), text(it))).collect();
    let metadata = Struct { fields };
    let node = Node { id: id.to_owned(), metadata: Some(metadata), ..Node::default() };
    DeltaDiscoveryRequest { node: Some(node), type_url: type_url.to_owned(), ..Default::default() }
}

/// A new proxy that is given its clusters; how many.
pub(crate) async fn proxy(to: SocketAddr, tls: Option<&TlsConnector>) -> io::Result<usize> {
    let peer = Peer::connect(super::HERE, to, tls).await?;
    let mut stream = peer.open().await?;
    stream.say(&ask("good", umbra_proto::type_url::CLUSTER)).await?;
    let response = stream.response().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(response.resources.len())
}
