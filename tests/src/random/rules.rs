//! VirtualServices: every form of match, action and mirror, also such as cannot be served.

use serde_json::{Value, json};

use super::core::{EXPORTS, LABELS, NAMESPACES, PORTS, VALUES, VERSIONS, meta};
use super::tape::{Tape, fields};

/// Hosts as rules write them: short, full, other case, wildcards, addresses, nobody's.
pub(super) const HOSTS: &[&str] = &[
    "web",
    "api",
    "web.default.svc.cluster.local",
    "api.prod.svc.cluster.local",
    "WEB",
    "ext.example.com",
    "*.example.com",
    "*",
    "*.prod.svc.cluster.local",
    "missing",
    "web.prod",
    "10.96.0.1",
    "a.ext.example.com",
    "",
    "web.example.com-shadow",
    "::1",
];
/// What no engine compiles, what Envoy's does not, and what it does.
const PATTERNS: &[&str] = &["/a.*", ".*", "*", "(", "[a-z]+", "(?=x)", "a{2000}", "", "\\d+", "(?i)x"];
const TEXTS: &[&str] = &["/", "/a", "x", "", "GET", "http", "/a/", "ü", "a b", "%2F"];
pub(super) const HEADER_NAMES: &[&str] =
    &["x-a", "X-B", ":authority", "host", "Host", "", "bad name", "x-c", ":path", "x\n"];
pub(super) const HEADER_VALUES: &[&str] =
    &["v", "", "%START_TIME%", "%BAD", "100%", "a\nb", "web.default", "%REQ(X)%", "ü"];
const DURATIONS: &[&str] = &["1s", "0s", "0.5s", "1h30m", "-1s", "315576000000s", "1ns"];

/// A VirtualService.
pub fn virtual_service(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let mut metadata = meta(t, namespace, name);
    if t.one_in(3) {
        let contents = t.pick(&["on", "off", "some"]);
        metadata["annotations"] =
            json!({"umbra.io/verdicts": t.pick(&["on", "50", "many"]), "umbra.io/contents": contents});
    }
    let mut hosts = vec![t.pick(HOSTS)];
    hosts.extend(t.list(2, |t| t.pick(HOSTS)));
    let mut http = vec![rule(t)];
    http.extend(t.list(3, rule));
    let gateways = ["gw", "mesh", "istio-system/gw", "gw2", "./gw", "gw.default", "missing", "*/gw", "/"];
    let spec = fields([
        // Without hosts it is a delegate.
        ("hosts", if name == "two" && !t.one_in(3) { None } else { Some(hosts.into()) }),
        ("gateways", t.maybe(2, |t| t.list(3, |t| t.pick(&gateways)).into())),
        ("exportTo", t.maybe(4, |t| t.list(2, |t| t.pick(EXPORTS)).into())),
        ("http", if t.one_in(20) { None } else { Some(http.into()) }),
        ("tcp", t.maybe(3, |t| t.list(3, |t| connection_rule(t, false)).into())),
        ("tls", t.maybe(3, |t| t.list(3, |t| connection_rule(t, true)).into())),
    ]);
    let version = t.pick(&["v1", "v1beta1", "v1alpha3"]);
    json!({
        "apiVersion": format!("networking.istio.io/{version}"), "kind": "VirtualService",
        "metadata": metadata, "spec": spec,
    })
}

/// A rule for connections.
fn connection_rule(t: &mut Tape<'_>, tls: bool) -> Value {
    let mut routes = vec![weighted(t)];
    routes.extend(t.list(2, weighted));
    let mut matches = if tls { vec![connection_match(t, true)] } else { Vec::new() };
    matches.extend(t.list(2, |t| connection_match(t, tls)));
    fields([
        ("route", if t.one_in(10) { None } else { Some(routes.into()) }),
        ("match", if matches.is_empty() { None } else { Some(matches.into()) }),
    ])
}

fn connection_match(t: &mut Tape<'_>, tls: bool) -> Value {
    let blocks = ["10.96.0.0/16", "10.96.0.1", "0.0.0.0/0", "fd00::/8", "10.0.0.0/33", "x"];
    fields([
        ("sniHosts", if tls { Some(t.list(3, |t| t.pick(HOSTS)).into()) } else { None }),
        ("port", t.maybe(3, |t| t.pick(PORTS).into())),
        ("destinationSubnets", t.maybe(3, |t| t.list(2, |t| t.pick(&blocks)).into())),
        ("sourceLabels", t.maybe(4, |t| t.map(2, LABELS, VALUES))),
        ("sourceNamespace", t.maybe(6, |t| t.pick(NAMESPACES).into())),
        ("gateways", t.maybe(6, |t| t.list(2, |t| t.pick(&["mesh", "gw", "missing"])).into())),
    ])
}

