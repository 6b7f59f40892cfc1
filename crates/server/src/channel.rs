//! How another umbra is reached for `umbra.v1`: in plaintext, or over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(2);

/// A client's side of TLS, and whom it wants to find there.
#[derive(Clone, Debug)]
pub(crate) struct Secure {
    /// Whom to believe, and what to show.
    pub(crate) config: Arc<ClientConfig>,
    /// The name that is asked for.
    pub(crate) name: ServerName<'static>,
}

/// Where to connect, within this time.
pub(crate) fn endpoint(address: SocketAddr, within: Duration) -> Result<Endpoint, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    Ok(endpoint.map_err(|error| Status::internal(error.to_string()))?.connect_timeout(within))
}

/// A channel over TLS, which connects when it is used. `secure` is asked at each connection: what is to be shown may have
/// changed. `None`: there is nothing yet.
pub(crate) fn over_tls(
    endpoint: &Endpoint,
    address: SocketAddr,
    secure: impl Fn() -> Option<Secure> + Send + 'static,
) -> Channel {
    let connect = move |_: Uri| {
        let secure = secure();
        async move {
            let Some(Secure { config, name }) = secure else {
                return Err(io::Error::other("this replica has no certificate yet"));
            };
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: TlsStream<TcpStream> = TlsConnector::from(config).connect(name, stream).await?;
            Ok(TokioIo::new(stream))
        }
    };
    endpoint.connect_with_connector_lazy(tower::service_fn(connect))
}

/// Every address behind `HOST:PORT`, sorted.
///
/// # Errors
/// There is none, in words.
pub(crate) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    let found = match tokio::time::timeout(RESOLVE, tokio::net::lookup_host(name)).await {
        Err(_) => return Err(format!("the name does not resolve within {RESOLVE:?}")),
        Ok(Err(error)) => return Err(format!("the name does not resolve: {error}")),
        Ok(Ok(found)) => found,
    };
    let mut found: Vec<_> = found.collect();
    found.sort();
    found.dedup();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}
