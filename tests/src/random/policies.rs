//! DestinationRules, ServiceEntries and Gateways.

use serde_json::{Value, json};

use super::core::{EXPORTS, LABELS, NAMESPACES, PORT_NAMES, PORTS, VALUES, meta};
use super::rules::{HOSTS, subset_labels, subset_name};
use super::tape::{Tape, fields};

const DURATIONS: &[&str] = &["1s", "0s", "250ms", "-1s", "315576000000s", "1ns"];
const NUMBERS: &[i32] = &[1, 0, -1, 100, i32::MAX];

pub(super) fn istio(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// A DestinationRule.
pub fn destination_rule(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let subset = |t: &mut Tape<'_>| {
        fields([
            ("name", Some(subset_name(t).into())),
            ("labels", if t.one_in(8) { None } else { Some(subset_labels(t)) }),
            ("trafficPolicy", t.maybe(3, traffic_policy)),
        ])
    };
    let spec = fields([
        ("host", Some(t.pick(HOSTS).into())),
        ("subsets", Some(t.list(3, subset).into())),
        ("trafficPolicy", t.maybe(3, traffic_policy)),
        ("exportTo", t.maybe(4, |t| t.list(2, |t| t.pick(EXPORTS)).into())),
        ("workloadSelector", t.maybe(6, |t| json!({"matchLabels": t.map(1, LABELS, VALUES)}))),
    ]);
    istio("DestinationRule", metadata, spec)
}

fn traffic_policy(t: &mut Tape<'_>) -> Value {
    let mut policy = blocks(t);
    if t.one_in(5) {
        policy["proxyProtocol"] = json!({"version": t.pick(&["V1", "V2"])});
    }
    if t.one_in(5) {
        policy["retryBudget"] = fields([
            ("percent", t.maybe(2, |t| t.pick(&[0.0, 12.5, 100.0, 101.0, -1.0]).into())),
            ("minRetryConcurrency", t.maybe(2, |t| t.pick(&[0, 1, u32::MAX]).into())),
            ("budgetInterval", t.maybe(2, |t| t.pick(DURATIONS).into())),
        ]);
    }
    let per_port = |t: &mut Tape<'_>| {
        let mut entry = blocks(t);
        if !t.one_in(8) {
            entry["port"] = json!({"number": t.pick(PORTS)});
        }
        entry
    };
    if t.one_in(3) {
        policy["portLevelSettings"] = t.list(2, per_port).into();
    }
    policy
}

fn blocks(t: &mut Tape<'_>) -> Value {
    fields([
        ("loadBalancer", t.maybe(3, load_balancer)),
        ("connectionPool", t.maybe(3, connection_pool)),
        ("tls", t.maybe(3, client_tls)),
        ("outlierDetection", t.maybe(3, outlier_detection)),
    ])
}

fn outlier_detection(t: &mut Tape<'_>) -> Value {
    let counts = [0, 1, 5, u32::MAX];
    fields([
        ("consecutiveErrors", t.maybe(8, |t| t.pick(NUMBERS).into())),
        ("consecutive5xxErrors", t.maybe(2, |t| t.pick(&counts).into())),
        ("consecutiveGatewayErrors", t.maybe(2, |t| t.pick(&counts).into())),
        ("splitExternalLocalOriginErrors", t.maybe(3, |_| true.into())),
        ("consecutiveLocalOriginFailures", t.maybe(3, |t| t.pick(&counts).into())),
        ("interval", t.maybe(3, |t| t.pick(DURATIONS).into())),
        ("baseEjectionTime", t.maybe(3, |t| t.pick(DURATIONS).into())),
        ("maxEjectionPercent", t.maybe(3, |t| t.pick(NUMBERS).into())),
        ("minHealthPercent", t.maybe(3, |t| t.pick(NUMBERS).into())),
        (
            "outlierDetectionHttpErrorCodes",
            t.maybe(3, |t| t.list(3, |t| t.pick(&[429, 500, 0, 100_000])).into()),
        ),
    ])
}

