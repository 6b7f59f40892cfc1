//! `umbra.yaml` at work: reloads, access logs; and what umbra says when Envoy refuses.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_testkit::client::Ask;
use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, all, rules, to_v1, web};

use super::{WEB, get, wait_routes, wait_share, web_with};

const TO_V2: &str = "mirror: {host: web, subset: v2}";

#[test]
fn settings_are_reloaded() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("rules.yaml", &rule)], "mirror: {shadowSuffix: true}\n").await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let carry = |host: &'static str| {
            let world = &world;
            async move {
                world.forget().await;
                world.send(WEB, &get(), 3).await;
                let copies = world.echo("v2").take();
                copies.len() == 3 && copies.iter().all(|copy| copy.host == host)
            }
        };
        for (n, suffix, host) in
            [(1, true, "web-shadow:8000"), (2, false, "web:8000"), (3, true, "web-shadow:8000")]
        {
            world.write_config(&format!("mirror: {{shadowSuffix: {suffix}}}\n"));
            world.wait_for(&format!("copies for {host}"), || carry(host)).await;
            // Settings that are refused change nothing.
            world.write_config("mirror: {shadowSufix: false}\n");
            world
                .wait_for("the refusal to be counted", || async {
                    let metrics = world.umbra().get("/metrics").await.unwrap_or_default();
                    metrics.lines().any(|line| line == format!("umbra_config_reload_failures_total {n}"))
                })
                .await;
            assert!(carry(host).await, "{host} in spite of settings that are refused");
        }
        world.assert_clean().await;
    });
}

#[test]
fn access_logs_in_both_formats() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let settings = |format: &str| format!("accessLog: {{path: /dev/stdout, format: {format}}}\n");
        let world = web_with(&[("rules.yaml", &rule)], &settings("text")).await;
        let logged = |part: &'static str| {
            let world = &world;
            async move {
                world
                    .wait_for(&format!("{part} in the access log"), || async {
                        world.send(WEB, &get().header("user-agent", "log-test"), 1).await;
                        world.proxy("client").process().log().contains(part)
                    })
                    .await;
            }
        };
        logged("\"GET / HTTP/1.1\" 200 - via_upstream").await;
        world.write_config(&settings("json"));
        logged("\"upstream_cluster\":\"outbound|8000|v1|web.default.svc.cluster.local\"").await;
        world.write_config("accessLog: {path: \"\"}\n");
        world
            .wait_for("no access log", || async {
                let listeners =
                    world.proxy("client").section("ListenersConfigDump").await.unwrap_or_default();
                !listeners.to_string().contains("access_log")
            })
            .await;
        world.assert_clean().await;
    });
}

#[test]
fn what_envoy_refuses_is_reported_in_its_own_words() {
    isolated(async {
        let mut world = World::new();
        for n in 1..=2 {
            world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
        }
        // Somebody has the port that the sidecar's listener needs.
        world.start_echo("squatter", "127.0.0.1:8000");
        world.write("web.yaml", &web());
        world.start_umbra().await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world
            .wait_for("the refusal at umbra", || async {
                world
                    .umbra()
                    .get("/debug/proxies")
                    .await
                    .is_ok_and(|text| text.contains("cannot bind '127.0.0.1:8000'"))
            })
            .await;
        let metrics = || async { world.umbra().get("/metrics").await.unwrap_or_default() };
        let nacks = "umbra_xds_nacks_total{type=\"lds\"} 1";
        assert!(metrics().await.lines().any(|l| l == nacks), "{}", metrics().await);
        // The same is not sent again, and everything else goes on.
        world.write("rules.yaml", &rules("web", "web", &to_v1(TO_V2)));
        // Without the listener there are no routes, but the runtime layer comes.
        world
            .wait_for("the share", || async {
                let shares = world.proxy("client").mirror_shares().await.unwrap_or_default();
                shares.values().any(|share| *share == 1_000_000)
            })
            .await;
        assert!(metrics().await.lines().any(|l| l == nacks), "{}", metrics().await);
        assert_eq!(world.proxy("client").stat("listener_manager.lds.update_rejected").await, 1);
    });
}

