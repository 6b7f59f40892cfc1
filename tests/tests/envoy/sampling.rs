//! Honest samples: of a mirrored route with weights, each destination's requests are copied at the same rate; mirrors
//! of one route are nested.

use std::collections::BTreeSet;

use umbra_testkit::isolate::isolated;
use umbra_testkit::share;

use super::{WEB, get, wait_share, web};

/// Weights for v1 and v2, and a mirror to v3 of `percent`: the copies of requests that v1 answered, and of those that
/// v2 answered, are told apart by the request id.
async fn check(weights: (u32, u32), percent: f64) {
    const N: usize = 6000;
    let (one, two) = weights;
    let rule = format!(
        "- route:
  - destination: {{host: web, subset: v1}}
    weight: {one}
  - destination: {{host: web, subset: v2}}
    weight: {two}
  mirror: {{host: web, subset: v3}}
  mirrorPercentage: {{value: {percent}}}
"
    );
    let world = web(&rule).await;
    wait_share(&world, "|v3|web", (percent * 10_000.0).round() as u32).await;
    let tally = world.send(WEB, &get(), N).await;
    assert!(tally.all_ok(N), "{tally:?}");
    let ids = |name: &str| -> BTreeSet<String> {
        world.echo(name).records().iter().map(|r| r.header("x-request-id").to_owned()).collect()
    };
    let copied = ids("v3");
    for (name, weight) in [("v1", one), ("v2", two)] {
        let served = ids(name);
        let part = f64::from(weight) / f64::from(one + two);
        assert!(share::expected(N, part).contains(&served.len()), "{name} served {} of {N}", served.len());
        let of_these = served.intersection(&copied).count();
        let wanted = share::expected(served.len(), percent / 100.0);
        assert!(
            wanted.contains(&of_these),
            "{of_these} of {} of {name} were copied, not {wanted:?}",
            served.len()
        );
    }
    world.assert_clean().await;
}

#[test]
fn weights_33_67() {
    isolated(async { check((33, 67), 10.0).await });
}

#[test]
fn weights_50_50() {
    isolated(async { check((50, 50), 10.0).await });
}

#[test]
fn weights_of_a_million() {
    isolated(async { check((333_333, 666_667), 10.0).await });
}

#[test]
fn mirrors_of_one_route_are_nested() {
    isolated(async {
        let rule = "- route:
  - destination: {host: web, subset: v1}
  mirrors:
  - destination: {host: web, subset: v2}
    percentage: {value: 10}
  - destination: {host: web, subset: v3}
    percentage: {value: 30}
";
        let world = web(rule).await;
        wait_share(&world, "|v2|web", 100_000).await;
        wait_share(&world, "|v3|web", 300_000).await;
        world.send(WEB, &get(), 2000).await;
        let ids = |name: &str| -> BTreeSet<String> {
            world.echo(name).records().iter().map(|r| r.header("x-request-id").to_owned()).collect()
        };
        let (small, large) = (ids("v2"), ids("v3"));
        assert!(share::expected(2000, 0.1).contains(&small.len()) && small.is_subset(&large));
        assert!(share::expected(2000, 0.3).contains(&large.len()));
    });
}
