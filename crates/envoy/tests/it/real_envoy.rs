//! What the builders can emit, put in front of a real Envoy: it must load without a word about deprecation.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use umbra_envoy::{
    BootstrapOptions, Built, RuntimeLayer, bootstrap_json, build_cluster, build_listener,
    build_load_assignment, build_route_configuration, build_runtime,
};
use umbra_ir::*;
use umbra_proto::type_url;

use crate::samples::*;
use crate::{encoded, json};

fn clusters() -> Vec<Built> {
    let ca: std::sync::Arc<str> = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/ca.pem").into();
    let second = Some(Duration::from_secs(1));
    let pool = ConnectionPool {
        max_connection_duration: second,
        idle_timeout: second,
        keepalive: Some(TcpKeepalive { probes: Some(1), time: second, interval: second }),
        max_requests_per_connection: Some(1),
        max_concurrent_streams: Some(1),
        ..Default::default()
    };
    let sans = ["spiffe://td/a", "a.example", "1.2.3.4", "x@a.example"].map(str::to_owned).to_vec();
    let trusting = TlsOrigination { ca_certificates: ca, ..Default::default() };
    let tls = [
        None,
        Some(TlsOrigination { sni: "a.example".into(), subject_alt_names: sans, ..trusting.clone() }),
        Some(TlsOrigination { insecure_skip_verify: true, ..Default::default() }),
        Some(trusting),
    ];
    let discoveries = [
        Discovery::Eds,
        Discovery::StrictDns(
            vec![endpoint("up.example", "", 1), endpoint("10.0.0.1", "z", 2)],
            Default::default(),
        ),
        Discovery::StrictDns(Vec::new(), Default::default()),
    ];
    let protocols = [UpstreamProtocol::Http1, UpstreamProtocol::Http2, UpstreamProtocol::Downstream];
    let balancers = [LoadBalancer::LeastRequest, LoadBalancer::Random, LoadBalancer::RoundRobin];
    let mut all = Vec::new();
    for (tls, role) in tls.iter().flat_map(|tls| [(tls, Role::Primary), (tls, Role::Mirror)]) {
        for ((discovery, protocol), balancer) in discoveries.iter().zip(protocols).zip(balancers) {
            for (pool, end) in [(ConnectionPool::default(), None), (pool.clone(), second)] {
                all.push(build_cluster(&Cluster {
                    reference: reference(&format!("s{}", all.len()), role),
                    discovery: discovery.clone(),
                    load_balancer: balancer,
                    protocol,
                    tls: tls.clone(),
                    connection_pool: pool,
                    max_stream_duration: end,
                    connect_timeout: Duration::ZERO,
                    ..cluster()
                }));
            }
        }
    }
    all
}

fn routes() -> Vec<Route> {
    let text = str::to_owned;
    let values = ["a", "b"].map(text).map(TextMatch::Exact).into_iter();
    let values: Vec<TextMatch> = values
        .chain([TextMatch::Prefix(text("p")), TextMatch::Regex(text("r.*")), TextMatch::Present])
        .collect();
    let header =
        |(value, invert): (&TextMatch, bool)| HeaderMatch { name: text("h"), value: value.clone(), invert };
    let everything = RequestMatch {
        path: PathMatch::Regex(text("/r.*")),
        case_sensitive: Some(false),
        headers: values.iter().flat_map(|v| [(v, false), (v, true)]).map(header).collect(),
        query: values.iter().map(|v| QueryMatch { name: text("q"), value: v.clone() }).collect(),
    };
    let mut weighted = forward();
    weighted.targets = vec![target("v1", 33), target("v2", 67)];
    weighted.targets[1].headers = every_header_op();
    weighted.targets[1].host_rewrite = Some(text("h.example"));
    weighted.mirrors = vec![
        mirror(MirrorShare::Runtime(RuntimeKey::new("mirror/d/v/r/|v2|h.d")), MirrorHost::Suffix),
        mirror(half(), MirrorHost::Keep),
        mirror(MirrorShare::Fixed(RuntimeFraction::ALL), MirrorHost::Literal(text("x-shadow:80"))),
    ];
    weighted.options = ForwardOptions {
        timeout: Duration::MAX,
        retry: Some(RetryPolicy {
            status_codes: vec![503],
            per_try_timeout: Some(Duration::from_secs(1)),
            backoff: Some(Duration::ZERO),
            ..default_retry()
        }),
        path_rewrite: Some(PathRewrite::Regex(text("^/a(.*)"), text("/b\\1"))),
        host_rewrite: None,
    };
    let mut heavy = forward();
    heavy.targets = vec![target("v1", u32::MAX), target("v2", u32::MAX)];
    let mut none = forward();
    none.targets.clear();
    let mut plain = forward();
    plain.options.path_rewrite = Some(PathRewrite::Prefix(text("/b")));
    plain.options.host_rewrite = Some(text("h.example"));
    let redirect = |path| Redirect {
        scheme: text("https"),
        port: RedirectPort::Number(port(1)),
        path,
        code: 308,
        ..Default::default()
    };
    let direct = |body| RouteAction::Direct(DirectResponse { status: 200, body });
    let mut full = route(RouteAction::Forward(weighted));
    full.request = everything;
    full.name = text("full");
    full.origin = Some(ObjectId::new(Kind::VirtualService, "d", "v"));
    full.headers = every_header_op();
    full.stat_prefix = "stat".into();
    full.filters = every_filter();
    let mut exact = route(RouteAction::Forward(heavy));
    exact.request.path = PathMatch::Exact(text("/exact"));
    let actions = [
        RouteAction::Forward(none),
        RouteAction::Forward(plain),
        RouteAction::Redirect(redirect(RedirectPath::Keep)),
        RouteAction::Redirect(redirect(RedirectPath::Whole(text("/w")))),
        RouteAction::Redirect(redirect(RedirectPath::Prefix(text("/p")))),
        direct(None),
        direct(Some(vec![0xff])),
        direct(Some(vec![b'x'; 1024 * 1024])),
    ];
    [full, exact].into_iter().chain(actions.map(route)).collect()
}

