//! Messages that hold little and many: each part of two bytes comes to hundreds where it is read as written.

use bytes::{BufMut, Bytes, BytesMut};
use umbra_testkit::gate::measured;

use crate::ELSEWHERE;
use crate::client::{Peer, proxy};
use crate::memory::MOST;
use crate::victim::Victim;

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const LINES: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const COUNTS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A framed message of about `len` bytes: empty parts in a field, which is in a field, which is ...
fn of_nothing(path: &[u8], len: usize) -> Bytes {
    let (part, outer) = path.split_last().unwrap();
    let mut all = [part << 3 | 2, 0].repeat(len / 2);
    for field in outer.iter().rev() {
        let mut around = vec![field << 3 | 2];
        prost::encode_length_delimiter(all.len(), &mut around).unwrap();
        around.append(&mut all);
        all = around;
    }
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(all.len()).unwrap());
    out.put_slice(&all);
    out.freeze()
}

/// Says such a message on many streams at once, and waits until each was answered, or has ended. How much it came to at most, in
/// MiB.
async fn check(title: &str, method: &str, path: &[u8], len: usize) -> u64 {
    let victim = Victim::start(3, 4096, &[]).await;
    let quiet = victim.resident();
    let message = of_nothing(path, len);
    let mut all = Vec::new();
    for _ in 0..16 {
        let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
        let mut stream = peer.call(method).await.unwrap();
        let message = message.clone();
        all.push(tokio::spawn(async move {
            if stream.send(message).await.is_ok() {
                stream.finish();
            }
            let _ = stream.data().await;
            drop(peer);
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(proxy(victim.ports.xds.local(), None).await.unwrap(), 3, "{title}");
    let grown = victim.peak().saturating_sub(quiet);
    measured(&format!("{title}: {grown} MiB more at most"));
    grown
}

#[tokio::test]
async fn parts_of_nothing_come_to_little() {
    const MIB: usize = 1 << 20;
    let mut over = Vec::new();
    for (title, method, path, len) in [
        ("points of nothing", COUNTS, &[1, 2, 2, 9, 1][..], 4 * MIB - 64),
        ("metrics of nothing", COUNTS, &[1, 2, 2], 4 * MIB - 64),
        ("lines of nothing", LINES, &[2, 1], MIB - 64),
        ("names of nothing", ADS, &[3], 4 * MIB - 64),
        ("locators of nothing", ADS, &[8], 4 * MIB - 64),
        ("locators of nothing, state of the world", SOTW, &[7], 4 * MIB - 64),
        ("details of nothing", ADS, &[7, 3], 4 * MIB - 64),
        ("extensions of nothing", ADS, &[1, 9], 4 * MIB - 64),
        ("metadata of nothing", ADS, &[1, 3, 1, 2, 6, 1], 4 * MIB - 64),
    ] {
        let grown = check(title, method, path, len).await;
        over.extend((grown > MOST).then_some((title, grown)));
    }
    assert_eq!(over, [], "MiB more than before");
}
