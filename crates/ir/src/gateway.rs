//! Gateways whose connections are not plain HTTP: TLS that is ended or passed through, and bytes; and the listeners for
//! such connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::{Bind, Chain, Hostname, Judges, ObjectId, Onward, PortNumber, Protocol, ProxyKind, Server};

/// What a server does with TLS.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum ServerTls {
    /// `PASSTHROUGH`: its bytes go on unopened, by the server name that the client sends.
    Passthrough,
    /// It is ended here.
    End(Arc<TlsEnd>),
}

/// What a server is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerKind {
    /// HTTP.
    Http,
    /// HTTP inside of TLS that is ended here.
    SecureHttp,
    /// Bytes inside of TLS that is ended here.
    SecureBytes,
    /// TLS that is not opened.
    Passthrough,
    /// Bytes.
    Bytes,
}

impl ServerKind {
    /// Whether requests follow `http` rules.
    pub fn is_http(self) -> bool {
        matches!(self, ServerKind::Http | ServerKind::SecureHttp)
    }

    /// Whether its connections begin with a TLS handshake.
    pub fn is_tls(self) -> bool {
        !matches!(self, ServerKind::Http | ServerKind::Bytes)
    }
}

impl Server {
    /// What it is for.
    pub fn kind(&self) -> ServerKind {
        match &self.tls {
            None if self.protocol.is_http() => ServerKind::Http,
            None => ServerKind::Bytes,
            Some(ServerTls::Passthrough) => ServerKind::Passthrough,
            Some(ServerTls::End(_)) if self.protocol == Protocol::Https => ServerKind::SecureHttp,
            Some(ServerTls::End(_)) => ServerKind::SecureBytes,
        }
    }

    /// The server names that clients ask for it by: its hosts as they are written.
    pub fn server_names(&self) -> impl Iterator<Item = &Hostname> {
        self.hosts.iter().map(|host| &host.host).filter(|host| !host.as_str().ends_with("-shadow"))
    }
}

/// How TLS is ended (`envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub struct TlsEnd {
    /// The server's certificates; never empty. Of several Envoy takes the first that fits what the client can.
    pub certificates: Vec<Credential>,
    /// Whether clients show a certificate.
    pub client: ClientCertificate,
    /// Whom clients' certificates are believed by; `None`: nobody is asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Credential>,
    /// `subjectAltNames`: names of which a client's certificate must carry one; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// `verifyCertificateSpki`: hashes of public keys, of which a client's must be one; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_hashes: Vec<String>,
    /// `verifyCertificateHash`: the same of whole certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_hashes: Vec<String>,
    /// `minProtocolVersion`; `None`: 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<TlsVersion>,
    /// `maxProtocolVersion`; `None`: 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<TlsVersion>,
    /// `cipherSuites` up to TLS 1.2, in order of preference; empty: Envoy's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub enum ClientCertificate {
    /// `SIMPLE`: none is asked for.
    #[default]
    None,
    /// `OPTIONAL_MUTUAL`: one that is shown must be good.
    Optional,
    /// `MUTUAL`: without a good one there is no connection.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum TlsVersion {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// Where a certificate or an authority is found: the resource of SDS that brings it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum Credential {
    /// A certificate and its key in files of the proxy's machine, which Envoy reads again when they are replaced.
    Files {
        /// The certificate and those that vouch for it.
        chain: Arc<str>,
        /// Its private key.
        key: Arc<str>,
    },
    /// Authorities in a file of the proxy's machine.
    AuthorityFile {
        /// Their certificates.
        authorities: Arc<str>,
        /// Revoked certificates (`caCrl`).
        #[serde(skip_serializing_if = "Option::is_none")]
        crl: Option<Arc<str>>,
    },
    /// The certificate of a Secret.
    Secret(ObjectId),
    /// The authorities of a Secret: of the first that has any.
    AuthoritySecrets(Vec<ObjectId>),
}

impl Credential {
    /// The Secrets that it may be taken from.
    pub fn secrets(&self) -> &[ObjectId] {
        match self {
            Credential::Files { .. } | Credential::AuthorityFile { .. } => &[],
            Credential::Secret(id) => std::slice::from_ref(id),
            Credential::AuthoritySecrets(ids) => ids,
        }
    }

    /// The name of its resource, in Istio's words. A Secret's namespace is not part of it: it is always the proxy's own.
    pub fn name(&self) -> Arc<str> {
        match self {
            Credential::Files { chain, key } => format!("file-cert:{chain}~{key}").into(),
            Credential::Secret(id) => format!("kubernetes://{}", id.name).into(),
            Credential::AuthoritySecrets(ids) => {
                let names: Vec<&str> = ids.iter().map(|id| &*id.name).collect();
                format!("kubernetes-ca://{}", names.join("~")).into()
            }
            Credential::AuthorityFile { authorities, crl: None } => format!("file-root:{authorities}").into(),
            Credential::AuthorityFile { authorities, crl: Some(crl) } => {
                format!("file-root:{authorities}~{crl}").into()
            }
        }
    }
}

/// One bound listener whose connections are told apart by how they begin: a gateway's, or one of a sidecar that the
/// application calls.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GatewayListener {
    /// Whose: sidecars believe what callers say of where requests come from.
    pub kind: ProxyKind,
    /// The address it binds.
    pub address: Bind,
    /// The port it binds.
    pub port: PortNumber,
    /// How many proxies before it are believed about where requests come from and how.
    pub trusted_proxies: u32,
    /// Clients that speak HTTP/1.0 are served, whatever the settings say.
    pub http10: bool,
    /// What it tells of judged requests.
    pub judges: Judges,
    /// What becomes of connections. No two admit the same ones.
    pub chains: Vec<Chain>,
}

/// What such a listener is made of, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayPort {
    /// The listener.
    pub listener: Arc<GatewayListener>,
    /// The Gateways that it serves; none at a sidecar.
    pub gateways: BTreeSet<ObjectId>,
    /// The VirtualServices that its connections follow.
    pub rules: BTreeSet<ObjectId>,
}

impl GatewayListener {
    /// The credentials that it needs.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        let ends = self.chains.iter().filter_map(|chain| chain.tls.as_ref());
        ends.flat_map(|end| end.certificates.iter().chain(&end.authorities))
    }

    /// Where it may send bytes as they are.
    pub fn onward(&self) -> impl Iterator<Item = &Onward> {
        self.chains.iter().flat_map(Chain::onward)
    }
}

/// A server that another one keeps from being opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConflict {
    /// Its path in its Gateway, such as `spec.servers[0]`.
    pub field: String,
    /// Whose server keeps it out.
    pub winner: ObjectId,
    /// That server's path.
    pub winner_field: String,
    /// What the two have in common.
    pub reason: String,
}
