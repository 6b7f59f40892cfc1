//! Gateways to heads (istio-semantics "Gateway").

use std::collections::HashSet;
use std::sync::Arc;

use umbra_api::check::socket::check_unix_socket;
use umbra_api::{Gateway, ServerTlsMode, ServerTlsSettings, TlsProtocol};
use umbra_ir::{
    Bind, ClientCertificate, Credential, GatewayHead, Hostname, Kind, ObjectId, PortNumber, Protocol, Server,
    ServerHost, ServerTls, TlsEnd, TlsVersion,
};

/// Where a Gateway applies and what it serves; servers that we cannot serve are left out.
pub fn resolve_gateway_head(id: &ObjectId, gateway: &Gateway) -> GatewayHead {
    let servers = gateway.spec.servers.iter().enumerate().filter_map(|(index, server)| {
        let written = server.port.as_ref()?;
        umbra_api::check_server(server).ok()?;
        let protocol = umbra_api::server_protocol(server);
        let secure = matches!(protocol, Protocol::Https | Protocol::Tls);
        let tls = server.tls.as_ref().filter(|_| secure).map(|tls| resolve_tls(tls, &gateway.meta.namespace));
        // Part of the name of its table: there is one for each server that ends TLS.
        let ends = matches!(tls, Some(ServerTls::End(_)));
        let port_name = if ends { written.name.as_str() } else { "" };
        // All addresses is what no `bind` means: one listener and one table, not two of the same address.
        let bind = resolve_bind(&server.bind).filter(|bind| *bind != Bind::ANY);
        let port = match &bind {
            Some(Bind::Socket(_)) => PortNumber::NONE,
            Some(Bind::Ip(_)) | None => PortNumber::new(written.number.into())?,
        };
        Some(Server {
            field: format!("spec.servers[{index}]"),
            port,
            protocol,
            port_name: port_name.into(),
            bind,
            hosts: resolve_hosts(&server.hosts, &gateway.meta.namespace),
            https_redirect: !secure && server.tls.as_ref().is_some_and(|tls| tls.https_redirect),
            tls,
        })
    });
    GatewayHead {
        id: id.clone(),
        created: gateway.meta.created_seconds(),
        selector: gateway.spec.selector.clone(),
        servers: servers.collect(),
    }
}

/// Where it is that somebody writes to listen; `None`: nowhere in particular, or it is no address.
pub(crate) fn resolve_bind(text: &str) -> Option<Bind> {
    match text.starts_with("unix:") {
        true => check_unix_socket(text).ok().map(|path| Bind::Socket(path.into())),
        false => text.parse().ok().map(Bind::Ip),
    }
}

/// What a server that is opened does with TLS.
fn resolve_tls(tls: &ServerTlsSettings, namespace: &Arc<str>) -> ServerTls {
    let client = match tls.mode {
        ServerTlsMode::Mutual => ClientCertificate::Required,
        ServerTlsMode::OptionalMutual => ClientCertificate::Optional,
        ServerTlsMode::Simple => ClientCertificate::None,
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual => {
            return ServerTls::Passthrough;
        }
    };
    let asks = client != ClientCertificate::None;
    let asked = |texts: &[String]| if asks { texts.to_vec() } else { Vec::new() };
    let ciphers = tls.cipher_suites.iter().filter(|name| umbra_api::check_cipher(name).is_ok());
    let mut seen = HashSet::new();
    ServerTls::End(Arc::new(TlsEnd {
        certificates: certificates(tls, namespace),
        client,
        authorities: asks.then(|| authorities(tls, namespace)).flatten(),
        subject_alt_names: asked(&tls.subject_alt_names),
        key_hashes: asked(&tls.verify_certificate_spki),
        certificate_hashes: asked(&tls.verify_certificate_hash),
        oldest: version(tls.min_protocol_version),
        newest: version(tls.max_protocol_version),
        cipher_suites: ciphers.filter(|name| seen.insert(*name)).cloned().collect(),
    }))
}

fn secret(namespace: &Arc<str>, name: &str) -> ObjectId {
    ObjectId::new(Kind::Secret, namespace.clone(), name)
}

/// DIVERGES: a Secret is looked for in the Gateway's own namespace, and only gateways there get it. Istio looks in the
/// namespace of each gateway that the Gateway selects, so that whoever may write a Gateway anywhere may have it use any Secret there.
fn certificates(tls: &ServerTlsSettings, namespace: &Arc<str>) -> Vec<Credential> {
    let names = umbra_api::certificate_secrets(tls).into_iter();
    let secrets = names.map(|name| Credential::Secret(secret(namespace, name)));
    let files = |chain: &str, key: &str| Credential::Files { chain: chain.into(), key: key.into() };
    let own = (!tls.server_certificate.is_empty()).then(|| files(&tls.server_certificate, &tls.private_key));
    let more = tls.tls_certificates.iter().map(|pair| files(&pair.server_certificate, &pair.private_key));
    own.into_iter().chain(more).chain(secrets).collect()
}

/// By whom clients are believed: the server's own word, else the first of its certificates that says one.
/// Of Secrets, that which says so, else the one of the first certificate's name with `-cacert`, else that one itself.
fn authorities(tls: &ServerTlsSettings, namespace: &Arc<str>) -> Option<Credential> {
    let secrets = umbra_api::authority_secrets(tls);
    if !secrets.is_empty() {
        return Some(Credential::AuthoritySecrets(
            secrets.iter().map(|name| secret(namespace, name)).collect(),
        ));
    }
    let pairs = tls.tls_certificates.iter().map(|pair| &pair.ca_certificates);
    let file = std::iter::once(&tls.ca_certificates).chain(pairs).find(|path| !path.is_empty())?;
    let crl = (!tls.ca_crl.is_empty()).then(|| tls.ca_crl.as_str().into());
    Some(Credential::AuthorityFile { authorities: file.as_str().into(), crl })
}

fn version(written: TlsProtocol) -> Option<TlsVersion> {
    match written {
        TlsProtocol::TlsAuto => None,
        TlsProtocol::TlsV1_0 => Some(TlsVersion::V1_0),
        TlsProtocol::TlsV1_1 => Some(TlsVersion::V1_1),
        TlsProtocol::TlsV1_2 => Some(TlsVersion::V1_2),
        TlsProtocol::TlsV1_3 => Some(TlsVersion::V1_3),
    }
}

/// `./h` is the Gateway's namespace, `*/h` and `h` any; `*/*` admits everything.
///
/// DIVERGES: a server that admits `h` also admits `h-shadow`, so that copies from another mesh find the rule
/// that names them.
fn resolve_hosts(written: &[String], namespace: &Arc<str>) -> Vec<ServerHost> {
    let mut seen: HashSet<ServerHost> = HashSet::new();
    let mut hosts: Vec<ServerHost> = Vec::new();
    for text in written {
        let (namespace, host) = match text.split_once('/') {
            None | Some(("*", _)) => (None, text.rsplit('/').next().unwrap_or_default()),
            Some((".", host)) => (Some(namespace.clone()), host),
            Some((other, host)) => (Some(other.into()), host),
        };
        if umbra_api::check_host(host).is_err() {
            continue;
        }
        let mut push = |host: String| {
            let host = ServerHost { namespace: namespace.clone(), host: Hostname::new(&host) };
            if seen.insert(host.clone()) {
                hosts.push(host);
            }
        };
        push(host.to_owned());
        if host != "*" {
            push(format!("{host}-shadow"));
        }
    }
    hosts
}
