//! `tls` and `tcp` rules with names resolved (istio `pilot/pkg/networking/core/tls.go`).

use std::sync::Arc;

use umbra_api::{RouteDestination, VirtualService};
use umbra_ir::{
    ConnectionMatch, ConnectionRule, ConnectionRules, Destination, HeaderOps, Hostname, Network, PortNumber,
    StaticFilter, WeightedDestination,
};

use crate::names::{resolve_destination, resolve_gateway};
use crate::service_entries::parse_network;

/// The rules that can be served, in order; validation says what is left out.
pub fn resolve_connection_rules(vs: &VirtualService, domain: &str) -> ConnectionRules {
    let (spec, namespace) = (&vs.spec, &vs.meta.namespace);
    let hosts = umbra_api::OwnHosts::new(&spec.hosts);
    let tls = spec.tls.iter().enumerate().filter_map(|(index, written)| {
        let usable = written.matches.iter().filter(|it| umbra_api::check_tls_match(it, &hosts).is_ok());
        let matches: Vec<_> = usable
            .map(|it| ConnectionMatch {
                filter: StaticFilter {
                    port: PortNumber::new(it.port.into()),
                    gateways: it.gateways.iter().map(|name| resolve_gateway(name, namespace)).collect(),
                    source_labels: it.source_labels.clone(),
                    source_namespace: named(&it.source_namespace),
                },
                server_names: it
                    .sni_hosts
                    .iter()
                    .filter(|name| umbra_api::check_server_name(name, &hosts).is_ok())
                    .map(|name| Hostname::new(name))
                    .collect(),
                networks: networks(&it.destination_subnets),
            })
            .collect();
        if matches.is_empty() {
            return None;
        }
        rule(format!("spec.tls[{index}]"), matches, &written.route, namespace, domain)
    });
    let tcp = spec.tcp.iter().enumerate().filter_map(|(index, written)| {
        let usable = written.matches.iter().filter(|it| umbra_api::check_tcp_match(it).is_ok());
        let matches: Vec<_> = usable
            .map(|it| ConnectionMatch {
                filter: StaticFilter {
                    port: PortNumber::new(it.port.into()),
                    gateways: it.gateways.iter().map(|name| resolve_gateway(name, namespace)).collect(),
                    source_labels: it.source_labels.clone(),
                    source_namespace: named(&it.source_namespace),
                },
                server_names: Default::default(),
                networks: networks(&it.destination_subnets),
            })
            .collect();
        if matches.is_empty() && !written.matches.is_empty() {
            return None;
        }
        rule(format!("spec.tcp[{index}]"), matches, &written.route, namespace, domain)
    });
    ConnectionRules { tls: tls.collect(), tcp: tcp.collect() }
}

fn named(namespace: &str) -> Option<Arc<str>> {
    (!namespace.is_empty()).then(|| namespace.into())
}

fn networks(written: &[String]) -> std::collections::BTreeSet<Network> {
    written.iter().filter_map(|text| parse_network(text)).collect()
}

fn rule(
    field: String,
    matches: Vec<ConnectionMatch>,
    route: &[RouteDestination],
    namespace: &str,
    domain: &str,
) -> Option<ConnectionRule> {
    umbra_api::check_connection_route(route).ok()?;
    let destinations = route.iter().enumerate().filter_map(|(index, written)| {
        let weight =
            if route.len() == 1 { 1 } else { u32::try_from(written.weight.unwrap_or(0)).unwrap_or(0) };
        // What names nothing keeps its share: it must not silently move to the others.
        let nowhere = || Destination { host: Hostname::new(""), port: None, subset: None };
        let resolved = written.destination.as_ref().and_then(|it| resolve_destination(it, namespace, domain));
        (weight > 0).then(|| WeightedDestination {
            field: format!("{field}.route[{index}].destination"),
            destination: resolved.unwrap_or_else(nowhere),
            weight,
            headers: HeaderOps::default(),
            host_rewrite: None,
        })
    });
    let destinations = destinations.collect();
    Some(ConnectionRule { field, matches, destinations })
}
