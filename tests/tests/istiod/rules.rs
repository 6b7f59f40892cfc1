//! Random VirtualServices with every field of `http`, and requests that their rules may take.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use umbra_tests::random::Tape;

use super::control::Role;
use super::fixed::{NAMESPACES, ROOT};
use super::world::{
    BYTES, CALLED, ENTERED, ENTERED_TLS, OUTER, SERVED, TLS, TRANSLATED, World, export, fields, fqdn,
    headless, istio, some_app, written_host,
};

const PATHS: &[&str] = &["/a", "/", "/a/", "/a/b", "/b", "/B", "/ab"];
const TEXTS: &[&str] = &["v", "w", "vw", "x"];
const HEADERS: &[&str] = &["x-a", "x-b", "x-c"];
const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"];

/// One to five, of which some may be delegates.
pub(crate) fn virtual_services(t: &mut Tape<'_>) -> Vec<Value> {
    let mut all = Vec::new();
    let delegates: Vec<(String, String)> =
        (0..t.below(3)).map(|nth| (t.pick(NAMESPACES).to_owned(), format!("part-{nth}"))).collect();
    for (namespace, name) in &delegates {
        let rules: Vec<Value> = (0..1 + t.below(2)).map(|_| rule(t, namespace, &[])).collect();
        all.push(istio(
            "VirtualService",
            namespace,
            name,
            fields([("exportTo", export(t)), ("http", Some(rules.into()))]),
        ));
    }
    for nth in 0..1 + t.below(8) {
        let namespace = t.pick(NAMESPACES);
        all.push(virtual_service(t, namespace, &format!("rules-{nth}"), &delegates));
    }
    all
}

fn virtual_service(t: &mut Tape<'_>, namespace: &str, name: &str, delegates: &[(String, String)]) -> Value {
    let spellings = ["gw.istio-system.svc.cluster.local", "gw.istio-system", "gw2", "two/gw3"];
    let spelled = json!([t.pick(&spellings), "mesh"]);
    let bindings = [
        spelled,
        json!(null),
        json!(null),
        json!(["mesh"]),
        json!([format!("{ROOT}/gw")]),
        json!(["mesh", format!("{ROOT}/gw")]),
        json!([format!("{ROOT}/gw"), "one/gw2"]),
        json!(["mesh", "one/gw2"]),
    ];
    let gateways = t.pick(&bindings);
    let mesh = gateways.is_null() || gateways.as_array().is_some_and(|all| all.contains(&json!("mesh")));
    let mut hosts = vec![ruled_host(t, namespace, mesh)];
    for _ in 0..t.below(3) {
        let more = ruled_host(t, namespace, mesh);
        // Istio refuses hosts of one object that overlap.
        let full = |host: &str| {
            if host.contains(['.', '*']) {
                host.to_owned()
            } else {
                format!("{host}.{namespace}.svc.cluster.local")
            }
        };
        let overlap = |a: &str, b: &str| a == b || a == "*" || b == "*" || covers(a, b) || covers(b, a);
        if hosts.iter().all(|host| !overlap(&full(host), &full(&more))) {
            hosts.push(more);
        }
    }
    let mut rules: Vec<Value> = (0..1 + t.below(4)).map(|_| rule(t, namespace, delegates)).collect();
    if !mesh && t.one_in(3) {
        // What only gateways are asked for.
        rules.insert(0, json!({"match": [{"uri": {"prefix": "/b"}}], "route": [{"destination": {"host": headless(), "port": {"number": t.pick(SERVED)}}}]}));
    }
    let names: Vec<String> = hosts.iter().filter(|host| host.contains('.')).cloned().collect();
    let tls = t.maybe(3, |t| tls_rules(t, &names, namespace)).filter(|_| !names.is_empty());
    istio(
        "VirtualService",
        namespace,
        name,
        fields([
            ("hosts", Some(json!(hosts))),
            ("gateways", Some(gateways).filter(|it| !it.is_null())),
            ("exportTo", export(t)),
            ("http", Some(rules.into())),
            ("tls", tls),
        ]),
    )
}

