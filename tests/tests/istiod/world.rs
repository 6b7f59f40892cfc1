//! Random worlds: what istiod and umbra are told. Everything in them is valid for Istio, and nothing is what
//! docs/compatibility.md declares to be different.

use serde_json::{Map, Value, json};
use umbra_tests::random::Tape;

use super::fixed::{APPS, App, GATEWAYS, HEADLESS, NAMESPACES, ROOT, address};
use super::{hello, rules};

/// The objects of one world, without what [`super::fixed`] adds.
#[derive(Clone, Default, Debug)]
pub(crate) struct World {
    pub(crate) objects: Vec<Value>,
}

/// Hosts of ServiceEntries.
pub(crate) const OUTER: &[&str] = &[
    "ext.example.com",
    "a.example.com",
    "*.wild.example.com",
    "b.deep.wild.example.com",
    "shop.example.net",
];

/// The host of ServiceEntries that are reached where they are called.
pub(crate) const CALLED: &str = "called.example.org";

/// The ports that Services and ServiceEntries have.
pub(crate) const SERVED: &[u16] = &[80, 8000, 9000];
/// The ports of Gateways.
pub(crate) const ENTERED: &[u16] = &[80, 8080];
/// Ports of Services for bytes, and for whatever comes.
pub(crate) const BYTES: u16 = 9200;
/// Ports for TLS: of Services, and of Gateways that pass it on unopened.
pub(crate) const TLS: u16 = 9443;
pub(crate) const ENTERED_TLS: u16 = 8443;
const ANY: u16 = 9300;
/// Where the gateway's Service leads its port 80, if it leads it anywhere else.
pub(crate) const TRANSLATED: u16 = 18080;

/// Objects of `networking.istio.io`.
pub(crate) fn istio(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// An object of the fields that are there.
pub(crate) fn fields<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

/// A world.
pub(crate) fn world(t: &mut Tape<'_>) -> World {
    let mut objects = Vec::new();
    for app in APPS {
        if !t.one_in(8) {
            objects.extend(service(t, app));
        }
    }
    if t.one_in(4) {
        objects.push(alias(t));
    }
    if t.one_in(4) {
        objects.extend(front());
    }
    let entries = t.below(6);
    for nth in 0..entries {
        let namespace = t.pick(NAMESPACES);
        let new = entry(t, namespace, &format!("entry-{nth}"));
        if !objects.iter().any(|it| contradicts(it, &new)) {
            objects.push(new);
        }
    }
    if t.one_in(3) {
        objects.push(called_entry(t));
    }
    for nth in 0..1 + t.below(6) {
        objects.push(destination_rule(t, nth));
    }
    objects.push(gateway(t, ROOT, "gw"));
    for (namespace, name, odds) in [("one", "gw2", 2), ("two", "gw3", 4)] {
        if t.one_in(odds) {
            objects.push(gateway(t, namespace, name));
        }
    }
    let first = t.maybe(3, sidecar);
    let second = t.maybe(3, sidecar).filter(|it| {
        first.as_ref().is_none_or(|first| first["metadata"]["namespace"] != it["metadata"]["namespace"])
    });
    objects.extend(first.into_iter().chain(second));
    if t.one_in(3) {
        objects.push(istio(
            "WorkloadEntry",
            t.pick(NAMESPACES),
            "outside",
            json!({"address": address(24), "labels": {"app": "outside", "version": "v1"}}),
        ));
    }
    objects.extend(rules::virtual_services(t));
    let mut world = World { objects };
    world.date(t);
    world.keep_copies_inside();
    world
}

impl World {
    /// What is declared of copies. One that leaves the mesh has a Host of its own: "A copy that leaves the mesh".
    fn keep_copies_inside(&mut self) {
        if self.objects.iter().any(|it| it["kind"] == "VirtualService" && it.to_string().contains("\"mirror"))
        {
            for entry in self.objects.iter_mut().filter(|it| it["kind"] == "ServiceEntry") {
                entry["spec"]["location"] = json!("MESH_INTERNAL");
            }
            // So is how copies are hashed: "Copies are hashed as the target's".
            for rule in self.objects.iter_mut().filter(|it| it["kind"] == "DestinationRule") {
                let balancer = rule.pointer_mut("/spec/trafficPolicy/loadBalancer");
                if let Some(balancer) = balancer.and_then(Value::as_object_mut) {
                    balancer.remove("consistentHash");
                    balancer.insert("simple".to_owned(), json!("ROUND_ROBIN"));
                }
            }
        }
    }

    /// Who is older decides between some: some have a date, most have none.
    fn date(&mut self, t: &mut Tape<'_>) {
        for object in
            self.objects.iter_mut().filter(|it| it["kind"] != "Service" && it["kind"] != "EndpointSlice")
        {
            if t.one_in(2) {
                let year = 2020 + t.below(4);
                object["metadata"]["creationTimestamp"] = json!(format!("{year}-01-01T00:00:00Z"));
            }
        }
    }

    /// As one YAML text that somebody can apply, an object in a line.
    pub(crate) fn text(&self) -> String {
        self.objects.iter().map(|object| format!("---\n{object}\n")).collect()
    }
}

/// `exportTo`: mostly none, so everybody.
pub(crate) fn export(t: &mut Tape<'_>) -> Option<Value> {
    let choices = [
        json!(["*"]),
        json!(["."]),
        json!(["one"]),
        json!(["two"]),
        json!(["one", "two"]),
        json!([ROOT, "one"]),
    ];
    t.maybe(4, |t| t.pick(&choices))
}

/// A Service and its slice.
fn service(t: &mut Tape<'_>, app: &App) -> [Value; 2] {
    let App { namespace, name, .. } = app;
    let mut ports = vec![(t.pick(SERVED), t.pick(&["http", "http", "http2", "grpc"]))];
    for port in SERVED {
        if t.one_in(3) && ports.iter().all(|(other, _)| other != port) {
            ports.push((*port, t.pick(&["http", "http", "http2"])));
        }
    }
    let mut ports: Vec<(u16, String, u16)> = ports
        .into_iter()
        .map(|(port, speaks)| (port, format!("{speaks}-{port}"), t.pick(&[8080, 8080, 9090])))
        .collect();
    for (port, name, target, odds) in
        [(BYTES, "tcp-bytes", 8080, 8), (ANY, "odd", 8080, 8), (TLS, "tls-names", hello::TARGET, 3)]
    {
        // Bytes have no Host that would say that they are for another: whoever calls the port of a sidecar may come to it.
        if t.one_in(odds) && app.name != HEADLESS {
            ports.push((port, name.to_owned(), target));
        }
    }
    let mut metadata = json!({"name": name, "namespace": namespace});
    if t.one_in(10) {
        metadata["annotations"] =
            json!({"networking.istio.io/exportTo": t.pick(&[".", "one", "two,istio-system", "*"])});
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"clusterIP": app.address, "selector": {"app": name}, "ports": ports.iter()
            .map(|(port, name, target)| json!({"name": name, "port": port, "targetPort": target, "protocol": "TCP"})).collect::<Vec<_>>()},
    });
    let endpoint = |(nth, last): (usize, &u8)| {
        json!({
            "addresses": [address(*last)], "conditions": {"ready": !t.one_in(10)},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": format!("{name}-v{}", nth + 1)},
        })
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-x"), "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "ports": ports.iter().map(|(_, name, target)| json!({"name": name, "port": target, "protocol": "TCP"})).collect::<Vec<_>>(),
        "endpoints": app.pods.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
    });
    [service, slice]
}

