//! Wanted shares against seen ones, whatever the traffic is like and whatever becomes of the copies.

use serde_json::Value;
use umbra_testkit::client::{Ask, Client, send_by};
use umbra_testkit::echo::Mode;
use umbra_testkit::gate::{long, measured};
use umbra_testkit::isolate::isolated;
use umbra_testkit::share::expected;
use umbra_testkit::world::World;
use umbra_tests::manifests::{self, rules, to_v1};

use super::observed::{mirrors, number};
use super::{WEB, address, get, wait_share, web_with};

/// A quarter of all requests goes to v2, or to v3, too.
const QUARTER: f64 = 0.25;

/// One kind of traffic.
struct Row {
    what: &'static str,
    /// The name of the port, by which it says what it speaks.
    port: &'static str,
    /// The client speaks HTTP/2.
    two: bool,
    ask: Ask,
    rule: String,
    /// Where a quarter is copied to.
    target: &'static str,
    /// How v1 answers, and the target.
    modes: [Mode; 2],
    requests: usize,
    /// Why every copy is lost; empty: none is.
    lost: &'static str,
}

fn to(target: &str) -> String {
    to_v1(&format!("mirror: {{host: web, subset: {target}}}\nmirrorPercentage: {{value: 25}}"))
}

/// HTTP/1.1 by one rule, of which no copy is lost.
fn row(what: &'static str) -> Row {
    let modes = [Mode::Normal; 2];
    let (rule, requests) = (to("v2"), 4000);
    Row { what, port: "http", two: false, ask: get(), rule, target: "v2", modes, requests, lost: "" }
}

fn grpc() -> Ask {
    let ask = Ask::post("web:8000", "/shop.Cart/Get", vec![0; 5]);
    ask.header("content-type", "application/grpc").header("te", "trailers")
}

fn table() -> Vec<Row> {
    let weights = "- route:
  - {destination: {host: web, subset: v1}, weight: 33}
  - {destination: {host: web, subset: v2}, weight: 67}
  mirror: {host: web, subset: v3}
  mirrorPercentage: {value: 25}
";
    // One of five fails, so that of four thousand none fails as often as this.
    let retries = "\nretries: {attempts: 12, retryOn: 5xx}\n";
    let few = 400;
    let hang = [Mode::Normal, Mode::Hang];
    vec![
        row("HTTP/1.1"),
        Row { port: "http2", two: true, ..row("HTTP/2") },
        Row { port: "grpc", two: true, ask: grpc(), ..row("gRPC") },
        Row { rule: weights.to_owned(), target: "v3", ..row("beside weights") },
        Row {
            rule: to_v1(&format!(
                "mirror: {{host: web, subset: v2}}\nmirrorPercentage: {{value: 25}}{retries}"
            )),
            modes: [Mode::FailOneOf(5), Mode::Normal],
            ..row("with retries")
        },
        Row { modes: hang, requests: few, lost: "timeout", ..row("HTTP/1.1 to who hangs") },
        Row {
            port: "http2",
            two: true,
            modes: hang,
            requests: few,
            lost: "timeout",
            ..row("HTTP/2 to who hangs")
        },
        Row {
            port: "grpc",
            two: true,
            ask: grpc(),
            modes: [Mode::Normal, Mode::Break],
            requests: few,
            lost: "reset",
            ..row("gRPC to who breaks off")
        },
    ]
}