fn rule(t: &mut Tape<'_>) -> Value {
    let mut routes = vec![weighted(t)];
    routes.extend(t.list(2, weighted));
    fields([
        ("route", if t.one_in(10) { None } else { Some(routes.into()) }),
        ("name", t.maybe(3, |t| t.pick(&["a", "b", "a/b", "ü", "flagger"]).into())),
        ("match", t.maybe(2, |t| t.list(3, request_match).into())),
        ("mirror", t.maybe(2, destination)),
        ("mirrorPercentage", t.maybe(3, percentage)),
        ("mirrorPercent", t.maybe(6, |t| t.pick(&[50, 0, 100, 101]).into())),
        ("mirror_percent", t.maybe(12, |t| t.pick(&[10, 0, 100]).into())),
        ("mirrors", t.maybe(3, |t| t.list(3, mirror).into())),
        ("redirect", t.maybe(10, redirect)),
        ("directResponse", t.maybe(10, direct_response)),
        ("delegate", t.maybe(6, delegate)),
        ("rewrite", t.maybe(6, rewrite)),
        ("timeout", t.maybe(5, |t| t.pick(DURATIONS).into())),
        ("retries", t.maybe(5, retries)),
        ("headers", t.maybe(4, headers)),
        ("fault", t.maybe(8, fault)),
        ("corsPolicy", t.maybe(8, cors)),
    ])
}

/// Mostly one that is there, or may be: of the same namespace or another.
fn delegate(t: &mut Tape<'_>) -> Value {
    fields([
        ("name", Some(t.pick(&["two", "two", "one", "nobody", ""]).into())),
        ("namespace", t.maybe(3, |t| t.pick(NAMESPACES).into())),
    ])
}

/// A destination that may or may not be there.
pub(super) fn destination(t: &mut Tape<'_>) -> Value {
    fields([
        ("host", Some(t.pick(HOSTS).into())),
        ("port", t.maybe(3, |t| json!({"number": t.pick(PORTS)}))),
        ("subset", t.maybe(3, |t| t.pick(&["v1", "v2", "nope", ""]).into())),
    ])
}

fn weighted(t: &mut Tape<'_>) -> Value {
    fields([
        ("destination", if t.one_in(12) { None } else { Some(destination(t)) }),
        ("weight", t.maybe(2, |t| t.pick(&[100, 50, 0, 33, 1, -1, i32::MAX]).into())),
        ("headers", t.maybe(6, headers)),
    ])
}

/// Percentages: usual ones, the smallest there is, and such as are none.
pub(super) fn percentage(t: &mut Tape<'_>) -> Value {
    let values = [
        json!(50.0),
        json!(0),
        json!(100),
        json!(0.0001),
        json!(33.333),
        json!(0.00001),
        json!(-1),
        json!(100.1),
        json!("NaN"),
        json!("12.5"),
        json!(1e300),
    ];
    fields([("value", if t.one_in(12) { None } else { Some(t.pick(&values)) })])
}

fn mirror(t: &mut Tape<'_>) -> Value {
    fields([
        ("destination", if t.one_in(12) { None } else { Some(destination(t)) }),
        ("percentage", t.maybe(2, percentage)),
    ])
}

fn string_match(t: &mut Tape<'_>) -> Value {
    match t.below(5) {
        0 => json!({"prefix": t.pick(TEXTS)}),
        1 => json!({"exact": t.pick(TEXTS)}),
        2 => json!({}),
        _ => json!({"regex": t.pick(PATTERNS)}),
    }
}

fn string_matches(t: &mut Tape<'_>) -> Value {
    t.list(2, |t| (t.pick(HEADER_NAMES).to_owned(), string_match(t))).into_iter().collect()
}

fn request_match(t: &mut Tape<'_>) -> Value {
    fields([
        ("uri", t.maybe(2, string_match)),
        ("name", t.maybe(6, |_| "m".into())),
        ("headers", t.maybe(4, string_matches)),
        ("withoutHeaders", t.maybe(6, string_matches)),
        ("queryParams", t.maybe(6, string_matches)),
        ("method", t.maybe(6, string_match)),
        ("scheme", t.maybe(10, string_match)),
        ("authority", t.maybe(8, string_match)),
        ("port", t.maybe(6, |t| t.pick(PORTS).into())),
        ("sourceLabels", t.maybe(4, |t| t.map(2, LABELS, VALUES))),
        ("sourceNamespace", t.maybe(6, |t| t.pick(NAMESPACES).into())),
        ("gateways", t.maybe(6, |t| t.list(2, |t| t.pick(&["gw", "mesh", "istio-system/gw"])).into())),
        ("ignoreUriCase", t.maybe(6, |_| true.into())),
        ("statPrefix", t.maybe(10, |_| "stat".into())),
    ])
}

fn redirect(t: &mut Tape<'_>) -> Value {
    fields([
        ("uri", t.maybe(2, |t| t.pick(TEXTS).into())),
        ("authority", t.maybe(2, |t| t.pick(HOSTS).into())),
        ("prefixRewrite", t.maybe(4, |t| t.pick(TEXTS).into())),
        ("scheme", t.maybe(3, |t| t.pick(&["https", "http", "odd", ""]).into())),
        ("port", t.maybe(3, |t| t.pick(PORTS).into())),
        ("derivePort", t.maybe(4, |t| t.pick(&["FROM_REQUEST_PORT", "FROM_PROTOCOL_DEFAULT"]).into())),
        ("redirectCode", t.maybe(3, |t| t.pick(&[302, 308, 301, 200, 999]).into())),
    ])
}

