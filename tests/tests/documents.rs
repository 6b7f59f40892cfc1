//! The five user documents, played through as their readers would, against a real Envoy: `deploy/examples` as it
//! stands, each test in a network of its own, so that ports are those of the documents.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use umbra_testkit::client::{Ask, Tally, send};
use umbra_testkit::dns::Dns;
use umbra_testkit::isolate::{isolated, isolated_in_namespaces};
use umbra_testkit::net::Net;
use umbra_testkit::world::World;
use umbra_testkit::{gate, paths, share, umbra};

const ROUTES: &str = "RoutesConfigDump";

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Copies `deploy/examples/EXAMPLE/FOLDER` into the world and starts umbra with the example's settings.
async fn serve(world: &mut World, example: &str, folder: &str) {
    let example = paths::example(example);
    world.copy(&example.join(folder));
    world.start_umbra_with(&read(example.join("umbra.yaml"))).await;
}

/// 000: all requests to v1, then a copy of every one to v2, then a sample of them, then the rules are deleted.
#[test]
fn httpbin_mirror() {
    // Its Pods listen on port 80. In a namespace we may; elsewhere not everybody may.
    if gate::namespaces().is_err() && std::net::TcpListener::bind("127.0.1.1:80").is_err() {
        return gate::skip("the httpbin document: port 80 is not to be had here", "REQUIRE_NETNS");
    }
    isolated(async {
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:80");
        world.start_echo("v2", "127.0.1.2:80");
        serve(&mut world, "httpbin-mirror", "mesh").await;
        world.start_proxy("sleep", "sidecar/default/app=sleep").await;
        let ask = Ask::get("httpbin:8000", "/headers");

        let tally = world.send(":8000", &ask, 50).await;
        assert!(tally.all_ok(50) && tally.by("v1") == 50, "{tally:?}");
        assert_eq!(world.echo("v2").count(), 0, "no copies before there is a mirror");

        let mirror = read(paths::example("httpbin-mirror/steps/mirror.yaml"));
        world.write("virtualservice.yaml", &mirror);
        world.wait_config("sleep", ROUTES, "mirror|8000|v2|httpbin.default.svc.cluster.local").await;
        world.wait_share("sleep", "mirror/default/httpbin/", 1_000_000).await;
        world.forget().await;
        let tally = world.send(":8000", &ask, 200).await;
        assert!(tally.all_ok(200) && tally.by("v1") == 200, "{tally:?}");
        let copies = world.echo("v2").take();
        assert_eq!(copies.len(), 200, "every request is copied");
        assert!(
            copies.iter().all(|r| r.host == "httpbin-shadow:8000" && r.path == "/headers"),
            "{:?}",
            copies[0]
        );
        assert!(world.echo("v1").take().iter().all(|r| r.host == "httpbin:8000"));

        let pushes = world.proxy("sleep").route_pushes().await.expect("statistics");
        for percent in [25, 0, 60] {
            world.write(
                "virtualservice.yaml",
                &mirror.replace("Percent: 100", &format!("Percent: {percent}")),
            );
            world.wait_share("sleep", "mirror/default/httpbin/", percent * 10_000).await;
            world.forget().await;
            let tally = world.send(":8000", &ask, 1000).await;
            assert!(tally.all_ok(1000) && tally.by("v1") == 1000, "{tally:?}");
            let expected = share::expected(1000, f64::from(percent) / 100.0);
            assert!(expected.contains(&world.echo("v2").count()), "{percent} %: {:?}", world.counts());
        }
        assert_eq!(
            world.proxy("sleep").route_pushes().await.expect("statistics"),
            pushes,
            "no route for a percentage"
        );

        world.remove("virtualservice.yaml");
        world.remove("destinationrule.yaml");
        let plain = || async {
            let routes = world.proxy("sleep").section(ROUTES).await.unwrap_or_default().to_string();
            routes.contains("outbound|8000||httpbin.default") && !routes.contains("mirror|")
        };
        world.wait_for("routes without the deleted rules", plain).await;
        world.forget().await;
        let tally = world.send(":8000", &ask, 40).await;
        assert!(tally.all_ok(40) && tally.by("v1") + tally.by("v2") == 40, "{tally:?}");
        assert_eq!(world.counts().values().sum::<usize>(), 40, "no copies");
    });
}

/// 001: Istio's task: port 8080 for Service and Pods, no percentage means every request.
#[test]
fn istio_task() {
    isolated(async {
        let mut world = World::new();
        world.start_echo("v1", "127.0.1.1:8080");
        world.start_echo("v2", "127.0.1.2:8080");
        serve(&mut world, "istio-task", "mesh").await;
        world.start_proxy("sleep", "sidecar/default/app=sleep").await;
        let ask = Ask::get("httpbin:8080", "/headers");

        let answer = world.ask(":8080", &ask).await;
        let body: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(body["headers"]["Host"], "httpbin:8080");
        assert_eq!((world.echo("v1").take().len(), world.echo("v2").count()), (1, 0));

        world.write("virtualservice.yaml", &read(paths::example("istio-task/steps/mirror.yaml")));
        world.wait_config("sleep", ROUTES, "mirror|8080|v2|httpbin.default.svc.cluster.local").await;
        world.wait_share("sleep", "mirror/default/httpbin/", 1_000_000).await;
        let tally = world.send(":8080", &ask, 100).await;
        assert!(tally.all_ok(100) && tally.by("v1") == 100, "{tally:?}");
        let copies = world.echo("v2").take();
        assert!(copies.len() == 100 && copies.iter().all(|r| r.host == "httpbin-shadow:8080"), "{copies:?}");
    });
}

