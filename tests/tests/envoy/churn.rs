//! Clusters that come, change and go while they share load assignments: nothing is ever stuck, in either variant of
//! xDS, with umbra gone and back now and then.

use std::time::{Duration, Instant};

use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, pod, rules, service, web_subsets};

use super::{WEB, get, random, web_with};

/// Far more than any step needs (tens of milliseconds, a second or so with a reconnect). Envoy waits for clusters, endpoints
/// and routes as long as it takes, so that what is stuck stays so.
const DEADLINE: Duration = Duration::from_secs(120);

/// Rules of one batch: a marker, then a few mirrors at random.
fn batch(n: u32, state: &mut u64) -> String {
    let subsets = ["v1", "v2", "v3"];
    // The marker's share is the batch's number: seen at Envoy, the batch has arrived.
    let mut http = format!(
        "- match:
  - uri: {{prefix: /marker}}
  route:
  - destination: {{host: web, subset: v1}}
  mirror: {{host: web, subset: v1}}
  mirrorPercentage: {{value: {}}}
",
        f64::from(n) / 100.0
    );
    http += "- route:\n  - destination: {host: web, subset: v1}\n";
    let mirrors: Vec<_> = subsets.iter().filter(|_| random(state, 2) == 0).collect();
    if !mirrors.is_empty() {
        http += "  mirrors:\n";
    }
    for to in mirrors {
        http += &format!("  - destination: {{host: web, subset: {to}}}\n");
    }
    rules("web", "web", &http)
}

/// The Service, its Pods and subsets; the policy changes every cluster, the readiness an assignment.
fn mesh(state: &mut u64) -> String {
    let timeout = 1 + random(state, 3);
    let ready = random(state, 4) > 0;
    all(&[
        service("default", "web", &[("http", 8000, 8080)]),
        pod("default", "web", "v1", "127.0.1.1", true),
        pod("default", "web", "v2", "127.0.1.2", true),
        pod("default", "web", "v3", "127.0.1.3", ready),
        web_subsets(
            "v1 v2 v3",
            &format!("trafficPolicy:\n  connectionPool:\n    tcp: {{connectTimeout: {timeout}s}}\n"),
        ),
    ])
}

/// Waits until the batch with that marker is in force and no cluster warms.
async fn settled(world: &World, n: u32) -> Duration {
    let start = Instant::now();
    world
        .wait_within(DEADLINE, &format!("batch {n} to be whole"), || async {
            let proxy = world.proxy("client");
            let shares = proxy.mirror_shares().await.unwrap_or_default();
            let arrived = shares.iter().any(|(key, share)| key.contains("|v1|web") && *share == n * 100);
            arrived && proxy.stat("cluster_manager.warming_clusters").await == 0
        })
        .await;
    start.elapsed()
}

async fn check(variant: &str, batches: u32) {
    let mut state = 11;
    let files = [("web.yaml", mesh(&mut state)), ("rules.yaml", batch(1, &mut state))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mut world = web_with(&files, "").await;
    world.stop_proxy("client");
    let bootstrap = umbra::bootstrap("sidecar/default/app=client", world.umbra().xds()).expect("a bootstrap");
    assert!(bootstrap.contains("DELTA_GRPC"));
    world.start_envoy("client", &bootstrap.replace("DELTA_GRPC", variant)).await;
    let mut worst = Duration::ZERO;
    for n in 2..batches {
        for _ in 0..=random(&mut state, 2) {
            world.write("rules.yaml", &batch(n, &mut state));
            if random(&mut state, 2) == 0 {
                world.write("web.yaml", &mesh(&mut state));
            }
        }
        if n % 12 == 0 {
            world.restart_umbra().await;
        }
        worst = worst.max(settled(&world, n).await);
        let tally = world.send(WEB, &get(), 5).await;
        assert!(tally.all_ok(5), "batch {n}: {tally:?}");
    }
    println!("{variant}: the slowest of {batches} batches took {worst:?}");
    world.assert_clean().await;
}

#[test]
fn delta() {
    isolated(async { check("DELTA_GRPC", 80).await });
}

#[test]
fn state_of_the_world() {
    isolated(async { check("GRPC", 80).await });
}
