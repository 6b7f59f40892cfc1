//! Gateway: ports and hosts that a router listens for.
//! Source: Istio's `networking/v1alpha3/gateway.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::proto_enum;

/// `spec` of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewaySpec {
    /// What to listen for.
    pub servers: Vec<Server>,
    /// Labels of the routers that it applies to; none: every router.
    pub selector: BTreeMap<String, String>,
}

/// One port and its hosts (`Server`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Server {
    /// The port.
    pub port: Option<GatewayPort>,
    /// Address to listen on; empty: every address.
    pub bind: String,
    /// Hosts, optionally `namespace/host`.
    pub hosts: Vec<String>,
    /// Server TLS.
    pub tls: Option<ServerTlsSettings>,
    /// Never implemented by Istio.
    pub default_endpoint: String,
    /// A name for logs.
    pub name: String,
}

/// A port (`Port`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayPort {
    /// Number, as clients of the router's Service see it.
    pub number: u32,
    /// Protocol, such as HTTP.
    pub protocol: String,
    /// Name.
    pub name: String,
    /// Deprecated.
    pub target_port: u32,
}

/// Server TLS (`ServerTLSSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServerTlsSettings {
    /// Answer plaintext requests with a redirect to https.
    pub https_redirect: bool,
    /// How.
    pub mode: ServerTlsMode,
    /// File on the proxy.
    pub server_certificate: String,
    /// File on the proxy.
    pub private_key: String,
    /// File on the proxy.
    pub ca_certificates: String,
    /// File with revoked certificates.
    pub ca_crl: String,
    /// Secret that holds them instead.
    pub credential_name: String,
    /// Several secrets.
    pub credential_names: Vec<String>,
    /// Secret with the authorities.
    pub ca_cert_credential_name: String,
    /// Several pairs of files.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names that a client's certificate may carry.
    pub subject_alt_names: Vec<String>,
    /// Hashes of keys that are allowed.
    pub verify_certificate_spki: Vec<String>,
    /// Hashes of certificates that are allowed.
    pub verify_certificate_hash: Vec<String>,
    /// Oldest version.
    pub min_protocol_version: TlsProtocol,
    /// Newest version.
    pub max_protocol_version: TlsProtocol,
    /// Cipher suites.
    pub cipher_suites: Vec<String>,
}

/// A pair of files (`ServerTLSSettings.TLSCertificate`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsCertificate {
    /// File on the proxy.
    pub server_certificate: String,
    /// File on the proxy.
    pub private_key: String,
    /// File on the proxy.
    pub ca_certificates: String,
}

proto_enum! {
    /// `ServerTLSSettings.TLSmode`.
    ServerTlsMode {
        /// Forwarded unopened.
        Passthrough = 0 "PASSTHROUGH",
        /// Terminated.
        Simple = 1 "SIMPLE",
        /// Terminated, with a client certificate.
        Mutual = 2 "MUTUAL",
        /// Forwarded by server name without a rule.
        AutoPassthrough = 3 "AUTO_PASSTHROUGH",
        /// Terminated with the mesh's certificate.
        IstioMutual = 4 "ISTIO_MUTUAL",
        /// Terminated, client certificate optional.
        OptionalMutual = 5 "OPTIONAL_MUTUAL",
    }
}

proto_enum! {
    /// `ServerTLSSettings.TLSProtocol`.
    TlsProtocol {
        /// Envoy's choice.
        TlsAuto = 0 "TLS_AUTO",
        /// 1.0.
        TlsV1_0 = 1 "TLSV1_0",
        /// 1.1.
        TlsV1_1 = 2 "TLSV1_1",
        /// 1.2.
        TlsV1_2 = 3 "TLSV1_2",
        /// 1.3.
        TlsV1_3 = 4 "TLSV1_3",
    }
}
