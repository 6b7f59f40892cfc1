//! `umbra explain`: outcomes, exit codes, places, lists of requests.

use serde_json::Value;
use umbra_testkit::paths;
use umbra_tests::manifests::{all, rules, web};

use super::{text, umbra};

/// Rules of `web`, each with an outcome of its own.
const RULES: &str = "\
- name: moved
  match: [{uri: {prefix: /old}}]
  redirect: {uri: /new, redirectCode: 302}
- match: [{uri: {exact: /teapot}}]
  directResponse: {status: 418, body: {string: short}}
- match: [{uri: {prefix: /locked}}]
  fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /nowhere}}]
  route: [{destination: {host: web, subset: v9}}]
- match: [{uri: {prefix: /api}, headers: {x-user: {exact: tester}}}]
  rewrite: {uri: /}
  headers: {request: {set: {x-set: a}}}
  timeout: 3s
  route:
  - {destination: {host: web, subset: v1}, weight: 90}
  - {destination: {host: web, subset: v2}, weight: 10}
  mirror: {host: web, subset: v3}
  mirrorPercentage: {value: 25}
- match: [{uri: {prefix: /cors}}]
  corsPolicy: {allowOrigins: [{exact: 'https://a.example'}]}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /api}}]
  route: [{destination: {host: web, subset: v1}}]
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("mesh")).expect("a folder");
        let file = folder.path().join("mesh/mesh.yaml");
        std::fs::write(file, all(&[web(), rules("web", "web", RULES)])).expect("a file");
        Folder(folder)
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let mesh = self.0.path().join("mesh");
        let mesh = ["explain", "--dir", mesh.to_str().expect("a path")];
        let out = umbra(&[&mesh[..], args].concat(), "");
        (out.status.code().expect("a code"), text(&out.stdout) + &text(&out.stderr))
    }
}

#[test]
fn every_outcome_has_its_words_and_its_exit_code() {
    let folder = Folder::new();
    for (request, code, words) in [
        (
            &["http://web:8000/api", "-H", "x-user: tester"][..],
            0,
            &[
                "90% to outbound|8000|v1|web.default",
                "spec.http[4]",
                "25% to mirror|8000|v3|",
                "Host web-shadow:8000, path /",
                "x-set: a",
                "timeout       3 s",
                "(127.0.1.1:8080)",
            ][..],
        ),
        (
            &["http://web:8000/api"],
            0,
            &["100% to outbound|8000|v1|", "the header x-user is missing", "mesh.yaml:"],
        ),
        (&["http://web:8000/old?a"], 0, &["302, Location: http://web:8000/new?a", "\"moved\""]),
        (&["POST", "http://web:8000/teapot"], 0, &["418 \"short\""]),
        (&["http://web:8000/locked"], 0, &["100% are answered 503"]),
        (
            &[
                "OPTIONS",
                "http://web:8000/cors",
                "-H",
                "Origin: https://a.example",
                "-H",
                "access-control-request-method: PUT",
            ],
            0,
            &["preflight"],
        ),
        (&["http://web:8000/none"], 3, &["404 by Envoy: no route takes it"]),
        (&["http://nobody:8000/"], 3, &["404 by Envoy: no virtual host"]),
        (&["http://web:9999/"], 3, &["nobody listens there"]),
        (&["https://web:8000/"], 3, &["speaks no TLS"]),
        (&["http://web:8000/nowhere"], 4, &["503: there is no cluster outbound|8000|v9|"]),
    ] {
        let (is, said) = folder.run(&[request, &["--from", "sidecar/default/app=sleep"]].concat());
        assert_eq!(is, code, "{request:?}: {said}");
        for words in words {
            assert!(said.contains(words), "{request:?} does not say {words:?}: {said}");
        }
    }
}

#[test]
fn wrong_usage_is_2() {
    let folder = Folder::new();
    for args in [
        &["http://web:8000/"][..],
        &["--from", "sidecar/default"],
        &["nonsense", "--from", "sidecar/default"],
        &["http://web:8000/", "--from", "nonsense"],
        &["http://web:8000/", "--from", "sidecar/default", "-H", "nonsense"],
        &["--expect", "/no/such/file"],
    ] {
        let (code, said) = folder.run(args);
        assert_eq!(code, 2, "{args:?}: {said}");
    }
}

