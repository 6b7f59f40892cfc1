//! Servers of a Gateway: what keeps one from being opened.

use std::collections::BTreeSet;
use std::net::IpAddr;

use umbra_ir::{Code, Kind, ObjectId, Protocol, Severity};

use super::Problem;
use super::headers::check_text;
use super::socket::check_unix_socket;
use crate::types::gateway::{Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};
use crate::types::object::Gateway;

/// The cipher suites that Envoy takes for TLS up to 1.2 (Istio's list without those that BoringSSL has dropped).
const CIPHERS: [&str; 14] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// What a server's port speaks; an unknown word is taken for HTTP.
pub fn server_protocol(server: &Server) -> Protocol {
    let word = server.port.as_ref().map_or("", |port| port.protocol.as_str());
    Protocol::parse(word).unwrap_or(Protocol::Auto)
}

/// Why a server is not opened at all, with the field below the server that says so; the port's number is not judged.
///
/// # Errors
/// The first reason.
pub fn check_server(server: &Server) -> Result<(), (&'static str, Problem)> {
    let protocol = server_protocol(server);
    if protocol == Protocol::Udp {
        return Err(("port.protocol", not_yet("servers that speak UDP")));
    }
    if binds_socket(server) {
        check_unix_socket(&server.bind).map_err(|problem| ("bind", problem))?;
    } else if !server.bind.is_empty() && server.bind.parse::<IpAddr>().is_err() {
        let message = format!("{:?} is no IP address", server.bind);
        return Err(("bind", Problem::new(Code::InvalidAddress, message)));
    }
    let secure = matches!(protocol, Protocol::Https | Protocol::Tls);
    match &server.tls {
        None if secure => {
            let message = format!("{} needs tls", protocol.as_str());
            Err(("tls", Problem::new(Code::ConflictingFields, message)))
        }
        Some(tls) if !secure && (!tls.https_redirect || !protocol.is_http()) => {
            let message =
                format!("tls on a port that speaks {} is httpsRedirect or nothing", protocol.as_str());
            Err(("tls", Problem::new(Code::ConflictingFields, message)))
        }
        Some(tls) if secure => check_tls(tls),
        _ => Ok(()),
    }
}

/// Whether a server listens at a socket of the Unix domain, which has no port.
pub(crate) fn binds_socket(server: &Server) -> bool {
    server.bind.starts_with("unix:")
}

fn not_yet(what: &str) -> Problem {
    Problem::new(Code::NotActedOn, format!("accepted, not acted on yet: {what}"))
}

/// Whether a mode asks clients for a certificate.
pub fn asks_clients(mode: ServerTlsMode) -> bool {
    matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual)
}

