//! Routes of a sidecar: which request goes where.

use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, pod, rules, service, to_v1};

use super::{WEB, get, set_rules, wait_routes, web, web_with};

/// A rule with this match goes to v2, everything else to v1.
fn to_v2_if(conditions: &str) -> String {
    format!("- match:\n{conditions}  route:\n  - destination: {{host: web, subset: v2}}\n{}", to_v1(""))
}

/// Who answers each request.
async fn served(world: &World, table: &[(Ask, &str)]) {
    for (ask, by) in table {
        let answer = world.ask(WEB, ask).await;
        assert_eq!((answer.status.as_u16(), answer.served_by()), (200, *by), "{ask:?}");
    }
    world.assert_clean().await;
}

fn path(path: &str) -> Ask {
    Ask::get("web:8000", path)
}

#[test]
fn every_name_of_a_service_leads_to_it_and_no_other() {
    isolated(async {
        let world = web(&to_v1("")).await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "WEB.Default"]
        {
            for port in ["", ":8000"] {
                served(&world, &[(Ask::get(&format!("{name}{port}"), "/"), "v1")]).await;
            }
        }
        for unknown in ["nobody", "web.other", "web.default.svc.cluster.local.example"] {
            assert_eq!(world.ask(WEB, &Ask::get(unknown, "/")).await.status, 404, "{unknown}");
        }
    });
}

