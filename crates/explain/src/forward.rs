//! Forwarding: where a request goes, with which odds, and what is sent.

use umbra_proto::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation::Action};
use umbra_proto::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};
use umbra_proto::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch,
    route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
    route_match::PathSpecifier,
    weighted_cluster::{ClusterWeight, cluster_weight},
};
use umbra_proto::google::protobuf::Duration;

use crate::config::Config;
use crate::explanation::{Copies, Destination, Forward, Retries, Sent};
use crate::path;
use crate::regex;
use crate::request::{GENERATED, Headers, Seen, port_start};

/// What Envoy puts behind the host of a copy.
const SHADOW: &str = "-shadow";

/// What a route that forwards does with a request.
///
/// # Errors
/// What cannot be judged here, in words.
pub(crate) fn forward(
    config: &Config,
    route: &Route,
    action: &RouteAction,
    request: &Seen,
) -> Result<Forward, String> {
    let destinations = destinations(config, route, action, request)?;
    let mirrors =
        action.request_mirror_policies.iter().map(|policy| copies(config, policy, &destinations)).collect();
    let timeout = action.timeout.as_ref().map_or(15.0, seconds);
    let retries = action.retry_policy.as_ref().map(|policy| Retries {
        attempts: policy.num_retries.map_or(1, |number| number.value),
        on: policy.retry_on.clone(),
        statuses: policy.retriable_status_codes.clone(),
        per_try_seconds: policy.per_try_timeout.as_ref().map(seconds).filter(|it| *it > 0.0),
    });
    let timeout_seconds = Some(timeout).filter(|it| *it > 0.0);
    Ok(Forward { destinations, mirrors, timeout_seconds, retries })
}

fn destinations(
    config: &Config,
    route: &Route,
    action: &RouteAction,
    request: &Seen,
) -> Result<Vec<Destination>, String> {
    let path = rewritten(route.r#match.as_ref(), action, &request.path)?;
    let one = |cluster: &str, odds: f64, weighted: Option<&ClusterWeight>| Destination {
        cluster: cluster.to_owned(),
        odds,
        endpoints: config.endpoints(cluster),
        sent: sent(route, action, weighted, request, &path),
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => Ok(vec![one(cluster, 1.0, None)]),
        Some(ClusterSpecifier::WeightedClusters(all)) => {
            let weight = |it: &ClusterWeight| it.weight.map_or(0, |weight| weight.value);
            let total: f64 = all.clusters.iter().map(|it| f64::from(weight(it))).sum();
            let each = all.clusters.iter().map(|it| one(&it.name, f64::from(weight(it)) / total, Some(it)));
            Ok(each.collect())
        }
        _ => Err("its clusters are chosen in a way that is not known here".to_owned()),
    }
}

fn sent(
    route: &Route,
    action: &RouteAction,
    weighted: Option<&ClusterWeight>,
    request: &Seen,
    path: &str,
) -> Sent {
    let mut headers = request.headers.clone();
    // The nearest first, and of each what it removes before what it adds.
    if let Some(weighted) = weighted {
        change(&mut headers, &weighted.request_headers_to_remove, &weighted.request_headers_to_add);
    }
    change(&mut headers, &route.request_headers_to_remove, &route.request_headers_to_add);
    let of_weight = weighted.and_then(|it| it.host_rewrite_specifier.as_ref()).map(|it| match it {
        cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) => host.clone(),
    });
    let of_route = match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host.clone()),
        _ => None,
    };
    let host = of_weight.or(of_route).unwrap_or_else(|| request.authority.clone());
    headers.0.retain(|(name, value)| name != "x-forwarded-proto" && value != GENERATED);
    Sent { host, path: path.to_owned(), headers: headers.0 }
}

