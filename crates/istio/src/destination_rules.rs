//! DestinationRules: which apply to a service for a client, and what they say together
//! (istio-semantics "Merging several DRs for one host", "Selection for a proxy").

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, Object, Objects,
    PortTrafficPolicy, ProxyProtocolVersion, TrafficPolicy as Written,
};
use umbra_ir::{
    ClientTls, ConnectionPool, DestinationRuleEntry, DestinationRuleSet, DestinationRuleSetId, Hostname,
    Kind, LeveledPolicy, NamespaceDestinationRules, Number, ObjectId, PortNumber, ProxyProtocol, RetryBudget,
    Subset, SubsetName, TcpKeepalive, TlsOrigination, TrafficPolicy, Visibility,
};

use crate::balancers::resolve_balancing;
use crate::names::resolve_host;
use crate::numbers::{duration, positive};
use crate::outliers::resolve_outliers;
use umbra_mesh::{Index, View};

/// The subsets that a rule defines, each with the first label of its host: by these a rule is found that does not count
/// where its author thinks it does. A wildcard has none.
pub fn list_subsets(rule: &DestinationRule) -> impl Iterator<Item = (Arc<str>, Arc<str>)> + '_ {
    let label: Arc<str> = rule.spec.host.split('.').next().unwrap_or_default().to_ascii_lowercase().into();
    let named = rule.spec.subsets.iter().filter(|_| !rule.spec.host.starts_with('*'));
    named.map(move |subset| (label.clone(), subset.name.as_str().into()))
}

/// Collects the DestinationRules of a namespace.
pub fn select_namespace_destination_rules(
    view: &(impl View + Objects),
    namespace: &Arc<str>,
) -> NamespaceDestinationRules {
    let domain = view.settings().cluster_domain.clone();
    let mut rules: Vec<(i64, Hostname, DestinationRuleEntry)> = Vec::new();
    for id in view.ids(&Index::InNamespace(Kind::DestinationRule, namespace.clone())) {
        let Some(object) = view.object(&id) else { continue };
        let Object::DestinationRule(rule) = &*object else { continue };
        if rule.spec.host.is_empty() {
            continue;
        }
        let host = resolve_host(&rule.spec.host, namespace, &domain);
        let visibility = match &rule.spec.workload_selector {
            // Whatever it says: who is selected is of its own namespace.
            Some(_) => Visibility::resolve(["."], namespace),
            None => Visibility::resolve(rule.spec.export_to.iter().map(String::as_str), namespace),
        };
        let selector = rule.spec.workload_selector.as_ref().map(|it| it.match_labels.clone());
        let export_to = match &rule.spec.workload_selector {
            Some(_) => [".".to_owned()].into(),
            None => rule.spec.export_to.iter().cloned().collect(),
        };
        let entry =
            DestinationRuleEntry { id, visibility, selector: selector.unwrap_or_default(), export_to };
        rules.push((rule.meta.created_seconds(), host, entry));
    }
    rules.sort_by(|a, b| (a.0, &a.2.id).cmp(&(b.0, &b.2.id)));
    let mut by_host: BTreeMap<Hostname, Vec<DestinationRuleEntry>> = BTreeMap::new();
    for (_, host, entry) in rules {
        by_host.entry(host).or_default().push(entry);
    }
    NamespaceDestinationRules(by_host)
}

/// Merges DestinationRules, oldest first: the union of the subsets (of two with one name the older stays)
/// and the first policy.
pub fn merge_destination_rules(
    view: &(impl View + Objects),
    id: &DestinationRuleSetId,
) -> DestinationRuleSet {
    let mut merged = DestinationRuleSet::default();
    for rule_id in id.0.iter() {
        let Some(object) = view.object(rule_id) else { continue };
        let Object::DestinationRule(rule) = &*object else { continue };
        if merged.policy.is_none() {
            merged.policy = rule.spec.traffic_policy.as_ref().map(resolve_policy_levels);
        }
        for (name, subset) in resolve_subsets(rule_id, rule) {
            merged.subsets.entry(name).or_insert_with(|| Box::new(subset));
        }
    }
    merged
}

/// The subsets that one rule defines; of two with one name the first stays. A `|` would make the name of a cluster
/// that of another, a control character one that no log shows.
fn resolve_subsets(id: &ObjectId, rule: &DestinationRule) -> Vec<(SubsetName, Subset)> {
    let subset = |written: &umbra_api::Subset| {
        Some((
            SubsetName::new(&written.name)
                .filter(|name| !name.as_str().contains(|c: char| c == '|' || c.is_control()))?,
            Subset {
                labels: written.labels.clone(),
                policy: written.traffic_policy.as_ref().map(resolve_policy_levels),
                defined_by: id.clone(),
            },
        ))
    };
    rule.spec.subsets.iter().filter_map(subset).collect()
}