#[test]
fn paths() {
    isolated(async {
        let conditions = "  - uri: {exact: /exact}
  - uri: {prefix: /prefix}
  - uri: {regex: \"/re/[0-9]+\"}
  - uri: {prefix: /ANY}
    ignoreUriCase: true
";
        let world = web(&to_v2_if(conditions)).await;
        wait_routes(&world, "/exact").await;
        served(
            &world,
            &[
                (path("/exact"), "v2"),
                (path("/exact/more"), "v1"),
                (path("/exact?a=b"), "v2"),
                (path("/prefix/and/more"), "v2"),
                (path("/re/42"), "v2"),
                (path("/re/42/more"), "v1"),
                (path("/aNy/thing"), "v2"),
                (path("/EXACT"), "v1"),
                (path("/"), "v1"),
            ],
        )
        .await;
    });
}

#[test]
fn headers_methods_and_queries() {
    isolated(async {
        let conditions = "  - headers:
      x-user: {exact: anna}
  - headers:
      x-any: {}
    withoutHeaders:
      x-not: {exact: \"1\"}
  - method: {exact: DELETE}
  - queryParams:
      q: {regex: \"[0-9]+\"}
";
        let world = web(&to_v2_if(conditions)).await;
        wait_routes(&world, "x-user").await;
        let delete = Ask { method: "DELETE".parse().expect("a method"), ..get() };
        served(
            &world,
            &[
                (get().header("x-user", "anna"), "v2"),
                (get().header("x-user", "bert"), "v1"),
                (get().header("x-any", "thing"), "v2"),
                (get().header("x-any", "thing").header("x-not", "1"), "v1"),
                (get().header("x-any", "thing").header("x-not", "2"), "v2"),
                (delete, "v2"),
                (path("/?q=7"), "v2"),
                (path("/?q=x"), "v1"),
                (get(), "v1"),
            ],
        )
        .await;
    });
}

#[test]
fn rules_for_some_clients_only() {
    isolated(async {
        let world = web(&to_v2_if("  - sourceLabels: {app: client}\n")).await;
        wait_routes(&world, "outbound|8000|v2|web").await;
        served(&world, &[(get(), "v2")]).await;
        set_rules(&world, &to_v2_if("  - sourceLabels: {app: another}\n"));
        world
            .wait_for("a rule for other clients to be dropped", || async {
                world.ask(WEB, &get()).await.served_by() == "v1"
            })
            .await;
        set_rules(&world, &to_v2_if("  - sourceNamespace: default\n"));
        world
            .wait_for("a rule for this namespace", || async {
                world.ask(WEB, &get()).await.served_by() == "v2"
            })
            .await;
    });
}

#[test]
fn a_rule_without_weight_gets_nothing() {
    isolated(async {
        let rule = "- route:
  - destination: {host: web, subset: v1}
    weight: 100
  - destination: {host: web, subset: v2}
    weight: 0
";
        let world = web(rule).await;
        wait_routes(&world, "outbound|8000|v1|web").await;
        let tally = world.send(WEB, &get(), 200).await;
        assert!(tally.all_ok(200) && tally.by("v1") == 200, "{tally:?}");
        world.assert_clean().await;
    });
}

#[test]
fn headers_are_changed_at_both_levels() {
    isolated(async {
        let rule = "- route:
  - destination: {host: web, subset: v1}
    headers:
      request: {add: {x-destination: d}}
      response: {set: {x-answer-destination: d}}
  headers:
    request: {set: {x-rule: r}, remove: [x-gone]}
    response: {set: {x-answer-rule: r}, remove: [x-echo-version]}
";
        let world = web(rule).await;
        wait_routes(&world, "x-destination").await;
        let answer = world.ask(WEB, &get().header("x-gone", "1").header("x-rule", "0")).await;
        assert_eq!((answer.headers["x-answer-destination"].as_bytes(), answer.served_by()), (&b"d"[..], ""));
        assert_eq!(answer.headers["x-answer-rule"], "r");
        let record = &world.echo("v1").take()[0];
        let seen = ["x-destination", "x-rule", "x-gone"].map(|name| record.header(name).to_owned());
        assert_eq!(seen, ["d", "r", ""]);
        world.assert_clean().await;
    });
}

#[test]
fn a_timeout_is_answered_for_the_primary() {
    isolated(async {
        let world = web(&to_v1("timeout: 200ms")).await;
        wait_routes(&world, "0.200s").await;
        assert_eq!(world.ask(WEB, &path("/delay/2")).await.status, 504);
        assert_eq!(world.ask(WEB, &get()).await.status, 200);
    });
}

#[test]
fn two_ports_of_a_service_have_routes_of_their_own() {
    isolated(async {
        let two = all(&[
            service("default", "duo", &[("http-a", 8001, 8081), ("http-b", 8002, 8082)]),
            pod("default", "duo", "a", "127.0.1.5", true),
        ]);
        let rule = rules("web", "web", &to_v1(""));
        let mut world = web_with(&[("rules.yaml", &rule), ("duo.yaml", &two)], "").await;
        world.start_echo("a", "127.0.1.5:8081");
        world.start_echo("b", "127.0.1.5:8082");
        for (port, by) in [(8001, "a"), (8002, "b")] {
            let ask = Ask::get(&format!("duo:{port}"), "/");
            world.wait_status(&format!(":{port}"), &ask, 200).await;
            assert_eq!(world.ask(&format!(":{port}"), &ask).await.served_by(), by);
        }
        world.assert_clean().await;
    });
}

#[test]
fn retries_that_look_for_other_priorities() {
    isolated(async {
        let world = web(&to_v1("retries: {attempts: 3, retryOn: 5xx, retryRemoteLocalities: true}")).await;
        wait_routes(&world, "previous_priorities").await;
        assert_eq!(world.ask(WEB, &path("/status/503")).await.status, 503);
        assert_eq!(world.echo("v1").count(), 4);
        assert_eq!(world.ask(WEB, &get()).await.served_by(), "v1");
        world.assert_clean().await;
    });
}

#[test]
fn rewrites_replace_text() {
    isolated(async {
        let rule = |uri: &str, to: &str| to_v1(&format!("match:\n- uri: {{{uri}}}\nrewrite: {{uri: {to}}}"));
        let http = [
            rule("prefix: /foo", "/"),
            rule("exact: /exact", "/other"),
            rule("regex: '/re/[0-9]+'", "/number"),
            to_v1(""),
        ];
        let world = web(&http.concat()).await;
        wait_routes(&world, "/number").await;
        for (asked, seen) in [
            ("/foo/bar", "//bar"),
            ("/foo", "/"),
            ("/foobar", "/bar"),
            ("/exact?q=1", "/other?q=1"),
            ("/re/42", "/number"),
            ("/else", "/else"),
        ] {
            world.forget().await;
            assert_eq!(world.ask(WEB, &path(asked)).await.status, 200);
            assert_eq!(world.echo("v1").take()[0].path, seen, "{asked}");
        }
        world.assert_clean().await;
    });
}

/// Names below a wildcard entry, also absolute ones; and a wildcard rule whose services are all other rules' is not served
/// for itself.
#[test]
fn wildcards_of_entries_and_rules() {
    isolated(async {
        let entry = |name: &str, host: &str, ip: &str| {
            let spec = format!(
                "hosts: [\"{host}\"]\nports:\n- {{number: 8000, name: http, protocol: HTTP, targetPort: 8080}}\nresolution: STATIC\nendpoints:\n- address: {ip}\n"
            );
            istio("ServiceEntry", "default", name, &spec)
        };
        let entries = all(&[
            entry("wild", "*.wild.example", "127.0.1.2"),
            entry("one", "one.shop.example", "127.0.1.2"),
            rules("one", "one.shop.example", "- route:\n  - destination: {host: one.shop.example}\n"),
            istio(
                "VirtualService",
                "default",
                "shops",
                "hosts: [\"*.shop.example\", web]\nhttp:\n- route:\n  - destination: {host: web, subset: v3}\n",
            ),
        ]);
        let world = web_with(&[("entries.yaml", &entries)], "").await;
        wait_routes(&world, "one.shop.example").await;
        for (host, status, by) in [
            ("a.wild.example:8000", 200, "v2"),
            ("a.wild.example.", 200, "v2"),
            ("a.wild.example.:8000", 200, "v2"),
            ("one.shop.example", 200, "v2"),
            ("two.shop.example", 404, ""),
            ("web", 200, "v3"),
        ] {
            let answer = world.ask(WEB, &Ask::get(host, "/")).await;
            assert_eq!((answer.status.as_u16(), answer.served_by()), (status, by), "{host}");
        }
        world.assert_clean().await;
    });
}
