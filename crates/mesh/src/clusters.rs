//! A cluster reference to the cluster it describes (istio-semantics "DestinationRule -> Cluster").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use umbra_ir::budget::{SUBSET_CLUSTERS, fits_about};
use umbra_ir::{
    Arrangement, Breakers, ClientPlace, ClientTls, Cluster, ClusterRef, DestinationRuleEntry,
    DestinationRuleSetId, Discovery, Kind, LoadAssignment, LoadBalancer, Protocol, ProxyKind, Resolution,
    Role, ServiceHead, ServiceId, SubsetName, TlsOrigination, TrafficPolicy, UpstreamProtocol,
};

use crate::hashing::for_copies;
use crate::localities::{arrange, effective, is_weighted};
use crate::services::candidates;
use crate::view::{Index, View};

/// Istio's default connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything a cluster needs; `None` when its service has gone or cannot be called.
///
/// A `place` is given where the endpoints inside depend on where the client is.
pub fn bind_cluster(
    view: &dyn View,
    reference: &ClusterRef,
    kind: ProxyKind,
    place: Option<&ClientPlace>,
) -> Option<Cluster> {
    let heads = view.service_heads(&reference.service.object);
    let service = heads.iter().find(|h| h.id == reference.service)?;
    let port = service.port(reference.port)?;
    let policy = effective(view, reference);
    let pool = policy.connection_pool.clone().unwrap_or_default();
    let discovery = match &service.resolution {
        _ if reference.role == Role::Direct => Discovery::OriginalDst(None),
        Resolution::Original(ports) => Discovery::OriginalDst(ports.get(&reference.port).copied()),
        // As in Istio before any load balancer: there are no endpoints to choose from.
        Resolution::AsAsked => Discovery::AsAsked,
        _ if passes_through(&policy) => Discovery::OriginalDst(None),
        // Mirror clusters of DNS services have their own copy: there is nothing to share by name.
        Resolution::Dns => {
            let (endpoints, arrangement) = arrange(&policy, place, &view.members(reference).0);
            Discovery::StrictDns(endpoints, arrangement)
        }
        Resolution::DnsRoundRobin => match view.members(reference).0.first() {
            Some(first) => Discovery::LogicalDns(Box::new(first.clone())),
            // Envoy takes no logical name without an endpoint.
            None => Discovery::StrictDns(Vec::new(), Arrangement::default()),
        },
        _ => Discovery::Eds,
    };
    let locality_weighted =
        is_weighted(&policy) && !matches!(discovery, Discovery::OriginalDst(_) | Discovery::AsAsked);
    let settings = view.settings();
    let limit = |written: Option<u32>, default: u32| written.unwrap_or(default);
    let written = Breakers {
        max_connections: limit(pool.max_connections, u32::MAX),
        max_pending_requests: limit(pool.max_pending_requests, u32::MAX),
        max_requests: limit(pool.max_requests, u32::MAX),
        max_retries: limit(pool.max_retries, u32::MAX),
    };
    let (breakers, max_stream_duration) = match reference.role {
        Role::Primary | Role::Direct => (written, None),
        Role::Mirror | Role::GrpcMirror | Role::Control => {
            let mesh = &settings.mirror;
            let own = reference.limits.as_deref();
            let breakers = own.map_or(mesh.breakers, |own| own.breakers(mesh.breakers));
            let longest = own.and_then(|own| own.max_stream_duration).unwrap_or(mesh.max_stream_duration);
            (written.min(breakers), Some(longest))
        }
    };
    let balancing = policy.load_balancer.unwrap_or_default();
    let (load_balancer, hash) = match reference.role {
        Role::Primary | Role::Direct => (balancing.balancer, None),
        Role::Mirror | Role::GrpcMirror | Role::Control => for_copies(&balancing),
    };
    let tls = match policy.tls {
        Some(ClientTls::Originate(tls)) => Some(with_service_names(service, tls)),
        _ => None,
    };
    Some(Cluster {
        reference: reference.clone(),
        discovery,
        connect_timeout: pool.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        load_balancer,
        locality_weighted,
        warmup: balancing.warmup,
        hash,
        // What copies are answered says nothing about who serves well: nobody is ejected for it. DIVERGES: in Istio
        // copies go by the destination's own clusters, so that their answers eject production's endpoints.
        outlier_detection: policy.outlier_detection.filter(|_| !reference.role.is_mirror()),
        breakers,
        protocol: match reference.role {
            Role::GrpcMirror => UpstreamProtocol::Http2,
            _ => upstream_protocol(port.protocol, kind, pool.use_client_protocol),
        },
        // Copies are never tried again, and their limits are their own.
        retry_budget: policy.retry_budget.filter(|_| !reference.role.is_mirror()),
        proxy_protocol: policy.proxy_protocol,
        tls,
        connection_pool: pool,
        max_stream_duration,
    })
}