/// 002: two clusters with an umbra and a gateway each, in networks of their own, and DNS between them.
#[test]
fn cross_cluster_mirror() {
    isolated_in_namespaces(async {
        const GATEWAY: &str = "router/istio-system/istio=internal-gateway";
        const CLUSTER_B: &str = "clusterB.cn-bj.B-staging.mycompany.com";
        let address_b = Ipv4Addr::new(10, 99, 0, 2);
        let net_b = Net::joined("b", [10, 99, 0, 1].into(), address_b.into()).expect("cluster B's network");
        let _dns =
            Dns::start(&Net::here(), ([127, 0, 0, 1], 53).into(), &[(CLUSTER_B, address_b)]).expect("DNS");

        let mut b = World::in_net(&net_b);
        b.start_echo("b", "127.0.1.1:8080");
        serve(&mut b, "cross-cluster-mirror", "cluster-b/mesh").await;
        b.start_proxy("gateway-b", GATEWAY).await;

        let mut a = World::new();
        a.start_echo("a", "127.0.1.1:8080");
        serve(&mut a, "cross-cluster-mirror", "cluster-a/mesh").await;
        let bootstrap = umbra::bootstrap(GATEWAY, a.umbra().xds()).expect("a bootstrap");
        a.start_envoy("gateway-a", &with_dns(&bootstrap)).await;

        let host = "clusterA.cn-bj.A.mycompany.com";
        a.wait_share("gateway-a", "mirror/A/clusterA/", 500_000).await;
        a.wait_status(":8000", &Ask::get(host, "/"), 200).await;
        a.settle().await;
        a.forget().await;
        b.forget().await;
        let ask = Ask::post(host, "/rcmd.music_channel.MusicSongKtv/GetKtvLikeSong", "hello, world");
        let tally = a.send(":8000", &ask, 1000).await;
        assert!(tally.all_ok(1000) && tally.by("a") == 1000, "{tally:?}");
        let copies = b.echo("b").take();
        assert!(share::expected(1000, 0.5).contains(&copies.len()), "{} copies", copies.len());
        let shadow = format!("{CLUSTER_B}-shadow:8000");
        for copy in &copies {
            assert_eq!((copy.host.to_lowercase(), copy.body_length), (shadow.to_lowercase(), 12), "{copy:?}");
        }

        // What the reader of the document greps for in the log of B's gateway.
        let logged = || async {
            let log = b.proxy("gateway-b").process().log();
            let of_these = log.lines().filter(|l| l.contains("-shadow:8000") && l.contains("GetKtvLikeSong"));
            of_these.count() == copies.len()
        };
        b.wait_for("one line with -shadow in the gateway's log for each copy", logged).await;
        // No route is made up for the host without the suffix.
        let plain = send(&net_b, ([127, 0, 0, 1], 8000).into(), &Ask::get(CLUSTER_B, "/"), 1).await;
        assert_eq!(plain.statuses.get(&404), Some(&1), "{plain:?}");
    });
}

/// The bootstrap with the test's own DNS server: umbra leaves the resolver to the bootstrap.
fn with_dns(bootstrap: &str) -> String {
    let mut config: serde_json::Value = serde_saphyr::from_str(bootstrap).expect("YAML");
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 53}});
    config["typed_dns_resolver_config"] = json!({"name": "envoy.network.dns_resolver.cares", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [address],
    }});
    config.to_string()
}

/// 003: two VirtualServices and, for one host, two DestinationRules.
#[test]
fn two_rules_on_one_gateway() {
    isolated(async {
        let mut world = World::new();
        for (name, address) in
            [("target", "127.0.1.1:8090"), ("target2", "127.0.1.2:8090"), ("proxy", "127.0.1.3:8090")]
        {
            world.start_echo(name, address);
        }
        serve(&mut world, "two-rules-on-one-gateway", "mesh").await;
        world.start_proxy("gateway", "router/istio-system/istio=ingressgateway").await;
        // Port 80 of the Gateway, by way of the Service in front of it.
        world.wait_status(":8080", &Ask::get("10.108.228.41", "/target/index"), 200).await;
        world.wait_share("gateway", "mirror/test/target/", 1_000_000).await;
        world.forget().await;

        let tally = world.send(":8080", &Ask::get("10.108.228.41", "/target/index"), 100).await;
        assert!(tally.all_ok(100) && tally.by("target") == 100, "{tally:?}");
        let (requests, copies) = (world.echo("target").take(), world.echo("target2").take());
        assert_eq!((requests.len(), copies.len(), world.echo("proxy").count()), (100, 100, 0));
        assert!(
            requests.iter().all(|r| r.path == "/index" && r.host == "10.108.228.41"),
            "{:?}",
            requests[0]
        );
        assert!(copies.iter().all(|r| r.path == "/index"), "{:?}", copies[0]);

        let tally = world.send(":8080", &Ask::get("any.example", "/proxy/proxy?url=x"), 50).await;
        assert!(tally.all_ok(50) && tally.by("proxy") == 50, "{tally:?}");
        assert!(world.echo("proxy").take().iter().all(|r| r.path == "/proxy?url=x"));
        assert_eq!(world.counts().values().sum::<usize>(), 0, "the other rule's mirror stays out of it");
        assert_eq!(world.ask(":8080", &Ask::get("any.example", "/other")).await.status, 404);
    });
}

