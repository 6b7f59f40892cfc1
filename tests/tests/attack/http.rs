//! The ports for kubelets, tools and people (A5, A21).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbra_proto::umbra::v1::WatchProxiesRequest;
use umbra_testkit::gate::measured;

use crate::client::{Peer, framed, tcp};
use crate::flood::{Flood, Habit};
use crate::victim::{Victim, ask};
use crate::{ELSEWHERE, HERE, SOON};

/// What made six probes in a row fail.
const CROWD: usize = 600;

/// Six questions in a row are answered under a flood.
async fn check(title: &str, habit: Habit, to: SocketAddr, path: &str) {
    let flood = Flood::start(habit, to, CROWD).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        let start = Instant::now();
        let answer = tokio::time::timeout(SOON, ask(to, path)).await;
        assert!(answer.is_ok_and(|it| it.is_some()), "{title}: no answer");
        slowest = slowest.max(start.elapsed());
    }
    measured(&format!("{title}: an answer within {} ms", slowest.as_millis()));
    assert_eq!(flood.count(), CROWD);
}

#[tokio::test]
async fn probes_and_gates_are_answered_under_a_flood() {
    let victim = Victim::start(1, 4096, &[]).await;
    let (probe, api) = (victim.ports.probe.local(), victim.ports.api.local());
    check("silent connections to --probe", Habit::Says(b""), probe, "/healthz").await;
    check("half requests to --probe", Habit::Says(b"GET / HTTP/1.1\r\nHost: "), probe, "/healthz").await;
    check("kept-alive connections to --probe", Habit::KeepsAlive("/healthz"), probe, "/readyz").await;
    let gate = "/v1/live/VirtualService/default/web";
    check("silent connections to --api", Habit::Says(b""), api, gate).await;
    check("idle HTTP/2 connections to --api", Habit::Idles, api, gate).await;
    check("kept-alive connections to --api", Habit::KeepsAlive(gate), api, gate).await;
}

/// A watch of proxies, open: its messages, or the trailers that refuse it.
async fn watch(from: std::net::Ipv4Addr, to: SocketAddr) -> (Peer, crate::client::Ads) {
    let peer = Peer::connect(from, to, None).await.unwrap();
    let mut stream = peer.call("/umbra.v1.Umbra/WatchProxies").await.unwrap();
    stream.send(framed(&WatchProxiesRequest::default())).await.unwrap();
    stream.finish();
    (peer, stream)
}

#[tokio::test]
async fn nobody_has_all_watches() {
    let victim = Victim::start(1, 4096, &[]).await;
    let api = victim.ports.api.local();
    let mut open = Vec::new();
    for number in 0..40 {
        let (peer, mut stream) = watch(ELSEWHERE, api).await;
        let first = stream.data().await.unwrap();
        assert_eq!(first.is_some(), number < 8, "watch {number} of one address");
        open.push((peer, stream));
    }
    let (_peer, mut stream) = watch(HERE, api).await;
    assert!(stream.data().await.unwrap().is_some(), "somebody else's watch");
}

/// What the status line of an answer says.
async fn status(to: SocketAddr, host: &str) -> String {
    let mut stream = tcp(HERE, to).await.unwrap();
    let request = format!("GET /debug/objects HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_page_whose_name_leads_here_is_told_nothing() {
    let victim = Victim::start(1, 4096, &[]).await;
    let admin = victim.ports.admin.local();
    for (host, want) in [
        ("127.0.0.1:15014", "200"),
        ("localhost", "200"),
        ("rebound.example", "403"),
        ("localhost.rebound.example:15014", "403"),
    ] {
        assert_eq!(status(admin, host).await, want, "{host}");
    }
}
