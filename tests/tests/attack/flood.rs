//! Many connections of one address that come back when they are closed.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use umbra_proto::type_url;

use crate::ELSEWHERE;
use crate::client::{Peer, ask, tcp};

/// What each connection of a flood does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Habit {
    /// Says these bytes and then nothing.
    Says(&'static [u8]),
    /// Speaks HTTP/2, answers PINGs, and opens no stream.
    Idles,
    /// Opens a stream that says nothing.
    OpensSilently,
    /// Opens a stream that is refused, and stays.
    IsRefused,
    /// Asks something over HTTP once a second.
    KeepsAlive(&'static str),
}

/// Connections that go on until this is dropped.
pub(crate) struct Flood(JoinSet<()>);

impl Flood {
    /// So many of them, all there once before this returns.
    pub(crate) async fn start(habit: Habit, to: SocketAddr, count: usize) -> Self {
        let (there, mut all) = tokio::sync::mpsc::channel(count);
        let mut flood = JoinSet::new();
        for _ in 0..count {
            let there = there.clone();
            flood.spawn(async move {
                loop {
                    let _ = habit.live(to, &there).await;
                    // It comes back, but not so fast that it is the machine that gives way.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
        for _ in 0..count {
            all.recv().await.expect("one of the flood");
        }
        Flood(flood)
    }

    /// How many of them there still are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl Habit {
    /// Until the connection ends. Tells when it is there.
    async fn live(self, to: SocketAddr, there: &tokio::sync::mpsc::Sender<()>) -> io::Result<()> {
        let peer = match self {
            Habit::Says(bytes) => {
                let mut stream = tcp(ELSEWHERE, to).await?;
                stream.write_all(bytes).await?;
                let _ = there.try_send(());
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
                return Ok(());
            }
            Habit::KeepsAlive(path) => {
                let mut stream = tcp(ELSEWHERE, to).await?;
                let mut answer = [0; 4096];
                loop {
                    stream
                        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
                        .await?;
                    let _ = there.try_send(());
                    if stream.read(&mut answer).await? == 0 {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            _ => Peer::connect(ELSEWHERE, to, None).await?,
        };
        let _stream = match self {
            Habit::OpensSilently => Some(peer.open().await?),
            Habit::IsRefused => {
                let mut stream = peer.open().await?;
                let mut request = ask("bad", type_url::CLUSTER);
                request.node = None;
                stream.say(&request).await?;
                while stream.response().await?.is_some() {}
                None
            }
            _ => None,
        };
        let _ = there.try_send(());
        tokio::select! {
            () = peer.ended() => Ok(()),
            () = pending() => Ok(()),
        }
    }
}
