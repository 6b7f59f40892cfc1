//! A complete bootstrap for stock Envoy.

mod names;
mod observe;
mod ready;
mod statistics;
mod token;

pub use token::{BootstrapToken, token_secret_json};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prost::{Message, Name};
use umbra_ir::{Breakers, ProxyKind, TlsOrigination, UpstreamProtocol};
use umbra_proto::envoy::config::bootstrap::v3::{
    Admin, Bootstrap, LayeredRuntime, RuntimeLayer as RuntimeLayerConfig,
    bootstrap::{DeferredStatOptions, DynamicResources, StaticResources},
    runtime_layer::{AdminLayer, LayerSpecifier, RtdsLayer},
};
use umbra_proto::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily},
};
use umbra_proto::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, BackoffStrategy, GrpcService, Http2ProtocolOptions, KeepaliveSettings, Node,
    RetryPolicy, TransportSocket,
    api_config_source::ApiType,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
};
use umbra_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use umbra_proto::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    },
};
use umbra_proto::google::protobuf::{Struct, Value, value::Kind};
use umbra_proto::json::{JsonError, to_json};
use umbra_proto::pack_any;

use crate::RuntimeLayer;
use crate::cluster::circuit_breakers;
use crate::contents::CONTENTS_CLUSTER;
use crate::convert::{ads, duration, socket_address, struct_value, structure, text_value, uint32};
use crate::judged::JUDGE_CLUSTER;
use crate::tls::transport_socket;

/// The static cluster by which a proxy reaches umbra.
pub const XDS_CLUSTER: &str = "umbra-xds";

/// The key of a node's metadata by which a bootstrap says, with `on`, that it has what lines of judged requests need.
pub const VERDICTS: &str = "VERDICTS";
/// The same of the sink by which it tells what it counts.
pub const OBSERVE: &str = "OBSERVE";
/// The same of what a judge needs to see what was answered.
pub const CONTENTS: &str = "CONTENTS";

/// How long a start waits for the runtime layer; without it every mirror stays at 0, nothing worse.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(2);

/// What a bootstrap depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapOptions {
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// The proxy's namespace.
    pub namespace: String,
    /// The labels that rules and gateways select it by.
    pub labels: BTreeMap<String, String>,
    /// umbra's host name or IP address.
    pub server_host: String,
    /// umbra's xDS port.
    pub server_port: u16,
    /// Connect over TLS; `None`: in plaintext.
    pub tls: Option<BootstrapTls>,
    /// Prove by a token who it is; `None`: say so.
    pub token: Option<BootstrapToken>,
    /// Where Envoy's admin interface listens.
    pub admin: SocketAddr,
    /// Where `/ready` and `/stats/prometheus`, and nothing else of the admin interface, are answered for probes.
    pub ready: Option<SocketAddr>,
    /// Where an injected Pod's probes and Prometheus ask: all of its addresses of one family, on ports of Istio's
    /// (15021 answers `/healthz/ready`, 15090 `/stats/prometheus`).
    pub pod: Option<IpAddr>,
    /// The proxy's own addresses, of both families where it has both (`INSTANCE_IPS`); none: its node id tells one.
    pub addresses: Vec<IpAddr>,
    /// A sidecar's calls are captured (`INTERCEPTION_MODE: REDIRECT`) instead of made to its own listeners.
    pub captured: bool,
    /// `node.id`; `None`: to be given as `--service-node`, since each replica needs its own.
    pub node_id: Option<String>,
    /// Ask for the state-of-the-world variant instead of delta.
    pub state_of_the_world: bool,
    /// The number of octal digits in the names of the runtime's layers: 0 for one layer, 2 for 64.
    pub runtime_digits: u32,
    /// Tell umbra what became of copies and of the requests that they are made of.
    pub observe: bool,
    /// Be able to tell umbra of judged requests.
    pub verdicts: bool,
    /// Be able to show a judge what was answered to them: its host name or IP address, and its port. Only with `verdicts`.
    pub judge: Option<(String, u16)>,
}

