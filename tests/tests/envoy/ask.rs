//! What umbra tells about real Envoys: `umbra proxies`, `umbra mirrors` and `/v1/live`.

use serde_json::Value;
use umbra_testkit::client::{Ask, Client};
use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests::{istio, to_v1};

use super::{set_rules, wait_share, web};

/// What the gate says of an object.
async fn gate(world: &World, object: &str) -> (u16, Value) {
    let ask = Ask::get("localhost", &format!("/v1/live/{object}"));
    let answer = Client::new(world.net(), world.umbra().admin()).ask(&ask).await.expect("an answer");
    (answer.status.as_u16(), serde_json::from_str(&answer.text()).expect("JSON"))
}

/// Waits for this status and a part of the sentence.
async fn wait_gate(world: &World, object: &str, status: u16, part: &str) {
    let look = || async {
        let (got, body) = gate(world, object).await;
        got == status && body["message"].as_str().is_some_and(|message| message.contains(part))
    };
    world.wait_for(&format!("{status} with {part:?} for {object}"), look).await;
}

/// What `umbra VERB` prints, each line with single spaces.
fn printed(world: &World, verb: &str) -> String {
    let out = umbra::run(&[verb, "--server", &world.umbra().admin().to_string()]).expect("umbra runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn a_mirror_is_live_when_envoy_has_taken_it() {
    isolated(async {
        let world = web(&to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 25}")).await;
        wait_share(&world, "|v2|web", 250_000).await;
        wait_gate(&world, "vs/default/web", 200, "live on 1 of 1 proxies").await;
        wait_gate(&world, "dr/default/web", 200, "live on 1 of 1 proxies").await;
        let mirrors = printed(&world, "mirrors");
        assert!(mirrors.contains("default web - web subset v2 25% - - - - 1 1 of 1 -\n"), "{mirrors}");
        let proxies = printed(&world, "proxies");
        assert!(proxies.contains("default client sidecar SYNCED SYNCED SYNCED SYNCED SYNCED "), "{proxies}");
        // A percentage alone is a change of the runtime layer.
        set_rules(&world, &to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 50}"));
        wait_share(&world, "|v2|web", 500_000).await;
        wait_gate(&world, "vs/default/web", 200, "live on 1 of 1 proxies").await;
        let mirrors = printed(&world, "mirrors");
        assert!(mirrors.contains("default web - web subset v2 50% - - - - 1 1 of 1 -\n"), "{mirrors}");
    });
}

#[test]
fn what_envoy_rejects_is_told_in_its_words() {
    isolated(async {
        let gateway = |port: u16| {
            let server = format!("- hosts: ['*']\n  port: {{number: {port}, name: http, protocol: HTTP}}");
            istio("Gateway", "infra", "edge", &format!("selector:\n  istio: edge\nservers:\n{server}\n"))
        };
        let mut world = World::new();
        // The port is somebody else's, so that Envoy cannot open its listener.
        let taken = std::net::TcpListener::bind("0.0.0.0:8888").expect("a port");
        world.write("edge.yaml", &gateway(8888));
        let teapot = "hosts: ['*']\ngateways: [edge]\nhttp:\n- directResponse: {status: 418}\n";
        world.write("rule.yaml", &istio("VirtualService", "infra", "teapot", teapot));
        world.start_umbra().await;
        wait_gate(&world, "gateway/infra/edge", 409, "no connected proxy").await;
        world.start_proxy("edge", "router/infra/istio=edge").await;
        wait_gate(&world, "gateway/infra/edge", 409, "edge rejected lds/0.0.0.0_8888: ").await;
        // Envoy does not ask for the routes of a port that it does not have: the rule tells why as well.
        wait_gate(&world, "vs/infra/teapot", 409, "edge rejected lds/0.0.0.0_8888: ").await;
        let (_, body) = gate(&world, "gateway/infra/edge").await;
        let words = body["laggards"][0]["words"].as_str().unwrap_or_default();
        assert!(words.contains("Address already in use"), "{body}");
        let proxies = printed(&world, "proxies");
        assert!(proxies.contains("infra edge router SYNCED - REJECTED "), "{proxies}");
        assert!(proxies.contains("edge.infra rejected lds 0.0.0.0_8888: "), "{proxies}");
        drop(taken);
        world.write("edge.yaml", &gateway(8889));
        for object in ["gateway/infra/edge", "vs/infra/teapot"] {
            wait_gate(&world, object, 200, "live on 1 of 1 proxies").await;
        }
    });
}
