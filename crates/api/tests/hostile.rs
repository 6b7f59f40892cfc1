//! Whatever a file or an API server holds: an answer, soon, and no panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use umbra_api::{Object, check_regex, parse_documents, parse_value, validate};

/// What reading and judging may take, on a busy machine and without optimisation: what grows out of bounds takes hours.
const SOON: Duration = Duration::from_secs(60);

/// Reads and judges; returns the objects.
fn survive(text: &str) -> Vec<Object> {
    let start = Instant::now();
    let parsed = parse_documents(text, "f.yaml");
    for object in &parsed.objects {
        for diagnostic in validate(&object.value) {
            let placed = object.place(diagnostic);
            assert!(placed.line.is_some() || text.trim_start().starts_with('{'), "{placed}");
            let _ = placed.to_string();
        }
    }
    assert!(parsed.ok || parsed.objects.is_empty());
    assert!(start.elapsed() < SOON, "{:?} for {} bytes", start.elapsed(), text.len());
    parsed.objects.into_iter().map(|o| o.value).collect()
}

/// A manifest of every Istio kind, with most of their fields.
const MANIFEST: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: b, labels: {x: "1"}, creationTimestamp: 2024-01-01T00:00:00Z}
spec:
  hosts: [a, "*.b.com"]
  gateways: [mesh, istio-system/gw]
  exportTo: ["."]
  http:
  - name: one
    match:
    - uri: {prefix: /a}
      headers: {x: {regex: "a+"}, y: {}}
      queryParams: {q: {exact: v}}
      port: 80
      sourceLabels: {app: x}
    route:
    - destination: {host: a, subset: v1, port: {number: 80}}
      weight: 33
    - destination: {host: a, subset: v2}
      weight: 67
      headers: {request: {set: {z: "%REQ(x)%"}}}
    mirror: {host: c}
    mirrorPercentage: {value: 12.5}
    mirrors: [{destination: {host: d}, percentage: {value: 1}}]
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,503"}
    rewrite: {uriRegexRewrite: {match: "^/a(.*)$", rewrite: '\1'}}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}}
    corsPolicy: {allowOrigins: [{exact: x}], maxAge: 24h}
  - redirect: {uri: /x, redirectCode: 302, derivePort: FROM_REQUEST_PORT}
  - directResponse: {status: 404, body: {string: none}}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
    connectionPool: {tcp: {maxConnections: 5, connectTimeout: 1s}, http: {http2MaxRequests: 7}}
    tls: {mode: SIMPLE, sni: x}
    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.com]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, ports: {http: 81}, labels: {a: b}, weight: 2}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}]
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {podIP: 10.0.0.2, phase: Running, conditions: [{type: Ready, status: "True"}]}
"#;

#[test]
fn the_manifest_is_good() {
    let parsed = parse_documents(MANIFEST, "f.yaml");
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(survive(MANIFEST).len(), 5);
}

/// Scraps that mean something to YAML, to proto JSON or to the checks.
const SCRAPS: &[&str] = &[
    "null",
    "{}",
    "[]",
    "-1",
    "1e999",
    ".nan",
    "\"\\u0000\"",
    "'*'",
    "*a",
    "&a ",
    "<<: ",
    "!!str ",
    "? ",
    "|\n",
    "...",
    "---\n",
    "\t",
    "%",
    "(((((",
    "99999999999999999999",
    "0x10",
    "yes",
    "010",
    "\"\"",
    "a: &x [*x]",
    "\u{feff}",
    "é",
    "{a: ",
    "[[[[",
    "- ",
    ": ",
    "#",
    "\"%REQ(\"",
    "1h1m",
    "9999999999h",
    "@",
    "`",
    "\r",
    "x\u{0}y",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        survive(&text);
        survive(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {text}"));
        let _ = check_regex(&text);
    }

    /// The manifest with pieces cut, doubled and replaced.
    #[test]
    fn mutated_manifests(edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..30, 0..SCRAPS.len(), 0..3u8), 1..6)) {
        let mut text: Vec<char> = MANIFEST.chars().collect();
        for (place, length, scrap, what) in edits {
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            let piece: Vec<char> = match what {
                0 => Vec::new(),
                1 => text[start..end].iter().chain(&text[start..end]).copied().collect(),
                _ => SCRAPS[scrap].chars().collect(),
            };
            text.splice(start..end, piece);
            if text.is_empty() {
                break;
            }
        }
        survive(&text.into_iter().collect::<String>());
    }

    /// What an API server might send: any JSON, also in place of parts of a good object.
    #[test]
    fn any_json(value in json(), field in 0usize..6) {
        let _ = parse_value(value.clone());
        let mut object = serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"},
            "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
        });
        match field {
            0 => object["spec"] = value,
            1 => object["spec"]["http"][0] = value,
            2 => object["spec"]["http"][0]["match"] = serde_json::json!([value]),
            3 => object["spec"]["http"][0]["mirror"] = value,
            4 => object["metadata"] = value,
            _ => object["kind"] = value,
        }
        for object in parse_value(object).objects {
            let _ = validate(&object.value);
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec![
        "host", "uri", "exact", "prefix", "regex", "name", "items", "kind", "labels", "value", "port",
        "number", "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z*/(%]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((names.clone(), inner), 0..4).prop_map(|pairs| {
                pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<serde_json::Map<_, _>>().into()
            }),
        ]
    })
}

