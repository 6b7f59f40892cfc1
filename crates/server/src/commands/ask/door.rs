//! How replicas are reached, and by what the caller proves who it is.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto};
use tonic::codegen::http;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tower::Service;
use umbra_proto::umbra::v1::umbra_client::UmbraClient;

use crate::channel::{self, Secure};
use crate::cli::DoorArgs;
use crate::failure::usage;

/// A list of ten thousand proxies has a few megabytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Asks one replica.
pub(in crate::commands) type Client = UmbraClient<InterceptedService<Channel, Bearer>>;

/// What every question brings.
#[derive(Clone)]
pub(in crate::commands) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// What the arguments say of all replicas.
pub(in crate::commands) struct Door {
    tls: Option<Arc<ClientConfig>>,
    name: Option<ServerName<'static>>,
    bearer: Bearer,
}

impl Door {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub(in crate::commands) fn new(args: &DoorArgs) -> anyhow::Result<Self> {
        let name = args.tls_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| usage("--tls-name: expected the name of a host".to_owned()))?;
        let bearer = Bearer(args.token_file.as_deref().map(token).transpose()?);
        Ok(Door { tls: args.ca.as_deref().map(believing).transpose()?, name, bearer })
    }

    /// A client of the replica at an address, which is one of `server`'s.
    ///
    /// # Errors
    /// It cannot be reached; in words.
    pub(super) async fn open(
        &self,
        server: &str,
        address: SocketAddr,
        within: Duration,
    ) -> Result<Client, String> {
        let channel = self.channel(server, address, within).await?;
        let client = UmbraClient::with_interceptor(channel, self.bearer.clone());
        Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    /// Sends JSON to a path of the replica at an address, which is one of `server`'s; the status and the answer.
    ///
    /// # Errors
    /// It cannot be reached; in words.
    pub(in crate::commands) async fn post(
        &self,
        (server, address): (&str, SocketAddr),
        within: Duration,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut channel = self.channel(server, address, within).await?;
        let mut request = http::Request::post(path).header("content-type", "application/json");
        if let Some(bearer) = &self.bearer.0 {
            request = request.header("authorization", bearer.as_encoded_bytes());
        }
        let body = tonic::body::Body::new(Full::new(Bytes::from(body)));
        let request = request.body(body).map_err(|error| error.to_string())?;
        poll_fn(|cx| channel.poll_ready(cx)).await.map_err(|error| innermost(&error))?;
        let response = channel.call(request).await.map_err(|error| innermost(&error))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok((status, answer.map_err(|error| error.to_string())?.to_bytes()))
    }

    async fn channel(&self, server: &str, address: SocketAddr, within: Duration) -> Result<Channel, String> {
        let endpoint = channel::endpoint(address, within).map_err(|status| status.message().to_owned())?;
        match &self.tls {
            None => endpoint.connect().await.map_err(|error| innermost(&error)),
            Some(config) => {
                let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = self.name.clone().map_or_else(|| ServerName::try_from(host), Ok);
                let name = name.map_err(|error| error.to_string())?;
                let secure = Secure { config: config.clone(), name };
                Ok(channel::over_tls(&endpoint, address, move || Some(secure.clone())))
            }
        }
    }
}

/// A client's side of TLS that believes these authorities.
fn believing(file: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let read = std::fs::read(file);
    let pem = read.map_err(|error| usage(format!("--ca: cannot read {}: {error}", file.display())))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| anyhow!("--ca: {} is not PEM", file.display()))?)?;
    }
    if roots.is_empty() {
        return Err(anyhow!("--ca: {} has no certificate", file.display()));
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The header for the token in a file. The error does not quote it.
fn token(file: &Path) -> anyhow::Result<MetadataValue<Ascii>> {
    let read = std::fs::read_to_string(file);
    let text =
        read.map_err(|error| usage(format!("--token-file: cannot read {}: {error}", file.display())))?;
    let header = MetadataValue::try_from(format!("Bearer {}", text.trim())).ok();
    let mut header = header.with_context(|| format!("--token-file: {} holds no token", file.display()))?;
    header.set_sensitive(true);
    Ok(header)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
