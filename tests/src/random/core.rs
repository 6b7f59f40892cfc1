//! Kubernetes' own objects.

use serde_json::{Value, json};

use super::tape::{Tape, fields};

pub(super) const NAMESPACES: &[&str] = &["default", "prod", "istio-system"];
pub(super) const SERVICES: &[&str] = &["web", "api", "db", "Web", "a.b"];
pub(super) const VERSIONS: &[&str] = &["v1", "v2", "V2"];
/// Real ones, and 0 and one too large.
pub(super) const PORTS: &[u32] = &[80, 8000, 8080, 443, 9090, 80, 8000, 0, 70000];
pub(super) const PORT_NAMES: &[&str] =
    &["http", "http-web", "grpc", "http2", "tcp", "https", "tls", "udp-x", "", "mongo", "GRPC-WEB", "auto"];
pub(super) const LABELS: &[&str] = &["app", "version", "tier", "istio"];
pub(super) const VALUES: &[&str] = &["web", "api", "v1", "v2", "ingressgateway", ""];
pub(super) const EXPORTS: &[&str] = &["*", ".", "~", "prod", "default", "nowhere"];
const PODS: &[&str] = &["web-1", "web-2", "api-1", "db-1"];
const NODES: &[&str] = &["n1", "n2"];
const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "10.0.0.1", "not-an-address", "", "2001:db8::7"];
const TIMES: &[&str] = &["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2024-01-01T00:00:00Z"];

/// Identity, maybe age, labels and annotations.
pub(super) fn meta(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    fields([
        ("name", Some(name.into())),
        ("namespace", (!namespace.is_empty()).then(|| namespace.into())),
        ("creationTimestamp", t.maybe(2, |t| t.pick(TIMES).into())),
        ("labels", t.maybe(3, |t| t.map(3, LABELS, VALUES))),
    ])
}

