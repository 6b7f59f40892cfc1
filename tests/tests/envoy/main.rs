//! Real traffic through a real Envoy under a real umbra: what a mirror does, and what it must never do.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod abort;
mod as_asked;
mod ask;
mod bar;
mod broken;
mod bytes;
mod capture;
mod churn;
mod connections;
mod contents;
mod copies;
mod costs;
mod dead_man;
mod delegates;
mod endpoints;
mod explain;
mod external;
mod fates;
mod filters;
mod gateway_tls;
mod gateways;
mod hashing;
mod hosts;
mod istio_metrics;
mod limits;
mod localities;
mod observed;
mod outliers;
mod paced;
mod percentages;
mod policies;
mod probes;
mod reload;
mod routing;
mod sampling;
mod settings;
mod shares;
mod sidecars;
mod sockets;
mod stop;
mod tls;
mod updates;
mod verdicts;

use std::net::{Ipv4Addr, SocketAddr};

use umbra_testkit::client::Ask;
use umbra_testkit::world::World;
use umbra_tests::manifests;

/// Where the sidecar of the tests' client listens for the Service `web`.
const WEB: &str = ":8000";

/// The same, as an address.
fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8000).into()
}

/// The world of most tests: three versions of `web`, the VirtualService `web` with these rules, and a sidecar called
/// `client`.
async fn web(http: &str) -> World {
    web_with(&[("rules.yaml", &manifests::rules("web", "web", http))], "").await
}

/// As [`web`], with these files (one called `web.yaml` replaces Service, Pods and DestinationRule) and settings.
async fn web_with(files: &[(&str, &str)], settings: &str) -> World {
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &manifests::web());
    for (name, text) in files {
        world.write(name, text);
    }
    world.start_umbra_with(settings).await;
    world.start_proxy("client", "sidecar/default/app=client").await;
    world
}

/// `GET /` of `web`.
fn get() -> Ask {
    Ask::get("web:8000", "/")
}

/// Replaces the rules of the VirtualService `web`.
fn set_rules(world: &World, http: &str) {
    world.write("rules.yaml", &manifests::rules("web", "web", http));
}

/// Waits until the mirror of `web` aimed at a target (such as `|v2|web`) has this share of a million.
async fn wait_share(world: &World, target: &str, share: u32) {
    world.wait_share("client", target, share).await;
}

/// Waits until the client's route tables contain this text.
async fn wait_routes(world: &World, text: &str) {
    world.wait_config("client", "RoutesConfigDump", text).await;
}

/// A number below `n` from a small fixed generator: random, and the same in every run.
fn random(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}