/// A quarter is seen, each copy is there or lost for this reason and no other, and no request fails.
async fn check(row: &Row) {
    let Row { what, requests, target, lost, .. } = row;
    let port = format!("name: {}\n", row.port);
    let web = manifests::web().replace("name: http\n", &port);
    let settings = "mirror: {maxStreamDuration: 1s}\n";
    let files = [("web.yaml", &*web), ("rules.yaml", &*rules("web", "web", &row.rule))];
    let world = web_with(&files, settings).await;
    wait_share(&world, &format!("|{target}|web"), 250_000).await;
    world.echo("v1").set_mode(row.modes[0]);
    world.echo(target).set_mode(row.modes[1]);
    let open = || {
        let client = Client::new(world.net(), address());
        if row.two { client.http2() } else { client }
    };
    let tally = send_by(open, &row.ask, *requests).await;
    assert!(tally.all_ok(*requests), "{what}: {:?} {:?}", tally.statuses, tally.failures);
    world.settle().await;
    let got = world.echo(target).count() as u64;
    let whole = || async {
        let observed = &mirrors(&world)[0]["observed"];
        number(&observed["primaries"]) >= *requests as u64 && number(&observed["copies"]) >= got
    };
    world.wait_for(&format!("{what}: all to be seen"), whole).await;
    let observed = mirrors(&world)[0]["observed"].clone();
    let copies = number(&observed["copies"]);
    assert_eq!((number(&observed["primaries"]), copies), (*requests as u64, got), "{what}: {observed}");
    assert!(expected(*requests, QUARTER).contains(&(copies as usize)), "{what}: {observed}");
    let seen = observed["seenPerMillion"].as_f64().unwrap_or_default();
    assert!((seen - 1e6 * copies as f64 / *requests as f64).abs() < 1.0, "{what}: {observed}");
    let all_lost: Vec<(&String, u64)> =
        observed["lost"].as_object().into_iter().flatten().map(|(why, n)| (why, number(n))).collect();
    for (why, count) in all_lost {
        assert_eq!(count, if why == lost { copies } else { 0 }, "{what}: {why}: {observed}");
    }
    world.assert_clean().await;
}

#[test]
fn whatever_the_traffic_is_like() {
    isolated(async {
        for row in table() {
            check(&row).await;
        }
    });
}

/// Copies of both are counted together: what each has copied is worked out, and what both have is exact.
#[test]
fn rules_that_copy_to_one_cluster() {
    const EACH: usize = 4000;
    isolated(async {
        let rule = |path: &str, percent: u32| {
            to_v1(&format!(
                "match: [{{uri: {{prefix: {path}}}}}]\nmirror: {{host: web, subset: v2}}\nmirrorPercentage: {{value: {percent}}}"
            ))
            .replace("- route", &format!("- name: {}\n  route", &path[1..]))
        };
        let both = rule("/much", 40) + &rule("/little", 10);
        let world = web_with(&[("rules.yaml", &rules("web", "web", &both))], "").await;
        for (key, share) in [("/much/", 400_000), ("/little/", 100_000)] {
            wait_share(&world, key, share).await;
        }
        for path in ["/much", "/little"] {
            assert!(world.send(WEB, &Ask::get("web:8000", path), EACH).await.all_ok(EACH));
        }
        let got = world.echo("v2").count();
        let seen = |all: &[Value]| {
            all.iter().all(|it| number(&it["observed"]["primaries"]) == EACH as u64)
                && number(&all[0]["observed"]["copies"]) == got as u64
        };
        world.wait_for("both to be seen", || async { seen(&mirrors(&world)) }).await;
        let (much, little) = (expected(EACH, 0.4), expected(EACH, 0.1));
        assert!((much.start() + little.start()..=much.end() + little.end()).contains(&got), "{got}");
        for (mirror, share) in mirrors(&world).iter().zip([0.4, 0.1]) {
            let observed = &mirror["observed"];
            assert_eq!(observed["shared"], true, "{observed}");
            let wanted = observed["wanted"].as_f64().unwrap_or_default();
            let seen = observed["seenPerMillion"].as_f64().unwrap_or_default();
            assert!((seen - 1e6 * share * got as f64 / wanted).abs() < 1.0, "{observed}");
        }
    });
}

