//! Reading manifests: what is accepted, and every complaint with its place.

use umbra_api::{Object, StringMatch, parse_documents};

/// One complaint: `line:column severity Code Object field: message`.
fn complaints(text: &str) -> Vec<String> {
    let parsed = parse_documents(text, "f.yaml");
    parsed
        .diagnostics
        .iter()
        .map(|d| {
            let place = format!("{}:{}", d.line.unwrap_or(0), d.column.unwrap_or(0));
            let object = d.object.as_ref().map(|o| format!("{o} ")).unwrap_or_default();
            format!("{place} {} {} {object}{}: {}", d.severity, d.code, d.field, d.message)
        })
        .collect()
}

/// Every complaint must start with its pattern, up to a `~`, and contain what follows it.
fn check(text: &str, objects: &[&str], want: &[&str]) {
    let parsed = parse_documents(text, "f.yaml");
    let found: Vec<String> = parsed.objects.iter().map(|o| o.value.id().to_string()).collect();
    assert_eq!(found, objects, "objects of\n{text}");
    let complaints = complaints(text);
    assert_eq!(complaints.len(), want.len(), "{complaints:#?}\nof\n{text}");
    for (found, want) in complaints.iter().zip(want) {
        let (start, rest) = want.split_once('~').unwrap_or((want, ""));
        assert!(found.starts_with(start) && found.contains(rest), "{found}\nis not\n{want}\nof\n{text}");
    }
}

/// A VirtualService whose `spec` follows, two columns in.
fn vs(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\nspec:\n{spec}")
}

const VS: &str = "VirtualService default/a";

#[test]
fn documents() {
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: s\n";
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("", &[], &[]),
        ("# only a comment\n---\n---\n", &[], &[]),
        ("---\n{}\n", &[], &[]),
        (service, &["Service default/s"], &[]),
        ("\u{feff}apiVersion: v1\r\nkind: Service\r\nmetadata: {name: s}\r\n", &["Service default/s"], &[]),
        (
            "{\"apiVersion\":\"v1\",\n\t\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"}}",
            &["Service default/s"],
            &[],
        ),
        ("a: 1\n", &[], &["1:1 warning NotAnObject : a document without a kind"]),
        ("just text\n", &[], &["1:1 warning NotAnObject"]),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: 5\n", &[], &[]),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\n", &[], &[]),
        ("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n", &[], &[]),
        (
            "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: x}\n",
            &[],
            &[
                "1:13 error UnknownVersion Gateway default/x apiVersion: unknown version networking.istio.io/v2",
            ],
        ),
        (
            "kind: Service\nmetadata: {name: x}\n",
            &[],
            &["1:1 error UnknownVersion Service default/x apiVersion: ~missing"],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: {name: x}\n",
            &[],
            &["2:7 warning UnknownKind : ~did you mean VirtualService?"],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: x}\n",
            &[],
            &["2:7 warning NotActedOn : WorkloadGroup x: accepted, not acted on yet"],
        ),
        ("apiVersion: v1\nkind: Service\n", &[], &["1:1 error NoIdentity metadata.name: ~is missing"]),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: 5}\n",
            &[],
            &["3:12 error NoIdentity metadata.name: ~quotes"],
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: 5}\n",
            &[],
            &["3:21 error NoIdentity metadata.namespace: ~quotes"],
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: 5\n", &[], &["3:1 error NoIdentity metadata: ~not a map"]),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n, namespace: x}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p, namespace: x}\n",
            &["Node n", "Pod x/p"],
            &[],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: GatewayList\nitems:\n- metadata: {name: g}\n",
            &["Gateway default/g"],
            &[],
        ),
        ("apiVersion: v1\nkind: List\nitems: 5\n", &[], &["1:1 error WrongType : items is not a list"]),
        ("apiVersion: apps/v1\nkind: DeploymentList\nitems: 5\n", &[], &[]),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: A, namespace: B}\n---\nx: [\n",
            &[],
            &["5:4 error SyntaxError : ~nothing in this file is read"],
        ),
    ];
    for (text, objects, want) in cases {
        check(text, objects, want);
    }
}

