//! One ADS stream over HTTP/2, with or without TLS, by Envoy's window sizes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Envoy's defaults (`initial_stream_window_size`, `initial_connection_window_size`).
const WINDOWS: (u32, u32) = (16 << 20, 24 << 20);
/// Of a proxy that will stop reading: so that it is noticed soon.
const SMALL_WINDOW: u32 = 65_535;

/// The server.
#[derive(Clone)]
pub struct Target {
    /// Its xDS port.
    pub address: SocketAddr,
    /// Over TLS, and the name that its certificate must have.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// TLS that trusts the authorities in a file.
///
/// # Errors
/// When it has none.
pub fn trust(file: &Path, name: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("{}", file.display()))? {
        roots.add(certificate?)?;
    }
    ensure!(!roots.is_empty(), "{} has no certificate", file.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(config), ServerName::try_from(name.to_owned())?))
}

/// A stream that is open.
pub struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    buffer: BytesMut,
    // While it is there, the connection is.
    _connection: SendRequest<Bytes>,
}

impl Stream {
    /// Opens one with these first requests; `small` gives it a small window.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn open(target: &Target, sotw: bool, small: bool, first: Vec<Vec<u8>>) -> Result<Self> {
        let opened = async {
            let tcp = TcpStream::connect(target.address).await?;
            tcp.set_nodelay(true)?;
            match &target.tls {
                None => start(tcp, target, sotw, small, first).await,
                Some((config, name)) => {
                    let tls = TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?;
                    start(tls, target, sotw, small, first).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, opened).await.context("no stream in time")?
    }

    /// Hands a message to the connection.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.send.send_data(frame(message), false)?)
    }

    /// The next message; `None` when the server ended the stream without a word.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.buffer.get(1..5).and_then(|bytes| bytes.try_into().ok()) {
                let length = u32::from_be_bytes(length) as usize;
                if self.buffer.len() >= 5 + length {
                    ensure!(self.buffer[0] == 0, "a compressed message, which nobody asked for");
                    self.buffer.advance(5);
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
                self.buffer.reserve(5 + length - self.buffer.len());
            }
            let Some(chunk) = self.receive.data().await else {
                let trailers = self.receive.trailers().await?.unwrap_or_default();
                let said = |name| trailers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
                match said("grpc-status") {
                    "" | "0" => return Ok(None),
                    status => bail!("status {status}: {}", said("grpc-message")),
                }
            };
            let chunk = chunk?;
            self.receive.flow_control().release_capacity(chunk.len())?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}

async fn start<T>(io: T, target: &Target, sotw: bool, small: bool, first: Vec<Vec<u8>>) -> Result<Stream>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (stream, connection) = if small { (SMALL_WINDOW, SMALL_WINDOW) } else { WINDOWS };
    let mut builder = Builder::new();
    builder.initial_window_size(stream).initial_connection_window_size(connection).enable_push(false);
    let (sender, connection) = builder.handshake::<_, Bytes>(io).await?;
    tokio::task::spawn_local(async move {
        // How it ended, the stream says.
        let _ = connection.await;
    });
    let method = if sotw { "StreamAggregatedResources" } else { "DeltaAggregatedResources" };
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let uri = format!(
        "{scheme}://{}/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}",
        target.address
    );
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let mut sender = sender.ready().await?;
    let (response, mut send) = sender.send_request(request, false)?;
    for message in first {
        send.send_data(frame(&message), false)?;
    }
    let response = response.await?;
    let status = response.headers().get("grpc-status").and_then(|it| it.to_str().ok());
    ensure!(response.status().is_success() && status.is_none(), "refused: {response:?}");
    Ok(Stream { send, receive: response.into_body(), buffer: BytesMut::new(), _connection: sender })
}