fn resolve_policy_levels(written: &Written) -> LeveledPolicy {
    let base = TrafficPolicy {
        connection_pool: written.connection_pool.as_ref().map(resolve_pool),
        load_balancer: written.load_balancer.as_ref().map(resolve_balancing),
        outlier_detection: written.outlier_detection.as_ref().map(resolve_outliers),
        tls: written.tls.as_ref().map(resolve_tls),
        proxy_protocol: written.proxy_protocol.as_ref().map(|it| match it.version {
            ProxyProtocolVersion::V1 => ProxyProtocol::V1,
            ProxyProtocolVersion::V2 => ProxyProtocol::V2,
        }),
        retry_budget: written.retry_budget.as_ref().map(resolve_retry_budget),
    };
    let at_port = |entry: &PortTrafficPolicy| {
        let port = PortNumber::new(entry.port?.number.into())?;
        let blocks = TrafficPolicy {
            connection_pool: entry.connection_pool.as_ref().map(resolve_pool),
            load_balancer: entry.load_balancer.as_ref().map(resolve_balancing),
            outlier_detection: entry.outlier_detection.as_ref().map(resolve_outliers),
            tls: entry.tls.as_ref().map(resolve_tls),
            ..TrafficPolicy::default()
        };
        Some((port, blocks))
    };
    // Of two entries for one port the first counts, as in a list that is searched.
    let mut ports = BTreeMap::new();
    for (port, blocks) in written.port_level_settings.iter().filter_map(at_port) {
        ports.entry(port).or_insert(blocks);
    }
    LeveledPolicy { base, ports }
}

/// Absent, 20 %.
fn resolve_retry_budget(written: &umbra_api::RetryBudget) -> RetryBudget {
    let percent = written.percent.map(|percent| percent.0).filter(|percent| umbra_api::is_percent(*percent));
    RetryBudget {
        percent: Number(percent.unwrap_or(20.0)),
        min_retries: Some(written.min_retry_concurrency).filter(|n| *n > 0),
        interval: duration(written.budget_interval),
    }
}

fn resolve_pool(written: &ConnectionPoolSettings) -> ConnectionPool {
    let tcp = written.tcp.clone().unwrap_or_default();
    let http = written.http.clone().unwrap_or_default();
    ConnectionPool {
        max_connections: positive(tcp.max_connections),
        connect_timeout: duration(tcp.connect_timeout),
        max_connection_duration: duration(tcp.max_connection_duration),
        tcp_idle_timeout: duration(tcp.idle_timeout),
        keepalive: tcp.tcp_keepalive.map(|k| TcpKeepalive {
            probes: Some(k.probes).filter(|p| *p > 0),
            time: duration(k.time),
            interval: duration(k.interval),
        }),
        max_pending_requests: positive(http.http1_max_pending_requests),
        max_requests: positive(http.http2_max_requests),
        max_retries: positive(http.max_retries),
        idle_timeout: duration(http.idle_timeout),
        max_requests_per_connection: positive(http.max_requests_per_connection),
        max_concurrent_streams: positive(http.max_concurrent_streams),
        http2_keepalive: http
            .http2_keep_alive
            .and_then(|k| Some((duration(k.interval)?, duration(k.timeout)?))),
        use_client_protocol: http.use_client_protocol,
    }
}

fn resolve_tls(written: &ClientTlsSettings) -> ClientTls {
    if written.mode == ClientTlsMode::Disable {
        return ClientTls::Disabled;
    }
    if written.mode == ClientTlsMode::IstioMutual {
        return ClientTls::Unsupported("tls mode ISTIO_MUTUAL");
    }
    if !written.credential_name.is_empty() {
        return ClientTls::Unsupported("tls credentialName");
    }
    // Envoy refuses the cluster (UpstreamTlsContext.sni has at most 255 bytes), and no header of TLS has a NUL in a name.
    if written.sni.len() > 255 || written.sni.contains('\0') {
        return ClientTls::Unsupported("tls sni with a NUL, or of more than 255 bytes,");
    }
    let pair = (written.client_certificate.as_str(), written.private_key.as_str());
    let client_certificate = match (written.mode, pair) {
        (ClientTlsMode::Mutual, (certificate, key)) if !certificate.is_empty() && !key.is_empty() => {
            Some((certificate.into(), key.into()))
        }
        (ClientTlsMode::Mutual, _) => {
            return ClientTls::Unsupported("tls mode MUTUAL without clientCertificate and privateKey");
        }
        _ => None,
    };
    ClientTls::Originate(TlsOrigination {
        sni: written.sni.as_str().into(),
        subject_alt_names: written.subject_alt_names.clone(),
        // `system` is Istio's word for the roots that also count when nothing is written.
        ca_certificates: Some(written.ca_certificates.as_str())
            .filter(|ca| *ca != "system")
            .unwrap_or_default()
            .into(),
        revoked: written.ca_crl.as_str().into(),
        client_certificate,
        insecure_skip_verify: written.insecure_skip_verify.unwrap_or(false),
    })
}
