//! Services and ServiceEntries to service heads; which of several a namespace sees.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use umbra_api::{Meta, Object, Service, ServiceEntry};
use umbra_ir::{
    Hostname, Kind, ObjectId, PortNumber, Protocol, Resolution, ServiceHead, ServiceId, ServicePort,
    Visibility,
};

use crate::names::service_host;
use umbra_mesh::Index;

use crate::world::World;

/// The annotation with a Service's `exportTo` list.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// Creation time in whole seconds, 0 when unknown.
pub(crate) fn created(meta: &Meta) -> i64 {
    meta.created.map_or(0, |t| t.as_second())
}

/// The services that an object defines.
pub fn resolve_service_heads(view: &impl World, id: &ObjectId, object: &Object) -> Vec<Arc<ServiceHead>> {
    match object {
        Object::Service(service) => {
            vec![Arc::new(kubernetes_head(id, service, &view.settings().cluster_domain))]
        }
        Object::ServiceEntry(entry) => entry_heads(view, id, entry),
        _ => Vec::new(),
    }
}

fn kubernetes_head(id: &ObjectId, service: &Service, domain: &str) -> ServiceHead {
    let meta = &service.meta;
    let spelling = service_host(&meta.name, &meta.namespace, domain);
    let resolution = if service.spec.service_type == "ExternalName" {
        Resolution::Alias(Hostname::new(service.spec.external_name.trim_end_matches('.')))
    } else {
        Resolution::Static
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in std::iter::once(&service.spec.cluster_ip).chain(&service.spec.cluster_ips) {
        if let Ok(ip) = text.parse()
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    let export = meta.annotations.get(EXPORT_TO).map(String::as_str).unwrap_or_default();
    ServiceHead {
        id: ServiceId { object: id.clone(), host: Hostname::new(&spelling), also: Arc::default() },
        spelling: spelling.into(),
        created: created(meta),
        ports: unique_ports(service.spec.ports.iter().map(|p| {
            let protocol = kubernetes_protocol(p);
            (i64::from(p.port), p.name.as_str(), protocol)
        })),
        resolution,
        addresses,
        headless: service.spec.is_headless(),
        external: false,
        visibility: Visibility::resolve(
            export.split(',').map(str::trim).filter(|e| !e.is_empty()),
            &meta.namespace,
        ),
    }
}

/// Protocol of a Service port: transport, `appProtocol`, name prefix, well-known numbers
/// (istio `pkg/config/kube/conversion.go`).
fn kubernetes_protocol(port: &umbra_api::ServicePort) -> Protocol {
    if port.protocol.eq_ignore_ascii_case("UDP") || port.protocol.eq_ignore_ascii_case("SCTP") {
        return Protocol::Udp;
    }
    let text = match port.app_protocol.as_deref().filter(|p| !p.is_empty()) {
        Some("kubernetes.io/h2c") => return Protocol::Http2,
        Some("kubernetes.io/ws") => return Protocol::Http,
        Some("kubernetes.io/wss") => return Protocol::Https,
        Some(other) => other,
        None => port.name.as_str(),
    };
    if text.to_ascii_lowercase().starts_with("grpc-web") {
        return Protocol::GrpcWeb;
    }
    let word = text.split('-').next().unwrap_or_default();
    Protocol::parse(word).unwrap_or(match port.port {
        // Servers on these ports speak first, so detection would wait for ever.
        25 | 53 | 3306 | 27017 => Protocol::Tcp,
        _ => Protocol::Auto,
    })
}

/// The port of a Service with this number. TCP and UDP may share one (HTTP/3 does): the one that carries routes.
pub(crate) fn port_of(service: &Service, number: PortNumber) -> Option<&umbra_api::ServicePort> {
    let ports = || service.spec.ports.iter().filter(|p| i64::from(p.port) == i64::from(number.get()));
    ports().find(|p| kubernetes_protocol(p) != Protocol::Udp).or_else(|| ports().next())
}

fn entry_heads(view: &impl World, id: &ObjectId, entry: &ServiceEntry) -> Vec<Arc<ServiceHead>> {
    let mut heads: Vec<Arc<ServiceHead>> = Vec::new();
    // `*` would be every service there is, and take every unknown Host.
    for written in entry.spec.hosts.iter().filter(|h| *h != "*" && umbra_api::check_host(h).is_ok()) {
        let host = Hostname::new(written);
        if heads.iter().any(|h| h.id.host == host) {
            continue;
        }
        heads.push(Arc::new(entry_head(view, id, entry, host, written)));
    }
    heads
}

fn entry_head(
    view: &impl World,
    id: &ObjectId,
    entry: &ServiceEntry,
    host: Hostname,
    spelling: &str,
) -> ServiceHead {
    let spec = &entry.spec;
    let resolution = match spec.resolution {
        _ if spec.workload_selector.is_some() => Resolution::Unsupported("workloadSelector"),
        umbra_api::Resolution::Static => Resolution::Static,
        umbra_api::Resolution::Dns => Resolution::Dns,
        umbra_api::Resolution::None => Resolution::Unsupported("resolution NONE"),
        umbra_api::Resolution::DnsRoundRobin => Resolution::Unsupported("resolution DNS_ROUND_ROBIN"),
        umbra_api::Resolution::DynamicDns => Resolution::Unsupported("resolution DYNAMIC_DNS"),
    };
    let more = more_entries(view, id, entry, &host);
    let entries = || {
        let more = more.iter().filter_map(|object| match &**object {
            Object::ServiceEntry(entry) => Some(entry),
            _ => None,
        });
        std::iter::once(entry).chain(more)
    };
    let ports = unique_ports(entries().flat_map(|e| &e.spec.ports).map(|p| {
        (i64::from(p.number), p.name.as_str(), Protocol::parse(&p.protocol).unwrap_or(Protocol::Auto))
    }));
    // A block of addresses is not one that a request can name, a single one is.
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in entries().flat_map(|e| &e.spec.addresses) {
        if let Ok(ip) = text.trim_end_matches("/32").trim_end_matches("/128").parse()
            && !addresses.contains(&ip)
        {
            addresses.push(ip);
        }
    }
    ServiceHead {
        id: ServiceId { object: id.clone(), host, also: more.iter().map(|object| object.id()).collect() },
        spelling: spelling.into(),
        created: created(&entry.meta),
        ports,
        resolution,
        addresses,
        headless: false,
        external: spec.location == umbra_api::Location::MeshExternal,
        visibility: visibility_of(entry),
    }
}

fn visibility_of(entry: &ServiceEntry) -> Visibility {
    Visibility::resolve(entry.spec.export_to.iter().map(String::as_str), &entry.meta.namespace)
}

/// The ServiceEntries that add their ports and endpoints to the host of this one: those of the namespace that define
/// it too and agree on who sees it, how it is found and on their labels (istio `canMergeServices`), oldest first. The
/// oldest of them all is the service; the others have no more of their own.
fn more_entries(view: &impl World, id: &ObjectId, entry: &ServiceEntry, host: &Hostname) -> Vec<Arc<Object>> {
    let age = |meta: &Meta| (created(meta), meta.name.clone());
    let agrees = |other: &ServiceEntry| {
        other.spec.resolution == entry.spec.resolution
            && other.spec.workload_selector.is_none()
            && entry.spec.workload_selector.is_none()
            && other.meta.labels == entry.meta.labels
            && visibility_of(other) == visibility_of(entry)
    };
    let same_host = view.ids(&Index::EntryHost(host.clone())).into_iter();
    let others = same_host.filter(|other| other != id && other.namespace == id.namespace);
    let mut more: Vec<Arc<Object>> = others
        .filter_map(|other| view.object(&other))
        .filter(|object| matches!(&**object, Object::ServiceEntry(other) if agrees(other)))
        .collect();
    if more.iter().any(|other| age(other.meta()) < age(&entry.meta)) {
        return Vec::new();
    }
    more.sort_by_key(|other| age(other.meta()));
    more
}

/// Ports with valid numbers; of two with one number the first stays.
fn unique_ports<'a>(written: impl Iterator<Item = (i64, &'a str, Protocol)>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (number, name, protocol) in written {
        // TCP and UDP may share a number (DNS does); the one that carries routes wins.
        let Some(number) = PortNumber::new(number) else { continue };
        match ports.iter_mut().find(|p| p.number == number) {
            None => ports.push(ServicePort { number, name: name.into(), protocol }),
            Some(port) if port.protocol == Protocol::Udp => {
                *port = ServicePort { number, name: name.into(), protocol };
            }
            Some(_) => {}
        }
    }
    ports
}

