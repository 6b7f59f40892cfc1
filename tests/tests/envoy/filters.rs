//! What happens to a request before it goes anywhere: faults and cross-origin rules, and what they mean for copies.

use std::time::Duration;

use umbra_testkit::client::{Answer, Ask};
use umbra_testkit::isolate::isolated;
use umbra_testkit::share;
use umbra_testkit::world::World;
use umbra_tests::manifests::{rules, to_v1};

use super::{WEB, get, set_rules, wait_routes, wait_share, web, web_with};

/// What a delay of 0.7 s takes at the least: Envoy's timers may be some milliseconds early.
const LATE: Duration = Duration::from_millis(600);

/// Looks at a world with these rules, whose proxy has this text in its routes, in both forms of tables.
async fn in_both_forms(http: &str, text: &str, check: impl AsyncFn(&World)) {
    let world = web_with(&[("rules.yaml", &rules("web", "web", http))], "routeTables: plain\n").await;
    wait_routes(&world, text).await;
    check(&world).await;
    world.write_config("routeTables: hosts\n");
    world.wait_config("client", "ListenersConfigDump", "\"route_config_name\":\"hosts/8000\"").await;
    wait_routes(&world, "hosts/8000/web.default.svc.cluster.local:8000").await;
    world.settle().await;
    world.forget().await;
    check(&world).await;
    world.assert_clean().await;
}

fn path(path: &str) -> Ask {
    Ask::get("web:8000", path)
}

/// A rule for requests whose path begins so, to v1.
fn at(prefix: &str, further: &str) -> String {
    to_v1(&format!("match:\n- uri: {{prefix: {prefix}}}\n{further}"))
}

#[test]
fn aborts_and_delays() {
    isolated(async {
        let http = [
            at("/http", "fault: {abort: {percentage: {value: 100}, httpStatus: 418}}"),
            at("/grpc", "fault: {abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}}"),
            at("/late", "fault: {delay: {percentage: {value: 100}, fixedDelay: 0.7s}}"),
            at("/old", "fault: {delay: {percent: 100, fixedDelay: 0.7s}}"),
            at("/never", "fault: {abort: {httpStatus: 418}, delay: {fixedDelay: 100s}}"),
            at(
                "/both",
                "fault: {abort: {percentage: {value: 100}, httpStatus: 418}, delay: {percentage: {value: 100}, fixedDelay: 0.7s}}",
            ),
            to_v1(""),
        ];
        in_both_forms(&http.concat(), "envoy.filters.http.fault", async |world| {
            for (asked, status, by, late) in [
                ("/http", 418, "", false),
                // A request that is no gRPC: still not passed on.
                ("/grpc", 200, "", false),
                ("/late", 200, "v1", true),
                ("/old", 200, "v1", true),
                ("/never", 200, "v1", false),
                ("/both", 418, "", true),
                ("/", 200, "v1", false),
            ] {
                let answer = world.ask(WEB, &path(asked)).await;
                assert_eq!((answer.status.as_u16(), answer.served_by()), (status, by), "{asked}");
                assert!(!late || answer.took >= LATE, "{asked}: {:?}", answer.took);
            }
            let answer = world.ask(WEB, &path("/grpc").header("content-type", "application/grpc")).await;
            assert_eq!((answer.status.as_u16(), answer.headers["grpc-status"].as_bytes()), (200, &b"14"[..]));
        })
        .await;
    });
}

#[test]
fn a_share_of_requests_is_aborted() {
    isolated(async {
        let world = web(&to_v1("fault: {abort: {percentage: {value: 30}, httpStatus: 418}}")).await;
        wait_routes(&world, "300000").await;
        let tally = world.send(WEB, &get(), 2000).await;
        let aborted = tally.statuses.get(&418).copied().unwrap_or_default();
        assert!(share::expected(2000, 0.3).contains(&aborted), "{:?}", tally.statuses);
        assert_eq!(tally.by("v1") + aborted, 2000);
    });
}