/// How a proxy knows umbra, and umbra the proxy. The files are on the proxy's machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapTls {
    /// The authorities that umbra's certificate must come from.
    pub ca_certificates: String,
    /// The proxy's own certificate and key, for mutual TLS.
    pub client_certificate: Option<(String, String)>,
    /// The name that umbra's certificate must have; empty: `server_host`. Also sent (SNI) unless it is an IP address.
    pub name: String,
}

impl Default for BootstrapOptions {
    /// A sidecar in the namespace `default` beside a umbra on the same machine.
    fn default() -> Self {
        BootstrapOptions {
            kind: ProxyKind::Sidecar,
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
            server_host: "127.0.0.1".to_owned(),
            server_port: 15010,
            tls: None,
            token: None,
            admin: SocketAddr::from(([127, 0, 0, 1], 15000)),
            ready: None,
            pod: None,
            addresses: Vec::new(),
            captured: false,
            node_id: None,
            state_of_the_world: false,
            runtime_digits: 2,
            observe: true,
            verdicts: false,
            judge: None,
        }
    }
}

/// The pause before a broken stream is opened again: the first, and the longest, both with jitter. Left to itself
/// Envoy waits up to 30 s: so long would a gateway that starts together with umbra serve nobody, and a change made
/// after an outage reach nobody.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The bootstrap (`envoy.config.bootstrap.v3.Bootstrap`): ADS, the runtime's layers below the
/// admin one, so that a person at the proxy has the last word, and the admin interface.
pub fn build_bootstrap(options: &BootstrapOptions) -> Bootstrap {
    // Zero: a proxy is not ready before it was told what to do.
    let subscription = Some(ads(Duration::ZERO));
    let mut clusters = vec![end_cluster(&server(options, XDS_CLUSTER, None), options)];
    if options.verdicts {
        clusters.push(end_cluster(&server(options, JUDGE_CLUSTER, Some(WINDOW)), options));
    }
    clusters.extend(judge(options).map(|judge| judge_cluster(&judge, options)));
    let mut listeners: Vec<_> = options.ready.map(ready::listener).into_iter().collect();
    listeners.extend(options.pod.into_iter().flat_map(ready::pod_listeners));
    if !listeners.is_empty() {
        clusters.push(ready::cluster(options.admin));
    }
    Bootstrap {
        node: Some(node(options)),
        admin: Some(Admin {
            address: Some(socket_address(&options.admin.ip().to_string(), options.admin.port())),
            ..Default::default()
        }),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(ads_config(options)),
            lds_config: subscription.clone(),
            cds_config: subscription,
            ..Default::default()
        }),
        static_resources: Some(StaticResources { clusters, listeners, ..Default::default() }),
        layered_runtime: Some(LayeredRuntime {
            layers: runtime_layers(options.runtime_digits, judge(options).is_some()),
        }),
        typed_dns_resolver_config: Some(names::resolver()),
        stats_config: Some(statistics::config()),
        stats_sinks: options.observe.then(observe::sink).into_iter().collect(),
        // A cluster that nobody has called yet has no statistics: a proxy sees thousands of clusters and calls a few
        // (docs/performance.md has the figures).
        deferred_stat_options: Some(DeferredStatOptions { enable_deferred_creation_stats: true }),
        ..Default::default()
    }
}

/// The same as Envoy's own JSON, to be written as it is or as YAML.
///
/// # Errors
/// None that input can cause: the embedded descriptors do not load.
pub fn bootstrap_json(options: &BootstrapOptions) -> Result<serde_json::Value, JsonError> {
    to_json(&Bootstrap::type_url(), &build_bootstrap(options).encode_to_vec())
}