fn listeners() -> Vec<Built> {
    let log = |format| AccessLog { path: Some("/dev/null".into()), format, service: None, copies: true };
    [
        (listener(ProxyKind::Sidecar, "127.0.0.1", 8000, "8000"), None),
        (listener(ProxyKind::Router, "0.0.0.0", 8080, "http.8080"), Some(log(AccessLogFormat::Json))),
        (listener(ProxyKind::Router, "::", 8081, "http.8081"), Some(log(AccessLogFormat::Text))),
    ]
    .map(|(listener, access_log)| build_listener(&listener, &Settings { access_log, ..Settings::default() }))
    .into()
}

/// A bootstrap with everything in it: a table and an assignment can only stand inside a listener and a cluster.
fn everything() -> Value {
    let node_id = Some("n".to_owned());
    let mut bootstrap = bootstrap_json(&BootstrapOptions { node_id, ..Default::default() }).unwrap();
    let clusters = clusters().into_iter().map(|built| json(type_url::CLUSTER, &built.body));
    let endpoints = vec![endpoint("1.1.1.1", "a", u32::MAX), endpoint("::1", "", u32::MAX)];
    let assignment = build_load_assignment(&LoadAssignment {
        reference: reference("", Role::Primary),
        endpoints,
        arrangement: Default::default(),
    });
    let assignment = json(type_url::ENDPOINT, &assignment.body);
    let holder = json!({"name": "holder", "type": "STATIC", "loadAssignment": assignment});
    let own = bootstrap["staticResources"]["clusters"][0].take();
    bootstrap["staticResources"]["clusters"] = clusters.chain([holder, own]).collect();

    let mut listeners: Vec<Value> =
        listeners().iter().map(|built| json(type_url::LISTENER, &built.body)).collect();
    let table = build_route_configuration("table", &[encoded(routes())]);
    let mut inline = listeners[0].clone();
    inline["name"] = json!("inline");
    inline["address"]["socketAddress"]["portValue"] = json!(8001);
    let manager = inline.pointer_mut("/filterChains/0/filters/0/typedConfig").unwrap();
    manager["routeConfig"] = json(type_url::ROUTE, &table.body);
    manager.as_object_mut().unwrap().remove("rds");
    listeners.push(inline);
    bootstrap["staticResources"]["listeners"] = json!(listeners);

    let shares = BTreeMap::from([(RuntimeKey::new("mirror/d/v/r/|v2|h.d"), RuntimeFraction::ALL)]);
    let runtime =
        json(type_url::RUNTIME, &build_runtime(RuntimeLayer::parse("umbra").unwrap(), &shares).body);
    let layers = bootstrap["layeredRuntime"]["layers"].as_array_mut().unwrap();
    layers.insert(0, json!({"name": "shares", "staticLayer": runtime["layer"]}));
    bootstrap
}

#[test]
fn everything_loads_and_nothing_is_deprecated() {
    let Some(envoy) = umbra_testkit::gate::require_envoy() else { return };
    let file = format!("{}/everything.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, everything().to_string()).unwrap();
    let out =
        Command::new(envoy).args(["--mode", "validate", "-l", "warning", "-c", &file]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(!said.to_lowercase().contains("deprecated"), "{said}");
}