/// Rules for TLS that nobody opens.
fn tls_rules(t: &mut Tape<'_>, names: &[String], namespace: &str) -> Value {
    let rule = |t: &mut Tape<'_>| {
        let name = names.get(t.below(names.len().max(1))).cloned().unwrap_or_default();
        let name = if t.one_in(3) { name.replace('*', "x") } else { name };
        let matched = fields([
            ("sniHosts", Some(json!([name]))),
            ("port", t.maybe(4, |t| json!(t.pick(&[TLS, ENTERED_TLS])))),
        ]);
        let destination = json!({"host": fully(t, namespace), "port": {"number": TLS}});
        json!({"match": [matched], "route": [{"destination": destination}]})
    };
    (0..1 + t.below(2)).map(|_| rule(t)).collect()
}

fn fully(t: &mut Tape<'_>, namespace: &str) -> String {
    let app = some_app(t);
    if app.namespace == namespace && t.one_in(2) { app.name.to_owned() } else { fqdn(app) }
}

fn covers(wide: &str, narrow: &str) -> bool {
    wide.strip_prefix('*').is_some_and(|rest| narrow.trim_start_matches('*').ends_with(rest))
}

fn ruled_host(t: &mut Tape<'_>, namespace: &str, mesh: bool) -> String {
    match t.below(10) {
        0 => t.pick(&["*.example.com", "*.example.net", "*.com"]).to_owned(),
        1 => {
            t.pick(&["*.two.svc.cluster.local", "*.svc.cluster.local", "*.one.svc.cluster.local"]).to_owned()
        }
        2 => t
            .pick(&[
                "lone.example.org",
                "web.two",
                "10.96.1.1",
                "alias.one.svc.cluster.local",
                "*.wild.example.com",
                "*.deep.wild.example.com",
            ])
            .to_owned(),
        3 if !mesh => "*".to_owned(),
        3 | 4 => t.pick(OUTER).to_owned(),
        _ => written_host(t, namespace),
    }
}

fn destination(t: &mut Tape<'_>, namespace: &str) -> Value {
    let host = if t.one_in(20) { "nobody.example.org".to_owned() } else { written_host(t, namespace) };
    fields([
        ("host", Some(json!(host))),
        ("port", t.maybe(2, |t| json!({"number": t.pick(SERVED)}))),
        ("subset", t.maybe(2, |t| json!(t.pick(&["v1", "v2", "all", "none"])))),
    ])
}