/// What umbra reads of a node, in Istio's words.
fn node(options: &BootstrapOptions) -> Node {
    let labels = options.labels.iter().map(|(key, value)| (key.clone(), text_value(value)));
    let mut metadata = BTreeMap::from([
        ("NAMESPACE".to_owned(), text_value(&options.namespace)),
        ("LABELS".to_owned(), struct_value(labels)),
    ]);
    if options.observe {
        metadata.insert(OBSERVE.to_owned(), text_value("on"));
    }
    if options.verdicts {
        metadata.insert(VERDICTS.to_owned(), text_value("on"));
    }
    if judge(options).is_some() {
        metadata.insert(CONTENTS.to_owned(), text_value("on"));
    }
    if !options.addresses.is_empty() {
        let all: Vec<_> = options.addresses.iter().map(IpAddr::to_string).collect();
        metadata.insert("INSTANCE_IPS".to_owned(), text_value(all.join(",")));
    }
    match options.kind {
        ProxyKind::Sidecar => {
            let mode = if options.captured { "REDIRECT" } else { "NONE" };
            metadata.insert("INTERCEPTION_MODE".to_owned(), text_value(mode))
        }
        ProxyKind::Router => metadata.insert("PROXY_TYPE".to_owned(), text_value("router")),
    };
    let workload = options.labels.get("app").map_or(options.kind.as_str(), String::as_str);
    Node {
        id: options.node_id.clone().unwrap_or_default(),
        // Envoy does not start without a cluster; it only names the proxy in its own statistics and traces.
        cluster: format!("{workload}.{}", options.namespace),
        metadata: Some(structure(metadata)),
        ..Default::default()
    }
}

fn ads_config(options: &BootstrapOptions) -> ApiConfigSource {
    let retry_policy = RetryPolicy {
        retry_back_off: Some(BackoffStrategy {
            base_interval: Some(duration(RECONNECT.0)),
            max_interval: Some(duration(RECONNECT.1)),
        }),
        ..Default::default()
    };
    let grpc = EnvoyGrpc {
        cluster_name: XDS_CLUSTER.to_owned(),
        retry_policy: Some(retry_policy),
        ..Default::default()
    };
    let api_type = if options.state_of_the_world { ApiType::Grpc } else { ApiType::DeltaGrpc };
    ApiConfigSource {
        api_type: api_type.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)),
            ..Default::default()
        }],
        set_node_on_first_message_only: true,
        ..Default::default()
    }
}

/// Stock Envoy refuses regular expressions that compile to more than 100 instructions, and with one of them a
/// whole route table. This is the limit that Istio's bootstrap sets and that `umbra_api::check_regex` holds
/// rules to.
const REGEX_LIMIT: (&str, Kind) = ("re2.max_program_size.error_level", Kind::NumberValue(32_768.0));

/// By itself Envoy lets an answer wait for whom it is shown to: one of 20 MB took half a minute longer while a judge hung.
const NOBODY_WAITS: (&str, Kind) =
    ("envoy.reloadable_features.grpc_side_stream_flow_control", Kind::BoolValue(false));

fn fixed(judge: bool) -> Struct {
    let all = std::iter::once(REGEX_LIMIT).chain(judge.then_some(NOBODY_WAITS));
    let fields = all.map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) })).collect();
    Struct { fields }
}

/// Later layers win.
fn runtime_layers(digits: u32, judge: bool) -> Vec<RuntimeLayerConfig> {
    let config =
        |name: &str, layer| RuntimeLayerConfig { name: name.to_owned(), layer_specifier: Some(layer) };
    let rtds = RuntimeLayer::all(digits).map(|layer| {
        let name = layer.to_string();
        let rtds = RtdsLayer { name: name.clone(), rtds_config: Some(ads(RUNTIME_TIMEOUT)) };
        config(&name, LayerSpecifier::RtdsLayer(rtds))
    });
    let mut layers = vec![config("static", LayerSpecifier::StaticLayer(fixed(judge)))];
    layers.extend(rtds);
    layers.push(config("admin", LayerSpecifier::AdminLayer(AdminLayer {})));
    layers
}

/// What a umbra that hangs or is slow makes a worker of Envoy's hold of lines: 2 MB, ten times less than with the default. Of a
/// judge's streams the same.
const WINDOW: u32 = 64 << 10;

/// Streams to a judge at once: what is beyond is not looked at.
const LOOKED_AT: u32 = 64;

