//! Services to service heads.

use std::net::IpAddr;
use std::sync::Arc;

use umbra_api::{Objects, Service};
use umbra_ir::{
    Hostname, ObjectId, PortNumber, Protocol, RULES_FROM, Resolution, ServiceHead, ServiceId, ServicePort,
    Visibility, service_host,
};
use umbra_mesh::View;

use crate::names::named_pods;

/// The annotation with a Service's `exportTo` list.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The services that a Service defines: itself and, when it is headless, each pod that has a name of its own, so that only
/// that pod answers for it.
pub fn resolve_service_heads(
    view: &(impl View + Objects),
    id: &ObjectId,
    service: &Service,
) -> Vec<Arc<ServiceHead>> {
    let itself = service_head(id, service, &view.settings().cluster_domain);
    let pod = |name: String| {
        let spelling = format!("{name}.{}", itself.spelling);
        ServiceHead {
            id: ServiceId { host: Hostname::new(&spelling), ..itself.id.clone() },
            spelling: spelling.into(),
            addresses: Vec::new(),
            is_pod: true,
            ..itself.clone()
        }
    };
    let pods = if service.spec.is_headless() { named_pods(view, service) } else { Default::default() };
    let pods: Vec<_> = pods.into_iter().map(pod).map(Arc::new).collect();
    std::iter::once(Arc::new(itself)).chain(pods).collect()
}

fn service_head(id: &ObjectId, service: &Service, domain: &str) -> ServiceHead {
    let meta = &service.meta;
    let spelling = service_host(&meta.name, &meta.namespace, domain);
    let resolution = if service.spec.is_external_name() {
        Resolution::Alias(Hostname::new(service.spec.external_name.trim_end_matches('.')))
    } else {
        Resolution::Static
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in list_addresses(service) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    let export = meta.annotations.get(EXPORT_TO).map(String::as_str).unwrap_or_default();
    ServiceHead {
        id: ServiceId { object: id.clone(), host: Hostname::new(&spelling), also: Arc::default() },
        spelling: spelling.into(),
        created: meta.created_seconds(),
        ports: ServicePort::unique(service.spec.ports.iter().map(|p| {
            let protocol = kubernetes_protocol(p);
            (i64::from(p.port), p.name.as_str(), protocol)
        })),
        resolution,
        addresses,
        networks: Vec::new(),
        subject_alt_names: Arc::default(),
        is_pod: false,
        external: false,
        visibility: Visibility::resolve(
            export.split(',').map(str::trim).filter(|e| !e.is_empty()),
            &meta.namespace,
        ),
        admits: Visibility::listed(meta.annotations.get(RULES_FROM).map(String::as_str), &meta.namespace),
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
/// The virtual addresses that a Service writes; one may come twice.
pub fn list_addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let texts = std::iter::once(&service.spec.cluster_ip).chain(&service.spec.cluster_ips);
    texts.filter_map(|text| text.parse().ok())
}
