//! How the proxy cuts the names of its statistics into a metric and its labels (`envoy.config.metrics.v3.StatsConfig`).
//!
//! Left to itself Envoy ends the name of a cluster, a virtual host or a listener at its first dot, and hosts are full of dots:
//! `/stats/prometheus` then has a metric of its own for each host, and the host is not a label.

use umbra_proto::envoy::config::metrics::v3::{StatsConfig, TagSpecifier, tag_specifier::TagValue};
use umbra_proto::google::protobuf::BoolValue;

/// Labels, under Envoy's own names, and where their value ends. Without a pattern: where Envoy thinks so. The outer group is what
/// is cut out of the name, the inner one is the value; each ends as early as what follows is a statistic of its kind.
const LABELS: [(&str, &str); 11] = [
    (
        "envoy.cluster_name",
        r"^cluster\.((.+?)\.)(?:(?:internal|external|canary|circuit_breakers\.\w+|retry_budget|default|outlier_detection|health_check|http[123]|ssl|zone\..+|grpc\..+)\.)?\w+$",
    ),
    ("envoy.virtual_host", r"^vhost\.((.+?)\.)(?:route|vcluster)\."),
    ("envoy.route", r"^vhost\..+?\.route\.((.+?)\.)\w+$"),
    (
        "envoy.http_conn_manager_prefix",
        r"^(?:listener\..+?\.)?http\.((.+?)\.)(?:(?:rds|tracing|user_agent|fault|cors|rbac|ext_authz)\..+|\w+)$",
    ),
    ("envoy.tcp_prefix", r"^tcp\.((.+?)\.)\w+$"),
    ("envoy.response_code", ""),
    ("envoy.response_code_class", ""),
    ("envoy.listener_address", ""),
    ("envoy.worker_id", ""),
    ("envoy.rds_route_config", ""),
    ("envoy.ssl_cipher", ""),
];

/// The labels above and no others.
pub(super) fn config() -> StatsConfig {
    let label = |(name, pattern): (&str, &str)| TagSpecifier {
        tag_name: name.to_owned(),
        tag_value: (!pattern.is_empty()).then(|| TagValue::Regex(pattern.to_owned())),
    };
    StatsConfig {
        use_all_default_tags: Some(BoolValue { value: false }),
        stats_tags: LABELS.map(label).into(),
        ..Default::default()
    }
}
