//! What shows only after a while. It takes minutes, so that `make attack` alone plays it (`LONG_ATTACKS`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use umbra_proto::type_url;
use umbra_testkit::gate::measured;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::{all, service};

use crate::client::{Peer, ask, ask_as, proxy};
use crate::flood::{Flood, Habit};
use crate::good::Good;
use crate::memory::given_back;
use crate::victim::Victim;
use crate::{ELSEWHERE, HERE};

/// As in `slots.rs`.
const FILES: usize = 1024;
const CROWD: usize = 250;
/// How long the floods go on.
const LONG: Duration = Duration::from_secs(180);

pub(crate) fn wanted() -> bool {
    std::env::var_os("LONG_ATTACKS").is_some()
}

/// Three kinds of floods at once, for minutes: every new proxy gets in, memory does not grow with time, and neither does the log
/// with the floods.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_minutes_keep_nobody_out() {
    if !wanted() {
        return;
    }
    let victim = Victim::start(3, FILES, &[]).await;
    let xds = victim.ports.xds.local();
    let mut floods = Vec::new();
    for habit in [Habit::Idles, Habit::IsRefused, Habit::OpensSilently] {
        floods.push(Flood::start(habit, xds, CROWD).await);
    }
    let (begun, mut slowest, mut count, mut early) = (Instant::now(), Duration::ZERO, 0, None);
    while begun.elapsed() < LONG {
        let start = Instant::now();
        let served = tokio::time::timeout(PATIENCE, proxy(xds, None)).await;
        let served = served.unwrap_or_else(|_| panic!("nobody gets in\n{}", victim.process.tail()));
        assert_eq!(served.expect("clusters"), 3);
        slowest = slowest.max(start.elapsed());
        count += 1;
        if begun.elapsed() > LONG / 3 {
            early.get_or_insert_with(|| victim.resident());
        }
    }
    let (early, late) = (early.unwrap_or_default(), victim.resident());
    let lines = victim.process.log().lines().count() as u64 / LONG.as_secs();
    let slowest = slowest.as_millis();
    measured(&format!(
        "three floods for {LONG:?}: {count} new proxies, the slowest {slowest} ms; {early} MiB, at the end {late} MiB; {lines} log lines a second"
    ));
    assert!(late < early + 32, "memory grows: {early} MiB, {late} MiB");
    // Each proxy that comes and goes has two lines of its own.
    assert!(lines <= 100 + 2 * count / LONG.as_secs(), "{lines} log lines a second");
    assert!(floods.iter().all(|flood| flood.count() == CROWD));
}

/// SIGKILL again and again while proxies connect, ask and answer: whoever comes back is served, and the one that follows is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_under_load_costs_a_reconnect() {
    const TIMES: usize = 30;
    if !wanted() {
        return;
    }
    let mut victim = Victim::start(300, 4096, &[]).await;
    let xds = victim.ports.xds.local();
    let served = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..50)
        .map(|n| {
            let served = served.clone();
            tokio::spawn(async move {
                loop {
                    let once = async {
                        let peer = Peer::connect(HERE, xds, None).await?;
                        let mut stream = peer.open().await?;
                        stream.say(&ask(&format!("load-{n}"), type_url::CLUSTER)).await?;
                        let response = stream.response().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                        assert_eq!(response.resources.len(), 300);
                        served.fetch_add(1, Ordering::Relaxed);
                        std::io::Result::Ok(())
                    };
                    if once.await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..TIMES {
        let before = served.load(Ordering::Relaxed);
        let busy = || async { (served.load(Ordering::Relaxed) > before + 50).then_some(()) };
        assert!(wait::until(PATIENCE, busy).await.is_some(), "{}", victim.process.tail());
        let killed = Instant::now();
        victim = victim.again(4096, &[]).await;
        let back = tokio::time::timeout(PATIENCE, proxy(xds, None)).await.expect("an answer");
        assert_eq!(back.expect("clusters"), 300);
        slowest = slowest.max(killed.elapsed());
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    measured(&format!(
        "{TIMES} times SIGKILL under load: {} answers, back within {} ms",
        served.load(Ordering::Relaxed),
        slowest.as_millis()
    ));
}

/// 1500 proxies at the end of a replica: no second has more than a tenth of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_herd_leaves_in_turn() {
    const PROXIES: usize = 1500;
    if !wanted() {
        return;
    }
    let mut victim = Victim::start(100, 8192, &[]).await;
    let xds = victim.ports.xds.local();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let mut herd = Vec::new();
    for n in 0..PROXIES {
        let peer = Peer::connect(HERE, xds, None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        stream.say(&ask(&format!("proxy-{n}"), type_url::CLUSTER)).await.unwrap();
        assert_eq!(stream.response().await.unwrap().expect("clusters").resources.len(), 100);
        let ends = ends.clone();
        herd.push(tokio::spawn(async move {
            while stream.response().await.expect("no error, but an end").is_some() {}
            ends.lock().unwrap().push(Instant::now());
            drop(peer);
        }));
    }
    let begun = Instant::now();
    victim.signal("TERM");
    for one in herd {
        tokio::time::timeout(PATIENCE, one).await.expect("an end").expect("a good one");
    }
    let ended = wait::until(PATIENCE, || {
        let status = victim.process.ended().expect("its status");
        async move { status }
    });
    assert!(ended.await.is_some_and(|status| status.success()));
    let ends = ends.lock().unwrap();
    let within = |from: &Instant| {
        ends.iter().filter(|it| (*from..*from + Duration::from_secs(1)).contains(*it)).count()
    };
    let most = ends.iter().map(within).max().unwrap_or_default();
    measured(&format!(
        "SIGTERM with {PROXIES} streams: at most {most} ended in a second, all within {:?}",
        begun.elapsed()
    ));
    assert!(most <= PROXIES / 10, "{most} in a second");
}

/// Whoever comes, in namespaces that there are and that there are not: others' changes do not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn newcomers_keep_no_change_waiting() {
    if !wanted() {
        return;
    }
    for real in [false, true] {
        let victim = Victim::start(1000, 4096, &[]).await;
        if real {
            let one = |n: usize| service(&format!("team-{n}"), "own", &[("http", 80, 80)]);
            victim.write("teams.yaml", &all(&(0..100).map(one).collect::<Vec<_>>()));
            victim.until("umbra_objects{kind=\"Service\"}", |count| count == 1100.0).await;
        }
        let mut good = Good::new(&victim).await;
        let (_, usual) = good.updates(&victim, Duration::from_secs(2)).await;
        let quiet = victim.resident();
        let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
        let mut kept = Vec::new();
        for n in 0..100 {
            let mut stream = peer.open().await.unwrap();
            let id = format!("stranger-{n}");
            stream.say(&ask_as(&format!("team-{n}"), "", &id, type_url::ENDPOINT)).await.unwrap();
            kept.push(stream);
        }
        let (count, slowest) = good.updates(&victim, Duration::from_secs(15)).await;
        let grown = victim.resident().saturating_sub(quiet);
        measured(&format!(
            "100 streams of 100 namespaces{}, 1000 services: a change within {} ms ({count} of them; {} ms before), {grown} MiB more",
            if real { "" } else { " that there are not" },
            slowest.as_millis(),
            usual.as_millis()
        ));
        drop((kept, peer));
        victim.until("umbra_proxies{kind=\"sidecar\"}", |count| count == 1.0).await;
        given_back("newcomers", &victim, quiet).await;
    }
}
