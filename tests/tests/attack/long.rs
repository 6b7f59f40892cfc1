//! What shows only after a while. It takes minutes, so that `make attack` alone plays it (`LONG_ATTACKS`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbra_proto::type_url;
use umbra_testkit::gate::measured;
use umbra_testkit::wait::{self, PATIENCE};

use crate::HERE;
use crate::client::{Peer, ask, proxy};
use crate::flood::{Flood, Habit};
use crate::victim::Victim;

/// As in `slots.rs`.
const FILES: usize = 1024;
const CROWD: usize = 250;
/// How long the floods go on.
const LONG: Duration = Duration::from_secs(180);

fn wanted() -> bool {
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
