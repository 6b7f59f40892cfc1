//! TLS that nobody opens: who gets a handshake that asks for a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};
use umbra_testkit::net::Net;

/// The port on which Pods and what is outside take handshakes.
pub(crate) const TARGET: u16 = 9444;

/// Who has heard the beginning of a handshake says who it is, and ends the connection.
pub(crate) fn serve(net: &Net, name: String, at: SocketAddr) -> Result<()> {
    let listener = net.listen(at)?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let name = name.clone();
            tokio::spawn(async move {
                let mut some = [0; 16];
                if stream.read(&mut some).await.is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(name.as_bytes()).await;
                }
            });
        }
    });
    Ok(())
}

/// Who answers at an address when a name is asked for; `None`: nobody does.
pub(crate) async fn ask(net: &Net, at: SocketAddr, name: &str) -> Option<String> {
    let hello = hello(name).ok()?;
    let answer = async {
        let mut stream = net.connect(at).await.ok()?;
        stream.write_all(&hello).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text).filter(|text| !text.is_empty())
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.ok().flatten()
}

/// The first message of a client.
fn hello(name: &str) -> Result<Vec<u8>> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}