/// A Service that is another name.
fn alias(t: &mut Tape<'_>) -> Value {
    let namespace = t.pick(NAMESPACES);
    let stands_for = match t.below(3) {
        0 => t.pick(OUTER).replace('*', "x"),
        _ => fqdn(some_app(t)),
    };
    let ports: Vec<Value> = SERVED
        .iter()
        .map(|port| json!({"name": format!("http-{port}"), "port": port, "protocol": "TCP"}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias", "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": stands_for, "ports": ports},
    })
}

/// The Service before the gateways, one of whose ports leads to another.
fn front() -> [Value; 2] {
    let port = json!({"name": "http", "port": 80, "targetPort": TRANSLATED, "protocol": "TCP"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "ingress", "namespace": ROOT},
        "spec": {"clusterIP": "10.96.1.200", "selector": {"istio": "ingressgateway"}, "ports": [port]},
    });
    let endpoint = |(name, address): &(&str, &str)| {
        json!({
            "addresses": [address], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": ROOT, "name": name},
        })
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "ingress-x", "namespace": ROOT, "labels": {"kubernetes.io/service-name": "ingress"}},
        "ports": [{"name": "http", "port": TRANSLATED, "protocol": "TCP"}],
        "endpoints": GATEWAYS.iter().map(endpoint).collect::<Vec<_>>(),
    });
    [service, slice]
}

