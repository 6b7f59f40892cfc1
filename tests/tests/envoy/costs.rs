//! What counting and judging cost the requests themselves: two worlds side by side, one with and one without, asked in turn. Nothing here
//! judges a time; the figures of a quiet machine stand in docs/performance.md.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use umbra_testkit::client::Client;
use umbra_testkit::gate::{long, measured};
use umbra_testkit::isolate::isolated_in_namespaces;
use umbra_testkit::net::Net;
use umbra_testkit::umbra;
use umbra_testkit::world::World;
use umbra_tests::manifests;

use super::{address, get};

/// Requests a second; `UMBRA_RATE` is another.
const RATE: u64 = 2000;
/// How long one of the two is asked at a time, and how often. Short: whatever else a machine does changes from second to second, and two
/// blocks that stand beside each other share it.
const BLOCK: Duration = Duration::from_secs(1);
const BLOCKS: usize = 80;
/// Connections of the client.
const CONNECTIONS: u32 = 16;

/// A world whose every request is copied once.
struct Side {
    what: &'static str,
    settings: &'static str,
    annotations: &'static str,
    bootstrap: &'static [&'static str],
}

const PLAIN: Side = Side {
    what: "nothing counted",
    settings: "mirror: {observe: false}\n",
    annotations: "{}",
    bootstrap: &["--no-observe"],
};
const COUNTED: Side =
    Side { what: "counted", settings: "mirror: {observe: true}\n", bootstrap: &[], ..PLAIN };
const READY: Side = Side { what: "able to be judged", bootstrap: &["--verdicts"], ..COUNTED };
/// What is wanted is a mean, and each world is asked half of the time: 20 of 2000 a second, while it is.
const JUDGED: Side = Side { what: "20 a second judged", annotations: "{umbra.io/verdicts: \"10\"}", ..READY };

async fn start(side: &Side, nth: u8) -> World {
    let at = |end| IpAddr::V4(Ipv4Addr::new(10, 77, nth, end));
    let net = Net::joined(&format!("side{nth}"), at(1), at(2)).unwrap_or_else(|e| panic!("{e:#}"));
    let mut world = World::in_net(&net);
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &manifests::web());
    let rule = manifests::rules("web", "web", &manifests::to_v1("mirror: {host: web, subset: v2}"));
    let annotated = format!("name: web\n  annotations: {}", side.annotations);
    world.write("rules.yaml", &rule.replacen("name: web", &annotated, 1));
    world.start_umbra_with(side.settings).await;
    let bootstrap = umbra::bootstrap_with("sidecar/default/app=client", world.umbra().xds(), side.bootstrap);
    world.start_envoy("client", &bootstrap.unwrap_or_else(|e| panic!("{e:#}"))).await;
    world.wait_share("client", "|v2|web", 1_000_000).await;
    world
}

/// What one side came to, block by block.
#[derive(Default)]
struct Figures {
    /// Envoy's processor time for a request, in microseconds.
    cpu: Vec<f64>,
    /// Judged requests a second.
    judged: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

fn median<T: Copy + PartialOrd>(mut all: Vec<T>) -> T {
    all.sort_by(|a, b| a.partial_cmp(b).expect("they can be compared"));
    all[all.len() / 2]
}

/// Nanoseconds that a process has run, all of its threads together.
fn ran(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let one = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or_default()
    };
    tasks.flatten().map(one).sum()
}

