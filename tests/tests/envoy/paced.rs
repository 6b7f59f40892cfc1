//! Shares that something holds down: so many copies a second, and a ramp.

use std::time::Duration;

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::traffic::Traffic;
use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;

use super::{wait_share, web_with};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - name: most
    match: [{uri: {prefix: /most}}]
    route: [{destination: {host: web, subset: v1}}]
    mirror: {host: web, subset: v2}
  - name: ramp
    route: [{destination: {host: web, subset: v1}}]
    mirror: {host: web, subset: v3}
    mirrorPercentage: {value: 60}
---
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {name: most}
spec: {targetRef: {name: web, rule: most}, maxRequestsPerSecond: 1}
---
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {name: ramp}
spec: {targetRef: {name: web, rule: ramp}, ramp: {steps: [{percent: 20, time: 1s, requests: 20}]}}
";

fn traffic(world: &World, path: &str) -> Traffic {
    let client = Client::new(world.net(), ([127, 0, 0, 1], 8000).into());
    Traffic::through(client, Ask::get("web:8000", path), Duration::from_millis(2))
}

#[test]
fn a_share_follows_what_is_counted() {
    isolated(async {
        let mut world = web_with(&[("rules.yaml", RULES)], "").await;
        let (most, ramp) = (traffic(&world, "/most"), traffic(&world, "/"));
        wait_share(&world, "|v3|web", 200_000).await;
        wait_share(&world, "|v3|web", 600_000).await;
        // It began with one in a thousand, and that is less than one a second of so many requests.
        let more = || async {
            let shares = world.proxy("client").mirror_shares().await.unwrap_or_default();
            shares.iter().any(|(key, share)| key.contains("|v2|web") && *share > 1000)
        };
        world.wait_for("more than one in a thousand", more).await;
        let (most, ramp) = (most.stop_unharmed().await, ramp.stop_unharmed().await);
        let requests = most.unwrap_or_else(|e| panic!("{e:#}")).servers["v1"];
        assert!(world.echo("v2").count() * 50 < requests, "{} of {requests}", world.echo("v2").count());
        let requests = ramp.unwrap_or_else(|e| panic!("{e:#}")).servers["v1"];
        assert!(world.echo("v3").count() > requests / 20, "{} of {requests}", world.echo("v3").count());

        // Of files nothing is written down: it begins anew.
        world.restart_umbra().await;
        wait_share(&world, "|v3|web", 200_000).await;
        let out = umbra::run(&["mirrors", "--server", &world.umbra().admin().to_string()]);
        let table = String::from_utf8(out.expect("umbra runs").stdout).expect("text");
        assert!(table.contains("20% of 60%") && table.contains("% of 100%"), "{table}");
        world.assert_clean().await;
    });
}
