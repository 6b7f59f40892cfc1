//! Whatever becomes of whom proxies tell something (umbra: lines of judged requests and statistics; a judge: bodies), no request fails
//! or waits, and Envoy holds little for them.

use serde_json::Value;
use umbra_testkit::client::{Ask, send};
use umbra_testkit::echo::Mode;
use umbra_testkit::gate::{self, measured};
use umbra_testkit::isolate::isolated;
use umbra_testkit::judge::Judge;
use umbra_testkit::relay::{Manner, Relay, has_nft};
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests;

use super::address;

/// What is asked for: answers of 20 KB.
const PATH: &str = "/bytes/20000";
/// Requests while something is wrong, at the least: those of the one who hangs come to 8 MB of lines.
fn requests(fate: Fate) -> u64 {
    if matches!(fate, Fate::Hung) { 12_000 } else { 4000 }
}

/// Times that Envoy sends statistics meanwhile, at the least.
const FLUSHES: u64 = 3;

/// Whom something becomes of.
#[derive(Clone, Copy, Debug)]
enum Whom {
    Umbra,
    Judge,
}

/// What becomes of them, one after the other.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Dead,
    Hung,
    Slow,
    Refusing,
    Restarting,
    BlackHole,
}

const FATES: [Fate; 6] =
    [Fate::Dead, Fate::Hung, Fate::Slow, Fate::Refusing, Fate::Restarting, Fate::BlackHole];

/// A client whose Envoy reaches umbra and a judge by relays, and sends statistics each second.
struct Stage {
    world: World,
    umbra: Relay,
    judge: Relay,
    _judge: Judge,
}

impl Stage {
    async fn new() -> Self {
        let mut world = World::new();
        let judge = Judge::start(world.net(), world.folder()).expect("a judge");
        for (name, address) in
            [("v1", "127.0.1.1:8080"), ("v2", "127.0.1.2:8080"), ("refusing", "127.0.1.9:8080")]
        {
            world.start_echo(name, address);
        }
        world.echo("refusing").set_mode(Mode::Status(503));
        world.write("web.yaml", &manifests::web());
        world.write("rules.yaml", &manifests::judged(&["v2"]));
        world.start_umbra_with(&format!("judge: {}\n", judge.report())).await;
        let relay = |to| Relay::start(world.net(), to).expect("a relay");
        let relays = (relay(world.umbra().xds()), relay(judge.bodies()));
        let bodies = relays.1.address().to_string();
        let further = ["--verdicts", "--judge", &bodies];
        let bootstrap =
            umbra::bootstrap_with("sidecar/default/app=client", relays.0.address(), &further).expect("one");
        let mut bootstrap: Value = serde_saphyr::from_str(&bootstrap).expect("YAML");
        bootstrap["statsFlushInterval"] = "1s".into();
        world.start_envoy("client", &bootstrap.to_string()).await;
        Stage { world, umbra: relays.0, judge: relays.1, _judge: judge }
    }

    /// Sends so many requests, and fails when one of them was not answered as ever.
    async fn traffic(&self, requests: usize) {
        let tally = send(self.world.net(), address(), &Ask::get("web:8000", PATH), requests).await;
        assert!(tally.all_ok(requests), "{:?} {:?}", tally.statuses, tally.failures);
    }

    /// How much has come: lines and counts of requests, and pairs of bodies.
    fn come(&self) -> (u64, u64, u64) {
        let server = self.world.umbra().admin().to_string();
        let out = umbra::run(&["mirrors", "--server", &server, "-o", "json"]).expect("umbra runs");
        let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let mirror = &all["mirrors"][0];
        let number = |value: &Value| value.as_str().and_then(|it| it.parse().ok()).unwrap_or_default();
        let verdict = &mirror["verdict"];
        (
            number(&verdict["lines"]),
            number(&mirror["observed"]["primaries"]),
            number(&verdict["contents"]["pairs"]),
        )
    }

    /// Bytes that Envoy has allocated.
    async fn allocated(&self) -> u64 {
        let memory = self.world.proxy("client").json("/memory").await.expect("an answer");
        memory["allocated"].as_str().and_then(|it| it.parse().ok()).expect("a number")
    }

    /// Waits until what is told comes, with requests on the way.
    async fn wait_told(&self, what: &str) {
        let before = self.come();
        let told = || async {
            self.traffic(50).await;
            let now = self.come();
            now.0 > before.0 && now.1 > before.1 && now.2 > before.2
        };
        self.world.wait_for(what, told).await;
    }
}

/// What a relay does by a fate; the last one lasts.
fn manners(fate: Fate, refusing: std::net::SocketAddr) -> Vec<Manner> {
    match fate {
        Fate::Dead => vec![Manner::Gone],
        Fate::Hung => vec![Manner::Hangs],
        Fate::Slow => vec![Manner::Trickles(2000)],
        Fate::Refusing => vec![Manner::Closes, Manner::LeadsTo(refusing)],
        Fate::Restarting => [Manner::Gone, Manner::Passes].repeat(4),
        Fate::BlackHole => vec![Manner::BlackHole],
    }
}

/// No request fails or waits while this becomes of them, and Envoy holds no more than so many bytes; then they are told again.
/// Who waited would wait until it was over, and it is over when all of them were answered.
async fn check(whom: Whom, most: u64) {
    let stage = Stage::new().await;
    let client = stage.world.proxy("client");
    let relay = match whom {
        Whom::Umbra => &stage.umbra,
        Whom::Judge => &stage.judge,
    };
    stage.wait_told("umbra and the judge to be told").await;
    stage.traffic(2000).await;
    let mut said = Vec::new();
    for fate in FATES {
        if matches!(fate, Fate::BlackHole) && !has_nft() {
            gate::skip("a black hole: no `nft`", "REQUIRE_CAPTURE");
            continue;
        }
        let (before, mut held) = (stage.allocated().await, 0);
        for manner in manners(fate, stage.world.echo("refusing").address()) {
            relay.treat(manner).unwrap_or_else(|e| panic!("{e:#}"));
            let (begun, mut sent) = (client.stat("server.uptime").await, 0);
            let part = requests(fate) / manners(fate, address()).len() as u64;
            while sent < part || client.stat("server.uptime").await < begun + FLUSHES {
                stage.traffic(200).await;
                sent += 200;
                held = held.max(stage.allocated().await.saturating_sub(before));
            }
        }
        said.push(format!("{fate:?} {} KB", held / 1000));
        assert!(held < most, "{whom:?} {fate:?}: Envoy holds {held} bytes more");
        relay.treat(Manner::Passes).unwrap_or_else(|e| panic!("{e:#}"));
        stage.wait_told(&format!("{whom:?} to be told again after it was {fate:?}")).await;
    }
    measured(&format!("what Envoy allocates more while {whom:?} is away: {}", said.join(", ")));
}

#[test]
fn whatever_becomes_of_umbra() {
    isolated(async { check(Whom::Umbra, 6 << 20).await });
}

#[test]
fn whatever_becomes_of_a_judge() {
    isolated(async { check(Whom::Judge, 16 << 20).await });
}
