//! Clusters.

use std::time::Duration;

use umbra_ir::{Arrangement, Breakers, Cluster, Discovery, Endpoint, RetryBudget, Role, TcpKeepalive};
use umbra_proto::envoy::config::cluster::v3::{
    self as api, CircuitBreakers, UpstreamConnectionOptions,
    circuit_breakers::{Thresholds, thresholds},
    cluster::{
        ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbConfig,
        LbPolicy, OriginalDstLbConfig,
        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
    },
};
use umbra_proto::envoy::config::core::v3 as core;
use umbra_proto::envoy::r#type::v3::Percent;

use crate::convert::{ads, boolean, duration, positive_duration, uint32};
use crate::load_assignment::load_assignment;
use crate::names::{cluster_name, load_assignment_name};
use crate::{Built, Requirement, as_asked, balancers, http_options, outliers, proxy_protocol, tls};

/// One cluster (`envoy.config.cluster.v3.Cluster`).
///
/// An EDS cluster requires the load assignment of its primary cluster, which it always names: a mirror cluster
/// shares it. A DNS cluster carries its endpoints and leaves the resolver to the bootstrap.
pub fn build_cluster(cluster: &Cluster) -> Built {
    let name = cluster_name(&cluster.reference);
    let tls = tls::settings(cluster);
    let socket = tls.as_ref().map(|tls| tls::transport_socket(tls, cluster.protocol));
    let transport_socket = match cluster.proxy_protocol {
        Some(version) => Some(proxy_protocol::wrapped(version, socket)),
        None => socket,
    };
    let (lb_policy, lb_config) = balancers::balancer(cluster);
    let mut message = api::Cluster {
        name: name.to_string(),
        connect_timeout: Some(positive_duration(cluster.connect_timeout)),
        lb_policy: lb_policy.into(),
        lb_config,
        circuit_breakers: Some(circuit_breakers(cluster.breakers, cluster.retry_budget.as_ref())),
        outlier_detection: cluster.outlier_detection.as_ref().map(outliers::outlier_detection),
        // Endpoints that are not ready are left out, so a small rest must not be taken for an outage.
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: min_health(cluster) }),
            locality_config_specifier: cluster
                .locality_weighted
                .then_some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})),
            ..Default::default()
        }),
        typed_extension_protocol_options: http_options::protocol_options(cluster, tls.as_ref()),
        transport_socket,
        upstream_connection_options: cluster.connection_pool.keepalive.as_ref().map(keepalive),
        ..Default::default()
    };
    let mut requires = Vec::new();
    match &cluster.discovery {
        Discovery::Eds => {
            let assignment = load_assignment_name(&cluster.reference);
            message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
            message.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(ads(Duration::ZERO)),
                service_name: assignment.to_string(),
            });
            requires.push(Requirement::LoadAssignment(assignment));
        }
        Discovery::AsAsked => {
            message.cluster_discovery_type = Some(as_asked::discovery(cluster, tls.as_ref()));
            message.lb_policy = LbPolicy::ClusterProvided.into();
            message.lb_config = None;
        }
        Discovery::OriginalDst(other_port) => {
            message.cluster_discovery_type =
                Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into()));
            message.lb_policy = LbPolicy::ClusterProvided.into();
            message.lb_config = other_port.map(|port| {
                LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
                    upstream_port_override: Some(uint32(port.get().into())),
                    ..Default::default()
                })
            });
        }
        Discovery::StrictDns(endpoints, arrangement) => {
            let role = cluster.reference.role;
            resolve_names(&mut message, DiscoveryType::StrictDns, endpoints, arrangement, role);
        }
        Discovery::LogicalDns(endpoint) => {
            let role = cluster.reference.role;
            let (one, alike) = (std::slice::from_ref(&**endpoint), Arrangement::default());
            resolve_names(&mut message, DiscoveryType::LogicalDns, one, &alike, role);
        }
    }
    Built::new(name, &message, requires)
}

/// Strict DNS: every address of every answer is an endpoint. Logical DNS: the first address of the last answer is, for new
/// connections. A name that has both kinds of addresses is reached by IPv4, one that has only IPv6 is reached too.
///
/// DIVERGES: Istio also writes a refresh rate and asks for the answers' own time to live, by fields that Envoy has
/// deprecated; here names are resolved again every 5 s, Envoy's default.
fn resolve_names(
    message: &mut api::Cluster,
    way: DiscoveryType,
    endpoints: &[Endpoint],
    arrangement: &Arrangement,
    role: Role,
) {
    message.cluster_discovery_type = Some(ClusterDiscoveryType::Type(way.into()));
    message.dns_lookup_family = DnsLookupFamily::V4Preferred.into();
    message.load_assignment = Some(load_assignment(&message.name, endpoints, arrangement));
    if role.is_mirror() {
        // A name that no DNS server answers must hold up nothing: copies wait for it, production does not.
        message.wait_for_warm_on_init = Some(boolean(false));
    }
}

/// In percent: with fewer endpoints that are not ejected, all are used.
fn min_health(cluster: &Cluster) -> f64 {
    cluster.outlier_detection.as_ref().map_or(0.0, |outliers| outliers.min_health_percent.into())
}

/// With a budget Envoy looks at no limit of retries.
pub(crate) fn circuit_breakers(breakers: Breakers, budget: Option<&RetryBudget>) -> CircuitBreakers {
    let retry_budget = budget.map(|budget| thresholds::RetryBudget {
        budget_percent: Some(Percent { value: budget.percent.0 }),
        min_retry_concurrency: budget.min_retries.map(uint32),
        budget_interval: budget.interval.map(duration),
    });
    let thresholds = Thresholds {
        max_connections: Some(uint32(breakers.max_connections)),
        max_pending_requests: Some(uint32(breakers.max_pending_requests)),
        max_requests: Some(uint32(breakers.max_requests)),
        max_retries: Some(uint32(breakers.max_retries)),
        retry_budget,
        ..Default::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

fn keepalive(keepalive: &TcpKeepalive) -> UpstreamConnectionOptions {
    // Envoy counts in whole seconds, and zero is none of them.
    let seconds = |value: Duration| uint32(u32::try_from(value.as_secs()).unwrap_or(u32::MAX).max(1));
    UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: keepalive.probes.map(uint32),
            keepalive_time: keepalive.time.map(seconds),
            keepalive_interval: keepalive.interval.map(seconds),
        }),
        ..Default::default()
    }
}