/// Inputs made to be slow or large.
#[test]
fn hostile_manifests() {
    let vs = |spec: String| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n{spec}"
        )
    };
    let many = |n: usize, line: &str| line.repeat(n);
    survive(&vs(format!("  http:\n{}", many(20_000, "  - timeout: x\n"))));
    survive(&vs(format!("  http:\n{}", many(20_000, "  - unknown: x\n"))));
    survive(&vs(format!("  hosts:\n{}", many(50_000, "  - \"*.a\"\n"))));
    survive(&vs(format!(
        "  http:\n  - match:\n{}",
        many(20_000, "    - {uri: {regex: \"(a{1,30}){1,33}\"}}\n")
    )));
    survive(&vs(format!(
        "  http:\n{}",
        many(5_000, "  - {match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}\n")
    )));
    survive(&vs(format!(
        "  http:\n  - headers:\n      request:\n        set:\n{}",
        (0..20_000).map(|n| format!("          x{n}: \"%\"\n")).collect::<String>()
    )));
    survive(&vs(format!("  hosts: [\"{}\"]", "a".repeat(1 << 20))));
    survive(&"a: 1\n---\n".repeat(20_000));
    survive(&format!(
        "apiVersion: v1\nkind: List\nitems:\n{}",
        "- {kind: List, apiVersion: v1, items: []}\n".repeat(20_000)
    ));
    survive(&format!("x: {}", "\"".repeat(100_001)));
    survive(&"- ".repeat(50_000));
    survive(&"? ".repeat(50_000));
    survive(&"&a ".repeat(50_000));
    survive(&format!("{}x", "!".repeat(100_000)));
}

/// Merge keys cost what they look at, and that has an end.
#[test]
fn merge_keys() {
    let keys = |name: &str, n: usize| (0..n).map(|i| format!("{name}{i}: 1, ")).collect::<String>();
    let maps = |n: usize| (0..n).map(|i| format!("{{k{i}: 1}}, ")).collect::<String>();
    let nested =
        |depth: usize, keys: String| format!("{}{{{keys}}}{}", "{<<: ".repeat(depth), "}".repeat(depth));
    for (about, text, ok) in [
        (
            "an alias",
            format!("a: &a {{{}}}\nb: {{<<: *a, {}}}\n", keys("k", 45_000), keys("j", 45_000)),
            true,
        ),
        ("a map", format!("{{<<: {{{}}}, {}}}\n", keys("k", 90_000), keys("j", 90_000)), true),
        ("a list of maps", format!("<<: [{}]\n", maps(90_000)), true),
        ("many merges", format!("{{{}}}\n", "<<: {a: 1}, ".repeat(90_000)), true),
        ("the same keys at many depths", nested(50, keys("k", 5000)), false),
        ("too many", format!("<<: {{{}}}\n", keys("k", 250_000)), false),
    ] {
        survive(&text);
        let parsed = parse_documents(&text, "f.yaml");
        let said = parsed.diagnostics.iter().any(|d| d.message.contains("merge keys (<<) look at more than"));
        assert_eq!((parsed.ok, said), (ok, !ok), "{about}: {:?}", parsed.diagnostics);
    }
}