/// Whom a static cluster reaches.
struct End<'a> {
    /// The cluster's name.
    cluster: &'static str,
    host: &'a str,
    port: u16,
    /// The name that its certificate must have.
    certificate: &'a str,
    /// How much of a stream may be under way.
    window: Option<u32>,
    token: Option<&'a BootstrapToken>,
    /// How often a connection is asked whether the other end lives, and how long that may take.
    keepalive: (Duration, Duration),
}

/// A connection whose other end went away without a word is found out within 35 s.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));
/// One to a judge within 3 s: what is under way to one that hangs is held for as long.
const JUDGE_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// umbra itself.
fn server<'a>(options: &'a BootstrapOptions, cluster: &'static str, window: Option<u32>) -> End<'a> {
    let host = options.server_host.as_str();
    let written = options.tls.as_ref().map(|tls| tls.name.as_str()).filter(|name| !name.is_empty());
    let token = options.token.as_ref();
    let (port, certificate) = (options.server_port, written.unwrap_or(host));
    End { cluster, host, port, certificate, window, token, keepalive: KEEPALIVE }
}

/// Who sees what was answered; `None`: nobody. A token is none of its business.
fn judge(options: &BootstrapOptions) -> Option<End<'_>> {
    let (host, port) = options.judge.as_ref().filter(|_| options.verdicts)?;
    let (cluster, window) = (CONTENTS_CLUSTER, Some(WINDOW));
    let keepalive = JUDGE_KEEPALIVE;
    Some(End { cluster, host, port: *port, certificate: host, window, token: None, keepalive })
}

/// The cluster by which a judge is reached: as umbra is.
fn judge_cluster(judge: &End<'_>, options: &BootstrapOptions) -> Cluster {
    let limits = Breakers {
        max_connections: LOOKED_AT,
        max_pending_requests: LOOKED_AT,
        max_requests: LOOKED_AT,
        max_retries: 0,
    };
    Cluster { circuit_breakers: Some(circuit_breakers(limits, None)), ..end_cluster(judge, options) }
}

fn end_cluster(end: &End<'_>, options: &BootstrapOptions) -> Cluster {
    let name = end.cluster;
    let is_ip = end.host.parse::<IpAddr>().is_ok();
    let discovery = if is_ip { DiscoveryType::Static } else { DiscoveryType::StrictDns };
    let endpoint = Endpoint { address: Some(socket_address(end.host, end.port)), ..Default::default() };
    let endpoint =
        LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        dns_lookup_family: if is_ip { DnsLookupFamily::Auto } else { DnsLookupFamily::V4Preferred }.into(),
        connect_timeout: Some(duration(Duration::from_secs(5))),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..Default::default() }],
            ..Default::default()
        }),
        typed_extension_protocol_options: BTreeMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            pack_any(&http2_with_keepalive(end)),
        )]),
        transport_socket: options.tls.as_ref().map(|tls| tls_socket(tls, end.certificate)),
        ..Default::default()
    }
}

fn tls_socket(tls: &BootstrapTls, name: &str) -> TransportSocket {
    let is_ip = name.parse::<IpAddr>().is_ok();
    let origination = TlsOrigination {
        // RFC 6066: no address is a server name.
        sni: if is_ip { "" } else { name }.into(),
        ca_certificates: tls.ca_certificates.as_str().into(),
        client_certificate: tls
            .client_certificate
            .as_ref()
            .map(|(chain, key)| (chain.as_str().into(), key.as_str().into())),
        subject_alt_names: vec![name.to_owned()],
        ..TlsOrigination::default()
    };
    transport_socket(&origination, UpstreamProtocol::Http2)
}

fn http2_with_keepalive(end: &End<'_>) -> HttpProtocolOptions {
    let http2 = Http2ProtocolOptions {
        connection_keepalive: Some(KeepaliveSettings {
            interval: Some(duration(end.keepalive.0)),
            timeout: Some(duration(end.keepalive.1)),
            ..Default::default()
        }),
        initial_stream_window_size: end.window.map(uint32),
        ..Default::default()
    };
    HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2)),
        })),
        http_filters: end.token.map(token::filters).unwrap_or_default(),
        ..Default::default()
    }
}