/// What replaces goes first, whatever stands before it, and all is decided by the headers as they came.
fn change(headers: &mut Headers, remove: &[String], add: &[HeaderValueOption]) {
    remove.iter().for_each(|name| headers.remove(name));
    let (mut replaced, mut added) = (Vec::new(), Vec::new());
    for option in add {
        let Some(header) = &option.header else { continue };
        let value = header.value.replace("%%", "%");
        if value.is_empty() && !option.keep_empty_value {
            continue;
        }
        let there = headers.get(&header.key.to_ascii_lowercase()).is_some();
        match option.append_action() {
            HeaderAppendAction::OverwriteIfExists if !there => {}
            HeaderAppendAction::AddIfAbsent if there => {}
            HeaderAppendAction::OverwriteIfExistsOrAdd | HeaderAppendAction::OverwriteIfExists => {
                replaced.push((&header.key, value));
            }
            HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::AddIfAbsent => {
                added.push((&header.key, value));
            }
        }
    }
    replaced.iter().for_each(|(name, value)| headers.set(name, value));
    added.iter().for_each(|(name, value)| headers.add(name, value));
}

/// The path after the route's rewrite.
fn rewritten(matched: Option<&RouteMatch>, action: &RouteAction, path: &str) -> Result<String, String> {
    if !action.prefix_rewrite.is_empty() {
        return Ok(with_prefix(matched, &action.prefix_rewrite, path));
    }
    match &action.regex_rewrite {
        Some(rewrite) => {
            let pattern = rewrite.pattern.as_ref().map_or("", |pattern| pattern.regex.as_str());
            let new = regex::replace_all(pattern, &rewrite.substitution, path::without_query(path))?;
            // Nothing is no path, and changes nothing.
            Ok(if new.is_empty() { path.to_owned() } else { new + path::query(path) })
        }
        None => Ok(path.to_owned()),
    }
}

/// The path with what the route matched replaced: its prefix, or all of it but the query.
pub(crate) fn with_prefix(matched: Option<&RouteMatch>, rewrite: &str, path: &str) -> String {
    let length = match matched.and_then(|it| it.path_specifier.as_ref()) {
        Some(PathSpecifier::Prefix(prefix)) => prefix.len(),
        _ => path::without_query(path).len(),
    };
    format!("{rewrite}{}", path.get(length..).unwrap_or_default())
}

fn copies(config: &Config, policy: &RequestMirrorPolicy, destinations: &[Destination]) -> Copies {
    let mut all: Vec<Sent> = Vec::new();
    for destination in destinations {
        let sent = &destination.sent;
        let host = if !policy.host_rewrite_literal.is_empty() {
            policy.host_rewrite_literal.clone()
        } else if policy.disable_shadow_host_suffix_append {
            sent.host.clone()
        } else {
            shadow(&sent.host)
        };
        let mut headers = Headers(sent.headers.clone());
        policy.request_headers_mutations.iter().for_each(|mutation| mutate(&mut headers, mutation));
        let copy = Sent { host, headers: headers.0, ..sent.clone() };
        if !all.contains(&copy) {
            all.push(copy);
        }
    }
    Copies {
        cluster: policy.cluster.clone(),
        odds: config.odds(policy.runtime_fraction.as_ref()),
        runtime_key: policy.runtime_fraction.as_ref().map(|it| it.runtime_key.clone()).unwrap_or_default(),
        endpoints: config.endpoints(&policy.cluster),
        sent: all,
    }
}

/// One after the other, each by the headers as those before it left them.
fn mutate(headers: &mut Headers, mutation: &HeaderMutation) {
    match &mutation.action {
        Some(Action::Remove(name)) => headers.remove(name),
        Some(Action::Append(option)) => change(headers, &[], std::slice::from_ref(option)),
        Some(Action::RemoveOnMatch(_)) | None => {}
    }
}

/// The host with the suffix before its port.
fn shadow(host: &str) -> String {
    let at = port_start(host).unwrap_or(host.len());
    format!("{}{SHADOW}{}", &host[..at], &host[at..])
}

pub(crate) fn seconds(duration: &Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_copies() {
        for (host, want) in
            [("web", "web-shadow"), ("web:8000", "web-shadow:8000"), ("[::1]:80", "[::1]-shadow:80")]
        {
            assert_eq!(shadow(host), want);
        }
    }
}
