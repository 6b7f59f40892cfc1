use std::time::Duration;

use serde_json::{Value, json};
use umbra_ir::{
    DirectResponse, ForwardOptions, HeaderMatch, Kind, ObjectId, PathMatch, PathRewrite, QueryMatch,
    Redirect, RedirectPath, RedirectPort, RequestMatch, RetryPolicy, RouteAction, TargetCluster, TextMatch,
};

use crate::route_json;
use crate::samples::{any_request, default_retry, every_header_op, forward, port, route, target};

const CLUSTER: &str = "outbound|8000|v1|httpbin.default.svc.cluster.local";

#[test]
fn a_plain_route_in_full() {
    assert_eq!(
        route_json(route(RouteAction::Forward(forward()))),
        json!({"match": {"prefix": "/"}, "route": {"cluster": CLUSTER, "timeout": "0s"}})
    );
}

#[test]
fn what_every_kind_of_route_can_have() {
    let mut full = route(RouteAction::Direct(DirectResponse { status: 503, body: None }));
    full.name = "canary.m".to_owned();
    full.origin = Some(ObjectId::new(Kind::VirtualService, "default", "httpbin"));
    full.headers = every_header_op();
    full.stat_prefix = "stat".into();
    let add = |key: &str, value: &str, action: &str| {
        let header = json!({"key": key, "value": value});
        if action.is_empty() {
            json!({"header": header})
        } else {
            json!({"header": header, "appendAction": action})
        }
    };
    let overwrite = "OVERWRITE_IF_EXISTS_OR_ADD";
    assert_eq!(
        route_json(full),
        json!({
            "name": "canary.m",
            "match": {"prefix": "/"},
            "directResponse": {"status": 503},
            "metadata": {"filterMetadata": {"istio": {
                "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/httpbin",
            }}},
            "statPrefix": "stat",
            "requestHeadersToAdd": [
                add("x-set", "%DOWNSTREAM_REMOTE_ADDRESS%", overwrite),
                add("x-add", "1", ""),
            ],
            "requestHeadersToRemove": ["x-gone"],
            "responseHeadersToAdd": [add("x-set-r", "2", overwrite)],
            "responseHeadersToRemove": ["server"],
        })
    );
}

#[track_caller]
fn check_match(request: RequestMatch, want: Value) {
    let mut input = route(RouteAction::Forward(forward()));
    input.request = request;
    assert_eq!(route_json(input)["match"], want);
}

#[test]
fn matches() {
    let text = str::to_owned;
    let path = |path| RequestMatch { path, ..any_request() };
    check_match(path(PathMatch::Exact(text("/a"))), json!({"path": "/a"}));
    check_match(path(PathMatch::Regex(text("/a.*"))), json!({"safeRegex": {"regex": "/a.*"}}));
    for sensitive in [true, false] {
        let request = RequestMatch { case_sensitive: Some(sensitive), ..any_request() };
        check_match(request, json!({"prefix": "/", "caseSensitive": sensitive}));
    }
    let values = [
        (TextMatch::Exact(text("v")), json!({"stringMatch": {"exact": "v"}})),
        (TextMatch::Prefix(text("v")), json!({"stringMatch": {"prefix": "v"}})),
        (TextMatch::Regex(text("v.*")), json!({"stringMatch": {"safeRegex": {"regex": "v.*"}}})),
        (TextMatch::Present, json!({"presentMatch": true})),
    ];
    for (value, mut want) in values {
        let present = value == TextMatch::Present;
        want["name"] = json!("q");
        let query = vec![QueryMatch { name: text("q"), value: value.clone() }];
        check_match(
            RequestMatch { query, ..any_request() },
            json!({"prefix": "/", "queryParameters": [want]}),
        );
        let header = |invert| HeaderMatch { name: text("q"), value: value.clone(), invert };
        let mut inverted = want.clone();
        inverted["invertMatch"] = json!(true);
        if !present {
            inverted["treatMissingHeaderAsEmpty"] = json!(true);
        }
        check_match(
            RequestMatch { headers: vec![header(false), header(true)], ..any_request() },
            json!({"prefix": "/", "headers": [want, inverted]}),
        );
    }
}