#[test]
fn a_proxy_that_cannot_be_understood_is_told_why() {
    isolated(async {
        let mut world = World::new();
        world.write("web.yaml", &web());
        world.start_umbra().await;
        let text = umbra_testkit::umbra::bootstrap("sidecar/default/app=client", world.umbra().xds());
        let mut config: serde_json::Value =
            serde_saphyr::from_str(&text.expect("a bootstrap")).expect("YAML");
        config["node"]["metadata"]["INTERCEPTION_MODE"] = "TPROXY".into();
        config["node"]["id"] = "odd".into();
        let binary = umbra_testkit::paths::envoy().expect("Envoy");
        let folder = tempfile::tempdir().expect("a folder");
        let started = umbra_testkit::envoy::EnvoyProcess::start(
            world.net(),
            &binary,
            folder.path(),
            "odd",
            &config.to_string(),
        )
        .await
        .expect("Envoy");
        world
            .wait_for("Envoy to log the refusal", || async { started.process().log().contains("TPROXY") })
            .await;
        assert!(!started.ready().await);
    });
}

#[test]
fn an_example_serves_on_while_its_proxy_comes_and_goes() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let mut world = web_with(&[("rules.yaml", &rule)], "").await;
        for _ in 0..3 {
            wait_share(&world, "|v2|web", 1_000_000).await;
            wait_routes(&world, "mirror|8000|v2|web").await;
            world.forget().await;
            let tally = world.send(WEB, &get(), 20).await;
            assert!(tally.all_ok(20) && world.echo("v2").count() == 20, "{tally:?}");
            world.stop_proxy("client");
            world
                .wait_for("umbra to see it go", || async {
                    let proxies = world.umbra().json("/debug/proxies").await.unwrap_or_default();
                    proxies["proxies"].as_array().is_some_and(Vec::is_empty)
                })
                .await;
            world.start_proxy("client", "sidecar/default/app=client").await;
        }
    });
}

