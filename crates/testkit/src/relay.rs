//! A relay of TCP connections that treats them as a bad network, or a bad server, would.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::net::Net;
use crate::ports::Port;

/// What it does with connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Passes everything on.
    Passes,
    /// Passes it on at so many bytes a second, in both directions.
    Trickles(usize),
    /// Takes connections and neither reads nor writes.
    Hangs,
    /// Ends every connection as soon as it is there.
    Closes,
    /// Leads to somebody else, who knows nothing of what is asked.
    LeadsTo(SocketAddr),
    /// Does not listen, as if nobody were there.
    Gone,
    /// Drops every packet, of connections that are there too. Needs `nft`, and a network of our own.
    BlackHole,
}

/// How often a trickle drips.
const DRIP: Duration = Duration::from_millis(50);

/// A running relay; it ends on drop.
#[derive(Debug)]
pub struct Relay {
    net: Net,
    port: Port,
    manner: watch::Sender<Manner>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// A relay to `target`, which passes everything on.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start(net: &Net, target: SocketAddr) -> Result<Self> {
        let port = Port::free()?;
        let (manner, seen) = watch::channel(Manner::Passes);
        let serving = tokio::spawn(serve(net.clone(), port.local(), target, seen));
        Ok(Self { net: net.clone(), port, manner, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.local()
    }

    /// Does so from now on. Connections that are there stay, but when it closes, leads elsewhere or is gone, or did before.
    ///
    /// # Errors
    /// When `nft` refuses, with its words.
    pub fn treat(&self, manner: Manner) -> Result<()> {
        let before = self.manner.send_replace(manner);
        match (before == Manner::BlackHole, manner == Manner::BlackHole) {
            (false, true) => {
                let port = self.port.number();
                self.nft(&format!(
                    "table inet hole {{ chain out {{ type filter hook output priority 0; tcp dport {port} drop; tcp sport {port} drop; }}; }}"
                ))
            }
            (true, false) => self.nft("delete table inet hole"),
            _ => Ok(()),
        }
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let out = self.net.command(Path::new("nft")).arg(rules).output().context("nft")?;
        ensure!(out.status.success(), "nft: {}", String::from_utf8_lossy(&out.stderr).trim());
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Whether `nft` is installed.
pub fn has_nft() -> bool {
    Command::new("nft").arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Where connections of a manner lead; `None`: nowhere, and those that are there end.
fn end(manner: Manner, target: SocketAddr) -> Option<SocketAddr> {
    match manner {
        Manner::Passes | Manner::Trickles(_) | Manner::Hangs | Manner::BlackHole => Some(target),
        Manner::LeadsTo(other) => Some(other),
        Manner::Closes | Manner::Gone => None,
    }
}

async fn serve(net: Net, address: SocketAddr, target: SocketAddr, mut seen: watch::Receiver<Manner>) {
    let mut listener: Option<TcpListener> = None;
    let (mut connections, mut leads) = (JoinSet::new(), Some(target));
    loop {
        let manner = *seen.borrow_and_update();
        if end(manner, target) != leads {
            leads = end(manner, target);
            connections = JoinSet::new();
        }
        if manner == Manner::Gone {
            listener = None;
        } else if listener.is_none() {
            // What is still closing may hold the port for a moment.
            listener = net.listen(address).ok();
        }
        let Some(open) = &listener else {
            let again = tokio::time::sleep(DRIP);
            tokio::select! { _ = seen.changed() => {}, () = again => {} }
            continue;
        };
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            accepted = open.accept() => {
                if let (Ok((client, _)), Some(leads)) = (accepted, leads) {
                    connections.spawn(relay(net.clone(), client, leads, seen.clone()));
                }
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(net: Net, client: TcpStream, target: SocketAddr, seen: watch::Receiver<Manner>) {
    let _ = client.set_nodelay(true);
    let Ok(server) = net.connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // When one side ends, the other one has nobody to talk to.
    tokio::select! {
        () = pump(from_client, to_server, seen.clone()) => {}
        () = pump(from_server, to_client, seen) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut seen: watch::Receiver<Manner>) {
    let mut buffer = [0; 16 << 10];
    loop {
        let manner = *seen.borrow_and_update();
        let room = match manner {
            Manner::Hangs => match seen.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Manner::Trickles(rate) => (rate * DRIP.as_millis() as usize / 1000).clamp(1, buffer.len()),
            _ => buffer.len(),
        };
        let read = tokio::select! {
            _ = seen.changed() => continue,
            read = from.read(&mut buffer[..room]) => read,
        };
        let Ok(n) = read else { return };
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        if matches!(manner, Manner::Trickles(_)) {
            tokio::time::sleep(DRIP).await;
        }
    }
}