#[test]
fn strict_types() {
    let http = |rule: &str| vs(&format!("http:\n- {rule}"));
    let cases: &[(String, &[&str])] = &[
        // Both spellings of a field, numbers as text, whole floats, null for absent.
        (http("mirror_percent: 5"), &[]),
        (http("mirrorPercent: \"5\""), &[]),
        (http("mirrorPercent: 5.0"), &[]),
        (http("mirrorPercent: null"), &[]),
        // The mirror is left out by validation; the rule stays.
        (http("mirrorPercent: -5"), &[]),
        (http("mirror_percentage: {value: \"12.5\"}"), &[]),
        (http("redirect: {derivePort: 1}"), &[]),
        (http("timeout: 1h1m1s1ms"), &[]),
        (http("match: [{ignoreUriCase: yes}]"), &[]),
        (
            http("mirrorPercent: 5.5"),
            &[
                "7:5 error WrongType VirtualService default/a spec.http[0].mirrorPercent: expected a whole number, found the number 5.5; the object is not accepted",
            ],
        ),
        (http("match: [{port: -5}]"), &["~-5 is out of range, expected 0 to 4294967295"]),
        (http("mirrorPercent: {}"), &["~expected a whole number, found a map"]),
        (http("mirrorPercent: 010"), &["~YAML 1.1 and 1.2 read as different numbers"]),
        (http("mirrorPercentage: 50"), &["~mirrorPercentage: expected a map of fields, found the number 50"]),
        (
            http("mirrorPercentage: {value: fifty}"),
            &["~.mirrorPercentage.value: expected a number, found the text \"fifty\""],
        ),
        (http("timeout: 5"), &["~expected text, found the number 5; put it in quotes"]),
        (http("timeout: soon"), &["~\"soon\" is not a duration; write for example 5s"]),
        (
            http("name: on"),
            &["~found on without quotes, which Kubernetes reads as a boolean; put it in quotes"],
        ),
        (
            http("redirect: {derivePort: SOMETIMES}"),
            &["~unknown value \"SOMETIMES\", expected one of FROM_PROTOCOL_DEFAULT"],
        ),
        (http("match: {uri: {exact: /}}"), &["~spec.http[0].match: expected a list, found a map"]),
        (
            http("match: [{headers: {x: null}}]"),
            &["~.match[0].headers.x: expected a map of fields, found nothing (null)"],
        ),
        (
            http("match: [{uri: {exact: /, prefix: /}}]"),
            &["~.match[0].uri: only one of exact, prefix and regex"],
        ),
        (http("route: [null]"), &["~spec.http[0].route[0]: expected a map of fields, found nothing (null)"]),
        (
            http("mirror_percent: 5\n  mirrorPercent: 6"),
            &[
                "8:5 error DuplicateKey ~the same field as mirror_percent (first in line 7), in another spelling",
            ],
        ),
        (
            http("name: a\n  name: b"),
            &[
                "8:5 error DuplicateKey VirtualService default/a spec.http[0].name: the key is given twice (first in line 7)",
            ],
        ),
        // All of them, not the first; the good parts of a list keep their numbers.
        (
            http("name: 5\n- name: ok\n- name: 6\n  timeout: x\n  rewrit: {}"),
            &[
                "11:5 warning UnknownField VirtualService default/a spec.http[2].rewrit: unknown field, ignored; did you mean rewrite?",
                "7:5 error WrongType VirtualService default/a spec.http[0].name",
                "9:5 error WrongType VirtualService default/a spec.http[2].name",
                "10:5 error WrongType VirtualService default/a spec.http[2].timeout",
            ],
        ),
    ];
    for (text, want) in cases {
        let refused = want.iter().any(|w| !w.contains(" warning "));
        check(text, if refused { &[] } else { &[VS] }, want);
    }
}

