//! Verdicts by the lines of real Envoys: a worse shadow is found, an equal one never is, and whatever becomes of umbra costs no
//! primary anything.

use std::time::Duration;

use serde_json::Value;
use umbra_testkit::client::{Ask, send};
use umbra_testkit::echo::Mode;
use umbra_testkit::isolate::isolated;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests;

use super::{WEB, wait_share};

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, annotations: {umbra.io/verdicts: \"1000\"}}
spec:
  hosts: [web]
  http:
  - name: main
    route: [{destination: {host: web, subset: v1}}]
    mirrors:
    - {destination: {host: web, subset: v2}}
    - {destination: {host: web, subset: v3}}
";

/// Three versions of `web`, of which v2 and v3 get a copy of each request, and a sidecar that can tell of judged ones.
async fn judged() -> World {
    let mut world = World::new();
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &manifests::web());
    world.write("rules.yaml", RULES);
    world.start_umbra().await;
    world.start_proxy_with("client", "sidecar/default/app=client", &["--verdicts"]).await;
    world
}

fn ask() -> Ask {
    Ask::get("web:8000", "/index?secret=1")
}

/// Sends so many requests, and fails when one of them was not answered as ever.
async fn traffic(world: &World, requests: usize) {
    let tally = send(world.net(), WEB_ADDRESS.parse().expect("an address"), &ask(), requests).await;
    assert!(tally.all_ok(requests), "{:?} {:?}", tally.statuses, tally.failures);
}

const WEB_ADDRESS: &str = "127.0.0.1:8000";