/// The names that the service's certificates carry stand in for missing ones.
fn with_service_names(service: &ServiceHead, tls: TlsOrigination) -> TlsOrigination {
    if !tls.subject_alt_names.is_empty() {
        return tls;
    }
    TlsOrigination { subject_alt_names: service.subject_alt_names.to_vec(), ..tls }
}

/// useClientProtocol beats everything, then what the port says; an auto-detected port on a sidecar speaks
/// what the client speaks.
fn upstream_protocol(port: Protocol, kind: ProxyKind, client: bool) -> UpstreamProtocol {
    if client {
        UpstreamProtocol::Downstream
    } else if port.is_http2() {
        UpstreamProtocol::Http2
    } else if port == Protocol::Auto && kind == ProxyKind::Sidecar {
        UpstreamProtocol::Downstream
    } else {
        UpstreamProtocol::Http1
    }
}

/// Whether a cluster's connections go to the address that their caller called.
pub(crate) fn goes_where_called(view: &dyn View, cluster: &ClusterRef) -> bool {
    let resolution = resolution_of(view, cluster);
    match resolution {
        Some(Resolution::Original(_)) => true,
        Some(Resolution::AsAsked) => false,
        _ => passes_through(&effective(view, cluster)),
    }
}

/// Whether a cluster's requests go to what their Host names.
pub(crate) fn goes_as_asked(view: &dyn View, cluster: &ClusterRef) -> bool {
    resolution_of(view, cluster) == Some(Resolution::AsAsked)
}

fn resolution_of(view: &dyn View, cluster: &ClusterRef) -> Option<Resolution> {
    let heads = view.service_heads(&cluster.service.object);
    heads.iter().find(|head| head.id == cluster.service).map(|head| head.resolution.clone())
}

/// `loadBalancer.simple: PASSTHROUGH`: whatever endpoints the service has, they are not asked for.
fn passes_through(policy: &TrafficPolicy) -> bool {
    policy.load_balancer.as_ref().is_some_and(|it| it.balancer == LoadBalancer::Passthrough)
}

/// What the port of a cluster says that it speaks.
pub(crate) fn protocol_of(view: &dyn View, cluster: &ClusterRef) -> Option<Protocol> {
    let heads = view.service_heads(&cluster.service.object);
    let head = heads.iter().find(|h| h.id == cluster.service)?;
    head.port(cluster.port).map(|port| port.protocol)
}

/// Whether a cluster speaks what its client speaks.
pub(crate) fn speaks_as_client(view: &dyn View, reference: &ClusterRef, kind: ProxyKind) -> bool {
    let policy = reference
        .policy
        .as_ref()
        .map(|id| view.destination_rule_set(id).effective(reference.port, reference.subset.as_ref()));
    let client = policy.and_then(|p| p.connection_pool).is_some_and(|pool| pool.use_client_protocol);
    let port = protocol_of(view, reference);
    port.is_some_and(|port| upstream_protocol(port, kind, client) == UpstreamProtocol::Downstream)
}

/// The load assignment of a cluster; `None` for clusters that have their endpoints inline.
pub fn bind_load_assignment(
    view: &dyn View,
    reference: &ClusterRef,
    place: Option<&ClientPlace>,
) -> LoadAssignment {
    let reference = reference.with_role(Role::Primary);
    let (endpoints, arrangement) = arrange(&effective(view, &reference), place, &view.members(&reference).0);
    LoadAssignment { reference, endpoints, arrangement }
}