fn rule(t: &mut Tape<'_>, namespace: &str, delegates: &[(String, String)]) -> Value {
    let matches = t.maybe(2, |t| (0..1 + t.below(2)).map(|_| request_match(t)).collect::<Vec<_>>());
    let mut matches = matches.map(Value::from);
    for wanted in matches.iter_mut().filter_map(Value::as_array_mut) {
        // Beside a match for everybody it is declared ("what a rule sends to is there").
        if !wanted.iter().all(|it| it["sourceNamespace"].is_string()) {
            wanted
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|it| drop(it.remove("sourceNamespace")));
        }
    }
    // A prefix that is replaced needs prefixes alone.
    let prefixes = matches
        .as_ref()
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().all(|it| it["uri"]["prefix"].is_string()));
    let name = t.maybe(4, |t| json!(t.pick(&["first", "second"])));
    let common = |t: &mut Tape<'_>, rule: &mut Value| {
        let set = |rule: &mut Value, key: &str, value: Option<Value>| {
            if let Some(value) = value {
                rule[key] = value;
            }
        };
        set(rule, "name", name.clone());
        set(rule, "match", matches.clone());
        set(rule, "headers", t.maybe(4, headers));
        if t.one_in(20) {
            set(rule, "headers", Some(json!({"request": {"set": {"host": "by-header.example.com"}}})));
        }
        set(rule, "corsPolicy", t.maybe(8, cors));
    };
    let mut rule = json!({});
    common(t, &mut rule);
    match t.below(12) {
        0 => {
            rule["redirect"] = redirect(t, prefixes);
            return rule;
        }
        1 => {
            rule["directResponse"] = direct_response(t);
            return rule;
        }
        2 | 3 if !delegates.is_empty() => {
            let (namespace, name) = t.pick(delegates);
            rule["delegate"] = json!({"name": name, "namespace": namespace});
        }
        _ => rule["route"] = routes(t, namespace),
    }
    let routed = fields([
        // Istio takes one authority alone.
        ("rewrite", t.maybe(4, rewrite).filter(|_| rule["headers"]["request"]["set"]["host"].is_null())),
        ("timeout", t.maybe(6, |_| json!("20s"))),
        (
            "retries",
            t.maybe(6, |t| {
                t.pick(&[
                    json!({"attempts": 0}),
                    json!({"attempts": 2}),
                    json!({"attempts": 1, "retryOn": "5xx,418"}),
                ])
            }),
        ),
        ("fault", t.maybe(10, fault)),
    ]);
    rule.as_object_mut()
        .into_iter()
        .for_each(|it| it.extend(routed.as_object().cloned().unwrap_or_default()));
    match t.below(5) {
        0 => {
            rule["mirror"] = destination(t, namespace);
            if let Some(share) = t.maybe(2, share) {
                rule["mirrorPercentage"] = share;
            } else if t.one_in(4) {
                rule["mirrorPercent"] = json!(t.pick(&[0, 100]));
            }
        }
        1 => {
            let mirror = |t: &mut Tape<'_>| {
                fields([("destination", Some(destination(t, namespace))), ("percentage", t.maybe(3, share))])
            };
            rule["mirrors"] = (0..1 + t.below(2)).map(|_| mirror(t)).collect();
        }
        _ => {}
    }
    rule
}

fn share(t: &mut Tape<'_>) -> Value {
    t.pick(&[json!({"value": 100.0}), json!({"value": 0.0})])
}

/// Weights: most leave nothing to chance, and what others leave to it is counted.
fn routes(t: &mut Tape<'_>, namespace: &str) -> Value {
    let weights: &[Option<u32>] = t.pick(&[
        &[None],
        &[None],
        &[Some(100)],
        &[Some(0)],
        &[Some(100), Some(0)],
        &[None, Some(1)],
        &[Some(0), Some(7), None],
        &[Some(1), Some(1)],
        &[Some(40), Some(60)],
    ]);
    let weighted = |weight: &Option<u32>, t: &mut Tape<'_>| {
        fields([
            ("destination", Some(destination(t, namespace))),
            ("weight", weight.map(Value::from)),
            ("headers", t.maybe(5, headers)),
        ])
    };
    weights.iter().map(|weight| weighted(weight, t)).collect()
}

fn text(t: &mut Tape<'_>, texts: &[&str]) -> Value {
    match t.below(5) {
        0 => json!({"prefix": t.pick(texts)}),
        1 => json!({"regex": format!("{}.*", t.pick(texts))}),
        _ => json!({"exact": t.pick(texts)}),
    }
}

fn header_matches(t: &mut Tape<'_>, without: bool) -> Value {
    let value = |t: &mut Tape<'_>| match t.below(6) {
        0 => json!({}),
        // Only there Istio takes it.
        1 if without => json!({"regex": "*"}),
        2 => json!({"regex": "v|w"}),
        _ => text(t, TEXTS),
    };
    (0..1 + t.below(2)).map(|_| (t.pick(HEADERS).to_owned(), value(t))).collect()
}