/// Which of two services for one host a client in `prefer` means: Kubernetes over ServiceEntry, then its own
/// namespace, then the older, then by name and namespace.
fn precedence<'a>(head: &'a ServiceHead, prefer: &str) -> (bool, bool, i64, &'a str, &'a str) {
    let object = &head.id.object;
    (
        object.kind != Kind::Service,
        *object.namespace != *prefer,
        head.created,
        &object.name,
        &object.namespace,
    )
}

/// The service that `host` means to a client in `namespace`; objects in `prefer` win.
pub fn resolve_service(
    view: &impl World,
    namespace: &Arc<str>,
    prefer: &Arc<str>,
    host: &Hostname,
) -> Option<Arc<ServiceHead>> {
    candidates(view, host)
        .into_iter()
        .flat_map(|id| view.service_heads(&id).iter().cloned().collect::<Vec<_>>())
        .filter(|head| head.id.host == *host && head.visibility.covers(namespace))
        .min_by(|a, b| precedence(a, prefer).cmp(&precedence(b, prefer)))
}

/// Every object that defines `host`.
pub(crate) fn candidates(view: &impl World, host: &Hostname) -> Vec<ObjectId> {
    let mut ids = view.ids(&Index::EntryHost(host.clone()));
    let domain = view.settings().cluster_domain.to_ascii_lowercase();
    let suffix = if domain.is_empty() { domain } else { format!(".svc.{domain}") };
    // Names in files are not judged, so a dot may belong to the Service's name or to the namespace's.
    if let Some(rest) = host.as_str().strip_suffix(&suffix) {
        for (dot, _) in rest.match_indices('.') {
            ids.extend(view.ids(&Index::ServiceName(rest[dot + 1..].into(), rest[..dot].into())));
        }
    }
    ids
}

/// Every service that a namespace sees, one for each host; oldest first, then by host and namespace.
pub fn select_visible_services(view: &impl World, namespace: &Arc<str>) -> Vec<Arc<ServiceHead>> {
    let mut by_host: BTreeMap<Hostname, Arc<ServiceHead>> = BTreeMap::new();
    for kind in [Kind::Service, Kind::ServiceEntry] {
        for id in view.ids(&Index::Kind(kind)) {
            for head in view.service_heads(&id).iter().filter(|h| h.visibility.covers(namespace)) {
                let wins = by_host
                    .get(&head.id.host)
                    .is_none_or(|current| precedence(head, namespace) < precedence(current, namespace));
                if wins {
                    by_host.insert(head.id.host.clone(), head.clone());
                }
            }
        }
    }
    let mut services: Vec<Arc<ServiceHead>> = by_host.into_values().collect();
    services.sort_by(|a, b| {
        (a.created, &a.id.host, &a.id.object.namespace).cmp(&(b.created, &b.id.host, &b.id.object.namespace))
    });
    services
}