#[test]
fn json_has_everything() {
    let folder = Folder::new();
    let args = ["http://web:8000/api", "-H", "x-user: tester", "--from", "sidecar/default", "-o", "json"];
    let (_, said) = folder.run(&args);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["outcome"]["kind"], "forward", "{said:#}");
    assert_eq!(said["outcome"]["mirrors"][0]["odds"], 0.25);
    assert_eq!(said["outcome"]["mirrors"][0]["sent"][0]["host"], "web-shadow:8000");
    assert_eq!(said["virtualHost"]["name"], "hosts/8000/web.default.svc.cluster.local:8000");
    let won = said["routes"].as_array().into_iter().flatten();
    let won = won.into_iter().find(|it| it["lost"].is_null() && it["behind"].is_null()).expect("a route");
    assert_eq!(
        (won["object"].as_str(), won["rule"].as_str()),
        (Some("VirtualService default/web"), Some("spec.http[4]"))
    );
    let file = won["file"].as_str().expect("a file");
    let line = won["line"].as_u64().expect("a line") as usize;
    let text = std::fs::read_to_string(folder.0.path().join("mesh").join(file)).expect("the file");
    let at = text.lines().nth(line - 1).unwrap_or_default();
    assert!(at.contains("headers: {x-user"), "line {line} is {at:?}");
}

const EXPECTED: &str = "\
from: sidecar/default/app=sleep
requests:
- name: testers
  request: GET http://web:8000/api
  headers: {X-User: tester}
  expect:
    object: default/web
    rule: spec.http[4]
    to: [{host: web, subset: v2, percent: 10}, {host: web.default.svc.cluster.local, subset: v1, percent: 90, ready: true}]
    mirrors: [{subset: v3, percent: 25, as: 'web-shadow:8000', port: 8000}]
    path: /
    headers: {x-set: a, x-gone: null}
    timeoutSeconds: 3
    retries: 2
- request: http://web:8000/old
  expect: {outcome: redirect, status: 302, location: 'http://web:8000/new', rule: moved}
- request: http://web:8000/locked
  expect: {abortPercent: 100}
- request: http://web:8000/none
  from: sidecar/default
  expect: {outcome: noRoute, status: 404, to: [], mirrors: []}
";