#[test]
fn unknown_fields_are_named_and_do_no_harm() {
    let cases: &[(String, &[&str])] = &[
        (
            vs("http:\n- mirrorPercantage: {value: 5}"),
            &[
                "7:5 warning UnknownField VirtualService default/a spec.http[0].mirrorPercantage: unknown field, ignored; did you mean mirrorPercentage?",
            ],
        ),
        (
            vs("http:\n- fault:\n    delay: {fixedDelai: 5s}"),
            &[
                "8:15 warning UnknownField VirtualService default/a spec.http[0].fault.delay.fixedDelai: ~did you mean fixedDelay?",
            ],
        ),
        (
            format!("{}extra: 1\n", vs("hosts: [a]")),
            &["7:1 warning UnknownField VirtualService default/a extra: unknown field, ignored"],
        ),
        (
            vs("hosts: [a]").replace("  name: a", "  name: a\n  lables: {}"),
            &["5:3 warning UnknownField VirtualService default/a metadata.lables: ~did you mean labels?"],
        ),
        (
            vs("hosts: [a]")
                .replace("  name: a", "  name: a\n  uid: x\n  managedFields: [{}]\n  ownerReferences: []"),
            &[],
        ),
        (format!("{}status: {{anything: 1}}\n", vs("hosts: [a]")), &[]),
    ];
    for (text, want) in cases {
        check(text, &[VS], want);
    }
}

#[test]
fn yaml_of_all_sorts() {
    // Anchors, merges, tags, quotes and block text; then the things that must not get far.
    let good = vs(
        "hosts: &h [a, b]\nexportTo: *h\nhttp:\n- &r\n  name: !!str 5\n  timeout: \"5s\"\n- <<: *r\n  name: \"<<\"\n",
    );
    let parsed = parse_documents(&good, "f");
    assert_eq!(parsed.diagnostics, []);
    let Object::VirtualService(vs_object) = &parsed.objects[0].value else { panic!() };
    assert_eq!(vs_object.spec.export_to, ["a", "b"]);
    assert_eq!((vs_object.spec.http[0].name.as_str(), vs_object.spec.http[1].name.as_str()), ("5", "<<"));
    assert_eq!(vs_object.spec.http[1].timeout, vs_object.spec.http[0].timeout);

    let bomb = (1..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let m = n - 1;
        format!("{text}a{n}: &a{n} [*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m},*a{m}]\n")
    });
    for (text, want) in [
        (bomb, "anchors and aliases stand for more than"),
        (format!("a: {}", "[".repeat(100_000)), ""),
        (format!("a: {}", "{a: ".repeat(100_000)), ""),
        ("a: &a [*a]\n".to_owned(), "alias"),
        ("a: *nobody\n".to_owned(), "anchor"),
        ("? [a]\n: b\n".to_owned(), "keys are text"),
        ("a: \"\n".to_owned(), ""),
        ("<<: 5\n".to_owned(), "merges maps only"),
        ("\u{0}".to_owned(), ""),
    ] {
        let parsed = parse_documents(&text, "f.yaml");
        assert!(!parsed.ok && parsed.objects.is_empty(), "{text:.80}");
        assert_eq!(parsed.diagnostics.len(), 1);
        assert!(parsed.diagnostics[0].line.is_some());
        assert!(parsed.diagnostics[0].message.contains(want), "{}", parsed.diagnostics[0]);
    }
}

#[test]
fn positions() {
    let text =
        vs("hosts: [a]\nhttp:\n- match:\n  - headers:\n      x.y:\n        exact: v\n  mirror_percent: 5");
    let parsed = parse_documents(&text, "f.yaml");
    let object = &parsed.objects[0];
    for (field, want) in [
        ("spec.http[0].match[0].headers[\"x.y\"].exact", (11, 11)),
        ("spec.http[0].match[0].headers[\"x.y\"].nothing.below[3]", (10, 9)),
        ("spec.http[0].mirrorPercent", (12, 5)),
        ("spec.http[0]", (8, 5)),
        ("spec.hosts[0]", (6, 11)),
        ("spec.http[7]", (7, 3)),
        ("", (1, 1)),
    ] {
        assert_eq!(object.locate(field), Some(want), "{field}");
    }
}