#[test]
fn a_fault_that_cannot_be_built_closes_its_rule() {
    isolated(async {
        let http = [
            at("/status", "fault: {abort: {percentage: {value: 100}, httpStatus: 1000}}"),
            at("/share", "fault: {abort: {percentage: {value: 101}, httpStatus: 403}}"),
            at("/time", "fault: {delay: {percentage: {value: 1}, fixedDelay: -1s}}"),
            // Its own fault can be built, and nothing else of it.
            at(
                "/weights",
                "fault: {abort: {percentage: {value: 1}, httpStatus: 403}}\nrewrite: {uriRegexRewrite: {match: '(', rewrite: /}}",
            ),
            to_v1("mirror: {host: web, subset: v2}"),
        ];
        in_both_forms(&http.concat(), "/weights", async |world| {
            for asked in ["/status", "/share", "/time", "/weights"] {
                let answer = world.ask(WEB, &path(asked)).await;
                assert_eq!((answer.status.as_u16(), answer.served_by()), (503, ""), "{asked}");
            }
            world.settle().await;
            assert_eq!((world.echo("v1").count(), world.echo("v2").count()), (0, 0));
            assert_eq!(world.ask(WEB, &get()).await.served_by(), "v1");
        })
        .await;
    });
}

/// Aborted requests are not copied, delayed ones are when their delay is over, and answers of the proxy's own are neither.
#[test]
fn what_faults_mean_for_copies() {
    isolated(async {
        let copied = |further: &str| format!("{further}\nmirror: {{host: web, subset: v2}}");
        let http = [
            at("/gone", &copied("fault: {abort: {percentage: {value: 100}, httpStatus: 500}}")),
            at("/late", &copied("fault: {delay: {percentage: {value: 100}, fixedDelay: 0.7s}}")),
            at("/some", &copied("fault: {abort: {percentage: {value: 50}, httpStatus: 500}}")),
            to_v1(&copied("")),
        ];
        let world = web(&http.concat()).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        for (asked, originals, copies) in [("/gone", 0, 0), ("/late", 1, 1), ("/", 1, 1)] {
            world.forget().await;
            world.ask(WEB, &path(asked)).await;
            world.settle().await;
            let seen = ["v1", "v2"].map(|name| world.echo(name).count());
            assert_eq!(seen, [originals, copies], "{asked}");
        }
        world.forget().await;
        let tally = world.send(WEB, &path("/some"), 400).await;
        let passed = tally.by("v1");
        assert!(share::expected(400, 0.5).contains(&passed), "{:?}", tally.statuses);
        world.settle().await;
        // Every request that gets through is copied, and no other.
        assert_eq!(world.echo("v2").count(), passed);
        world.assert_clean().await;
    });
}

#[test]
fn faults_come_before_the_proxys_own_answers() {
    isolated(async {
        let http = "- match: [{uri: {prefix: /old}}]
  fault: {abort: {percentage: {value: 100}, httpStatus: 410}}
  redirect: {uri: /new}
- match: [{uri: {prefix: /fixed}}]
  fault: {abort: {percentage: {value: 100}, httpStatus: 403}}
  directResponse: {status: 200}
- match: [{uri: {prefix: /late}}]
  fault: {delay: {percentage: {value: 100}, fixedDelay: 0.7s}}
  directResponse: {status: 204}
";
        in_both_forms(&format!("{http}{}", to_v1("")), "/fixed", async |world| {
            for (asked, status) in [("/old", 410), ("/fixed", 403), ("/late", 204)] {
                let answer = world.ask(WEB, &path(asked)).await;
                assert_eq!(answer.status, status, "{asked}");
                assert!(asked != "/late" || answer.took >= LATE, "{:?}", answer.took);
            }
        })
        .await;
    });
}