#[test]
fn lists_of_requests() {
    let folder = Folder::new();
    let file = folder.0.path().join("expect.yaml");
    let path = file.to_str().expect("a path");
    std::fs::write(&file, EXPECTED).expect("a file");
    let (code, said) = folder.run(&["--expect", path]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ok      testers\n") && said.contains("4 requests: 0 not as expected"), "{said}");
    for (from, to, words) in [
        (
            "percent: 25",
            "percent: 50",
            "mirrors: expected 50% to any host subset v3 port 8000 as web-shadow:8000, is 25% to mirror|8000|v3|web",
        ),
        ("x-set: a", "x-set: b", "headers.x-set: expected \"b\", is \"a\""),
        ("rule: moved", "rule: gone", "rule: expected \"gone\", is \"spec.http[0]\""),
        ("to: []", "to: [{host: web}]", "to: expected web, is nobody"),
        ("status: 404", "status: 503", "status: expected 503, is 404"),
        ("percent: 90", "percent: 91", "FAILED  testers"),
    ] {
        std::fs::write(&file, EXPECTED.replace(from, to)).expect("a file");
        let (code, said) = folder.run(&["--expect", path]);
        assert!(
            code == 1 && said.contains(words) && said.contains("1 not as expected"),
            "{to}: {code} {said}"
        );
        let (code, said) = folder.run(&["--expect", path, "-o", "json"]);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let failed = said["requests"].as_array().into_iter().flatten().filter(|it| it["ok"] == false).count();
        assert_eq!((code, failed), (1, 1), "{to}: {said:#}");
    }
    std::fs::write(&file, EXPECTED.replace("retries", "retriez")).expect("a file");
    let (code, said) = folder.run(&["--expect", path]);
    assert!(code == 2 && said.contains("retriez"), "{code} {said}");
}

#[test]
fn a_gateway_and_a_delegate() {
    let folder = paths::example("canary").join("mesh");
    let args = [
        "explain",
        "--dir",
        folder.to_str().expect("a path"),
        "--from",
        "router/istio-system/istio=ingressgateway",
    ];
    let out = umbra(&[&args[..], &["http://nobody.example.org/"]].concat(), "");
    assert!(!out.stdout.is_empty(), "{}", text(&out.stderr));
}

/// A connection that carries no HTTP: by which rule it goes, where to, and that nothing of it is copied.
#[test]
fn bytes_have_their_rule_and_their_odds() {
    let folder = Folder::new();
    let rule =
        |name: &str, spec: &str| umbra_tests::manifests::istio("VirtualService", "default", name, spec);
    let bytes = all(&[
        umbra_tests::manifests::service("default", "db", &[("tcp", 5432, 9000)]),
        umbra_tests::manifests::service("default", "api", &[("tls", 9443, 9000), ("http", 8001, 8080)]),
        umbra_tests::manifests::service("default", "empty", &[("tcp", 6000, 6000)]),
        umbra_tests::manifests::pod("default", "db", "v1", "10.0.0.7", true),
        umbra_tests::manifests::pod("default", "api", "v1", "10.0.0.8", true),
        rule(
            "db",
            "hosts: [db]\ntcp:\n- match: [{sourceLabels: {app: a}}]\n  route: [{destination: {host: db, port: {number: 5432}}, weight: 3}, {destination: {host: api, port: {number: 9443}}, weight: 1}]\n",
        ),
        rule(
            "api",
            "hosts: [api.default.svc.cluster.local]\ntls:\n- match: [{sniHosts: [api.default.svc.cluster.local]}]\n  route: [{destination: {host: api, port: {number: 9443}}}]\n",
        ),
    ]);
    std::fs::write(folder.0.path().join("mesh/bytes.yaml"), bytes).expect("a file");
    let api = "tls://api.default.svc.cluster.local:9443";
    for (url, from, code, words) in [
        (
            "tcp://db:5432",
            "sidecar/default/app=a",
            0,
            &[
                "VirtualService default/db spec.tcp[0]",
                "75% as bytes, not looked at and never copied, to outbound|5432||db",
                "25% as bytes",
                "bytes.yaml:",
            ][..],
        ),
        ("tcp://db:5432", "sidecar/default/app=b", 0, &["100% as bytes", "1 ready (10.0.0.7:9000)"]),
        (
            api,
            "sidecar/default/app=b",
            0,
            &["TLS for api.default.svc.cluster.local", "VirtualService default/api spec.tls[0]"],
        ),
        (
            "tls://other:9443",
            "sidecar/default/app=b",
            3,
            &["no filter chain of the listener is for such a connection"],
        ),
        ("tcp://empty:6000", "sidecar/default", 4, &["NOBODY is ready there, the connection ends"]),
        ("tcp://web:8000", "sidecar/default", 3, &["speaks HTTP there, and the client does not"]),
        ("http://db:5432/", "sidecar/default", 0, &["PASSED ON"]),
    ] {
        let (is, said) = folder.run(&[url, "--from", from]);
        assert_eq!(is, code, "{url}: {said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{url}: {words}: {said}"));
    }
    let list = "\
from: sidecar/default/app=a
requests:
- request: tcp://db:5432
  expect: {outcome: passed, object: default/db, rule: 'spec.tcp[0]', to: [{host: db, percent: 75}, {host: api, percent: 25, ready: true}]}
- request: tcp://db:5432
  expect: {to: [{host: db, percent: 100}]}
";
    let file = folder.0.path().join("expect.yaml");
    std::fs::write(&file, list).expect("a file");
    let (code, said) = folder.run(&["--expect", file.to_str().expect("a path")]);
    assert!(code == 1 && said.contains("2 requests: 1 not as expected"), "{said}");
}