#[test]
fn core_kinds() {
    let pod = |status: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{app: }}, annotations: {{kubectl.kubernetes.io/last-applied-configuration: x}}}}\nspec: {{nodeName: n, containers: [{{name: c, ports: [{{name: http, containerPort: 80}}]}}], unknown: 1}}\nstatus: {status}\n"
        );
        let parsed = parse_documents(&text, "f");
        assert_eq!(parsed.diagnostics, [], "{text}");
        let Object::Pod(pod) = parsed.objects[0].value.clone() else { panic!() };
        assert_eq!(pod.meta.labels["app"], "");
        assert!(pod.meta.annotations.is_empty());
        assert_eq!(pod.ports[0].container_port, 80);
        (pod.ips.join(","), pod.ready)
    };
    for (status, ips, ready) in [
        ("{}", "", false),
        ("{podIP: 10.0.0.1}", "10.0.0.1", true),
        ("{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: '::1'}], phase: Running}", "10.0.0.1,::1", true),
        ("{podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}", "10.0.0.1", false),
        ("{podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}", "10.0.0.1", true),
        ("{podIP: 10.0.0.1, conditions: [{type: PodScheduled, status: 'True'}]}", "10.0.0.1", false),
        ("{podIP: 10.0.0.1, phase: Succeeded}", "10.0.0.1", false),
    ] {
        assert_eq!(pod(status), (ips.to_owned(), ready), "{status}");
    }
    check(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports:\n  - {port: \"80\", targetPort: http}\n",
        &[],
        &[
            "6:6 error WrongType Service default/s spec.ports[0].port: expected a whole number, found the text \"80\"",
        ],
    );
    check(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, labels: {kubernetes.io/service-name: s}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1], conditions: {ready: true, serving: null}, hints: {}}]\nports: [{name: '', port: 80}]\n",
        &["EndpointSlice default/s"],
        &[],
    );
}

#[test]
fn a_header_match_without_condition_asks_for_presence() {
    let parsed = parse_documents(&vs("http:\n- match: [{headers: {x: {}}}]"), "f");
    let Object::VirtualService(object) = &parsed.objects[0].value else { panic!() };
    assert_eq!(object.spec.http[0].matches[0].headers["x"], StringMatch::Present);
}

/// To what a Pod belongs, by its controller and the labels that Deployments and Argo's Rollouts give.
#[test]
fn workload_of_a_pod() {
    let owner = |kind: &str, name: &str, controller: bool| {
        format!(
            "ownerReferences: [{{apiVersion: v1, kind: {kind}, name: {name}, uid: u, controller: {controller}}}]"
        )
    };
    for (labels, owners, want) in [
        ("", String::new(), "web-5d9-x"),
        ("pod-template-hash: 5d9", owner("ReplicaSet", "web-5d9", true), "web"),
        ("rollouts-pod-template-hash: 5d9", owner("ReplicaSet", "web-5d9", true), "web"),
        ("pod-template-hash: 7aa", owner("ReplicaSet", "web-5d9", true), "web-5d9"),
        ("pod-template-hash: 5d9", owner("ReplicaSet", "web-5d9", false), "web-5d9-x"),
        ("", owner("StatefulSet", "db", true), "db"),
        ("pod-template-hash: 5d9", owner("Other", "web-5d9", true), "web-5d9"),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-5d9-x\n  namespace: shop\n  labels: {{{labels}}}\n  {owners}\n"
        );
        let parsed = parse_documents(&text, "a.yaml");
        let Object::Pod(pod) = &parsed.objects[0].value else { panic!("{text}") };
        assert_eq!((&*pod.workload.namespace, &*pod.workload.name), ("shop", want), "{text}");
    }
}

/// Of Istio's settings for the proxy of one Pod the number of trusted proxies is read; what cannot be read says nothing.
#[test]
fn trusted_proxies_of_a_pod() {
    for (annotation, want) in [
        (r#"'{"gatewayTopology": {"numTrustedProxies": 2}}'"#, Some(2)),
        ("\"gatewayTopology:\\n  numTrustedProxies: 1\\nconcurrency: 2\"", Some(1)),
        ("'holdApplicationUntilProxyStarts: true'", None),
        ("'{'", None),
        ("", None),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    proxy.istio.io/config: {annotation}\n"
        );
        let parsed = parse_documents(&text, "");
        let Some(Object::Pod(pod)) = parsed.objects.first().map(|o| &o.value) else {
            panic!("{:?}", parsed.diagnostics)
        };
        assert_eq!(pod.trusted_proxies, want, "{annotation}");
    }
}
