//! Short names and gateway references (istio `ResolveShortnameToFQDN`, `resolveGatewayName`).

use std::net::IpAddr;
use std::sync::Arc;

use umbra_ir::{Destination, GatewayRef, Hostname, Kind, ObjectId, PortNumber, SubsetName, service_host};

/// Resolves a host as written in an object of `namespace`.
///
/// `*`, IP literals and anything with a dot stay as they are; a single label gets
/// `.<namespace>.svc.<domain>`.
pub fn resolve_host(host: &str, namespace: &str, domain: &str) -> Hostname {
    Hostname::new(&resolve_spelling(host, namespace, domain))
}

/// As [`resolve_host`], in the author's spelling.
pub(crate) fn resolve_spelling(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host == "*" || host.contains('.') || host.parse::<IpAddr>().is_ok() {
        return host.to_owned();
    }
    service_host(host, namespace, domain)
}

/// A destination with its short name resolved; `None` when its port is not a port or it has no host.
pub(crate) fn resolve_destination(
    written: &umbra_api::Destination,
    namespace: &str,
    domain: &str,
) -> Option<Destination> {
    let port = match written.port {
        None => None,
        Some(port) => Some(PortNumber::new(port.number.into())?),
    };
    umbra_api::check_host(&written.host).ok()?;
    let host = resolve_host(&written.host, namespace, domain);
    Some(Destination { host, port, subset: SubsetName::new(&written.subset) })
}

/// Resolves an entry of `spec.gateways` or `match.gateways` of an object in `namespace`: `mesh`, `name`,
/// `ns/name`, `./name`, `name.ns` or `name.ns.svc.cluster.local`.
pub fn resolve_gateway(written: &str, namespace: &Arc<str>) -> GatewayRef {
    if written == "mesh" {
        return GatewayRef::Mesh;
    }
    let (ns, name): (Arc<str>, &str) = if let Some((ns, name)) = written.split_once('/') {
        (if ns == "." { namespace.clone() } else { ns.into() }, name)
    } else if let Some((name, rest)) = written.split_once('.') {
        (rest.split('.').next().unwrap_or_default().into(), name)
    } else {
        (namespace.clone(), written)
    };
    GatewayRef::Named(ObjectId::new(Kind::Gateway, ns, name))
}

/// Keeps names from running into each other: `/` separates the parts of a runtime key.
pub(crate) fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        for (written, want) in [
            ("reviews", "reviews.prod.svc.cluster.local"),
            ("Reviews", "reviews.prod.svc.cluster.local"),
            ("reviews.other", "reviews.other"),
            ("*", "*"),
            ("*.example.com", "*.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(resolve_host(written, "prod", "cluster.local").as_str(), want, "{written}");
        }
    }

    #[test]
    fn gateway_references() {
        for (written, want) in [
            ("gw", "Gateway prod/gw"),
            ("infra/gw", "Gateway infra/gw"),
            ("./gw", "Gateway prod/gw"),
            ("gw.infra", "Gateway infra/gw"),
            ("gw.infra.svc.cluster.local", "Gateway infra/gw"),
        ] {
            let GatewayRef::Named(id) = resolve_gateway(written, &"prod".into()) else {
                panic!("{written} is not mesh")
            };
            assert_eq!(id.to_string(), want, "{written}");
        }
        assert_eq!(resolve_gateway("mesh", &"prod".into()), GatewayRef::Mesh);
    }
}
