//! Sidecars.

use serde_json::{Value, json};

use super::core::{LABELS, VALUES, meta};
use super::policies::istio;
use super::tape::{Tape, fields};

/// What its proxies can call, and what becomes of all else.
pub fn sidecar(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let spec = fields([
        ("workloadSelector", t.maybe(2, |t| json!({"labels": t.map(1, LABELS, VALUES)}))),
        ("egress", Some(t.list(3, egress).into())),
        ("outboundTrafficPolicy", t.maybe(3, |t| fields([("mode", t.maybe(2, |_| "ALLOW_ANY".into()))]))),
        ("ingress", t.maybe(8, |_| json!([{"port": {"number": 80}}]))),
    ]);
    istio("Sidecar", metadata, spec)
}

fn egress(t: &mut Tape<'_>) -> Value {
    let hosts = [
        "./*",
        "prod/*",
        "*/*",
        "*/ext.example.com",
        "*/*.example.com",
        "prod/web.prod.svc.cluster.local",
        "*/*.svc.cluster.local",
        "~/*",
        "web",
        "",
    ];
    let mut named = vec![t.pick(&hosts)];
    named.extend(t.list(2, |t| t.pick(&hosts)));
    fields([
        ("hosts", Some(named.into())),
        (
            "port",
            t.maybe(2, |t| {
                let number = t.pick(&[80, 8000, 443, 0]);
                json!({"number": number, "protocol": t.pick(&["HTTP", "TCP", "HTTP_PROXY", ""]), "name": "x"})
            }),
        ),
        ("bind", t.maybe(4, |t| t.pick(&["127.0.0.2", "unix:///x", "x"]).into())),
        ("captureMode", t.maybe(3, |t| t.pick(&["NONE", "IPTABLES", "DEFAULT"]).into())),
    ])
}
