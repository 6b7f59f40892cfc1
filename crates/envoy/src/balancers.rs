//! How an endpoint is chosen, and what of a request decides.

use std::time::Duration;

use umbra_ir::{Cluster, HashKey, LoadBalancer, Warmup};
use umbra_proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use umbra_proto::envoy::config::core::v3::RuntimeDouble;
use umbra_proto::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter},
};
use umbra_proto::envoy::r#type::v3::Percent;
use umbra_proto::google::protobuf::UInt64Value;

use crate::convert::{duration, positive_duration};

/// Envoy wants a key for the shape of a warm-up; nothing sets it.
const AGGRESSION: &str = "umbra.warmup.aggression";

/// The policy and what belongs to it.
pub(crate) fn balancer(cluster: &Cluster) -> (LbPolicy, Option<LbConfig>) {
    let slow_start = cluster.warmup.as_ref().map(slow_start);
    match cluster.load_balancer {
        LoadBalancer::LeastRequest => (
            LbPolicy::LeastRequest,
            slow_start.map(|it| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(it),
                    ..Default::default()
                })
            }),
        ),
        LoadBalancer::RoundRobin => (
            LbPolicy::RoundRobin,
            slow_start
                .map(|it| LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(it) })),
        ),
        LoadBalancer::Random => (LbPolicy::Random, None),
        LoadBalancer::Passthrough => (LbPolicy::ClusterProvided, None),
        LoadBalancer::RingHash(size) => {
            let size = Some(UInt64Value { value: size });
            let ring = RingHashLbConfig { minimum_ring_size: size, ..Default::default() };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(ring)))
        }
        LoadBalancer::Maglev(size) => {
            let table =
                |value| LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(UInt64Value { value }) });
            (LbPolicy::Maglev, size.map(table))
        }
    }
}

fn slow_start(warmup: &Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(positive_duration(warmup.duration)),
        aggression: Some(RuntimeDouble {
            default_value: warmup.aggression.0,
            runtime_key: AGGRESSION.to_owned(),
        }),
        min_weight_percent: Some(Percent { value: warmup.minimum_percent.0 }),
    }
}

/// What of a request decides.
pub(crate) fn hash_policy(key: &HashKey) -> HashPolicy {
    let specifier = match key {
        HashKey::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Default::default() })
        }
        HashKey::Cookie(cookie) => {
            let attribute = |(name, value): &(String, String)| CookieAttribute {
                name: name.clone(),
                value: value.clone(),
            };
            PolicySpecifier::Cookie(Cookie {
                name: cookie.name.clone(),
                ttl: cookie.ttl.map(whole_seconds),
                path: cookie.path.clone(),
                attributes: cookie.attributes.iter().map(attribute).collect(),
            })
        }
        HashKey::SourceAddress => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
    };
    HashPolicy { policy_specifier: Some(specifier), terminal: false }
}

/// Cookies live for whole seconds, and 0 means something else.
fn whole_seconds(ttl: Duration) -> umbra_proto::google::protobuf::Duration {
    let up = u64::from(ttl.subsec_nanos() > 0);
    duration(Duration::from_secs(ttl.as_secs().saturating_add(up)))
}
