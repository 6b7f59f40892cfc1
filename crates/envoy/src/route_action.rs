//! Forwarding: destinations, copies, timeout, retries, rewrites (`envoy.config.route.v3.RouteAction`).

use umbra_ir::{Forward, PathRewrite, RetryPolicy, Target, TargetCluster};
use umbra_proto::envoy::config::route::v3::{
    self as api, RouteAction, WeightedCluster,
    retry_policy::{
        RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate::ConfigType, retry_priority,
    },
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
    weighted_cluster::{ClusterWeight, cluster_weight},
};
use umbra_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use umbra_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use umbra_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use umbra_proto::pack_any;

use crate::balancers::hash_policy;
use crate::convert::{duration, positive_duration, regex, uint32};
use crate::header_ops::to_add;
use crate::mirror::mirror_policy;
use crate::names::cluster_name;
use crate::weights::rescale;

/// How often a retry looks for an endpoint that was not tried yet (Istio's default).
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// What Istio calls the cluster of a destination without a name: Envoy refuses an empty name, and with it the
/// whole table.
const NO_CLUSTER: &str = "UnknownService";

pub(crate) fn route_action(forward: &Forward) -> RouteAction {
    let options = &forward.options;
    let mut action = RouteAction {
        cluster_specifier: Some(cluster_specifier(forward)),
        hash_policy: forward.hash.iter().map(hash_policy).collect(),
        request_mirror_policies: forward.mirrors.iter().map(mirror_policy).collect(),
        // Zero is "none". DIVERGES: Istio also shortens it to the `grpc-timeout` of a request, by a field that
        // Envoy has deprecated; callers keep their own deadlines.
        timeout: Some(duration(options.timeout)),
        retry_policy: options.retry.as_ref().map(retry_policy),
        host_rewrite_specifier: options.host_rewrite.clone().map(HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    };
    match &options.path_rewrite {
        Some(PathRewrite::Prefix(text)) => action.prefix_rewrite = text.clone(),
        Some(PathRewrite::Regex(pattern, substitution)) => {
            action.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(regex(pattern)),
                substitution: substitution.clone(),
            });
        }
        None => {}
    }
    action
}

fn cluster_specifier(forward: &Forward) -> ClusterSpecifier {
    match forward.targets.as_slice() {
        [] => ClusterSpecifier::Cluster(NO_CLUSTER.to_owned()),
        [only] if !forward.weighted => ClusterSpecifier::Cluster(target_name(&only.cluster)),
        targets => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: targets.iter().zip(weights(forward)).map(|(t, w)| cluster_weight(t, w)).collect(),
            ..Default::default()
        }),
    }
}

/// As written, unless copies ask for a total of their own or Envoy would refuse the sum.
fn weights(forward: &Forward) -> Vec<u32> {
    let weights: Vec<u32> = forward.targets.iter().map(|target| target.weight).collect();
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    let mixed_with_copies = weights.len() > 1 && !forward.mirrors.is_empty();
    let refused = sum == 0 || sum > u64::from(u32::MAX);
    if mixed_with_copies || refused { rescale(&weights) } else { weights }
}

fn cluster_weight(target: &Target, weight: u32) -> ClusterWeight {
    ClusterWeight {
        name: target_name(&target.cluster),
        weight: Some(uint32(weight)),
        request_headers_to_add: to_add(&target.headers.request),
        request_headers_to_remove: target.headers.request.remove.clone(),
        response_headers_to_add: to_add(&target.headers.response),
        response_headers_to_remove: target.headers.response.remove.clone(),
        host_rewrite_specifier: target
            .host_rewrite
            .clone()
            .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    }
}

pub(crate) fn target_name(target: &TargetCluster) -> String {
    match target {
        TargetCluster::Known(reference) => cluster_name(reference).to_string(),
        TargetCluster::Unknown(name) if name.is_empty() => NO_CLUSTER.to_owned(),
        TargetCluster::Unknown(name) => name.to_string(),
    }
}

/// What extensions of retries are called that avoid what was tried. Envoy finds them by their types and wants any name, and this one
/// stands in each route.
const RETRY_EXTENSION: &str = "previous";

/// Every second retry looks at the priorities anew, without those that were tried (Istio's frequency).
fn previous_priorities() -> RetryPriority {
    let config = PreviousPrioritiesConfig { update_frequency: 2 };
    RetryPriority {
        name: RETRY_EXTENSION.to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack_any(&config))),
    }
}

fn retry_policy(retry: &RetryPolicy) -> api::RetryPolicy {
    let previous_hosts = RetryHostPredicate {
        name: RETRY_EXTENSION.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(&PreviousHostsPredicate {}))),
    };
    api::RetryPolicy {
        retry_on: retry.retry_on.clone(),
        num_retries: Some(uint32(retry.attempts)),
        per_try_timeout: retry.per_try_timeout.map(duration),
        retry_host_predicate: retry.avoid_previous_hosts.then_some(previous_hosts).into_iter().collect(),
        retry_priority: retry.remote_localities.then(previous_priorities),
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        retriable_status_codes: retry.status_codes.clone(),
        retry_back_off: retry.backoff.map(|interval| RetryBackOff {
            base_interval: Some(positive_duration(interval)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