fn load_balancer(t: &mut Tape<'_>) -> Value {
    let simple = |t: &mut Tape<'_>| {
        t.pick(&["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "PASSTHROUGH", "LEAST_CONN", "UNSPECIFIED"]).into()
    };
    fields([
        ("simple", t.maybe(2, simple)),
        ("consistentHash", t.maybe(2, consistent_hash)),
        (
            "warmup",
            t.maybe(4, |t| {
                fields([
                    ("duration", t.maybe(2, |t| t.pick(DURATIONS).into())),
                    ("minimumPercent", t.maybe(3, |t| t.pick(&[0.0, 50.0, 101.0]).into())),
                    ("aggression", t.maybe(3, |t| t.pick(&[0.0, 1.0, 2.5]).into())),
                ])
            }),
        ),
        ("localityLbSetting", t.maybe(3, locality_setting)),
        ("warmupDurationSecs", t.maybe(6, |t| t.pick(DURATIONS).into())),
    ])
}

fn locality_setting(t: &mut Tape<'_>) -> Value {
    let place = |t: &mut Tape<'_>| t.pick(&["r1", "r1/*", "r1/z1", "*", "r1/z1/s1", "r2/z1", ""]);
    let distribute = |t: &mut Tape<'_>| {
        let (first, second) = (place(t), place(t));
        let to =
            t.pick(&[json!({first: 100}), json!({first: 80, second: 20}), json!({first: 0, second: 50})]);
        json!({"from": place(t), "to": to})
    };
    let failover =
        |t: &mut Tape<'_>| json!({"from": t.pick(&["r1", "r2"]), "to": t.pick(&["r1", "r2", "r3"])});
    let labels =
        ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "version", "version=v1", "="];
    fields([
        ("distribute", Some(t.list(1, distribute).into())),
        ("failover", Some(t.list(1, failover).into())),
        ("failoverPriority", Some(t.list(2, |t| t.pick(&labels)).into())),
        ("enabled", t.maybe(4, |t| t.one_in(2).into())),
    ])
}

fn consistent_hash(t: &mut Tape<'_>) -> Value {
    let names = ["x-user", "", "x y", ":path"];
    let cookie = |t: &mut Tape<'_>| {
        fields([
            ("name", Some(t.pick(&["user", "", "a b"]).into())),
            ("ttl", t.maybe(2, |t| t.pick(DURATIONS).into())),
            ("path", t.maybe(3, |t| t.pick(&["/", "", "/;x", "\n"]).into())),
            ("attributes", t.maybe(4, |t| json!([{"name": t.pick(&["SameSite", ""]), "value": "Strict"}]))),
        ])
    };
    fields([
        ("httpHeaderName", t.maybe(2, |t| t.pick(&names).into())),
        ("httpCookie", t.maybe(2, cookie)),
        ("useSourceIp", t.maybe(3, |t| (!t.one_in(4)).into())),
        ("httpQueryParameterName", t.maybe(3, |t| t.pick(&names).into())),
        ("ringHash", t.maybe(4, |t| json!({"minimumRingSize": t.pick(&[0, 1, 64, u32::MAX])}))),
        ("maglev", t.maybe(4, |t| json!({"tableSize": t.pick(&[0, 1, 11, 1000, 997])}))),
        ("minimumRingSize", t.maybe(6, |t| t.pick(&[0, 5, u32::MAX]).into())),
    ])
}

