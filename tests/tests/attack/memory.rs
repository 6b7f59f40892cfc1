//! What one address without proof may make umbra keep (A6), and that it is given back.

use bytes::{BufMut, Bytes, BytesMut};
use umbra_proto::type_url;
use umbra_testkit::gate::measured;
use umbra_testkit::wait::{self, PATIENCE};

use crate::ELSEWHERE;
use crate::client::{Peer, ask, proxy};
use crate::victim::Victim;

/// What is promised for one address, in MiB, and as much again for what umbra works with meanwhile in a debug build.
pub(crate) const MOST: u64 = 2 * 64;

/// Whatever came before, memory is as it was.
pub(crate) async fn given_back(title: &str, victim: &Victim, quiet: u64) {
    let back = wait::until(PATIENCE, || async { (victim.resident() < quiet + 48).then_some(()) }).await;
    assert!(back.is_some(), "{title}: {} MiB, {quiet} before", victim.resident());
}

/// Others are served, and no more is kept than is promised.
async fn check(title: &str, victim: &Victim, quiet: u64) {
    assert_eq!(proxy(victim.ports.xds.local(), None).await.unwrap(), 3, "{title}");
    let grown = victim.resident().saturating_sub(quiet);
    measured(&format!("{title}: {grown} MiB more"));
    assert!(grown <= MOST, "{title}: {grown} MiB more than before");
}

#[tokio::test]
async fn made_up_names_are_kept_up_to_a_limit() {
    let victim = Victim::start(3, 4096, &[]).await;
    let quiet = victim.resident();
    let names: Vec<String> = (0..30_000).map(|n| format!("nobody-has-this-{n}")).collect();
    let mut kept = Vec::new();
    for _ in 0..8 {
        let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        for ty in [type_url::ENDPOINT, type_url::ROUTE] {
            let mut request = ask("greedy", ty);
            request.resource_names_subscribe = names.clone();
            if stream.say(&request).await.is_err() {
                break;
            }
        }
        // Taken in, or refused.
        let _ = stream.data().await;
        kept.push((peer, stream));
    }
    victim.until("umbra_streams_closed_total{reason=\"error\"}", |count| count >= 1.0).await;
    check("made-up names", &victim, quiet).await;
    drop(kept);
    given_back("made-up names", &victim, quiet).await;
}

/// A message of which the last byte does not come.
fn half(len: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(len).unwrap());
    out.resize(5 + len - 1, b'x');
    out.freeze()
}

#[tokio::test]
async fn half_messages_take_turns_and_end() {
    let victim = Victim::start(3, 4096, &[]).await;
    let quiet = victim.resident();
    let mut kept = Vec::new();
    for _ in 0..60 {
        let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        stream.say(&ask("half", type_url::CLUSTER)).await.unwrap();
        stream.response().await.unwrap();
        kept.push(tokio::spawn(async move {
            let _ = stream.send(half(3_900_000)).await;
            // Whatever it is told, it stays.
            while let Ok(Some(_)) = stream.data().await {}
            peer.ended().await;
        }));
    }
    victim.until("umbra_streams_closed_total{reason=\"error\"}", |count| count >= 1.0).await;
    check("half messages", &victim, quiet).await;
    kept.iter().for_each(tokio::task::JoinHandle::abort);
    given_back("half messages", &victim, quiet).await;
}

#[tokio::test]
async fn who_takes_a_byte_and_stops_is_ended() {
    let victim = Victim::start(1000, 4096, &[]).await;
    let quiet = victim.resident();
    let mut kept = Vec::new();
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1);
    for _ in 0..5 {
        let peer = Peer::with(ELSEWHERE, victim.ports.xds.local(), None, &settings).await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut stream = peer.open().await.unwrap();
            stream.say(&ask("slow", type_url::CLUSTER)).await.unwrap();
            streams.push(stream);
        }
        kept.push((peer, streams));
    }
    victim.until("umbra_streams_closed_total{reason=\"slow_reader\"}", |count| count >= 5.0).await;
    for (peer, _streams) in kept {
        assert!(tokio::time::timeout(PATIENCE, peer.ended()).await.is_ok());
    }
    victim.until("umbra_proxies{kind=\"sidecar\"}", |count| count == 0.0).await;
    given_back("slow readers", &victim, quiet).await;
}

/// A stream costs little as long as it has said nothing, or little.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_address_cost_little() {
    for (title, said) in [("silent streams", Bytes::new()), ("half messages of 15 KiB", half(15 << 10))] {
        let victim = Victim::start(3, 4096, &[]).await;
        let quiet = victim.resident();
        let mut kept = Vec::new();
        for _ in 0..200 {
            let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
            let mut streams = Vec::new();
            for _ in 0..100 {
                let Ok(mut stream) = peer.open().await else { break };
                if !said.is_empty() && stream.send(said.clone()).await.is_err() {
                    break;
                }
                streams.push(stream);
            }
            kept.push((peer, streams));
        }
        check(title, &victim, quiet).await;
        drop(kept);
        given_back(title, &victim, quiet).await;
    }
}