#[track_caller]
fn check_options(options: ForwardOptions, want: &[(&str, Value)]) {
    let mut input = forward();
    input.options = options;
    let got = route_json(route(RouteAction::Forward(input)));
    for (pointer, value) in want {
        assert_eq!(got["route"].pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {got:#}");
    }
}

#[test]
fn options_of_forwarding() {
    let options = ForwardOptions::default;
    check_options(
        ForwardOptions { timeout: Duration::from_millis(1500), ..options() },
        &[("/timeout", json!("1.500s")), ("/maxGrpcTimeout", Value::Null), ("/retryPolicy", Value::Null)],
    );
    let rewrite = |rewrite| ForwardOptions { path_rewrite: Some(rewrite), ..options() };
    check_options(rewrite(PathRewrite::Prefix("/b".to_owned())), &[("/prefixRewrite", json!("/b"))]);
    check_options(
        rewrite(PathRewrite::Regex("^/a".to_owned(), "/b".to_owned())),
        &[("/regexRewrite", json!({"pattern": {"regex": "^/a"}, "substitution": "/b"}))],
    );
    let host = Some("h.example".to_owned());
    check_options(
        ForwardOptions { host_rewrite: host, ..options() },
        &[("/hostRewriteLiteral", json!("h.example"))],
    );
}

#[test]
fn retries() {
    let previous = json!([{
        "name": "previous",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        },
    }]);
    let retry = |retry| ForwardOptions { retry: Some(retry), ..Default::default() };
    let plain = json!({
        "retryOn": "connect-failure,refused-stream", "numRetries": 2,
        "hostSelectionRetryMaxAttempts": "5", "retryHostPredicate": previous,
    });
    check_options(retry(default_retry()), &[("/retryPolicy", plain)]);
    let full = RetryPolicy {
        status_codes: vec![503],
        per_try_timeout: Some(Duration::from_secs(2)),
        avoid_previous_hosts: false,
        previous_hosts_written: true,
        remote_localities: true,
        backoff: Some(Duration::ZERO),
        ..default_retry()
    };
    check_options(
        retry(full),
        &[
            ("/retryPolicy/retriableStatusCodes", json!([503])),
            ("/retryPolicy/perTryTimeout", json!("2s")),
            ("/retryPolicy/retryHostPredicate", Value::Null),
            ("/retryPolicy/retryPriority/name", json!("previous")),
            ("/retryPolicy/retryPriority/typedConfig/updateFrequency", json!(2)),
            ("/retryPolicy/retryBackOff", json!({"baseInterval": "0.001s"})),
        ],
    );
}

#[test]
fn destinations() {
    let with = |change: &dyn Fn(&mut umbra_ir::Forward)| {
        let mut input = forward();
        change(&mut input);
        route_json(route(RouteAction::Forward(input)))["route"].clone()
    };
    let unknown = |name: &str| TargetCluster::Unknown(name.into());
    for (name, want) in [("outbound|1||gone", "outbound|1||gone"), ("", "UnknownService")] {
        assert_eq!(with(&|f| f.targets[0].cluster = unknown(name))["cluster"], want);
    }
    assert_eq!(with(&|f| f.targets.clear())["cluster"], "UnknownService");

    let two = with(&|f| {
        f.targets = vec![target("v1", 90), target("v3", 10)];
        f.targets[1].headers = every_header_op();
        f.targets[1].host_rewrite = Some("h.example".to_owned());
    });
    let clusters = &two["weightedClusters"]["clusters"];
    assert_eq!(clusters[0], json!({"name": CLUSTER, "weight": 90}));
    assert_eq!(clusters[1]["weight"], 10);
    assert_eq!(clusters[1]["hostRewriteLiteral"], "h.example");
    assert_eq!(clusters[1]["requestHeadersToAdd"].as_array().map(Vec::len), Some(2));
    assert_eq!(clusters[1]["responseHeadersToRemove"], json!(["server"]));
    assert!(two["weightedClusters"].get("totalWeight").is_none());

    // Several written, one left with a weight: still a set, so its headers stay where they are.
    assert_eq!(
        with(&|f| f.weighted = true)["weightedClusters"]["clusters"],
        json!([{"name": CLUSTER, "weight": 1}])
    );
}

#[test]
fn redirects() {
    let check =
        |redirect, want| assert_eq!(route_json(route(RouteAction::Redirect(redirect)))["redirect"], want);
    let none = Redirect::default;
    check(Redirect { host: "h".to_owned(), ..none() }, json!({"hostRedirect": "h"}));
    check(
        Redirect { scheme: "https".to_owned(), path: RedirectPath::Whole("/b".to_owned()), ..none() },
        json!({"schemeRedirect": "https", "pathRedirect": "/b"}),
    );
    check(
        Redirect {
            port: RedirectPort::Number(port(8443)),
            path: RedirectPath::Prefix("/c".to_owned()),
            ..none()
        },
        json!({"portRedirect": 8443, "prefixRewrite": "/c"}),
    );
    for (code, want) in [
        (0, Value::Null),
        (301, Value::Null),
        (302, json!("FOUND")),
        (303, json!("SEE_OTHER")),
        (307, json!("TEMPORARY_REDIRECT")),
        (308, json!("PERMANENT_REDIRECT")),
    ] {
        let got = route_json(route(RouteAction::Redirect(Redirect { code, ..none() })));
        assert_eq!(got["redirect"].get("responseCode").unwrap_or(&Value::Null), &want, "{code}");
    }
}

#[test]
fn direct_responses() {
    for (body, want) in [
        (None, json!({"status": 200})),
        (Some(&b""[..]), json!({"status": 200})),
        (Some(b"hi"), json!({"status": 200, "body": {"inlineString": "hi"}})),
        (Some(b"\xff"), json!({"status": 200, "body": {"inlineBytes": "/w=="}})),
    ] {
        let direct = DirectResponse { status: 200, body: body.map(<[u8]>::to_vec) };
        assert_eq!(route_json(route(RouteAction::Direct(direct)))["directResponse"], want);
    }
}