fn request_match(t: &mut Tape<'_>) -> Value {
    let uri = |t: &mut Tape<'_>| match t.below(7) {
        0 | 1 => json!({"exact": t.pick(PATHS)}),
        2 => json!({"regex": t.pick(&["/a.*", ".*", "/[ab]", "/a/?"])}),
        _ => json!({"prefix": t.pick(PATHS)}),
    };
    fields([
        ("uri", t.maybe(2, uri)),
        ("name", t.maybe(6, |_| json!("m"))),
        ("headers", t.maybe(4, |t| header_matches(t, false))),
        ("withoutHeaders", t.maybe(8, |t| header_matches(t, true))),
        ("queryParams", t.maybe(8, |t| json!({"q": t.pick(&[json!({"exact": "v"}), json!({"regex": "v.*"}), json!({}), json!({"prefix": "v"})])}))),
        ("method", t.maybe(8, |t| text(t, METHODS))),
        ("scheme", t.maybe(16, |t| text(t, &["http", "https"]))),
        ("authority", t.maybe(10, |t| text(t, &["web", "ext.example.com", "web.one.svc.cluster.local", "x.wild.example.com"]))),
        ("port", t.maybe(8, |t| json!(t.pick(&[80, 8000, 9000, 8080])))),
        ("sourceLabels", t.maybe(8, |t| t.pick(&[json!({"app": "client"}), json!({"app": "other"}), json!({"app": "client", "tier": "a"}), json!({"istio": "ingressgateway"})]))),
        ("sourceNamespace", t.maybe(10, |t| json!(t.pick(&["one", "two", ROOT])))),
        ("gateways", t.maybe(10, |t| t.pick(&[json!(["mesh"]), json!([format!("{ROOT}/gw")]), json!(["mesh", format!("{ROOT}/gw")])]))),
        ("ignoreUriCase", t.maybe(8, |_| json!(true))),
        ("statPrefix", t.maybe(16, |_| json!("stat"))),
    ])
}

fn redirect(t: &mut Tape<'_>, prefixes: bool) -> Value {
    let mut redirect = fields([
        ("authority", t.maybe(2, |t| json!(t.pick(&["moved.example.com", "web", "moved.example.com:99"])))),
        ("scheme", t.maybe(3, |t| json!(t.pick(&["https", "http"])))),
        ("redirectCode", t.maybe(2, |t| json!(t.pick(&[301, 302, 303, 307, 308])))),
    ]);
    match t.below(4) {
        0 => redirect["port"] = json!(t.pick(&[80, 443, 8443])),
        1 => redirect["derivePort"] = json!(t.pick(&["FROM_REQUEST_PORT", "FROM_PROTOCOL_DEFAULT"])),
        _ => {}
    }
    match t.below(3) {
        0 if prefixes => redirect["prefixRewrite"] = json!(t.pick(&["/moved", "/"])),
        1 => {}
        _ => redirect["uri"] = json!(t.pick(&["/moved", "/moved?x=1", "/"])),
    }
    if redirect
        .as_object()
        .is_some_and(|it| it.keys().all(|key| key == "redirectCode" || key == "derivePort"))
    {
        redirect["uri"] = json!("/moved");
    }
    redirect
}

fn direct_response(t: &mut Tape<'_>) -> Value {
    let body = |t: &mut Tape<'_>| {
        t.pick(&[json!({"string": "hello"}), json!({"bytes": "aGVsbG8="}), json!({"string": ""})])
    };
    fields([("status", Some(json!(t.pick(&[200, 418, 204, 500])))), ("body", t.maybe(2, body))])
}

fn rewrite(t: &mut Tape<'_>) -> Value {
    let patterns = [
        json!({"match": "^/a(.*)", "rewrite": "/r\\1"}),
        json!({"match": "/", "rewrite": "/r"}),
        json!({"match": "b$", "rewrite": "c"}),
    ];
    match t.below(4) {
        0 => json!({"authority": t.pick(&["rewritten.example.com", "web", "x.wild.example.com:1"])}),
        1 => json!({"uriRegexRewrite": t.pick(&patterns)}),
        2 => json!({"uri": t.pick(&["/", "/r", "/r/"]), "authority": "both.example.com"}),
        _ => json!({"uri": t.pick(&["/", "/r", "/r/"])}),
    }
}