/// Who leaves while it waits has been copied, and the copy goes on; who leaves while it sends takes the copy with it. Nobody else is
/// concerned, and what the counts say of both is written down here.
#[test]
fn clients_that_leave() {
    isolated(async {
        let settings = "mirror: {maxStreamDuration: 2s}\n";
        let files = [("rules.yaml", &*rules("web", "web", &to_v1("mirror: {host: web, subset: v2}")))];
        let world = web_with(&files, settings).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        const LEAVE: usize = 40;
        world.echo("v1").set_mode(Mode::Hang);
        leave(&world, "GET / HTTP/1.1\r\nhost: web:8000\r\n\r\n", LEAVE, || world.echo("v1").count()).await;
        world.settle().await;
        world.echo("v1").set_mode(Mode::Normal);
        assert_eq!(world.echo("v2").count(), LEAVE);
        assert!(world.send(WEB, &get(), 100).await.all_ok(100));
        let counted = |primaries, copies| {
            let world = &world;
            async move {
                let seen = || async {
                    let observed = &mirrors(world)[0]["observed"];
                    (number(&observed["primaries"]), number(&observed["copies"])) == (primaries, copies)
                };
                world.wait_for(&format!("{primaries} requests and {copies} copies"), seen).await;
                mirrors(world)[0]["observed"].clone()
            }
        };
        // A request whose client has left was not answered: it is none that could have been copied, and its copy is one.
        let observed = counted(100, 140).await;
        assert!(
            observed["lost"].as_object().is_some_and(|all| all.values().all(|n| number(n) == 0)),
            "{observed}"
        );
        let cut = "POST / HTTP/1.1\r\nhost: web:8000\r\ncontent-length: 1000\r\n\r\nhalf";
        let begun = || async {
            let name = "cluster.mirror|8000|v2|web.default.svc.cluster.local.upstream_rq_total";
            world.proxy("client").stat(name).await
        };
        let before = begun().await as usize;
        leave_when(&world, cut, LEAVE, || async { begun().await as usize - before }).await;
        world.settle().await;
        assert!(world.send(WEB, &get(), 100).await.all_ok(100));
        counted(200, 280).await;
    });
}

async fn leave(world: &World, request: &str, n: usize, come: impl Fn() -> usize) {
    leave_when(world, request, n, || std::future::ready(come())).await;
}

/// So many clients say this, and leave when so many have come.
async fn leave_when<F: Future<Output = usize>>(world: &World, request: &str, n: usize, come: impl Fn() -> F) {
    use tokio::io::AsyncWriteExt;
    let mut clients = Vec::new();
    for _ in 0..n {
        let mut client = world.net().connect(address()).await.expect("a connection");
        client.write_all(request.as_bytes()).await.expect("it is sent");
        clients.push(client);
    }
    world.wait_for(&format!("{n} requests to come"), || async { come().await >= n }).await;
}

/// One in ten thousand, of so many that some twenty copies must be there.
#[test]
fn a_hundredth_of_a_percent() {
    const SENT: usize = 200_000;
    if !long() {
        return;
    }
    isolated(async {
        let rule = to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 0.01}");
        let world = web_with(&[("rules.yaml", &rules("web", "web", &rule))], "").await;
        wait_share(&world, "|v2|web", 100).await;
        let mut sent = 0;
        while sent < SENT {
            const PART: usize = 20_000;
            assert!(world.send(WEB, &get(), PART).await.all_ok(PART));
            // 200,000 records would be most of this test's memory.
            world.echo("v1").take();
            sent += PART;
        }
        let copies = world.echo("v2").count();
        assert!(expected(SENT, 0.0001).contains(&copies), "{copies} copies of {SENT} requests");
        let seen = || async {
            let observed = &mirrors(&world)[0]["observed"];
            (number(&observed["primaries"]), number(&observed["copies"])) == (SENT as u64, copies as u64)
        };
        world.wait_for("all to be seen", seen).await;
        measured(&format!("0.01 % of {SENT} requests: {copies} copies"));
    });
}
