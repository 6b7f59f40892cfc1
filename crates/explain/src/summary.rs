//! What a proxy does with requests, in words: to be compared before and after a change.

use std::collections::BTreeMap;

use umbra_proto::envoy::config::common::mutation_rules::v3::header_mutation::Action as HeaderAction;
use umbra_proto::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};
use umbra_proto::envoy::config::listener::v3::{FilterChain, Listener};
use umbra_proto::envoy::config::route::v3::virtual_host::TlsRequirementType;
use umbra_proto::envoy::config::route::v3::{
    Route, RouteAction, VirtualHost,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
};

use crate::config::Config;
use crate::explanation::{Filters, Outcome};
use crate::forward::seconds;
use crate::listener::{passed, words};
use crate::request::{Headers, Seen};
use crate::{answer, filters, matching};

/// What one virtual host does.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HostSummary {
    /// The hosts of requests that it is for.
    pub domains: Vec<String>,
    /// A line for each route, in order.
    pub routes: Vec<String>,
    /// The clusters of its mirrors, and the largest odds of each, from 0 to 1.
    pub copies: BTreeMap<String, f64>,
}

/// What a chain does that passes bytes on.
fn passing_line(chain: &FilterChain) -> Option<String> {
    let to = passed(chain)?;
    let asks = chain.filter_chain_match.as_ref().map(words).filter(|words| !words.is_empty());
    let asks = asks.unwrap_or_else(|| "every connection".to_owned());
    let to: Vec<_> = match to.as_slice() {
        [(only, _)] => vec![only.clone()],
        several => several.iter().map(|(cluster, odds)| format!("{} to {cluster}", percent(*odds))).collect(),
    };
    Some(format!("{asks}: passed on to {}", to.join(", ")))
}

impl Config {
    /// Every virtual host by route configuration and name.
    pub fn hosts(&self) -> BTreeMap<(String, String), HostSummary> {
        let all = self.tables.iter().flat_map(|(table, routes)| {
            let hosts = routes.virtual_hosts.iter();
            hosts.map(move |host| ((table.clone(), host.name.clone()), self.summary(host)))
        });
        all.collect()
    }

    /// Every listener that passes bytes on, with a line for each of its ways.
    pub fn passing(&self) -> BTreeMap<String, Vec<String>> {
        let lines = |listener: &Listener| -> Vec<String> {
            let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
            chains.filter_map(passing_line).collect()
        };
        let all = self.listeners.iter().map(|listener| (listener.name.clone(), lines(listener)));
        all.filter(|(_, lines)| !lines.is_empty()).collect()
    }

    fn summary(&self, host: &VirtualHost) -> HostSummary {
        let mut copies: BTreeMap<String, f64> = BTreeMap::new();
        for route in &host.routes {
            let Some(Action::Route(action)) = &route.action else { continue };
            for mirror in &action.request_mirror_policies {
                let odds = copies.entry(mirror.cluster.clone()).or_default();
                *odds = odds.max(self.odds(mirror.runtime_fraction.as_ref()));
            }
        }
        let mut routes: Vec<String> = host.routes.iter().map(|route| self.line(route)).collect();
        if host.require_tls() == TlsRequirementType::All {
            routes.insert(0, "without TLS: 301 to https".to_owned());
        }
        HostSummary { domains: host.domains.clone(), routes, copies }
    }