fn fault(t: &mut Tape<'_>) -> Value {
    let whole = json!({"value": 100.0});
    t.pick(&[
        json!({"abort": {"httpStatus": 503, "percentage": whole}}),
        json!({"abort": {"httpStatus": 418, "percentage": whole}}),
        json!({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": whole}}),
        json!({"abort": {"httpStatus": 418}}),
        json!({"delay": {"fixedDelay": "0.005s", "percent": 100}, "abort": {"httpStatus": 418, "percentage": {"value": 100}}}),
        json!({"abort": {"httpStatus": 418, "percentage": {"value": 0.0}}}),
        json!({"delay": {"fixedDelay": "0.005s", "percentage": whole}}),
        json!({"delay": {"fixedDelay": "0.005s"}, "abort": {"httpStatus": 429, "percentage": whole}}),
    ])
}

fn cors(t: &mut Tape<'_>) -> Value {
    let origins = [
        json!([{"exact": "https://ok.example.com"}]),
        json!([{"prefix": "https://"}]),
        json!([{"regex": "https://(ok|no)\\.example\\.com"}]),
        json!([{"exact": "*"}]),
        json!([{"exact": "https://no.example.com"}, {"prefix": "http://"}]),
    ];
    fields([
        ("allowOrigins", t.maybe(1, |t| t.pick(&origins))),
        ("allowMethods", t.maybe(2, |t| t.pick(&[json!(["GET"]), json!(["GET", "POST"])]))),
        ("allowHeaders", t.maybe(3, |_| json!(["x-a", "x-b"]))),
        ("exposeHeaders", t.maybe(3, |_| json!(["x-c"]))),
        ("maxAge", t.maybe(3, |_| json!("60s"))),
        ("allowCredentials", t.maybe(3, |t| json!(t.one_in(2)))),
        ("unmatchedPreflights", t.maybe(3, |t| json!(t.pick(&["FORWARD", "IGNORE"])))),
    ])
}

fn headers(t: &mut Tape<'_>) -> Value {
    let operations = |t: &mut Tape<'_>| {
        let values = ["set", "%REQ(x-a)%", "%REQ(:path)%", "v", "100%%"];
        let pairs = |t: &mut Tape<'_>| {
            (0..1 + t.below(2))
                .map(|_| (t.pick(&["x-a", "x-b", "x-new", "X-Case"]).to_owned(), json!(t.pick(&values))))
                .collect::<Value>()
        };
        fields([
            ("set", t.maybe(2, pairs)),
            ("add", t.maybe(2, pairs)),
            ("remove", t.maybe(3, |t| json!([t.pick(&["x-a", "x-b", "x-echo-version-of-nobody"])]))),
        ])
    };
    fields([("request", t.maybe(2, operations)), ("response", t.maybe(2, operations))])
}

/// One request, through the proxy of this number.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Request {
    pub(crate) kind: usize,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// A request for something of this world: mostly what some rule asks for.