/// Whether a cluster has endpoints inside that may depend on where the client is.
pub(crate) fn has_names_inside(view: &dyn View, reference: &ClusterRef) -> bool {
    let heads = view.service_heads(&reference.service.object);
    heads.iter().any(|h| h.id == reference.service && h.resolution == Resolution::Dns)
        && !passes_through(&effective(view, reference))
}

/// Whether a cluster's endpoints come by a load assignment.
pub(crate) fn uses_load_assignment(view: &dyn View, reference: &ClusterRef) -> bool {
    let heads = view.service_heads(&reference.service.object);
    let by_name = |h: &ServiceHead| h.id == reference.service && h.resolution == Resolution::Static;
    reference.role != Role::Direct
        && heads.iter().any(|h| by_name(h))
        && !passes_through(&effective(view, reference))
}

/// How many of these DestinationRules' subsets are clusters at sidecars for each service that they apply to, the first ones
/// by name; of the others only those that rules name.
pub fn select_subsets_kept(view: &dyn View, id: &DestinationRuleSetId) -> usize {
    let subsets = view.destination_rule_set(id).subsets.len();
    // With two a mesh is as it has always been; nothing has to be counted.
    if subsets <= 2 {
        return usize::MAX;
    }
    match count_ports(view, id) {
        ports if ports * subsets <= SUBSET_CLUSTERS => usize::MAX,
        ports => fits_about(SUBSET_CLUSTERS, ports),
    }
}

/// The ports of all services that the host of these DestinationRules means, whoever sees them.
fn count_ports(view: &dyn View, id: &DestinationRuleSetId) -> usize {
    let Some(first) = id.0.first() else { return 0 };
    let rules = view.namespace_destination_rules(&first.namespace);
    let is_of = |entries: &[DestinationRuleEntry]| entries.iter().any(|entry| entry.id == *first);
    let Some((host, _)) = rules.0.iter().find(|(_, entries)| is_of(entries)) else { return 0 };
    let objects = match host.is_wildcard() {
        true => {
            let kinds = [Kind::Service, Kind::ServiceEntry];
            kinds.iter().flat_map(|kind| view.ids(&Index::Kind(*kind))).collect()
        }
        false => candidates(view, host),
    };
    let ports = |object| {
        let heads = view.service_heads(&object);
        let meant = heads.iter().filter(|head| !head.is_pod && head.id.host.subset_of(host));
        meant.map(|head| head.ports.len()).sum::<usize>()
    };
    objects.into_iter().map(ports).sum()
}

/// The clusters of one service for sidecars of a namespace: every TCP port, with every subset of the
/// DestinationRules that apply.
pub fn select_service_clusters(
    view: &dyn View,
    namespace: &Arc<str>,
    selecting: &Arc<BTreeMap<String, String>>,
    id: &ServiceId,
) -> Vec<ClusterRef> {
    let heads = view.service_heads(&id.object);
    let Some(service) = heads.iter().find(|head| head.id == *id) else { return Vec::new() };
    if !service.resolution.is_served() {
        return Vec::new();
    }
    let policy = view.policy(namespace, selecting, &service.id);
    // A single pod is no set of which a subset could be named.
    // Nor is what a Host names.
    let has_subsets = !service.is_pod && service.resolution != Resolution::AsAsked;
    let rules = policy.as_ref().filter(|_| has_subsets);
    let subsets =
        |id| view.destination_rule_set(id).subsets.keys().take(view.subsets_kept(id)).cloned().collect();
    let subsets: Vec<SubsetName> = rules.map(subsets).unwrap_or_default();
    let mut clusters = Vec::new();
    // Nobody can be looked up by bytes that name nobody.
    let named =
        |protocol: Protocol| protocol.is_http() || matches!(protocol, Protocol::Tls | Protocol::Https);
    let served = |protocol| match service.resolution {
        Resolution::AsAsked => named(protocol),
        _ => protocol != Protocol::Udp,
    };
    for port in service.ports.iter().filter(|p| served(p.protocol)) {
        for subset in std::iter::once(None).chain(subsets.iter().cloned().map(Some)) {
            clusters.push(ClusterRef {
                service: service.id.clone(),
                spelling: service.spelling.clone(),
                port: port.number,
                subset,
                policy: policy.clone(),
                role: Role::Primary,
                limits: None,
                contents: false,
            });
        }
    }
    clusters
}