fn direct_response(t: &mut Tape<'_>) -> Value {
    let body = |t: &mut Tape<'_>| t.pick(&[json!({"string": "hello"}), json!({"bytes": "/w=="}), json!({})]);
    fields([("status", Some(t.pick(&[200, 503, 204, 0, 100, 999]).into())), ("body", t.maybe(2, body))])
}

fn rewrite(t: &mut Tape<'_>) -> Value {
    let regex = |t: &mut Tape<'_>| json!({"match": t.pick(PATTERNS), "rewrite": t.pick(&["/b", "\\1", "\\9", "\\", ""])});
    fields([
        ("uri", t.maybe(2, |t| t.pick(TEXTS).into())),
        ("authority", t.maybe(2, |t| t.pick(HEADER_VALUES).into())),
        ("uriRegexRewrite", t.maybe(3, regex)),
    ])
}

fn retries(t: &mut Tape<'_>) -> Value {
    fields([
        ("attempts", Some(t.pick(&[3, 0, -1, i32::MAX]).into())),
        ("perTryTimeout", t.maybe(2, |t| t.pick(DURATIONS).into())),
        (
            "retryOn",
            t.maybe(2, |t| {
                t.pick(&["5xx", "503,reset", "999", ",,", "not a condition", "gateway-error,5xx"]).into()
            }),
        ),
        ("retryRemoteLocalities", t.maybe(4, |t| t.one_in(2).into())),
        ("retryIgnorePreviousHosts", t.maybe(4, |t| t.one_in(2).into())),
        ("backoff", t.maybe(4, |t| t.pick(DURATIONS).into())),
    ])
}

fn fault(t: &mut Tape<'_>) -> Value {
    let delay = |t: &mut Tape<'_>| {
        fields([
            ("fixedDelay", if t.one_in(6) { None } else { Some(t.pick(DURATIONS).into()) }),
            ("percentage", t.maybe(2, percentage)),
            ("percent", t.maybe(4, |t| t.pick(&[50, 0, 100, 101, -1]).into())),
            ("exponentialDelay", t.maybe(12, |t| t.pick(DURATIONS).into())),
        ])
    };
    let abort = |t: &mut Tape<'_>| {
        fields([
            (
                "httpStatus",
                if t.one_in(4) { None } else { Some(t.pick(&[500, 200, 599, 0, 600, -1]).into()) },
            ),
            ("percentage", t.maybe(2, percentage)),
            ("grpcStatus", t.maybe(5, |t| t.pick(&["UNAVAILABLE", "OK", "odd", ""]).into())),
            ("http2Error", t.maybe(15, |_| "REFUSED_STREAM".into())),
        ])
    };
    fields([("delay", t.maybe(2, delay)), ("abort", t.maybe(2, abort))])
}

fn cors(t: &mut Tape<'_>) -> Value {
    let words = |t: &mut Tape<'_>| t.list(2, |t| t.pick(&["GET", "*", "x-a", "", "a b", "x\n", "ü"])).into();
    fields([
        ("allowOrigins", t.maybe(2, |t| t.list(3, string_match).into())),
        ("allowOrigin", t.maybe(4, |t| t.list(2, |t| t.pick(&["*", "https://example.com", ""])).into())),
        ("allowMethods", t.maybe(3, words)),
        ("allowHeaders", t.maybe(3, words)),
        ("exposeHeaders", t.maybe(4, words)),
        ("maxAge", t.maybe(3, |t| t.pick(DURATIONS).into())),
        ("allowCredentials", t.maybe(3, |t| t.one_in(2).into())),
        ("unmatchedPreflights", t.maybe(3, |t| t.pick(&["FORWARD", "IGNORE", "UNSPECIFIED"]).into())),
    ])
}

fn headers(t: &mut Tape<'_>) -> Value {
    fields([("request", t.maybe(2, header_ops)), ("response", t.maybe(2, header_ops))])
}

fn header_ops(t: &mut Tape<'_>) -> Value {
    fields([
        ("set", t.maybe(2, |t| t.map(2, HEADER_NAMES, HEADER_VALUES))),
        ("add", t.maybe(2, |t| t.map(2, HEADER_NAMES, HEADER_VALUES))),
        ("remove", t.maybe(2, |t| t.list(2, |t| t.pick(HEADER_NAMES)).into())),
    ])
}

/// Whether a rule of the pool names this version.
pub(super) fn subset_name(t: &mut Tape<'_>) -> &'static str {
    t.pick(&["v1", "v2", "v1", ""])
}

/// Labels of a subset.
pub(super) fn subset_labels(t: &mut Tape<'_>) -> Value {
    if t.one_in(5) { t.map(2, LABELS, VALUES) } else { json!({"version": t.pick(VERSIONS)}) }
}