/// A Service.
pub fn service(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let mut metadata = meta(t, namespace, name);
    if let Some(export) = t.maybe(5, |t| t.pick(&[".", "~", "*", "prod,default", ""])) {
        let admits = t.pick(&["", "*", "default, other", "other"]);
        metadata["annotations"] =
            json!({"networking.istio.io/exportTo": export, "umbra.io/rules-from": admits});
    }
    let first = service_port(t);
    let mut ports = vec![first];
    ports.extend(t.list(2, service_port));
    let spec = fields([
        ("ports", Some(ports.into())),
        ("selector", if t.one_in(6) { None } else { Some(selector(t, name)) }),
        ("type", t.maybe(8, |t| t.pick(&["ExternalName", "NodePort", "LoadBalancer", "Odd"]).into())),
        (
            "externalName",
            t.maybe(6, |t| {
                t.pick(&[
                    "ext.example.com",
                    "api.prod.svc.cluster.local",
                    "web.default.svc.cluster.local",
                    "",
                ])
                .into()
            }),
        ),
        ("clusterIP", t.maybe(3, |t| t.pick(&["None", "10.96.0.1", "10.96.0.2", "", "fd00::1"]).into())),
        ("clusterIPs", t.maybe(6, |_| json!(["10.96.0.1", "fd00::1"]))),
        ("publishNotReadyAddresses", t.maybe(6, |_| true.into())),
    ]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

fn selector(t: &mut Tape<'_>, name: &str) -> Value {
    match t.below(4) {
        3 => t.map(2, LABELS, VALUES),
        _ => json!({ "app": name }),
    }
}

fn service_port(t: &mut Tape<'_>) -> Value {
    fields([
        ("port", Some(t.pick(PORTS).into())),
        ("name", Some(t.pick(PORT_NAMES).into())),
        (
            "targetPort",
            t.maybe(2, |t| {
                t.pick(&[json!(8080), json!("http"), json!("web"), json!(0), json!("9090"), json!(-1)])
            }),
        ),
        ("protocol", t.maybe(8, |t| t.pick(&["TCP", "UDP", "SCTP", "odd"]).into())),
        (
            "appProtocol",
            t.maybe(8, |t| {
                t.pick(&["http", "kubernetes.io/h2c", "grpc", "tcp", "kubernetes.io/wss", "odd"]).into()
            }),
        ),
    ])
}

/// A Pod; its name tells nothing about its labels.
pub fn pod(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let mut metadata = meta(t, namespace, name);
    let mut labels = json!({"app": t.pick(SERVICES), "version": t.pick(VERSIONS)});
    if t.one_in(5) {
        labels["topology.istio.io/locality"] = t.pick(&["r1.z1", "r1/z1/s1", "", "///"]).into();
    }
    if t.one_in(3) {
        labels["istio"] = "ingressgateway".into();
    }
    metadata["labels"] = labels;
    if t.one_in(8) {
        metadata["deletionTimestamp"] = "2025-02-02T00:00:00Z".into();
    }
    let ports = t.list(
        2,
        |t| json!({"name": t.pick(&["http", "web", ""]), "containerPort": t.pick(&[8080, 9090, 80, 0])}),
    );
    let ready = t.pick(&["True", "False", "Unknown"]);
    let status = fields([
        ("podIP", if t.one_in(8) { None } else { Some(t.pick(ADDRESSES).into()) }),
        ("phase", t.maybe(3, |t| t.pick(&["Running", "Succeeded", "Failed", "Pending"]).into())),
        ("conditions", t.maybe(2, |_| json!([{"type": "Ready", "status": ready}]))),
    ]);
    let spec = fields([
        ("nodeName", t.maybe(2, |t| t.pick(NODES).into())),
        ("containers", Some(json!([{"name": "main", "ports": ports}]))),
    ]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
}

/// An EndpointSlice of some Service of its namespace.
pub fn endpoint_slice(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let mut metadata = meta(t, namespace, name);
    metadata["labels"] = json!({"kubernetes.io/service-name": t.pick(SERVICES)});
    let mut endpoints = vec![endpoint(t, namespace)];
    endpoints.extend(t.list(2, |t| endpoint(t, namespace)));
    let mut ports = vec![slice_port(t)];
    ports.extend(t.list(1, slice_port));
    let address_type = t.pick(&["IPv4", "IPv4", "IPv6", "FQDN"]);
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": address_type, "endpoints": endpoints, "ports": ports,
    })
}

fn slice_port(t: &mut Tape<'_>) -> Value {
    fields([
        ("name", Some(t.pick(PORT_NAMES).into())),
        ("port", if t.one_in(8) { None } else { Some(t.pick(&[8080, 9090, 0, 70000]).into()) }),
    ])
}

fn endpoint(t: &mut Tape<'_>, namespace: &str) -> Value {
    let target = |t: &mut Tape<'_>| {
        fields([
            ("kind", Some("Pod".into())),
            ("name", Some(t.pick(PODS).into())),
            ("namespace", t.maybe(2, |_| namespace.into())),
        ])
    };
    let conditions = |t: &mut Tape<'_>| {
        fields([
            ("ready", t.maybe(2, |t| t.one_in(2).into())),
            ("serving", t.maybe(4, |t| t.one_in(2).into())),
            ("terminating", t.maybe(4, |t| t.one_in(2).into())),
        ])
    };
    fields([
        ("addresses", Some(if t.one_in(9) { json!([]) } else { json!([t.pick(ADDRESSES)]) })),
        ("conditions", Some(conditions(t))),
        ("targetRef", t.maybe(2, target)),
        ("nodeName", t.maybe(3, |t| t.pick(NODES).into())),
        ("zone", t.maybe(4, |t| t.pick(&["z1", "z2", ""]).into())),
    ])
}

/// A Node with its place.
pub fn node(t: &mut Tape<'_>, name: &str) -> Value {
    let mut metadata = meta(t, "", name);
    metadata["labels"] = fields([
        ("topology.kubernetes.io/region", t.maybe(2, |t| t.pick(&["r1", "r2"]).into())),
        ("topology.kubernetes.io/zone", t.maybe(2, |t| t.pick(&["z1", "z2"]).into())),
        ("topology.istio.io/subzone", t.maybe(4, |_| "s1".into())),
    ]);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
}

/// A name for an object of a kind, from its pool.
pub(super) fn pick_name(t: &mut Tape<'_>, kind: &str) -> &'static str {
    match kind {
        "Pod" => t.pick(PODS),
        "Node" => t.pick(NODES),
        "Service" => t.pick(SERVICES),
        "Gateway" => t.pick(&["gw", "gw2"]),
        _ => t.pick(&["one", "two", "web"]),
    }
}