/// Rules of a namespace about another's service: whose calls they copy and take, by `hostOwnership`.
#[test]
fn what_is_not_admitted_gets_no_copy() {
    const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {selector: {app: web}, ports: [{name: http, port: 8000, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a, labels: {app: web}}
spec: {containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 127.0.1.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: spy, namespace: b}
spec: {selector: {app: spy}, ports: [{name: http, port: 8001, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: spy, namespace: b, labels: {app: spy}}
spec: {containers: [{name: spy, image: spy}]}
status: {phase: Running, podIP: 127.0.1.2, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: spy, namespace: b}
spec:
  hosts: [web.a.svc.cluster.local]
  http:
    - route: [{destination: {host: web.a.svc.cluster.local}}]
      mirror: {host: spy.b.svc.cluster.local}
"#;
    isolated(async {
        let mut world = World::new();
        world.start_echo("web", "127.0.1.1:8080");
        world.start_echo("spy", "127.0.1.2:8080");
        world.write("objects.yaml", OBJECTS);
        world.start_umbra_with("hostOwnership: open\n").await;
        world.start_proxy("client", "sidecar/a/app=client").await;
        let admits =
            OBJECTS.replacen("namespace: a}", "namespace: a, annotations: {umbra.io/rules-from: b}}", 1);
        for (setting, objects, copies) in [
            ("open", OBJECTS, 5),
            ("own", OBJECTS, 0),
            ("consent", OBJECTS, 0),
            ("consent", admits.as_str(), 5),
            ("own", admits.as_str(), 0),
        ] {
            world.write_config(&format!("hostOwnership: {setting}\n"));
            world.write("objects.yaml", objects);
            world
                .wait_for(&format!("{copies} copies with {setting}"), || async {
                    world.forget().await;
                    world.send(WEB, &get(), 5).await;
                    world.settle().await;
                    world.echo("web").take().len() == 5 && world.echo("spy").take().len() == copies
                })
                .await;
        }
        world.assert_clean().await;
    });
}

/// A destination without a port whose service has another one than the called; and DestinationRules that differ in whom
/// they are for, of which both are merged, or the newer counts.
#[test]
fn as_istio_where_asked() {
    let rule = |name: &str, created: &str, export: &str, subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: default, creationTimestamp: '{created}T00:00:00Z'}}\nspec:\n  host: web\n  exportTo: [{export}]\n  subsets: [{{name: {subset}, labels: {{version: {subset}}}}}]\n"
        )
    };
    let subsets = |export: &str| {
        all(&[rule("older", "2024-01-01", "'*'", "v1"), rule("newer", "2024-01-02", export, "v2")])
    };
    let http = "- match: [{uri: {prefix: /other}}]
  route: [{destination: {host: other}}]
- match: [{uri: {prefix: /v1}}]
  route: [{destination: {host: web, subset: v1}}]
- route: [{destination: {host: web, subset: v2}}]
";
    isolated(async {
        let objects = web();
        let (services, _) = objects.rsplit_once("---\n").expect("the subsets come last");
        let other = all(&[
            manifests::service("default", "other", &[("http", 9000, 8080)]),
            manifests::pod("default", "other", "a", "127.0.1.9", true),
        ]);
        let rules = manifests::rules("web", "web", http);
        let files = [
            ("web.yaml", services),
            ("other.yaml", &other),
            ("rules.yaml", &rules),
            ("subsets.yaml", &subsets("default")),
        ];
        let mut world = web_with(&files, "istioCompatible: false\n").await;
        world.start_echo("other", "127.0.1.9:8080");
        for (compatible, statuses) in
            [(false, [200, 200, 200]), (true, [503, 503, 200]), (false, [200, 200, 200])]
        {
            world.write_config(&format!("istioCompatible: {compatible}\n"));
            for (path, status) in ["/other", "/v1", "/"].into_iter().zip(statuses) {
                world.wait_status(WEB, &Ask::get("web:8000", path), status).await;
            }
        }
        // To the letter the same: they are one, in both.
        world.write("subsets.yaml", &subsets("'*'"));
        world.write_config("istioCompatible: true\n");
        world.wait_status(WEB, &Ask::get("web:8000", "/other"), 503).await;
        for path in ["/v1", "/"] {
            world.wait_status(WEB, &Ask::get("web:8000", path), 200).await;
        }
    });
}

/// A request in HTTP/1.0, with these lines after the first; the status of the answer, or what was said instead.
async fn ask_http_10(world: &World, head: &str) -> String {
    let mut stream =
        world.net().connect("127.0.0.1:8000".parse().expect("an address")).await.expect("a connection");
    stream.write_all(format!("GET / HTTP/1.0\r\n{head}\r\n").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap_or("nothing").to_owned()
}

#[test]
fn clients_that_speak_http_10() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let world = web_with(&[("rules.yaml", &rule)], "http10: {}\n").await;
        world.wait_status(WEB, &get(), 200).await;
        let (named, silent) = ("Host: web\r\n", "");
        for (settings, want) in [
            ("http10: {accept: false}\n", ["426", "426"]),
            ("http10: {accept: true}\n", ["200", "400"]),
            ("http10: {accept: true, defaultHost: web}\n", ["200", "200"]),
        ] {
            world.write_config(settings);
            world
                .wait_for(&format!("{want:?} with {settings}"), || async {
                    [ask_http_10(&world, named).await, ask_http_10(&world, silent).await] == want
                })
                .await;
        }
        // They are copied as all others are.
        world.forget().await;
        assert_eq!(ask_http_10(&world, silent).await, "200");
        world.settle().await;
        assert_eq!((world.echo("v1").count(), world.echo("v2").count()), (1, 1));
        world.assert_clean().await;
    });
}

