//! Places for connections (A4): whoever holds them for nothing gives way, and nobody waits for one.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_proto::type_url;
use umbra_testkit::gate::measured;
use umbra_testkit::wait::PATIENCE;

use crate::client::{Peer, ask, proxy, tcp};
use crate::flood::{Flood, Habit};
use crate::victim::Victim;
use crate::{ELSEWHERE, SOON};

/// As many files as leave place for 512 connections of proxies.
const FILES: usize = 1024;
/// More than there is place for.
const CROWD: usize = 700;
/// How a TLS handshake begins.
const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];

/// New proxies on both ports get in while one address floods one of them, and a proxy that is there stays.
async fn check(title: &str, habit: Habit, over_tls: bool) {
    let victim = Victim::start(3, FILES, &[]).await;
    let ports = &victim.ports;
    let old = Peer::connect(crate::HERE, ports.xds.local(), None).await.unwrap();
    let mut stream = old.open().await.unwrap();
    stream.say(&ask("old", type_url::CLUSTER)).await.unwrap();
    assert_eq!(stream.response().await.unwrap().unwrap().resources.len(), 3);
    let flooded = if over_tls { &ports.tls } else { &ports.xds };
    if over_tls && victim.trust.is_none() {
        return;
    }
    let flood = Flood::start(habit, flooded.local(), CROWD).await;
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..5 {
        for (port, tls) in [(&ports.xds, None), (&ports.tls, victim.trust.as_ref())] {
            if tls.is_none() && port.number() == ports.tls.number() {
                continue;
            }
            let start = Instant::now();
            let served = tokio::time::timeout(SOON, proxy(port.local(), tls)).await;
            let served =
                served.unwrap_or_else(|_| panic!("{title}: nobody gets in\n{}", victim.process.tail()));
            assert_eq!(served.unwrap(), 3, "{title}");
            slowest = slowest.max(start.elapsed());
        }
    }
    let (slowest, memory) = (slowest.as_millis(), victim.resident());
    measured(&format!("{title}: a new proxy within {slowest} ms, {memory} MiB resident"));
    let port = if over_tls { "xds-tls" } else { "xds" };
    victim.until(&format!("umbra_connections_gave_way_total{{port=\"{port}\"}}"), |count| count > 0.0).await;
    stream.say(&ask("old", type_url::LISTENER)).await.unwrap();
    assert!(stream.response().await.unwrap().is_some(), "{title}: who is there stays");
    assert_eq!(flood.count(), CROWD);
}

#[tokio::test]
async fn silence_keeps_nobody_out() {
    check("silent connections", Habit::Says(b""), false).await;
}

#[tokio::test]
async fn handshakes_without_end_keep_nobody_out() {
    check("handshakes that do not begin", Habit::Says(b""), true).await;
    check("handshakes without end", Habit::Says(HELLO), true).await;
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    check("idle connections that answer PINGs", Habit::Idles, false).await;
    check("streams that say nothing", Habit::OpensSilently, false).await;
    check("refused streams", Habit::IsRefused, false).await;
}

/// A connection without a stream that was let in is closed after ten seconds, whatever else it does.
#[tokio::test]
async fn patience_has_an_end_for_everybody() {
    let victim = Victim::start(1, 4096, &[]).await;
    let (xds, tls) = (victim.ports.xds.local(), victim.ports.tls.local());
    let said = |bytes: &'static [u8], to| async move {
        let mut stream = tcp(ELSEWHERE, to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    };
    let secured = async {
        if victim.trust.is_some() {
            tokio::join!(said(b"", tls), said(HELLO, tls));
        }
    };
    let idle = async { Peer::connect(ELSEWHERE, xds, None).await.unwrap().ended().await };
    let refused = async {
        let peer = Peer::connect(ELSEWHERE, xds, None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        let mut request = ask("bad", type_url::CLUSTER);
        request.node = None;
        stream.say(&request).await.unwrap();
        while let Ok(Some(_)) = stream.response().await {}
        peer.ended().await;
    };
    let gone = async {
        let peer = Peer::connect(ELSEWHERE, xds, None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        stream.say(&ask("short", type_url::CLUSTER)).await.unwrap();
        stream.response().await.unwrap();
        drop(stream);
        peer.ended().await;
    };
    let all = async { tokio::join!(said(b"", xds), secured, idle, refused, gone) };
    assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "somebody stays for ever");
}
