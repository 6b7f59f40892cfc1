//! Production traffic while its rules change all the time, in every way that rules change: a thousand requests during
//! two hundred changes, and none fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use umbra_testkit::client::{Client, Tally};
use umbra_testkit::isolate::isolated;
use umbra_testkit::net::Net;
use umbra_testkit::world::World;
use umbra_testkit::{umbra, wait};
use umbra_tests::manifests::{all, pod, rules, service, web};

use super::{get, random, wait_share, web_with};

/// Another seed for other changes; what is printed can be given back.
const SEED: &str = "UMBRA_SEED";
const CHANGES: u32 = 200;
const REQUESTS: usize = 1000;
/// Services that come and go.
const OTHERS: u64 = 5;

/// A whole mesh at random: which services there are, where the requests for `web` go (only to what there is), what is
/// mirrored where and how much. All of it is one file, so a rule moves and the service that it left goes at once.
fn mesh(n: u32, state: &mut u64) -> String {
    let there: Vec<u64> = (0..OTHERS).filter(|_| random(state, 2) == 0).collect();
    let target = |state: &mut u64| match random(state, 2) {
        1 if !there.is_empty() => {
            format!("{{host: other{}}}", there[random(state, there.len() as u64) as usize])
        }
        _ => format!("{{host: web, subset: v{}}}", 1 + random(state, 3)),
    };
    // The marker's share is the number of the change: seen at Envoy, the change is in force.
    let mut http = format!(
        "- name: marker\n  match:\n  - uri: {{prefix: /marker}}\n  route:\n  - destination: {{host: web}}\n  \
         mirror: {{host: web, subset: v1}}\n  mirrorPercentage: {{value: {}}}\n- route:\n",
        f64::from(n) / 100.0
    );
    let weight = random(state, 101);
    for weight in [weight, 100 - weight] {
        http += &format!("  - destination: {}\n    weight: {weight}\n", target(state));
    }
    match random(state, 4) {
        0 => {}
        1 => http += "  mirror: {host: web, subset: missing}\n",
        2 => http += &format!("  mirror: {}\n", target(state)),
        _ => {
            http += "  mirrors:\n";
            for _ in 0..=random(state, 2) {
                let share = random(state, 101);
                http += &format!("  - destination: {}\n    percentage: {{value: {share}}}\n", target(state));
            }
        }
    }
    let mut objects = vec![web(), rules("web", "web", &http)];
    for other in there {
        let name = format!("other{other}");
        objects.push(service("default", &name, &[("http", 8000, 8080)]));
        objects.push(pod("default", &name, "v1", &format!("127.0.2.{}", other + 1), true));
    }
    all(&objects)
}

/// Counters that say that a request found no cluster, no endpoint, or a server's failure.
async fn assert_nothing_failed(world: &World) {
    let bad = |stat: &str| {
        let ends =
            [".no_cluster", ".no_route", ".upstream_cx_none_healthy", ".upstream_rq_5xx", ".update_rejected"];
        ends.iter().any(|end| stat.ends_with(end)) && !stat.contains("umbra-xds")
    };
    let stats = world.proxy("client").stats().await.expect("statistics");
    let bad: Vec<_> = stats.iter().filter(|(stat, n)| bad(stat) && **n > 0).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

async fn check(variant: &str) {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let mut state = seed;
    let mut world = web_with(&[("web.yaml", &mesh(1, &mut state))], "").await;
    world.stop_proxy("client");
    let bootstrap = umbra::bootstrap("sidecar/default/app=client", world.umbra().xds()).expect("a bootstrap");
    assert!(bootstrap.contains("DELTA_GRPC"));
    world.start_envoy("client", &bootstrap.replace("DELTA_GRPC", variant)).await;
    for other in 0..OTHERS {
        world.start_echo(&format!("other{other}"), &format!("127.0.2.{}:8080", other + 1));
    }
    wait_share(&world, "/marker/", 100).await;
    let (answered, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
    let traffic = tokio::spawn({
        let (answered, last) = (answered.clone(), last.clone());
        async move {
            let (mut client, mut tally) =
                (Client::new(&Net::here(), ([127, 0, 0, 1], 8000).into()), Tally::default());
            while answered.load(Ordering::Relaxed) < last.load(Ordering::Relaxed) {
                tally.add(client.ask(&get()).await);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            tally
        }
    });
    let count = || answered.load(Ordering::Relaxed);
    for n in 2..CHANGES + 2 {
        let before = count();
        world.write("web.yaml", &mesh(n, &mut state));
        // Half of them are seen through; the others are overtaken, wherever umbra and Envoy are with them.
        if random(&mut state, 2) == 0 {
            wait_share(&world, "/marker/", n * 100).await;
        }
        let enough = || async { (count() >= before + REQUESTS / CHANGES as usize).then_some(()) };
        wait::until(wait::PATIENCE, enough).await.expect("traffic goes on");
    }
    wait_share(&world, "/marker/", (CHANGES + 1) * 100).await;
    last.store(REQUESTS.max(count() + 50), Ordering::Relaxed);
    let tally = traffic.await.expect("the traffic ends");
    let asked = count();
    println!(
        "{variant}, {SEED}={seed}: {asked} requests during {CHANGES} changes, served by {:?}",
        tally.servers
    );
    assert!(tally.all_ok(asked), "{:?} {:?}", tally.statuses, tally.failures);
    world.settle().await;
    assert_nothing_failed(&world).await;
}

#[test]
fn delta() {
    isolated(async { check("DELTA_GRPC").await });
}

#[test]
fn state_of_the_world() {
    isolated(async { check("GRPC").await });
}