/// One proxy's own metadata ask for what the setting gives to all (`PILOT_HTTP10` of Istio's).
#[test]
fn a_proxy_may_ask_for_http_10_itself() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        for (asks, want) in [(None, "426"), (Some("1"), "200"), (Some("0"), "426")] {
            let mut world = World::new();
            world.start_echo("v1", "127.0.1.1:8080");
            world.write("web.yaml", &umbra_tests::manifests::web());
            world.write("rules.yaml", &rule);
            world.start_umbra().await;
            let plain = umbra_testkit::umbra::bootstrap("sidecar/default/app=client", world.umbra().xds());
            let mut bootstrap: serde_json::Value =
                serde_saphyr::from_str(&plain.expect("a bootstrap")).expect("YAML");
            if let Some(asks) = asks {
                bootstrap["node"]["metadata"]["HTTP10"] = asks.into();
            }
            world.start_envoy("client", &bootstrap.to_string()).await;
            world.wait_status(WEB, &get(), 200).await;
            assert_eq!(ask_http_10(&world, "Host: web\r\n").await, want, "{asks:?}");
        }
    });
}

#[test]
fn paths_are_normalized_before_rules_see_them() {
    let http = "- match: [{uri: {prefix: /admin/x}}]
  route: [{destination: {host: web, subset: v2}}]
- route: [{destination: {host: web, subset: v1}}]
";
    isolated(async {
        let rule = rules("web", "web", http);
        let world = web_with(&[("rules.yaml", &rule)], "pathNormalization: {}\n").await;
        for (setting, served) in [
            ("NONE", ["v1", "v1", "v1", "v2"]),
            ("BASE", ["v2", "v1", "v1", "v2"]),
            ("MERGE_SLASHES", ["v2", "v2", "v1", "v2"]),
            ("DECODE_AND_MERGE_SLASHES", ["v2", "v2", "v2", "v2"]),
            ("DEFAULT", ["v2", "v1", "v1", "v2"]),
        ] {
            world.write_config(&format!("pathNormalization: {{normalization: {setting}}}\n"));
            for (path, version) in
                ["/y/../admin/x", "/admin//x", "/admin%2Fx", "/admin/x"].into_iter().zip(served)
            {
                world
                    .wait_for(&format!("{path} to be answered by {version} with {setting}"), || async {
                        world.forget().await;
                        let tally = world.send(WEB, &Ask::get("web:8000", path), 1).await;
                        tally.by(version) == 1
                    })
                    .await;
            }
        }
        world.assert_clean().await;
    });
}

#[test]
fn access_logs_are_told_to_a_service() {
    isolated(async {
        let rule = rules("web", "web", &to_v1(TO_V2));
        let service = |protocol: &str, more: &str| {
            format!(
                "accessLog: {{service: {{host: 127.0.1.8, port: 4317, protocol: {protocol}, logName: mesh}}{more}}}\n"
            )
        };
        let mut world = web_with(&[("rules.yaml", &rule)], &service("opentelemetry", ", format: text")).await;
        world.start_echo("logs", "127.0.1.8:4317");
        world
            .wait_for("the lines of requests at the service", || async {
                world.send(WEB, &get(), 1).await;
                let told = world.echo("logs").records();
                told.iter().any(|it| it.path.ends_with("LogsService/Export") && it.body_length > 0)
            })
            .await;
        world.write_config(&service("envoy", ""));
        world
            .wait_for("Envoy's own log", || async {
                let listeners =
                    world.proxy("client").section("ListenersConfigDump").await.unwrap_or_default();
                listeners.to_string().contains("HttpGrpcAccessLogConfig")
            })
            .await;
        world
            .wait_for("its stream at the service", || async {
                world.send(WEB, &get(), 1).await;
                world.proxy("client").stat("cluster.umbra-access-log.upstream_rq_active").await > 0
            })
            .await;
        // The stream ends with the proxy.
        world.stop_proxy("client");
        world
            .wait_for("the lines of requests at the service", || async {
                let told = world.echo("logs").records();
                told.iter().any(|it| it.path.ends_with("AccessLogService/StreamAccessLogs"))
            })
            .await;
    });
}
