//! Gateways to heads (istio-semantics "Gateway").

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use umbra_api::Gateway;
use umbra_ir::{GatewayHead, Hostname, ObjectId, PortNumber, Protocol, Server, ServerHost};

/// Where a Gateway applies and what it serves; servers that we cannot serve are left out.
pub fn resolve_gateway_head(id: &ObjectId, gateway: &Gateway) -> GatewayHead {
    let servers = gateway.spec.servers.iter().enumerate().filter_map(|(index, server)| {
        let port = server.port.as_ref()?;
        let protocol = Protocol::parse(&port.protocol).unwrap_or(Protocol::Auto);
        // Terminating TLS is not acted on yet; a server that only redirects to https is plain HTTP.
        let redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        if !protocol.is_http() || (server.tls.is_some() && !redirect) {
            return None;
        }
        let bind = match server.bind.as_str() {
            "" => None,
            // All addresses is what no `bind` means: one listener and one table, not two of the same address.
            text => Some(text.parse::<IpAddr>().ok()?).filter(|ip| *ip != Ipv4Addr::UNSPECIFIED),
        };
        Some(Server {
            field: format!("spec.servers[{index}]"),
            port: PortNumber::new(port.number.into())?,
            protocol,
            bind,
            hosts: resolve_hosts(&server.hosts, &gateway.meta.namespace),
            https_redirect: redirect,
        })
    });
    GatewayHead {
        id: id.clone(),
        created: gateway.meta.created_seconds(),
        selector: gateway.spec.selector.clone(),
        servers: servers.collect(),
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