/// A steady rate for a while, whatever the answers take: a time is from when a request should have begun.
/// With how many requests were judged, each of which is copied to v1 once more: it is asked half of the time only, so that these may be
/// more a second than is wanted in the mean.
async fn block(world: &World, rate: u64) -> (f64, Vec<Duration>, f64) {
    let (begun, before) = (Instant::now(), ran(world.proxy("client").process().id()));
    let mut workers = tokio::task::JoinSet::new();
    let pause = Duration::from_secs(1) * CONNECTIONS / u32::try_from(rate).expect("a rate");
    for worker in 0..CONNECTIONS {
        let mut client = Client::new(world.net(), address());
        workers.spawn(async move {
            let (mut due, mut times) = (begun + pause * worker / CONNECTIONS, Vec::new());
            while due < begun + BLOCK {
                tokio::time::sleep_until(due.into()).await;
                let answer = client.ask(&get()).await.expect("an answer");
                assert_eq!(answer.status, 200);
                times.push(due.elapsed());
                due += pause;
            }
            times
        });
    }
    let mut times: Vec<Duration> = workers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let cpu = (ran(world.proxy("client").process().id()) - before) as f64 / 1e3 / times.len() as f64;
    world.echo("v2").take();
    let judged = world.echo("v1").take().len().saturating_sub(times.len());
    (cpu, times, judged as f64 / BLOCK.as_secs_f64())
}

async fn check(sides: [&Side; 2]) {
    let rate = std::env::var("UMBRA_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(RATE);
    let worlds = [start(sides[0], 1).await, start(sides[1], 2).await];
    let mut figures = [Figures::default(), Figures::default()];
    // One for each that does not count: connections are made, and a share of judged requests is found.
    for nth in 0..BLOCKS + 1 {
        // First one of them and then the other, in turn: whatever else the machine does is shared.
        for side in if nth % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (cpu, times, judged) = block(&worlds[side], rate).await;
            if nth > 0 {
                figures[side].cpu.push(cpu);
                figures[side].judged.push(judged);
                figures[side].p50.push(times[times.len() / 2]);
                figures[side].p99.push(times[times.len() * 99 / 100]);
            }
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // Of the two blocks that stand beside each other.
    let mut more: Vec<f64> =
        figures[1].cpu.iter().zip(&figures[0].cpu).map(|(with, without)| with - without).collect();
    more.sort_by(f64::total_cmp);
    let quartiles = [1, 2, 3].map(|n| format!("{:+.1}", more[more.len() * n / 4]));
    // Between these two the median lies with 95 % (binomial, whatever the distribution): where one is below 0 and one above, no
    // difference was measured.
    let (middle, off) = (BLOCKS as f64 / 2.0, 0.98 * (BLOCKS as f64).sqrt());
    let interval = [middle - off, middle + off].map(|at| format!("{:+.1}", more[at as usize]));
    for (side, figures) in sides.iter().zip(figures) {
        let milliseconds = |all| median::<Duration>(all).as_secs_f64() * 1e3;
        measured(&format!(
            "{rate} requests a second, each copied, {} ({:.0} a second judged): Envoy {:.1} us a request, p50 {:.2} ms, p99 {:.2} ms (medians of {BLOCKS} blocks of {BLOCK:?}; load {})",
            side.what,
            median(figures.judged),
            median(figures.cpu),
            milliseconds(figures.p50),
            milliseconds(figures.p99),
            load.split(' ').next().unwrap_or_default(),
        ));
    }
    measured(&format!(
        "{} against {}: Envoy {} us a request (quartiles of {BLOCKS} pairs), the median between {}",
        sides[1].what,
        sides[0].what,
        quartiles.join(", "),
        interval.join(" and ")
    ));
}

/// What is found between two that are alike is no difference: the others are to be read beside it.
#[test]
fn nothing() {
    if long() {
        isolated_in_namespaces(async { check([&COUNTED, &COUNTED]).await });
    }
}

#[test]
fn counters() {
    if long() {
        isolated_in_namespaces(async { check([&PLAIN, &COUNTED]).await });
    }
}

#[test]
fn filters_that_say_no() {
    if long() {
        isolated_in_namespaces(async { check([&COUNTED, &READY]).await });
    }
}

#[test]
fn verdicts() {
    if long() {
        isolated_in_namespaces(async { check([&COUNTED, &JUDGED]).await });
    }
}