fn connection_pool(t: &mut Tape<'_>) -> Value {
    let keepalive = |t: &mut Tape<'_>| {
        fields([
            ("probes", t.maybe(2, |t| t.pick(&[0, 3]).into())),
            ("time", t.maybe(2, |t| t.pick(DURATIONS).into())),
            ("interval", t.maybe(2, |t| t.pick(DURATIONS).into())),
        ])
    };
    let tcp = |t: &mut Tape<'_>| {
        fields([
            ("maxConnections", t.maybe(2, |t| t.pick(NUMBERS).into())),
            ("connectTimeout", t.maybe(2, |t| t.pick(DURATIONS).into())),
            ("tcpKeepalive", t.maybe(3, keepalive)),
            ("maxConnectionDuration", t.maybe(4, |t| t.pick(DURATIONS).into())),
            ("idleTimeout", t.maybe(4, |t| t.pick(DURATIONS).into())),
        ])
    };
    let http2 = |t: &mut Tape<'_>| {
        fields([
            ("interval", t.maybe(2, |t| t.pick(DURATIONS).into())),
            ("timeout", t.maybe(2, |t| t.pick(DURATIONS).into())),
        ])
    };
    let http = |t: &mut Tape<'_>| {
        fields([
            ("http1MaxPendingRequests", t.maybe(2, |t| t.pick(NUMBERS).into())),
            ("http2MaxRequests", t.maybe(2, |t| t.pick(NUMBERS).into())),
            ("maxRequestsPerConnection", t.maybe(3, |t| t.pick(NUMBERS).into())),
            ("maxRetries", t.maybe(3, |t| t.pick(NUMBERS).into())),
            ("maxConcurrentStreams", t.maybe(3, |t| t.pick(NUMBERS).into())),
            ("idleTimeout", t.maybe(3, |t| t.pick(DURATIONS).into())),
            ("h2UpgradePolicy", t.maybe(3, |t| t.pick(&["UPGRADE", "DO_NOT_UPGRADE"]).into())),
            ("useClientProtocol", t.maybe(4, |_| true.into())),
            ("http2KeepAlive", t.maybe(4, http2)),
        ])
    };
    fields([("tcp", t.maybe(2, tcp)), ("http", t.maybe(2, http))])
}

/// File names are such as every machine that runs the tests has or need not have: they are read by Envoy alone.
fn client_tls(t: &mut Tape<'_>) -> Value {
    fields([
        ("mode", Some(t.pick(&["SIMPLE", "DISABLE", "ISTIO_MUTUAL", "MUTUAL"]).into())),
        ("sni", t.maybe(2, |t| t.pick(&["ext.example.com", "", "ü"]).into())),
        (
            "subjectAltNames",
            t.maybe(3, |t| {
                t.list(2, |t| t.pick(&["spiffe://a/b", "ext.example.com", "10.0.0.1", ""])).into()
            }),
        ),
        ("insecureSkipVerify", t.maybe(3, |_| true.into())),
        ("credentialName", t.maybe(8, |_| "cred".into())),
    ])
}

