//! Gateway.

use umbra_ir::{Code, Protocol, Severity};

use super::Report;
use super::service_entry::protocol;
use crate::check::check_host;
use crate::check::server::{asks_clients, binds_socket, check_cipher, check_server, server_protocol};
use crate::types::gateway::{GatewaySpec, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol};

const SERVER_LEFT_OUT: &str = "the server is left out";

pub(super) fn validate(report: &mut Report, spec: &GatewaySpec) {
    if spec.servers.is_empty() {
        report.add(Code::NoServers, "spec.servers", "no servers; the object has no effect");
    }
    let mut names = std::collections::HashMap::new();
    for (index, server) in spec.servers.iter().enumerate() {
        let path = format!("spec.servers[{index}]");
        validate_port(report, &path, server);
        let name = server.port.as_ref().map(|p| p.name.as_str()).filter(|name| !name.is_empty());
        if let Some(first) = name.and_then(|name| names.insert(name, index)) {
            let message = format!(
                "the same name as spec.servers[{first}].port.name, Istio refuses it; both are served"
            );
            report.add_as(Severity::Warning, Code::DuplicateName, format!("{path}.port.name"), message);
        }
        hosts(report, &path, server);
        match check_server(server) {
            Err((field, problem)) => report.problem(format!("{path}.{field}"), problem, SERVER_LEFT_OUT),
            Ok(()) => server.tls.iter().for_each(|tls| {
                validate_tls(report, &format!("{path}.tls"), tls, server);
            }),
        }
        if !server.default_endpoint.is_empty() {
            report.not_acted_on(format!("{path}.defaultEndpoint"), "only rules decide where requests go");
        }
    }
}

fn validate_port(report: &mut Report, path: &str, server: &Server) {
    let Some(port) = &server.port else {
        let message = format!("a port is missing; {SERVER_LEFT_OUT}");
        return report.add(Code::InvalidPort, format!("{path}.port"), message);
    };
    if !binds_socket(server) {
        report.port(format!("{path}.port.number"), port.number, SERVER_LEFT_OUT);
    } else if port.number != 0 {
        let message = "a socket has no port, Istio takes 0 alone; the number has no effect";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.port.number"), message);
    }
    if port.name.is_empty() {
        let message = "a port without a name, Istio refuses it; it is served all the same";
        report.add(Code::MissingName, format!("{path}.port.name"), message);
    }
    if port.target_port != 0 {
        let message =
            "deprecated and without effect, as in Istio: the router's Service says which port is opened";
        report.add_as(Severity::Warning, Code::Deprecated, format!("{path}.port.targetPort"), message);
    }
    protocol(report, &format!("{path}.port.protocol"), &port.protocol);
}

fn hosts(report: &mut Report, path: &str, server: &Server) {
    if server.hosts.is_empty() {
        let message = "no hosts; no rule can be served by this server";
        report.add(Code::InvalidHost, format!("{path}.hosts"), message);
    }
    for (index, text) in server.hosts.iter().enumerate() {
        let field = format!("{path}.hosts[{index}]");
        let (namespace, host) = match text.split_once('/') {
            Some((namespace, host)) => (Some(namespace), host),
            None => (None, text.as_str()),
        };
        report.host_with_port(&field, host);
        if let Err(problem) = check_host(host) {
            report.problem(field, problem, "the host is left out");
        } else if namespace == Some("") {
            let message = "an empty namespace before the /; no rule can be served for it";
            report.add(Code::InvalidHost, field, message);
        } else if host.contains('/') {
            let message = "more than one /; no rule can be served for it";
            report.add(Code::InvalidHost, field, message);
        } else if host != "*" && !host.contains('.') && !host.contains(':') {
            let message = format!(
                "{host} is a short name, Istio refuses it here; only rules for a host of exactly that name are served"
            );
            report.add(Code::ShortHost, field, message);
        }
    }
}

/// What has no effect in a server that is opened.
fn validate_tls(report: &mut Report, path: &str, tls: &ServerTlsSettings, server: &Server) {
    let protocol = server_protocol(server);
    let secure = matches!(protocol, Protocol::Https | Protocol::Tls);
    let certificates = !tls.server_certificate.is_empty()
        || !tls.private_key.is_empty()
        || !tls.credential_name.is_empty()
        || !tls.credential_names.is_empty()
        || !tls.tls_certificates.is_empty();
    let mut idle = |field: &str, message: String| {
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}{field}"), message);
    };
    if !secure {
        if tls.mode != ServerTlsMode::Passthrough || certificates {
            idle("", "beside httpsRedirect on a plaintext port nothing else has an effect".to_owned());
        }
        return;
    }
    if tls.https_redirect {
        idle(".httpsRedirect", format!("has no effect on a port that speaks {}", protocol.as_str()));
    }
    let mode = tls.mode.as_str();
    if tls.mode == ServerTlsMode::Passthrough {
        if certificates {
            idle(
                "",
                format!("{mode} uses no certificate of the gateway's; those written here have no effect"),
            );
        }
        return;
    }
    if !asks_clients(tls.mode) {
        for (field, present) in [
            (".subjectAltNames", !tls.subject_alt_names.is_empty()),
            (".verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
            (".verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
            (".caCertificates", !tls.ca_certificates.is_empty()),
            (".caCertCredentialName", !tls.ca_cert_credential_name.is_empty()),
            (".caCrl", !tls.ca_crl.is_empty()),
        ] {
            if present {
                idle(field, format!("{mode} asks clients for no certificate; it has no effect"));
            }
        }
    }
    let old = matches!(tls.min_protocol_version, TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1);
    if old && tls.cipher_suites.is_empty() {
        let message = "Envoy's own cipher suites are of TLS 1.2 and later: older clients find none, unless cipherSuites has some".to_owned();
        idle(".minProtocolVersion", message);
    }
    if tls.tls_certificates.len() > 2 {
        let message = "more than two, of which Istio serves none: Envoy takes one for RSA and one for ECDSA of what a client can".to_owned();
        idle(".tlsCertificates", message);
    }
    for (index, name) in tls.cipher_suites.iter().enumerate() {
        if tls.cipher_suites[..index].contains(name) {
            let message = format!("{name} is given twice; once is enough");
            report.add_as(
                Severity::Warning,
                Code::DuplicateName,
                format!("{path}.cipherSuites[{index}]"),
                message,
            );
        }
        report.check(format!("{path}.cipherSuites[{index}]"), check_cipher(name), "it is left out");
    }
}
