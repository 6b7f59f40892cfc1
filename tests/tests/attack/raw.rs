//! Floods of HTTP/2 frames that no client makes: resets, CONTINUATION, SETTINGS, PING, headers, data, requests.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use umbra_testkit::gate::measured;
use umbra_testkit::wait::PATIENCE;

use crate::client::{proxy, tcp};
use crate::good::Good;
use crate::memory::{MOST, given_back};
use crate::victim::{Victim, ask};
use crate::{ELSEWHERE, long};

/// Connections of one flood.
const CROWD: usize = 16;
/// Streams of which something is written at once.
const BATCH: u32 = 64;

/// What stands in a frame.
#[derive(Clone, Copy)]
enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    Ping = 6,
    WindowUpdate = 8,
    Continuation = 9,
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, 4.1).
fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind as u8, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// The fields of a call of ADS, without a table of what came before (RFC 7541, 6.2.2), and whatever else.
fn call(more: &[(&str, &str)]) -> Vec<u8> {
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "umbra"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut out = Vec::new();
    for (name, value) in fields.iter().chain(more) {
        out.push(0);
        for text in [name, value] {
            // Seven bits, then seven more each (RFC 7541, 5.1).
            let mut rest = text.len();
            if rest < 127 {
                out.push(rest as u8);
            } else {
                out.push(127);
                rest -= 127;
                while rest >= 128 {
                    out.push(rest as u8 | 128);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
            out.extend(text.bytes());
        }
    }
    out
}

/// What each of the next streams is told, from this one on.
fn each(from: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..BATCH).flat_map(|n| frames(from + 2 * n)).collect()
}

/// What is written next by a flood that has come to this stream.
type Next = fn(u32) -> Vec<u8>;

/// What it is called, what comes before it, and what comes again and again.
fn floods() -> [(&'static str, Next, Next); 11] {
    use Kind::*;
    fn nothing(_: u32) -> Vec<u8> {
        Vec::new()
    }
    fn open(stream: u32) -> Vec<u8> {
        frame(Headers, END_HEADERS, stream, &call(&[]))
    }
    [
        ("SETTINGS", nothing, |from| each(from, |_| frame(Settings, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        ("PING", nothing, |from| each(from, |_| frame(Ping, 0, 0, &[0; 8]))),
        ("PRIORITY", nothing, |from| each(from, |it| frame(Priority, 0, it, &[0, 0, 0, 0, 1]))),
        ("WINDOW_UPDATE", open, |from| each(from, |_| frame(WindowUpdate, 0, 1, &[0, 0, 0, 1]))),
        ("resets", nothing, |from| each(from, |it| [open(it), frame(Reset, 0, it, &[0, 0, 0, 8])].concat())),
        ("resets of what breaks rules", nothing, |from| {
            each(from, |it| [open(it), frame(WindowUpdate, 0, it, &[0; 4])].concat())
        }),
        (
            "CONTINUATION",
            |it| frame(Headers, 0, it, &call(&[])),
            |from| each(from, |_| frame(Continuation, 0, 1, &call(&[("x", "y")])[..4])),
        ),
        (
            "CONTINUATION of nothing",
            |it| frame(Headers, 0, it, &call(&[])),
            |from| each(from, |_| frame(Continuation, 0, 1, &[])),
        ),
        ("headers", nothing, |from| {
            each(from, |it| frame(Headers, END_HEADERS, it, &call(&[("x", &"x".repeat(15_000))])))
        }),
        ("data of one byte", open, |from| each(from, |_| frame(Data, 0, 1, &[0]))),
        ("requests", nothing, |from| {
            each(from, |it| frame(Headers, END_HEADERS | END_STREAM, it, &call(&[])))
        }),
    ]
}

/// The same frames for the streams that come next. Those of the connection and of its first stream stay as they are.
fn go_on(frames: &mut [u8]) {
    let mut rest = frames;
    while let Some((head, more)) = rest.split_first_chunk_mut::<9>() {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
        let (length, stream) = (number(&head[..3]), number(&head[5..]));
        if stream > 1 {
            head[5..].copy_from_slice(&(stream + 2 * BATCH).to_be_bytes());
        }
        rest = &mut more[length as usize..];
    }
}

/// How a connection begins.
fn hello() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(Kind::Settings, 0, 0, &[])].concat()
}

/// Whoever goes on opening streams beyond those that he may have is told to be calm (RFC 9113, 7), and sent away.
#[tokio::test]
async fn who_opens_more_streams_than_he_may_is_sent_away() {
    const MAY: u32 = 100;
    const REFUSED: u32 = 100;
    let victim = Victim::start(1, 4096, &[]).await;
    let mut stream = tcp(ELSEWHERE, victim.ports.xds.local()).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    let open = |nth: u32| frame(Kind::Headers, END_HEADERS, 2 * nth + 1, &call(&[]));
    stream.write_all(&(0..MAY + REFUSED + 1).flat_map(open).collect::<Vec<_>>()).await.unwrap();
    let mut refused = 0;
    let told = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            stream.read_exact(&mut payload).await.unwrap();
            match (head[3], payload.as_slice()) {
                (3, [.., 7]) => refused += 1,
                (7, payload) => return payload[..8].to_vec(),
                _ => {}
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await.expect("a goodbye");
    assert_eq!((refused, told[7]), (REFUSED, 11));
}

/// One connection after the other, each as fast as it is read.
async fn attack(to: SocketAddr, before: Next, again: Next) {
    let begin = [hello(), before(1)].concat();
    let first = again(3);
    loop {
        let once = async {
            let (mut read, mut write) = tcp(ELSEWHERE, to).await?.into_split();
            write.write_all(&begin).await?;
            let writes = async {
                let mut frames = first.clone();
                loop {
                    write.write_all(&frames).await?;
                    go_on(&mut frames);
                }
            };
            let reads = async {
                let mut rest = [0; 65_536];
                while read.read(&mut rest).await? > 0 {}
                Ok(())
            };
            tokio::select! {
                end = writes => end,
                end = reads => end,
            }
        };
        let _: std::io::Result<()> = once.await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connections that write until this is dropped, on a thread of their own: who measures does not wait for who attacks.
struct Torrent {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Torrent {
    fn start(to: SocketAddr, before: Next, again: Next) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stopped.run_until_cancelled(async {
                let crowd: JoinSet<()> = (0..CROWD).map(|_| attack(to, before, again)).collect();
                crowd.join_all().await;
            }));
        };
        Torrent { stop, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Torrent {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Others are served while frames come, and nothing stays of them. A debug build and its attackers on two cores have no room for
/// anybody else, so that `make attack` alone plays it.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_hurt_nobody() {
    if !long::wanted() {
        return;
    }
    let time = Duration::from_secs(5);
    let victim = Victim::start(100, 4096, &[]).await;
    let mut good = Good::new(&victim).await;
    let quiet = victim.resident();
    let (xds, probe) = (victim.ports.xds.local(), victim.ports.probe.local());
    for (title, before, again) in floods() {
        let flood = Torrent::start(xds, before, again);
        let (begun, mut slowest) = (Instant::now(), [Duration::ZERO; 3]);
        while begun.elapsed() < time {
            let start = Instant::now();
            let served = tokio::time::timeout(PATIENCE, proxy(xds, None)).await;
            let served =
                served.unwrap_or_else(|_| panic!("{title}: nobody gets in\n{}", victim.process.tail()));
            assert_eq!(served.unwrap(), 101, "{title}");
            slowest[0] = slowest[0].max(start.elapsed());
            slowest[1] = slowest[1].max(good.update(&victim).await);
            let start = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, ask(probe, "/healthz")).await;
            assert!(answer.is_ok_and(|it| it.is_some()), "{title}: no answer");
            slowest[2] = slowest[2].max(start.elapsed());
        }
        let grown = victim.resident().saturating_sub(quiet);
        let [new, update, probed] = slowest.map(|it| it.as_millis());
        measured(&format!(
            "{title}: a new proxy within {new} ms, a change {update} ms, a probe {probed} ms; {grown} MiB more"
        ));
        assert!(grown <= MOST, "{title}: {grown} MiB more than before");
        drop(flood);
    }
    given_back("frames", &victim, quiet).await;
}