/// What is known of the copies to v2 and to v3.
fn verdicts(world: &World) -> [Value; 2] {
    let server = world.umbra().admin().to_string();
    let out = umbra::run(&["mirrors", "--server", &server, "-o", "json"]).expect("umbra runs");
    let all: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    [0, 1].map(|nth| all["mirrors"][nth]["verdict"].clone())
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// With these ways to answer v2 is said to be different for this reason, and v3, which answers as v1 does, never is.
async fn check(usual: Mode, worse: Mode, reason: &str) {
    let world = judged().await;
    for name in ["v1", "v3"] {
        world.echo(name).set_mode(usual);
    }
    world.echo("v2").set_mode(worse);
    let different = || async {
        traffic(&world, 50).await;
        let [v2, v3] = verdicts(&world);
        assert_ne!(v3["verdict"], "different", "{v3}");
        v2["verdict"] == "different"
    };
    world.wait_for(&format!("v2 to be different: {reason}"), different).await;
    let [v2, v3] = verdicts(&world);
    let said = v2["reasons"].to_string();
    assert!(said.contains(reason), "{said}");
    assert!(number(&v3["paired"]) >= 200, "{v3}");
    // Nothing of a query is kept anywhere.
    assert!(!v2.to_string().contains("secret"), "{v2}");
    world.assert_clean().await;
    // Who asks for that is stopped by it.
    world.write("policy.yaml", STOPS);
    wait_share(&world, "|v2|web", 0).await;
    wait_share(&world, "|v3|web", 1_000_000).await;
}

/// The mirror to v2 stops by its verdict.
const STOPS: &str = "
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {name: web}
spec:
  targetRef: {name: web, mirror: {host: web, subset: v2}}
  methods: ['*']
  headers: {remove: []}
  abort: {verdict: different}
";

#[test]
fn three_percent_more_errors() {
    isolated(async {
        check(Mode::Normal, Mode::FailOneOf(33), "status differs in").await;
    });
}

#[test]
fn thirty_percent_slower() {
    isolated(async {
        let delay = |ms| Mode::Delay(Duration::from_millis(ms));
        check(delay(40), delay(52), "slower than the control").await;
    });
}

#[test]
fn only_safe_requests_have_a_control_and_copies_say_whose_they_are() {
    isolated(async {
        let world = judged().await;
        let post = Ask::post("web:8000", "/index", "body");
        let judged = || async {
            traffic(&world, 20).await;
            assert!(world.send(WEB, &post, 20).await.all_ok(20));
            let [v2, _] = verdicts(&world);
            let alone = number(&v2["compared"][0]["alone"]);
            alone >= 20 && number(&v2["compared"][0]["pairs"]) >= alone + 20
        };
        world.wait_for("both methods to be judged", judged).await;
        let copies: Vec<_> = world.echo("v1").take();
        let controls = copies.iter().filter(|it| it.header("x-shadow") == "judge/default/web/main#control");
        let methods: std::collections::BTreeSet<_> = controls.map(|it| it.method.as_str()).collect();
        assert_eq!(methods.into_iter().collect::<Vec<_>>(), ["GET"]);
        let marks = world.echo("v2").take();
        let marked = marks.iter().filter(|it| !it.header("x-shadow").is_empty()).count();
        let of = "default/web/main/|v2|web.default.svc.cluster.local";
        let own =
            marks.iter().filter(|it| it.header("x-shadow") == of && !it.header("x-shadow-of").is_empty());
        assert!(marked > 0 && own.count() == marked, "{marked} copies are marked");
        let metrics = world.umbra().get("/metrics").await.expect("metrics");
        assert!(
            metrics.contains("umbra_mirror_pairs_total{mirror=\"mirror/default/web/main/|v2|web."),
            "{metrics}"
        );
        world.assert_clean().await;
    });
}

/// Hung, going on, gone, back: primaries are answered as ever, and judging goes on by itself.
#[test]
fn whatever_becomes_of_umbra() {
    isolated(async {
        let mut world = judged().await;
        let judging = |world: &World, least: u64| number(&verdicts(world)[0]["lines"]) >= least;
        let begun = || async {
            traffic(&world, 50).await;
            judging(&world, 100)
        };
        world.wait_for("lines to come", begun).await;
        world.umbra().process().freeze(true).expect("it hangs");
        traffic(&world, 2000).await;
        world.umbra().process().freeze(false).expect("it goes on");
        traffic(&world, 500).await;
        // While nobody listens, and while somebody comes back.
        let (net, address) = (world.net().clone(), WEB_ADDRESS.parse().expect("an address"));
        let meanwhile = tokio::spawn(async move { send(&net, address, &ask(), 3000).await });
        world.restart_umbra().await;
        let tally = meanwhile.await.expect("requests go on");
        assert!(tally.all_ok(3000), "{:?} {:?}", tally.statuses, tally.failures);
        let again = || async {
            traffic(&world, 50).await;
            judging(&world, 100)
        };
        world.wait_for("lines to come again", again).await;
        let connected = world.proxy("client").stat("cluster.umbra-als.upstream_cx_total").await;
        assert!(connected > 0, "lines have a connection of their own");
    });
}

/// Stopped with hundreds of judged requests and slow copies under way: no primary waits or fails, nothing more is copied or judged, what
/// was under way is no difference, and whoever goes on is judged anew.
#[test]
fn a_stop_while_judged_requests_are_under_way() {
    isolated(async {
        let world = judged().await;
        let begun = || async {
            traffic(&world, 50).await;
            number(&verdicts(&world)[0]["lines"]) >= 100
        };
        world.wait_for("requests to be judged", begun).await;
        for name in ["v2", "v3"] {
            world.echo(name).set_mode(Mode::Delay(Duration::from_secs(2)));
        }
        let before = world.echo("v2").count();
        traffic(&world, 300).await;
        assert!(world.echo("v2").count() > before, "copies are under way");
        world.write("rules.yaml", &RULES.replace("\"1000\"}", "\"1000\", umbra.io/stop: all}"));
        for target in ["|v2|web", "|v3|web"] {
            wait_share(&world, target, 0).await;
        }
        let judged_no_more = || async {
            world.echo("v1").take();
            traffic(&world, 20).await;
            world.echo("v1").count() == 20
        };
        world.wait_for("no request to have a control", judged_no_more).await;
        let copies = world.echo("v2").count();
        world.echo("v1").take();
        traffic(&world, 300).await;
        assert_eq!(world.echo("v2").count(), copies, "nothing is copied");
        assert_eq!(world.echo("v1").count(), 300, "and there is no control");
        let [v2, v3] = verdicts(&world);
        assert!(v2["verdict"] != "different" && v3["verdict"] != "different", "{v2} {v3}");

        for name in ["v2", "v3"] {
            world.echo(name).set_mode(Mode::Normal);
        }
        // Who goes on before anybody has seen it stopped is not judged anew.
        let seen = || async { verdicts(&world).iter().all(|it| number(&it["sharePerMillion"]) == 0) };
        world.wait_for("the stop to be seen by who judges", seen).await;
        world.write("rules.yaml", RULES);
        let again = || async {
            traffic(&world, 50).await;
            let [v2, v3] = verdicts(&world);
            assert!(v2["verdict"] != "different" && v3["verdict"] != "different", "{v2} {v3}");
            number(&v2["paired"]) >= 200 && number(&v3["paired"]) >= 200
        };
        world.wait_for("both to be judged anew", again).await;
        let [v2, _] = verdicts(&world);
        assert_eq!(number(&v2["copyMissing"]), 0, "{v2}");
        world.assert_clean().await;
    });
}

/// Nobody asked: the listener has the filters and says no, and nothing is connected.
#[test]
fn without_the_annotation_nothing_is_sent() {
    isolated(async {
        let world = judged().await;
        world.write("rules.yaml", &RULES.replace("\"1000\"", "\"off\""));
        let plain = || async {
            let routes = world.proxy("client").section("RoutesConfigDump").await.unwrap_or_default();
            !routes.to_string().contains("#judge") && routes.to_string().contains("|v2|web")
        };
        world.wait_for("the plain routes", plain).await;
        traffic(&world, 300).await;
        let none = || async { verdicts(&world) == [Value::Null, Value::Null] };
        world.wait_for("no verdict to be told", none).await;
        assert_eq!(world.proxy("client").stat("cluster.umbra-als.upstream_rq_total").await, 0);
    });
}