    fn line(&self, route: &Route) -> String {
        let asks = route.r#match.as_ref().map(matching::words).unwrap_or_default();
        let name = if route.name.is_empty() { String::new() } else { format!("{}: ", route.name) };
        let mut does = before(route);
        does.push(match &route.action {
            Some(Action::Route(action)) => self.forward(action),
            Some(Action::Redirect(redirect)) => {
                // Parts of the request are named instead of filled in.
                let some = Seen {
                    method: "GET".to_owned(),
                    scheme: "SCHEME".to_owned(),
                    forwarded: "SCHEME".to_owned(),
                    authority: "HOST".to_owned(),
                    path: "/PATH".to_owned(),
                    headers: Headers::default(),
                };
                let prefix = match &redirect.path_rewrite_specifier {
                    Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
                        format!(" with the path's prefix {prefix}")
                    }
                    _ => String::new(),
                };
                match answer::redirect(None, redirect, &some) {
                    Outcome::Redirect { status, location } => format!("{status} to {location}{prefix}"),
                    _ => "redirect".to_owned(),
                }
            }
            Some(Action::DirectResponse(direct)) => match answer::direct(direct) {
                Outcome::Answer { status, body } => format!("answer {status} {body:?}"),
                _ => "answer".to_owned(),
            },
            _ => "something else".to_owned(),
        });
        does.extend(changes("request", &route.request_headers_to_remove, &route.request_headers_to_add));
        does.extend(changes("response", &route.response_headers_to_remove, &route.response_headers_to_add));
        format!("{name}{asks} -> {}", does.join("; "))
    }

    fn forward(&self, action: &RouteAction) -> String {
        let mut does = vec![match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(cluster)) => cluster.clone(),
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                let weight = |weight: Option<umbra_proto::google::protobuf::UInt32Value>| {
                    weight.map_or(0, |it| it.value)
                };
                let total: f64 = all.clusters.iter().map(|it| f64::from(weight(it.weight))).sum();
                let each = all.clusters.iter().map(|it| {
                    let mut words = format!("{} {}", percent(f64::from(weight(it.weight)) / total), it.name);
                    let change =
                        changes("request", &it.request_headers_to_remove, &it.request_headers_to_add);
                    words.extend(change.map(|change| format!(" ({change})")));
                    words
                });
                each.collect::<Vec<_>>().join(" + ")
            }
            _ => "somewhere".to_owned(),
        }];
        if let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) = &action.host_rewrite_specifier {
            does.push(format!("as host {host}"));
        }
        if !action.prefix_rewrite.is_empty() {
            does.push(format!("as path {}", action.prefix_rewrite));
        }
        if let Some(rewrite) = &action.regex_rewrite {
            let pattern = rewrite.pattern.as_ref().map_or("", |pattern| pattern.regex.as_str());
            does.push(format!("path s/{pattern}/{}/", rewrite.substitution));
        }
        does.extend(
            action.timeout.as_ref().map(seconds).filter(|it| *it > 0.0).map(|it| format!("timeout {it} s")),
        );
        if let Some(retry) = &action.retry_policy {
            let attempts = retry.num_retries.map_or(1, |number| number.value);
            does.push(format!("{attempts} retries on {}", retry.retry_on));
        }
        for mirror in &action.request_mirror_policies {
            let odds = percent(self.odds(mirror.runtime_fraction.as_ref()));
            let changed = copy_changes(mirror);
            let changed = if changed.is_empty() { changed } else { format!(" ({changed})") };
            does.push(format!("copies {odds} {}{changed}", mirror.cluster));
        }
        does.join("; ")
    }

    /// How many are ready behind each cluster, where that is known.
    pub fn ready(&self) -> BTreeMap<String, usize> {
        let known = self.cluster_names().filter_map(|name| match self.endpoints(name) {
            crate::Endpoints::Ready(addresses) => Some((name.to_owned(), addresses.len())),
            _ => None,
        });
        known.collect()
    }
}

/// What filters do before.
fn before(route: &Route) -> Vec<String> {
    let (Filters { delay, abort, .. }, cors) = filters::configured(route);
    let delay = delay.map(|it| format!("{} wait {} s", percent(it.odds), it.seconds));
    let abort = abort.map(|it| {
        let grpc = it.grpc_status.map(|status| format!(" (gRPC {status})")).unwrap_or_default();
        format!("{} are answered {}{grpc}", percent(it.odds), it.status)
    });
    let cors = cors.then(|| "other origins by a policy".to_owned());
    delay.into_iter().chain(abort).chain(cors).collect()
}

/// What of a copy is not as its request, but for the suffix of its host, which is the usual.
fn copy_changes(mirror: &RequestMirrorPolicy) -> String {
    let mut all = Vec::new();
    if !mirror.host_rewrite_literal.is_empty() {
        all.push(format!("as host {}", mirror.host_rewrite_literal));
    } else if mirror.disable_shadow_host_suffix_append {
        all.push("under the same host".to_owned());
    }
    for mutation in &mirror.request_headers_mutations {
        match &mutation.action {
            Some(HeaderAction::Remove(name)) => all.push(format!("without {name}")),
            Some(HeaderAction::Append(option)) => all.extend(given(option)),
            Some(HeaderAction::RemoveOnMatch(_)) | None => {}
        }
    }
    all.join(", ")
}

/// A header that is given, in words.
fn given(option: &HeaderValueOption) -> Option<String> {
    let header = option.header.as_ref()?;
    let how = match option.append_action() {
        HeaderAppendAction::AppendIfExistsOrAdd => "+=",
        _ => "=",
    };
    Some(format!("{} {how} {:?}", header.key, header.value))
}

/// Changes of headers in words.
fn changes(what: &str, remove: &[String], add: &[HeaderValueOption]) -> Option<String> {
    let remove = remove.iter().map(|name| format!("without {name}"));
    let add = add.iter().filter_map(given);
    let all: Vec<_> = remove.chain(add).collect();
    (!all.is_empty()).then(|| format!("{what} {}", all.join(", ")))
}

/// Odds as people write them, to a millionth.
pub fn percent(odds: f64) -> String {
    format!("{}%", (odds * 1e6).round() / 1e4)
}