/// A ServiceEntry.
fn entry(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    // Beside a Service of its own namespace it would be declared: "Endpoints of a ServiceEntry beside a Service".
    let beside = namespace != "one" && t.one_in(16);
    let mut hosts = vec![if beside { "api.one.svc.cluster.local" } else { t.pick(OUTER) }];
    let more = t.pick(OUTER);
    if t.one_in(4) && !hosts.contains(&more) {
        hosts.push(more);
    }
    let resolution = if hosts.iter().any(|host| host.starts_with('*')) {
        "STATIC"
    } else {
        t.pick(&["STATIC", "STATIC", "DNS", "DNS_ROUND_ROBIN"])
    };
    let mut ports = Vec::new();
    for nth in 0..SERVED.len() {
        if nth == 0 || t.one_in(3) {
            let number = t.pick(SERVED);
            ports.push(json!({
                "number": number, "name": format!("http-{number}"), "protocol": t.pick(&["HTTP", "HTTP", "HTTP2", "GRPC"]),
                "targetPort": t.pick(&[8080, 9090]),
            }));
        }
    }
    ports.sort_by_key(|port| port["number"].as_u64());
    ports.dedup_by_key(|port| port["number"].as_u64());
    let count = if resolution == "DNS_ROUND_ROBIN" { 1 } else { 1 + t.below(2) };
    let mut endpoint = |nth: usize| {
        let mut endpoint =
            json!({"address": address(21 + nth as u8), "labels": {"version": format!("v{}", nth + 1)}});
        if t.one_in(6) {
            endpoint["ports"] = json!({ports[0]["name"].as_str().unwrap_or_default(): 9090});
        }
        endpoint
    };
    let first = 0;
    let mut endpoints: Value = (0..count).map(|nth| endpoint(first + nth)).collect();
    let mut selector = None;
    if resolution == "STATIC" && t.one_in(5) {
        endpoints = json!(null);
        selector = Some(json!({"labels": {"app": t.pick(&["web", "db", "shop", "outside"])}}));
    }
    istio(
        "ServiceEntry",
        namespace,
        name,
        fields([
            ("hosts", Some(json!(hosts))),
            ("ports", Some(json!(ports))),
            ("resolution", Some(json!(resolution))),
            ("location", Some(json!(t.pick(&["MESH_INTERNAL", "MESH_INTERNAL", "MESH_EXTERNAL"])))),
            ("endpoints", Some(endpoints).filter(|it| !it.is_null())),
            ("workloadSelector", selector),
            ("addresses", t.maybe(6, |_| json!(["10.97.0.1"]))),
            ("exportTo", export(t)),
        ]),
    )
}

/// A ServiceEntry without endpoints: requests go where they were sent, to another port there.
fn called_entry(t: &mut Tape<'_>) -> Value {
    let port = t.pick(SERVED);
    let port = json!({"number": port, "name": "http", "protocol": "HTTP", "targetPort": 8080});
    istio(
        "ServiceEntry",
        t.pick(NAMESPACES),
        "called",
        fields([
            ("hosts", Some(json!([CALLED]))),
            ("ports", Some(json!([port]))),
            ("resolution", Some(json!("NONE"))),
            ("location", Some(json!("MESH_INTERNAL"))),
            ("exportTo", export(t)),
        ]),
    )
}

/// Whether two ServiceEntries of one namespace say different things of one host, which is declared: "no port of the later".
fn contradicts(old: &Value, new: &Value) -> bool {
    let hosts = |it: &Value| it["spec"]["hosts"].as_array().cloned().unwrap_or_default();
    let shared = || hosts(old).iter().any(|host| hosts(new).contains(host));
    let same = |key: &str| old["spec"][key] == new["spec"][key];
    old["kind"] == "ServiceEntry"
        && old["metadata"]["namespace"] == new["metadata"]["namespace"]
        && shared()
        && !["resolution", "exportTo", "workloadSelector"].into_iter().all(same)
}

/// A host as a DestinationRule or a destination of `namespace` may write it.
pub(crate) fn written_host(t: &mut Tape<'_>, namespace: &str) -> String {
    if t.one_in(5) {
        return t.pick(OUTER).replace('*', "x");
    }
    let app = some_app(t);
    if app.namespace == namespace && t.one_in(2) {
        return app.name.to_owned();
    }
    fqdn(app)
}