fn check_tls(tls: &ServerTlsSettings) -> Result<(), (&'static str, Problem)> {
    let conflict = |field, message: String| Err((field, Problem::new(Code::ConflictingFields, message)));
    let mode = tls.mode.as_str();
    match tls.mode {
        ServerTlsMode::Passthrough => return Ok(()),
        ServerTlsMode::AutoPassthrough => {
            return Err(("tls.mode", not_yet("AUTO_PASSTHROUGH, which joins the networks of one mesh")));
        }
        ServerTlsMode::IstioMutual => {
            return Err(("tls.mode", not_yet("ISTIO_MUTUAL, which needs the certificates of a mesh")));
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
    }
    let files = !tls.server_certificate.is_empty() || !tls.private_key.is_empty();
    let sources = [
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("serverCertificate", files),
    ];
    let present: Vec<&str> = sources.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    match present[..] {
        [] => {
            let message =
                format!("{mode} needs a certificate: credentialName, or serverCertificate and privateKey");
            return conflict("tls", message);
        }
        [_] => {}
        _ => return conflict("tls", format!("only one of {} may be set", present.join(", "))),
    }
    let half = |chain: &str, key: &str| chain.is_empty() || key.is_empty();
    if files && half(&tls.server_certificate, &tls.private_key)
        || tls.tls_certificates.iter().any(|pair| half(&pair.server_certificate, &pair.private_key))
    {
        return conflict(
            "tls",
            "a certificate and its key go together: one of the two is missing".to_owned(),
        );
    }
    let secrets = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let own = tls.tls_certificates.iter().any(|pair| !pair.ca_certificates.is_empty());
    if asks_clients(tls.mode)
        && !secrets
        && tls.ca_certificates.is_empty()
        && tls.ca_cert_credential_name.is_empty()
        && !own
    {
        return conflict("tls", format!("{mode} needs caCertificates, by which clients are believed"));
    }
    check_texts(tls)?;
    check_hashes(tls)?;
    if let (Some(oldest), Some(newest)) =
        (version(tls.min_protocol_version), version(tls.max_protocol_version))
        && oldest > newest
    {
        return conflict("tls.maxProtocolVersion", "is older than minProtocolVersion".to_owned());
    }
    Ok(())
}

/// Which version of TLS a word means; `None`: Envoy's choice.
fn version(written: TlsProtocol) -> Option<u8> {
    match written {
        TlsProtocol::TlsAuto => None,
        other => Some(other as u8),
    }
}

fn check_texts(tls: &ServerTlsSettings) -> Result<(), (&'static str, Problem)> {
    let names = tls.credential_names.iter().map(|name| ("tls.credentialNames", name));
    let pairs = tls.tls_certificates.iter().flat_map(|pair| {
        [&pair.server_certificate, &pair.private_key, &pair.ca_certificates]
            .map(|it| ("tls.tlsCertificates", it))
    });
    let lone = [
        ("tls.credentialName", &tls.credential_name),
        ("tls.caCertCredentialName", &tls.ca_cert_credential_name),
        ("tls.serverCertificate", &tls.server_certificate),
        ("tls.privateKey", &tls.private_key),
        ("tls.caCertificates", &tls.ca_certificates),
        ("tls.caCrl", &tls.ca_crl),
    ];
    for (field, text) in lone.into_iter().chain(names).chain(pairs) {
        check_text(text).map_err(|problem| (field, problem))?;
    }
    if let Some(empty) = tls.credential_names.iter().find(|name| name.is_empty()) {
        let message = format!("{empty:?} names no Secret");
        return Err(("tls.credentialNames", Problem::new(Code::ConflictingFields, message)));
    }
    Ok(())
}

/// Hashes that Envoy would refuse. Leaving one out could let in whom its author keeps out.
fn check_hashes(tls: &ServerTlsSettings) -> Result<(), (&'static str, Problem)> {
    let base64 = |text: &String| {
        text.len() == 44
            && text.ends_with('=')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    };
    let hex = |text: &String| {
        let digits = text.bytes().filter(|b| *b != b':');
        digits.clone().count() == 64
            && digits.into_iter().all(|b| b.is_ascii_hexdigit())
            && (text.len() == 64 || text.len() == 95)
    };
    if let Some(bad) = tls.verify_certificate_spki.iter().find(|it| !base64(it)) {
        let message = format!("{bad:?} is no SHA-256 hash of a key in base64");
        return Err(("tls.verifyCertificateSpki", Problem::new(Code::ConflictingFields, message)));
    }
    if let Some(bad) = tls.verify_certificate_hash.iter().find(|it| !hex(it)) {
        let message = format!("{bad:?} is no SHA-256 hash of a certificate in hexadecimal digits");
        return Err(("tls.verifyCertificateHash", Problem::new(Code::ConflictingFields, message)));
    }
    Ok(())
}

/// The Secrets with the certificates of a server that is opened.
pub fn certificate_secrets(tls: &ServerTlsSettings) -> Vec<&str> {
    let names = std::iter::once(&tls.credential_name).filter(|name| !name.is_empty());
    names.chain(&tls.credential_names).map(|name| plain_name(name)).collect()
}

/// The Secrets of which the first that has authorities says whom clients are believed by; none: files do.
pub fn authority_secrets(tls: &ServerTlsSettings) -> Vec<String> {
    if !asks_clients(tls.mode) {
        return Vec::new();
    }
    if !tls.ca_cert_credential_name.is_empty() {
        return vec![plain_name(&tls.ca_cert_credential_name).to_owned()];
    }
    let first = certificate_secrets(tls).into_iter().next();
    first.map(|first| vec![format!("{first}-cacert"), first.to_owned()]).unwrap_or_default()
}

/// `kubernetes://name` and `name` are one.
fn plain_name(written: &str) -> &str {
    written.strip_prefix("kubernetes://").unwrap_or(written)
}

/// The Secrets that a Gateway names, whether they exist or not; all are of its own namespace.
pub fn named_secrets(gateway: &Gateway) -> BTreeSet<ObjectId> {
    let servers = gateway.spec.servers.iter().filter(|server| check_server(server).is_ok());
    let ends = servers.filter_map(|server| server.tls.as_ref()).filter(|tls| ends_tls(tls.mode));
    let names = ends.flat_map(|tls| {
        let own = certificate_secrets(tls).into_iter().map(str::to_owned);
        own.chain(authority_secrets(tls)).collect::<Vec<_>>()
    });
    names.map(|name| ObjectId::new(Kind::Secret, gateway.meta.namespace.clone(), name)).collect()
}

fn ends_tls(mode: ServerTlsMode) -> bool {
    matches!(mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual)
}

/// A cipher suite that Envoy takes.
///
/// # Errors
/// It does not know it.
pub fn check_cipher(name: &str) -> Result<(), Problem> {
    if CIPHERS.contains(&name) {
        return Ok(());
    }
    let message = format!("{name:?} is no cipher suite that Envoy has for TLS up to 1.2");
    Err(Problem::new(Code::OutOfRange, message).with_severity(Severity::Warning))
}
