//! Gateway.

use std::net::IpAddr;

use super::Report;
use super::service_entry::protocol;
use umbra_ir::{Code, Severity};

use crate::check::check_host;
use crate::types::gateway::{GatewaySpec, Server, ServerTlsMode, ServerTlsSettings};

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
        if let Some(tls) = &server.tls {
            validate_tls(report, &format!("{path}.tls"), tls, server);
        }
        if server.bind.starts_with("unix:") {
            report.not_acted_on(
                format!("{path}.bind"),
                &format!("sockets of the Unix domain; {SERVER_LEFT_OUT}"),
            );
        } else if !server.bind.is_empty() && server.bind.parse::<IpAddr>().is_err() {
            let message = format!("{:?} is no IP address; {SERVER_LEFT_OUT}", server.bind);
            report.add(Code::InvalidAddress, format!("{path}.bind"), message);
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
    report.port(format!("{path}.port.number"), port.number, SERVER_LEFT_OUT);
    if port.name.is_empty() {
        let message = "a port without a name, Istio refuses it; it is served all the same";
        report.add(Code::MissingName, format!("{path}.port.name"), message);
    }
    if port.target_port != 0 {
        let message =
            "deprecated and without effect, as in Istio: the router's Service says which port is opened";
        report.add_as(Severity::Warning, Code::Deprecated, format!("{path}.port.targetPort"), message);
    }
    let field = format!("{path}.port.protocol");
    protocol(report, &field, &port.protocol);
    let word = port.protocol.to_ascii_uppercase();
    if matches!(word.as_str(), "HTTPS" | "TLS" | "TCP" | "UDP" | "MONGO" | "REDIS" | "MYSQL") {
        report.not_acted_on(field, &format!("servers that speak {word}; the port is not opened"));
        if matches!(word.as_str(), "HTTPS" | "TLS") && server.tls.is_none() {
            let message = format!("{word} needs tls; {SERVER_LEFT_OUT}");
            report.add(Code::ConflictingFields, format!("{path}.tls"), message);
        }
    }
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

fn validate_tls(report: &mut Report, path: &str, tls: &ServerTlsSettings, server: &Server) {
    let word = server.port.as_ref().map(|p| p.protocol.to_ascii_uppercase()).unwrap_or_default();
    let secure = matches!(word.as_str(), "HTTPS" | "TLS");
    if tls.https_redirect {
        if secure {
            let message = format!("has no effect on a port that speaks {word}");
            report.add_as(
                Severity::Warning,
                Code::ConflictingFields,
                format!("{path}.httpsRedirect"),
                message,
            );
        }
        let certificates = !tls.server_certificate.is_empty() || !tls.credential_name.is_empty();
        if !secure && (tls.mode != ServerTlsMode::Passthrough || certificates) {
            let message = "beside httpsRedirect on a plaintext port nothing else has an effect";
            report.add_as(Severity::Warning, Code::ConflictingFields, path, message);
        }
        return;
    }
    if !secure {
        let message =
            format!("tls on a port that speaks {word:?} is httpsRedirect or nothing; {SERVER_LEFT_OUT}");
        return report.add(Code::ConflictingFields, path, message);
    }
    report.not_acted_on(path, "TLS is neither terminated nor passed through; the port is not opened");
    let pair = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let files = !tls.server_certificate.is_empty() || !tls.private_key.is_empty();
    let sources = [
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("serverCertificate", files),
    ];
    report.one_of(path, &sources, SERVER_LEFT_OUT);
    match tls.mode {
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            if !pair && !secret && tls.tls_certificates.is_empty() {
                let message = format!(
                    "{} needs a certificate: credentialName, or serverCertificate and privateKey; {SERVER_LEFT_OUT}",
                    tls.mode.as_str()
                );
                report.add(Code::ConflictingFields, path, message);
            }
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => {
            if files || secret {
                let message = format!(
                    "{} uses no certificate of the gateway's; those written here have no effect",
                    tls.mode.as_str()
                );
                report.add_as(Severity::Warning, Code::ConflictingFields, path, message);
            }
        }
    }
}
