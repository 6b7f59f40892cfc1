//! Clusters without endpoints: what a request's Host names, or a client in TLS, is looked up when it is asked for.
//!
//! Since 1.34 Envoy's cluster does so by itself, whatever changed the Host before; the HTTP filter that earlier ones need
//! beside it is not there ([decision 74](../../../docs/decisions/0074-hosts-looked-up-when-asked.md)).

use umbra_ir::{Cluster, Onward, PortNumber, Shared, TlsOrigination};
use umbra_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DnsLookupFamily,
};
use umbra_proto::envoy::config::listener::v3::Filter;
use umbra_proto::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier,
};
use umbra_proto::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use umbra_proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3::{
    self as sni, filter_config::PortSpecifier,
};
use umbra_proto::pack_any;

use crate::convert::filter;

/// The kind of such a cluster.
pub(crate) fn discovery(cluster: &Cluster, tls: Option<&TlsOrigination>) -> ClusterDiscoveryType {
    let cache = ClusterImplementationSpecifier::DnsCacheConfig(names(&cluster.reference.spelling));
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(cache),
        // Envoy wants it said where not all that it would verify is verified.
        allow_insecure_cluster_options: tls.is_none_or(|tls| !tls.sni.is_empty() || tls.insecure_skip_verify),
        ..Default::default()
    };
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
        typed_config: Some(pack_any(&config)),
    })
}

/// What is known of names that were asked for, for each host of a ServiceEntry by itself: Envoy keeps 1024, and forgets those
/// that nobody asked for in five minutes. All who name it have to say the same.
fn names(host: &str) -> DnsCacheConfig {
    DnsCacheConfig {
        name: format!("{host}_dfp_dns_cache"),
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        ..Default::default()
    }
}

/// The filter that looks up the name which a client asks for in TLS, if bytes may go where it is needed.
pub(crate) fn asked_in_tls(shared: &Shared) -> Option<Filter> {
    let asked = shared.onward().find_map(|onward| match onward {
        Onward::Service { cluster, as_asked: true, .. } => Some(cluster),
        Onward::Service { .. } | Onward::BuiltIn(_) => None,
    })?;
    let config = sni::FilterConfig {
        dns_cache_config: Some(names(&asked.spelling)),
        port_specifier: Some(PortSpecifier::PortValue(port(asked.port))),
        ..Default::default()
    };
    Some(filter("envoy.filters.network.sni_dynamic_forward_proxy", &config))
}

fn port(number: PortNumber) -> u32 {
    number.get().into()
}
