//! Traffic policies: DestinationRules after merging (istio-semantics "Policy levels").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{
    Hostname, LoadBalancing, Number, ObjectId, OutlierDetection, PortNumber, SubsetName, Visibility,
};

/// The policy blocks that umbra acts on. `None`: not written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TrafficPolicy {
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancing>,
    /// `outlierDetection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
    /// `proxyProtocol`, which a port-level entry cannot say.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `retryBudget`, which a port-level entry cannot say.
    pub retry_budget: Option<RetryBudget>,
}

/// A policy and the port-level policies that replace its blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LeveledPolicy {
    /// For every port without an entry of its own.
    pub base: TrafficPolicy,
    /// By service port. An entry replaces all that it can say: what it leaves out is default, not inherited.
    pub ports: BTreeMap<PortNumber, TrafficPolicy>,
}

/// A named part of a service's endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Subset {
    /// Endpoints must carry all of these.
    pub labels: BTreeMap<String, String>,
    /// What it changes of the rule's policy.
    pub policy: Option<LeveledPolicy>,
    /// The rule that defines it.
    pub defined_by: ObjectId,
}

/// The merged DestinationRules of one host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DestinationRuleSet {
    /// The policy of the oldest rule that has one.
    pub policy: Option<LeveledPolicy>,
    /// The union of the subsets; of two with one name the older rule's.
    /// Boxed: a map has room for eleven from its first on, and most rules define one or two.
    pub subsets: BTreeMap<SubsetName, Box<Subset>>,
}

impl DestinationRuleSet {
    /// The blocks in force for a port and subset.
    ///
    /// The base is the rule's policy or its entry for the port (which has neither PROXY protocol nor retry budget); a
    /// subset overrides the blocks that it sets, and a subset's entry for the port overrides all that an entry can say,
    /// also what it leaves out (istio `MergeSubsetTrafficPolicy`).
    pub fn effective(&self, port: PortNumber, subset: Option<&SubsetName>) -> TrafficPolicy {
        self.at(Some(port), subset)
    }

    /// The blocks in force everywhere: for each port that an entry names and for all others, for each subset and without.
    pub fn policies(&self) -> Vec<TrafficPolicy> {
        let own = self.subsets.values().filter_map(|subset| subset.policy.as_ref());
        let named = self.policy.iter().chain(own).flat_map(|policy| policy.ports.keys().copied());
        let ports: BTreeSet<Option<PortNumber>> = named.map(Some).chain([None]).collect();
        let subsets = || self.subsets.keys().map(Some).chain([None]);
        ports.into_iter().flat_map(|port| subsets().map(move |subset| self.at(port, subset))).collect()
    }

    /// `None`: a port that no entry names.
    fn at(&self, port: Option<PortNumber>, subset: Option<&SubsetName>) -> TrafficPolicy {
        let entry = |policy: &LeveledPolicy| port.and_then(|port| policy.ports.get(&port)).cloned();
        let mut effective =
            self.policy.as_ref().map(|p| entry(p).unwrap_or_else(|| p.base.clone())).unwrap_or_default();
        let Some(over) = subset.and_then(|s| self.subsets.get(s)).and_then(|s| s.policy.as_ref()) else {
            return effective;
        };
        if let Some(at_port) = entry(over) {
            let TrafficPolicy { proxy_protocol, retry_budget, .. } = effective;
            return TrafficPolicy { proxy_protocol, retry_budget, ..at_port };
        }
        let base = over.base.clone();
        effective.connection_pool = base.connection_pool.or(effective.connection_pool);
        effective.load_balancer = base.load_balancer.or(effective.load_balancer);
        effective.outlier_detection = base.outlier_detection.or(effective.outlier_detection);
        effective.tls = base.tls.or(effective.tls);
        effective.proxy_protocol = base.proxy_protocol.or(effective.proxy_protocol);
        effective.retry_budget = base.retry_budget.or(effective.retry_budget);
        effective
    }
}

/// One DestinationRule as the lookup sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DestinationRuleEntry {
    /// The rule.
    pub id: ObjectId,
    /// Who sees it; with a selector only its own namespace.
    pub visibility: Visibility,
    /// `workloadSelector`: the labels of the clients that it is for; empty: all.
    pub selector: BTreeMap<String, String>,
    /// `exportTo` as written, which is what Istio compares.
    pub export_to: BTreeSet<String>,
}

impl DestinationRuleEntry {
    /// Whether it is there for a client with these labels: whom a `workloadSelector` does not select, for him it is not.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The DestinationRules of a namespace by host pattern, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct NamespaceDestinationRules(pub BTreeMap<Hostname, Vec<DestinationRuleEntry>>);

impl NamespaceDestinationRules {
    /// Those of a client's labels that some rule of its namespace selects by.
    pub fn selecting(&self, labels: &BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
        let keys: BTreeSet<&String> = self.selectors().map(|(key, _)| key).collect();
        Arc::new(
            labels.iter().filter(|(k, _)| keys.contains(k)).map(|(k, v)| (k.clone(), v.clone())).collect(),
        )
    }

    /// The labels that rules select clients by.
    pub fn selectors(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.values().flatten().flat_map(|entry| &entry.selector)
    }
}

/// `connectionPool`; `None` and 0 mean "not set" as in Istio.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ConnectionPool {
    /// `tcp.maxConnections` -> `max_connections`.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`, used when `http.idleTimeout` is unset.
    pub tcp_idle_timeout: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `http.http1MaxPendingRequests` -> `max_pending_requests`.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests` -> `max_requests`.
    pub max_requests: Option<u32>,
    /// `http.maxRetries` -> `max_retries`.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`.
    pub idle_timeout: Option<Duration>,
    /// `http.maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxConcurrentStreams` (HTTP/2 only).
    pub max_concurrent_streams: Option<u32>,
    /// `http.http2KeepAlive`: time between pings, and how long an answer may take (HTTP/2 only).
    pub http2_keepalive: Option<(Duration, Duration)>,
    /// `http.useClientProtocol`.
    pub use_client_protocol: bool,
}

/// `tcpKeepalive`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// `proxyProtocol`: how a connection begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// In binary.
    V2,
}

/// `retryBudget`: retries as a share of requests, in place of `maxRetries`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RetryBudget {
    /// Of the requests under way.
    pub percent: Number,
    /// So many retries are always allowed; `None`: Envoy's 3.
    pub min_retries: Option<u32>,
    /// Requests of the last while count too; `None`: only those under way.
    pub interval: Option<Duration>,
}

/// `tls`: how connections to the service are secured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum ClientTls {
    /// DISABLE: plaintext.
    Disabled,
    /// SIMPLE and MUTUAL.
    Originate(TlsOrigination),
    /// Needs what we cannot give yet (ISTIO_MUTUAL, `credentialName`): the cluster stays without
    /// endpoints rather than plaintext. The words say what is missing.
    Unsupported(&'static str),
}

/// Settings of SIMPLE and MUTUAL; file paths are on the proxy's machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TlsOrigination {
    /// `sni`; empty: taken from each request's Host (`auto_sni`).
    pub sni: Arc<str>,
    /// `subjectAltNames`, or the ServiceEntry's.
    pub subject_alt_names: Vec<String>,
    /// `caCertificates`; empty: the system's roots.
    pub ca_certificates: Arc<str>,
    /// `caCrl`: a file of revoked certificates; empty: none.
    pub revoked: Arc<str>,
    /// `clientCertificate` and `privateKey` (MUTUAL).
    pub client_certificate: Option<(Arc<str>, Arc<str>)>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
}