/// One that sidecars are asked for too.
pub(crate) fn some_app(t: &mut Tape<'_>) -> &'static App {
    let apps: Vec<&App> = APPS.iter().filter(|app| app.name != HEADLESS).collect();
    apps[t.below(apps.len())]
}

/// The Service without an address.
pub(crate) fn headless() -> String {
    APPS.iter().find(|app| app.name == HEADLESS).map(fqdn).unwrap_or_default()
}

pub(crate) fn fqdn(app: &App) -> String {
    format!("{}.{}.svc.cluster.local", app.name, app.namespace)
}

fn destination_rule(t: &mut Tape<'_>, nth: usize) -> Value {
    let namespace = if t.one_in(8) { ROOT } else { t.pick(NAMESPACES) };
    let host = match t.below(8) {
        0 => "*.two.svc.cluster.local".to_owned(),
        1 => t.pick(OUTER).to_owned(),
        _ => written_host(t, namespace),
    };
    let names = [("v1", json!({"version": "v1"})), ("v2", json!({"version": "v2"})), ("all", json!({}))];
    let subsets: Vec<Value> = names
        .into_iter()
        .filter(|_| !t.one_in(6))
        .map(|(name, labels)| json!({"name": name, "labels": labels}))
        .collect();
    let policies = [
        json!({"loadBalancer": {"simple": "ROUND_ROBIN"}}),
        json!({"connectionPool": {"http": {"maxRetries": 3}}}),
        json!({"outlierDetection": {"consecutive5xxErrors": 0, "interval": "30s"}}),
        json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x-a"}}}),
        json!({"loadBalancer": {"consistentHash": {"httpQueryParameterName": "q", "ringHash": {"minimumRingSize": 64}}}}),
        json!({"loadBalancer": {"consistentHash": {"httpHeaderName": "x-b", "maglev": {}}}}),
    ];
    istio(
        "DestinationRule",
        namespace,
        &format!("policy-{nth}"),
        fields([
            ("host", Some(json!(host))),
            ("subsets", Some(json!(subsets))),
            ("trafficPolicy", t.maybe(4, |t| t.pick(&policies))),
            ("exportTo", export(t)),
        ]),
    )
}

/// Hosts of a Gateway's server.
const ADMITTED: &[&str] = &[
    "*",
    "*.example.com",
    "ext.example.com",
    "one/*",
    "two/*.example.com",
    "./*",
    "*/a.example.com",
    "web.one.svc.cluster.local",
    "*.wild.example.com",
    "shop.example.net",
];

fn gateway(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let mut servers = Vec::new();
    for (nth, port) in ENTERED.iter().enumerate() {
        if nth == 0 || t.one_in(2) {
            let mut hosts = vec![t.pick(ADMITTED)];
            if t.one_in(3) {
                hosts.push(t.pick(ADMITTED));
                hosts.dedup();
            }
            servers.push(fields([
                ("port", Some(json!({"number": port, "name": format!("http-{port}"), "protocol": t.pick(&["HTTP", "HTTP", "HTTP2", "GRPC"])}))),
                ("hosts", Some(json!(hosts))),
                ("tls", t.maybe(10, |_| json!({"httpsRedirect": true})).filter(|_| hosts.iter().all(|it| !it.contains('/')))),
            ]));
        }
    }
    if t.one_in(3) {
        let hosts = [t.pick(ADMITTED)];
        servers.push(json!({"port": {"number": ENTERED_TLS, "name": "tls", "protocol": "TLS"}, "hosts": hosts, "tls": {"mode": "PASSTHROUGH"}}));
    }
    if t.one_in(8) {
        servers.push(json!({"port": {"number": 8081, "name": "bound", "protocol": "HTTP"}, "bind": "127.0.0.1", "hosts": ["*"]}));
    }
    istio("Gateway", namespace, name, json!({"selector": {"istio": "ingressgateway"}, "servers": servers}))
}

/// What the sidecars of a namespace may call; the sentinel always.
fn sidecar(t: &mut Tape<'_>) -> Value {
    let namespace = if t.one_in(4) { ROOT } else { t.pick(&["one", "two"]) };
    let choices = [
        "./*",
        "one/*",
        "two/*",
        "*/*",
        "*/web.one.svc.cluster.local",
        "two/db.two.svc.cluster.local",
        "*/*.example.com",
        "three/api.three.svc.cluster.local",
        "~/*",
        "*/*.wild.example.com",
    ];
    let mut egress = Vec::new();
    if t.one_in(4) {
        let port = t.pick(SERVED);
        egress.push(json!({"port": {"number": port, "protocol": "HTTP", "name": "http"}, "hosts": [t.pick(&choices[..8])]}));
    }
    let mut hosts = vec![format!("one/{}", super::control::SENTINEL)];
    for _ in 0..1 + t.below(3) {
        let host = t.pick(&choices).to_owned();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.iter().any(|host| host == "~/*") {
        hosts.retain(|host| host != "~/*");
    }
    egress.push(json!({"hosts": hosts}));
    let selector =
        (namespace != ROOT).then(|| t.maybe(3, |_| json!({"labels": {"app": "client"}}))).flatten();
    istio(
        "Sidecar",
        namespace,
        "default",
        fields([("workloadSelector", selector), ("egress", Some(json!(egress)))]),
    )
}