pub(crate) fn request(t: &mut Tape<'_>, world: &World, kind: usize, role: Role) -> Request {
    let rules: Vec<&Value> = world.objects.iter().filter(|it| it["kind"] == "VirtualService").collect();
    let chosen = t.pick(&rules);
    let port = match role {
        Role::Gateway if t.one_in(8) => t.pick(&[TRANSLATED, 8081]),
        Role::Gateway if t.one_in(8) => ENTERED_TLS,
        Role::Captured if t.one_in(12) => TLS,
        Role::Gateway => t.pick(ENTERED),
        Role::Called | Role::Captured if t.one_in(16) => BYTES,
        Role::Called | Role::Captured => t.pick(SERVED),
    };
    // What is captured has another address: mostly that of some Service.
    let services =
        ["10.96.1.1", "10.96.1.2", "10.96.1.3", "10.96.1.4", "10.96.1.5", "10.97.0.1", "10.20.0.23"];
    let address = match role {
        Role::Captured => t.pick(&services).parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Role::Called | Role::Gateway => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let namespace = chosen["metadata"]["namespace"].as_str().unwrap_or_default();
    let hosts: Vec<&str> =
        chosen["spec"]["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut host = match t.below(4) {
        0 | 1 if !hosts.is_empty() => {
            let host = t.pick(&hosts);
            spelled(t, host, namespace)
        }
        2 if t.one_in(5) => CALLED.to_owned(),
        2 => t.pick(OUTER).to_owned(),
        _ => {
            let app = some_app(t);
            let names = [
                fqdn(app),
                app.name.to_owned(),
                format!("{}.{}", app.name, app.namespace),
                format!("{}.{}.svc", app.name, app.namespace),
                app.address.to_owned(),
                format!("{}.", fqdn(app)),
            ];
            t.pick(&names)
        }
    };
    if let Some(rest) = host.strip_prefix('*') {
        host = format!("{}{rest}", t.pick(&["x", "a", "x.y"]));
    }
    match t.below(12) {
        0 => host += &format!(":{port}"),
        1 => host += ":1",
        2 => host = host.to_ascii_uppercase(),
        3 if !host.ends_with('.') => host.push('.'),
        _ => {}
    }
    let mut request = Request {
        kind,
        address,
        port,
        method: t.pick(&["GET", "GET", "GET", "POST"]).to_owned(),
        host,
        path: t.pick(PATHS).to_owned(),
        headers: Vec::new(),
    };
    let with_matches = rules.iter().flat_map(|rule| rule["spec"]["http"].as_array().into_iter().flatten());
    let all: Vec<&Value> =
        with_matches.flat_map(|rule| rule["match"].as_array().into_iter().flatten()).collect();
    if !all.is_empty() && !t.one_in(3) {
        let wanted = t.pick(&all);
        satisfy(t, wanted, &mut request);
    }
    if t.one_in(4) {
        request.headers.push((t.pick(HEADERS).to_owned(), t.pick(TEXTS).to_owned()));
    }
    if t.one_in(10) {
        request.method = "OPTIONS".to_owned();
        request.headers.push((
            "origin".to_owned(),
            t.pick(&["https://ok.example.com", "http://no.example.com"]).to_owned(),
        ));
        request.headers.push(("access-control-request-method".to_owned(), "GET".to_owned()));
    } else if t.one_in(10) {
        request.headers.push(("origin".to_owned(), "https://ok.example.com".to_owned()));
    }
    if t.one_in(30) {
        request.headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
    }
    if t.one_in(10) {
        request.path += t.pick(&["?q=v", "?q=vv&r=1", "?", "/../c", "//d"]);
    }
    request
}

/// A short name in one of its other spellings.
fn spelled(t: &mut Tape<'_>, host: &str, namespace: &str) -> String {
    if host.contains(['.', '*']) {
        return host.to_owned();
    }
    t.pick(&[format!("{host}.{namespace}.svc.cluster.local"), format!("{host}.{namespace}"), host.to_owned()])
}

fn satisfy(t: &mut Tape<'_>, wanted: &Value, request: &mut Request) {
    let uri = &wanted["uri"];
    if let Some(path) = uri["exact"].as_str() {
        request.path = path.to_owned();
    } else if let Some(prefix) = uri["prefix"].as_str() {
        request.path = format!("{prefix}{}", t.pick(&["", "", "/b", "x"]));
    } else if uri["regex"].is_string() {
        request.path = t.pick(&["/a", "/a/", "/b", "/abc"]).to_owned();
    }
    if t.one_in(6) {
        request.path = request.path.to_ascii_uppercase();
    }
    let value = |t: &mut Tape<'_>, wanted: &Value| match (&wanted["exact"], &wanted["prefix"]) {
        (Value::String(text), _) => text.clone(),
        (_, Value::String(text)) => format!("{text}{}", t.pick(&["", "x"])),
        _ => t.pick(TEXTS).to_owned(),
    };
    for (name, wanted) in wanted["headers"].as_object().into_iter().flatten() {
        if !t.one_in(8) {
            request.headers.push((name.clone(), value(t, wanted)));
        }
    }
    if let Some(method) = wanted["method"]["exact"].as_str() {
        request.method = method.to_owned();
    }
    if let Some(authority) = wanted["authority"]["exact"].as_str().filter(|_| t.one_in(2)) {
        request.host = authority.to_owned();
    }
    for (name, wanted) in wanted["queryParams"].as_object().into_iter().flatten() {
        request.path += &format!("?{name}={}", value(t, wanted));
    }
}