/// A ServiceEntry.
pub fn service_entry(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let hosts = [
        "ext.example.com",
        "*.example.com",
        "web.default.svc.cluster.local",
        "EXT.example.com",
        "a.ext.example.com",
        "*",
        "",
        "10.96.0.1",
        "ext.example.com.",
    ];
    let port = |t: &mut Tape<'_>| {
        fields([
            ("number", Some(t.pick(PORTS).into())),
            ("name", Some(t.pick(PORT_NAMES).into())),
            (
                "protocol",
                Some(t.pick(&["HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS", "UDP", "odd", ""]).into()),
            ),
            ("targetPort", t.maybe(4, |t| t.pick(PORTS).into())),
        ])
    };
    let addresses = ["10.0.0.9", "up.example.com", "unix:///x", "", "fd00::9", "999.1.1.1", "not a name"];
    let endpoint = |t: &mut Tape<'_>| {
        fields([
            ("address", Some(t.pick(&addresses).into())),
            ("ports", t.maybe(3, |t| json!({t.pick(PORT_NAMES): t.pick(PORTS)}))),
            ("labels", t.maybe(2, |t| t.map(2, LABELS, VALUES))),
            ("locality", t.maybe(4, |t| t.pick(&["r1/z1", "", "r1/z1/s1/x"]).into())),
            ("weight", t.maybe(3, |t| t.pick(&[1, 0, u32::MAX]).into())),
        ])
    };
    let mut written = vec![t.pick(&hosts)];
    written.extend(t.list(1, |t| t.pick(&hosts)));
    let mut ports = vec![port(t)];
    ports.extend(t.list(1, port));
    let spec = fields([
        ("hosts", Some(written.into())),
        ("ports", Some(ports.into())),
        (
            "resolution",
            Some(
                t.pick(&["STATIC", "DNS", "NONE", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", "DNS", "STATIC"]).into(),
            ),
        ),
        ("location", t.maybe(2, |t| t.pick(&["MESH_INTERNAL", "MESH_EXTERNAL"]).into())),
        ("endpoints", Some(t.list(3, endpoint).into())),
        (
            "addresses",
            t.maybe(4, |t| {
                t.list(2, |t| t.pick(&["240.0.0.1", "240.0.0.0/24", "10.96.0.1/32", "x", "0.0.0.0"])).into()
            }),
        ),
        ("exportTo", t.maybe(4, |t| t.list(2, |t| t.pick(EXPORTS)).into())),
        ("subjectAltNames", t.maybe(6, |_| json!(["spiffe://a/c"]))),
        ("workloadSelector", t.maybe(4, |t| json!({"labels": t.map(1, LABELS, VALUES)}))),
    ]);
    istio("ServiceEntry", metadata, spec)
}

/// A WorkloadEntry.
pub fn workload_entry(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let spec = fields([
        ("address", Some(t.pick(&["10.0.0.7", "up.example.com", "unix:///x", "", "fd00::7"]).into())),
        ("ports", t.maybe(3, |t| json!({t.pick(PORT_NAMES): t.pick(PORTS)}))),
        ("labels", t.maybe(2, |t| t.map(2, LABELS, VALUES))),
        ("locality", t.maybe(4, |t| t.pick(&["r1/z1", ""]).into())),
        ("weight", t.maybe(3, |t| t.pick(&[1, 0, 7]).into())),
    ]);
    istio("WorkloadEntry", metadata, spec)
}

/// A Gateway.
pub fn gateway(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let hosts = [
        "*",
        "ext.example.com",
        "*.example.com",
        "prod/*",
        "./web.example.com",
        "*/ext.example.com",
        "~/*",
        "",
        "/",
        "web",
    ];
    let server = |t: &mut Tape<'_>| {
        let mut admitted = vec![t.pick(&hosts)];
        admitted.extend(t.list(2, |t| t.pick(&hosts)));
        let port = json!({"number": t.pick(PORTS), "name": t.pick(PORT_NAMES), "protocol": t.pick(&["HTTP", "HTTP2", "GRPC", "HTTPS", "TCP", "TLS", "odd", ""])});
        fields([
            ("port", if t.one_in(15) { None } else { Some(port) }),
            ("hosts", Some(admitted.into())),
            (
                "tls",
                t.maybe(5, |t| {
                    t.pick(&[
                        json!({"httpsRedirect": true}),
                        json!({"mode": "SIMPLE", "credentialName": "c"}),
                    ])
                }),
            ),
            ("bind", t.maybe(8, |t| t.pick(&["127.0.0.1", "0.0.0.0", "::", "x", "unix:///x"]).into())),
        ])
    };
    let mut servers = vec![server(t)];
    servers.extend(t.list(2, server));
    let selector = match t.below(4) {
        0 => json!({"istio": "ingressgateway"}),
        1 => json!({}),
        _ => t.map(2, LABELS, VALUES),
    };
    istio("Gateway", metadata, json!({"servers": servers, "selector": selector}))
}

/// One of the namespaces.
pub(super) fn namespace(t: &mut Tape<'_>) -> &'static str {
    t.pick(NAMESPACES)
}