/// Edits of faults and policies change routes only: a listener that changes drains its connections.
#[test]
fn no_listener_changes_with_a_fault() {
    isolated(async {
        let world = web(&to_v1("")).await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        let listeners = async || {
            let stats = world.proxy("client").stats().await.expect("statistics");
            ["listener_manager.listener_modified", "listener_manager.listener_added"]
                .map(|name| stats.get(name).copied())
        };
        let before = listeners().await;
        set_rules(&world, &to_v1("fault: {abort: {percentage: {value: 100}, httpStatus: 418}}"));
        world.wait_status(WEB, &get(), 418).await;
        set_rules(&world, &to_v1("corsPolicy: {allowOrigins: [{exact: https://example.com}]}"));
        world.wait_status(WEB, &get(), 200).await;
        assert_eq!(listeners().await, before);
    });
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn preflight(asked: &str, origin: &str) -> Ask {
    let method = "OPTIONS".parse().expect("a method");
    Ask { method, ..path(asked) }.header("origin", origin).header("access-control-request-method", "PUT")
}

#[test]
fn origins_that_are_let_in() {
    isolated(async {
        let policy = |origins: &str| format!("corsPolicy: {{allowOrigins: [{origins}]}}");
        let http = [
            at("/exact", &policy("{exact: 'https://a.example'}")),
            at("/prefix", &policy("{prefix: 'https://a.'}")),
            at("/regex", &policy("{regex: 'https://[a-z]+[.]example'}")),
            at("/any", &policy("{exact: '*'}")),
            at("/old", "corsPolicy: {allowOrigin: ['https://a.example']}"),
            at("/none", &policy("{regex: '('}")),
            to_v1(""),
        ];
        in_both_forms(&http.concat(), "https://a.example", async |world| {
            for (asked, origin, let_in) in [
                ("/exact", "https://a.example", true),
                ("/exact", "https://a.example.org", false),
                ("/prefix", "https://a.example.org", true),
                ("/prefix", "https://b.example", false),
                ("/regex", "https://bb.example", true),
                ("/regex", "https://bb.example.org", false),
                ("/any", "https://whoever.example", true),
                ("/old", "https://a.example", true),
                ("/none", "https://a.example", false),
                ("/", "https://a.example", false),
            ] {
                let answer = world.ask(WEB, &path(asked).header("origin", origin)).await;
                let allowed = header(&answer, "access-control-allow-origin");
                // Who is not let in is answered all the same: it is the browser that refuses.
                assert_eq!((answer.status.as_u16(), answer.served_by()), (200, "v1"), "{asked} {origin}");
                assert_eq!(allowed, if let_in { origin } else { "" }, "{asked} {origin}");
            }
        })
        .await;
    });
}

/// Preflights of origins that are let in are answered by the proxy, so no copy is made of them.
#[test]
fn preflights() {
    isolated(async {
        let policy = |more: &str| {
            format!(
                "corsPolicy: {{allowOrigins: [{{exact: 'https://a.example'}}], allowMethods: [GET, PUT], allowHeaders: [x-a, x-b], exposeHeaders: [x-c], maxAge: 24h, allowCredentials: true{more}}}\nmirror: {{host: web, subset: v2}}"
            )
        };
        let http = [
            at("/ignore", &policy(", unmatchedPreflights: IGNORE")),
            at("/forward", &policy(", unmatchedPreflights: FORWARD")),
            at("/unsaid", &policy("")),
            to_v1(""),
        ];
        let world = web(&http.concat()).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        for (asked, origin, by, copies) in [
            ("/ignore", "https://a.example", "", 0),
            ("/unsaid", "https://a.example", "", 0),
            ("/ignore", "https://b.example", "", 0),
            ("/forward", "https://b.example", "v1", 1),
            ("/unsaid", "https://b.example", "v1", 1),
            // Without a policy it is a request like others.
            ("/", "https://a.example", "v1", 0),
        ] {
            world.forget().await;
            let answer = world.ask(WEB, &preflight(asked, origin)).await;
            assert_eq!((answer.status.as_u16(), answer.served_by()), (200, by), "{asked} {origin}");
            let told = ["origin", "methods", "headers", "credentials"]
                .map(|name| header(&answer, &format!("access-control-allow-{name}")).to_owned());
            let want = match (by, origin) {
                ("", "https://a.example") => [origin, "GET,PUT", "x-a,x-b", "true"],
                // Without an origin no browser lets it in.
                ("", _) => ["", "GET,PUT", "x-a,x-b", "true"],
                _ => [""; 4],
            };
            assert_eq!(told, want, "{asked} {origin}");
            let age = header(&answer, "access-control-max-age");
            assert_eq!(age, if by.is_empty() { "86400" } else { "" }, "{asked} {origin}");
            world.settle().await;
            assert_eq!(world.echo("v2").count(), copies, "{asked} {origin}");
        }
        let answer = world.ask(WEB, &path("/unsaid").header("origin", "https://a.example")).await;
        assert_eq!(header(&answer, "access-control-expose-headers"), "x-c");
        world.assert_clean().await;
    });
}
