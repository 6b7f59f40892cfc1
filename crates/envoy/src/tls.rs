//! TLS: of clients, which a cluster's is, and of servers, which a listener's is.

use std::sync::Arc;
use std::time::Duration;

use umbra_ir::{
    ClientCertificate, Cluster, Credential, TlsEnd, TlsOrigination, TlsVersion, UpstreamProtocol,
};
use umbra_proto::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use umbra_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};
use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use umbra_proto::pack_any;

use crate::convert::{ads, boolean, file};

/// Where Debian, Ubuntu, Alpine and Envoy's own images keep the system's roots.
///
/// `system_root_certs` would say it better, but Envoy 1.40 accepts it and then verifies nothing (tried). Where
/// this file is missing Envoy refuses the cluster, which is the safe side.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The settings in force for a cluster.
///
/// Without `sni` the Host of each request is sent and, without names to verify, expected in the certificate. A
/// copy's Host is the primary's or carries `-shadow`, and no certificate is for that: copies expect the service's
/// own host. DIVERGES: Istio sends the copy's Host, so that copies fail.
pub(crate) fn settings(cluster: &Cluster) -> Option<TlsOrigination> {
    let mut tls = cluster.tls.clone()?;
    let host = &cluster.reference.spelling;
    if cluster.reference.role.is_mirror() && tls.sni.is_empty() && !host.starts_with('*') {
        tls.sni = Arc::clone(host);
        if tls.subject_alt_names.is_empty() {
            tls.subject_alt_names.push(host.to_string());
        }
    }
    Some(tls)
}

/// An `UpstreamTlsContext`, TLS 1.2 to 1.3, with files on the proxy's machine.
pub(crate) fn transport_socket(tls: &TlsOrigination, protocol: UpstreamProtocol) -> TransportSocket {
    let common = CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..Default::default()
        }),
        tls_certificates: tls.client_certificate.iter().map(|(chain, key)| certificate(chain, key)).collect(),
        alpn_protocols: alpn(protocol).iter().map(|&name| name.to_owned()).collect(),
        validation_context_type: (!tls.insecure_skip_verify)
            .then(|| ValidationContextType::ValidationContext(validation(tls))),
        ..Default::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: tls.sni.to_string(),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(&context))),
    }
}

pub(crate) fn certificate(chain: &str, key: &str) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: Some(file(chain)),
        private_key: Some(file(key)),
        ..Default::default()
    }
}

/// A `DownstreamTlsContext` that offers these protocols. Certificates and authorities come by SDS, so that they change without
/// the listener: connections stay.
pub(crate) fn server_socket(end: &TlsEnd, alpn: &[&str]) -> TransportSocket {
    let version = |version: Option<TlsVersion>, default: TlsProtocol| match version {
        None => default,
        Some(TlsVersion::V1_0) => TlsProtocol::TlSv10,
        Some(TlsVersion::V1_1) => TlsProtocol::TlSv11,
        Some(TlsVersion::V1_2) => TlsProtocol::TlSv12,
        Some(TlsVersion::V1_3) => TlsProtocol::TlSv13,
    };
    let by_default = CertificateValidationContext {
        verify_certificate_spki: end.key_hashes.clone(),
        verify_certificate_hash: end.certificate_hashes.clone(),
        match_typed_subject_alt_names: end.subject_alt_names.iter().map(|name| alt_name(name)).collect(),
        ..Default::default()
    };
    let clients = end.authorities.as_ref().map(|authorities| CombinedCertificateValidationContext {
        default_validation_context: Some(by_default),
        validation_context_sds_secret_config: Some(by_sds(authorities)),
        ..Default::default()
    });
    let common = CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version(end.oldest, TlsProtocol::TlSv12).into(),
            tls_maximum_protocol_version: version(end.newest, TlsProtocol::TlSv13).into(),
            cipher_suites: end.cipher_suites.clone(),
            ..Default::default()
        }),
        tls_certificate_sds_secret_configs: end.certificates.iter().map(by_sds).collect(),
        alpn_protocols: alpn.iter().map(|&name| name.to_owned()).collect(),
        validation_context_type: clients.map(ValidationContextType::CombinedValidationContext),
        ..Default::default()
    };
    let context = DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(boolean(end.client == ClientCertificate::Required)),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(&context))),
    }
}

fn by_sds(credential: &Credential) -> SdsSecretConfig {
    SdsSecretConfig { name: credential.name().to_string(), sds_config: Some(ads(Duration::ZERO)) }
}

/// When the protocol follows the downstream, Envoy offers the one it is about to speak by itself.
fn alpn(protocol: UpstreamProtocol) -> &'static [&'static str] {
    match protocol {
        UpstreamProtocol::Http1 => &["http/1.1"],
        UpstreamProtocol::Http2 => &["h2"],
        UpstreamProtocol::Downstream => &[],
    }
}

fn validation(tls: &TlsOrigination) -> CertificateValidationContext {
    let roots = if tls.ca_certificates.is_empty() { SYSTEM_ROOTS } else { &*tls.ca_certificates };
    CertificateValidationContext {
        trusted_ca: Some(file(roots)),
        crl: (!tls.revoked.is_empty()).then(|| file(&tls.revoked)),
        match_typed_subject_alt_names: tls.subject_alt_names.iter().map(|name| alt_name(name)).collect(),
        ..Default::default()
    }
}

/// Istio's list does not say of which type a name is, Envoy wants to know: its form tells.
fn alt_name(name: &str) -> SubjectAltNameMatcher {
    let san_type = if name.contains("://") {
        SanType::Uri
    } else if name.contains('@') {
        SanType::Email
    } else if name.parse::<std::net::IpAddr>().is_ok() {
        SanType::IpAddress
    } else {
        SanType::Dns
    };
    SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name.to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    }
}