/// 004: a canary gets copies, then growing weights; the primary is upgraded, and the canary goes away. Requests
/// flow all the time, and none fails.
#[test]
fn canary() {
    isolated(async {
        let mut world = World::new();
        for (name, n) in [("v1", 1), ("canary", 2), ("v3", 3), ("primary", 4)] {
            world.start_echo(name, &format!("127.0.1.{n}:9080"));
        }
        serve(&mut world, "canary", "mesh").await;
        world.start_proxy("gateway", "router/istio-system/istio=ingressgateway").await;
        let ask = Ask::get("reviews.example", "/reviews/1");
        world.wait_status(":8080", &ask, 200).await;
        world.wait_share("gateway", "mirror/default/reviews/", 1_000_000).await;
        let traffic = Traffic::start(&ask);

        // Acceptance: v1 answers, and the canary gets a copy of each.
        let tally = sample(&world, &ask, 300).await;
        assert_eq!(tally.by("v1"), 300, "{tally:?}");
        assert!(world.echo("canary").records().iter().all(|r| r.host == "reviews.example-shadow"));
        assert!(world.echo("canary").count() >= 300, "{:?}", world.counts());

        // The mirror is switched off, and the canary gets a growing share.
        let weights = read(paths::example("canary/steps/2-weights.yaml"));
        for (old, new) in [(80, 20), (60, 40), (40, 60), (20, 80), (0, 100)] {
            let step = weights.replace("80 # [60, 40, 20, 0]", &old.to_string());
            world.write("virtualservice.yaml", &step.replace("20 # [40, 60, 80, 100]", &new.to_string()));
            world.wait_share("gateway", "mirror/default/reviews/", 0).await;
            let wanted = share::expected(1000, f64::from(new) / 100.0);
            // Until the new weights are there, samples show the old ones.
            let shifted = || async { wanted.contains(&sample(&world, &ask, 1000).await.by("canary")) };
            world.wait_for(&format!("{new} % at the canary"), shifted).await;
            let shadows =
                |name: &str| world.echo(name).records().iter().filter(|r| r.host.contains("-shadow")).count();
            assert_eq!(shadows("canary"), 0, "no copies any more");
        }

        // The primary is upgraded to v2 while the canary serves; then live traffic goes back to it.
        world.write("upgraded-primary.yaml", &read(paths::example("canary/steps/upgraded-primary.yaml")));
        world.write("virtualservice.yaml", &read(paths::example("canary/steps/3-promoted.yaml")));
        let both = || async {
            let tally = sample(&world, &ask, 200).await;
            tally.by("primary") > 0 && tally.by("primary") + tally.by("canary") == 200
        };
        world.wait_for("the upgraded primary to serve beside the canary", both).await;

        // Clean-up: the canary is scaled to zero, and so is the old version.
        let additions = read(paths::example("canary/mesh/additions.yaml"));
        let gone = ["name: reviews-v1-", "name: reviews-v2-"];
        let kept: Vec<_> =
            additions.split("---\n").filter(|d| !gone.iter().any(|pod| d.contains(pod))).collect();
        world.write("additions.yaml", &kept.join("---\n"));
        let alone = || async { sample(&world, &ask, 100).await.by("primary") == 100 };
        world.wait_for("the upgraded primary to serve alone", alone).await;

        let all = traffic.stop().await;
        assert!(
            all.failures.is_empty() && all.statuses.keys().eq([&200]),
            "{:?} {:?}",
            all.statuses,
            all.failures
        );
        assert_eq!(all.by("v3"), 0, "nothing goes to a version that no rule names");
    });
}

/// Forgets what was, and sends `n` requests, all of which must be answered.
async fn sample(world: &World, ask: &Ask, n: usize) -> Tally {
    world.forget().await;
    let tally = send(world.net(), ([127, 0, 0, 1], 8080).into(), ask, n).await;
    assert!(tally.all_ok(n), "{tally:?}");
    tally
}

/// Requests without a pause, until it is stopped.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Tally>,
}

impl Traffic {
    fn start(ask: &Ask) -> Self {
        let (stop, ask) = (Arc::new(AtomicBool::new(false)), ask.clone());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut client = umbra_testkit::client::Client::new(&Net::here(), ([127, 0, 0, 1], 8080).into());
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) {
                tally.add(client.ask(&ask).await);
            }
            tally
        });
        Self { stop, task }
    }

    async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the traffic ends")
    }
}
