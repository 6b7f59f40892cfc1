//! How proxies are sent away (A13): not all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use umbra_proto::type_url;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::service;

use crate::HERE;
use crate::client::{Peer, ask};
use crate::victim::Victim;

/// Enough for a window of the ten seconds that it is given.
const PROXIES: usize = 200;

/// SIGTERM: GOAWAY to all, the newest change to those who are still there, and an end for each in its turn.
#[tokio::test]
async fn streams_end_one_after_the_other() {
    let mut victim = Victim::start(3, 4096, &["--drain", "10s"]).await;
    let xds = victim.ports.xds.local();
    let (ended, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut all = Vec::new();
    for n in 0..PROXIES {
        let peer = Peer::connect(HERE, xds, None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        stream.say(&ask(&format!("proxy-{n}"), type_url::CLUSTER)).await.unwrap();
        let response = stream.response().await.unwrap().unwrap();
        let mut ack = ask("", type_url::CLUSTER);
        (ack.node, ack.response_nonce) = (None, response.nonce);
        stream.say(&ack).await.unwrap();
        let (ended, told) = (ended.clone(), told.clone());
        all.push(tokio::spawn(async move {
            while let Some(response) = stream.response().await.expect("no error, but an end") {
                told.fetch_add(response.resources.len(), Ordering::Relaxed);
            }
            // Whoever goes finds the door shut: nobody comes back to the one who leaves.
            assert!(peer.open().await.is_err(), "GOAWAY came first");
            ended.fetch_add(1, Ordering::Relaxed);
        }));
    }
    victim.signal("TERM");
    let first = wait::until(PATIENCE, || async { (ended.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    assert!(first.is_some());
    victim.write("new.yaml", &service("default", "new", &[("http", 80, 80)]));
    let served = wait::until(PATIENCE, || async { (told.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    assert!(served.is_some(), "the newest change\n{}", victim.process.tail());
    let gone = ended.load(Ordering::Relaxed);
    assert!(gone < PROXIES / 2, "{gone} of {PROXIES} have gone at once");
    for one in all {
        tokio::time::timeout(PATIENCE, one).await.expect("an end").expect("a good one");
    }
    let status = wait::until(PATIENCE, || {
        let status = victim.process.ended().expect("its status");
        async move { status }
    });
    assert!(status.await.is_some_and(|status| status.success()));
}

/// Nobody is waited for where nobody is, or where somebody waits at a terminal.
#[tokio::test]
async fn an_end_is_fast_where_nobody_needs_time() {
    for (signal, proxies) in [("TERM", 0), ("INT", PROXIES)] {
        let mut victim = Victim::start(1, 4096, &["--drain", "10h"]).await;
        let mut all = Vec::new();
        for n in 0..proxies {
            let peer = Peer::connect(HERE, victim.ports.xds.local(), None).await.unwrap();
            let mut stream = peer.open().await.unwrap();
            stream.say(&ask(&format!("proxy-{n}"), type_url::CLUSTER)).await.unwrap();
            assert!(stream.response().await.unwrap().is_some());
            all.push((peer, stream));
        }
        victim.signal(signal);
        let ended = wait::until(PATIENCE, || {
            let status = victim.process.ended().expect("its status");
            async move { status }
        });
        assert!(ended.await.is_some_and(|status| status.success()), "{signal}");
    }
}

/// After its time a proxy makes another connection, which may lead to another replica.
#[tokio::test]
async fn nobody_stays_for_ever() {
    let victim = Victim::start(1, 4096, &["--max-age", "1s"]).await;
    let peer = Peer::connect(HERE, victim.ports.xds.local(), None).await.unwrap();
    let mut stream = peer.open().await.unwrap();
    stream.say(&ask("old", type_url::CLUSTER)).await.unwrap();
    assert!(stream.response().await.unwrap().is_some());
    let end = tokio::time::timeout(PATIENCE, stream.response()).await.expect("an end");
    assert!(end.expect("an end without an error").is_none());
    assert!(tokio::time::timeout(PATIENCE, peer.ended()).await.is_ok(), "the connection too");
    victim.until("umbra_streams_closed_total{reason=\"age\"}", |count| count == 1.0).await;
}
