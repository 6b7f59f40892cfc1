//! A network to live in: this process's own, or a namespace beside it, joined by a pair of virtual links.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::wait::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where sockets are opened and programs are run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Net {
    namespace: Option<Arc<Namespace>>,
}

/// A network namespace, kept alive by a process that sleeps in it.
#[derive(Debug)]
struct Namespace {
    keeper: Child,
    path: PathBuf,
}

impl Net {
    /// The network of this process.
    pub fn here() -> Self {
        Self::default()
    }

    /// A new network, joined to this process's own: `ours` is our end of the link, `theirs` the far end, both in
    /// one /24. Needs a network namespace that we may change (see [`crate::isolate`]).
    ///
    /// # Errors
    /// When the system refuses, with what `ip` said.
    pub fn joined(name: &str, ours: IpAddr, theirs: IpAddr) -> Result<Self> {
        let keeper = Command::new("unshare")
            .args(["-n", "--", "sleep", "3600"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("unshare")?;
        let path = PathBuf::from(format!("/proc/{}/ns/net", keeper.id()));
        let net = Self { namespace: Some(Arc::new(Namespace { keeper, path: path.clone() })) };
        let pid = net.pid().context("the namespace has a keeper")?.to_string();
        wait_for_namespace(&path)?;
        let (near, far) = (format!("{name}-near"), format!("{name}-far"));
        let here = Self::here();
        here.ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &pid])?;
        for (net, link, address) in [(&here, &near, ours), (&net, &far, theirs)] {
            net.ip(&["address", "add", &format!("{address}/24"), "dev", link])?;
            net.ip(&["link", "set", link, "up"])?;
            net.ip(&["link", "set", "lo", "up"])?;
        }
        Ok(net)
    }

    fn pid(&self) -> Option<u32> {
        self.namespace.as_ref().map(|n| n.keeper.id())
    }

    /// Runs `ip` with `args` in this network.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        let out = self.command(Path::new("ip")).args(args).output().context("ip")?;
        ensure!(
            out.status.success(),
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&out.stderr).trim()
        );
        Ok(())
    }

    /// Sets a parameter of this network, such as `net.ipv4.ip_forward`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        self.within(|| std::fs::write(&path, value).with_context(|| format!("{name} = {value}")))
    }

    /// A command that will run `program` in this network.
    pub fn command(&self, program: &Path) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.path.display())).arg("--").arg(program);
                command
            }
        }
    }

    /// A listening TCP socket of this network, for tokio.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(&self, address: SocketAddr) -> Result<tokio::net::TcpListener> {
        let socket = self
            .within(move || TcpListener::bind(address).with_context(|| format!("cannot bind {address}")))?;
        socket.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(socket)?)
    }

    /// A UDP socket of this network, for tokio.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn datagrams(&self, address: SocketAddr) -> Result<tokio::net::UdpSocket> {
        let socket =
            self.within(move || UdpSocket::bind(address).with_context(|| format!("cannot bind {address}")))?;
        socket.set_nonblocking(true)?;
        Ok(tokio::net::UdpSocket::from_std(socket)?)
    }

    /// A TCP connection that starts in this network.
    ///
    /// # Errors
    /// When nobody answers at the address.
    pub async fn connect(&self, address: SocketAddr) -> Result<tokio::net::TcpStream> {
        let stream = match &self.namespace {
            None => tokio::net::TcpStream::connect(address).await?,
            Some(_) => {
                let net = self.clone();
                let connect = move || net.within(move || Ok(std::net::TcpStream::connect(address)?));
                let stream = tokio::task::spawn_blocking(connect).await??;
                stream.set_nonblocking(true)?;
                tokio::net::TcpStream::from_std(stream)?
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Does `work` on a thread of its own that lives in this network. A socket belongs to the network it was made
    /// in, wherever it is used later.
    fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Some(namespace) = &self.namespace else { return work() };
        let file = File::open(&namespace.path)?;
        let inside = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        };
        let done = std::thread::scope(|scope| scope.spawn(inside).join());
        done.unwrap_or_else(|_| bail!("the thread in the namespace panicked"))
    }
}

/// `unshare` needs a moment until its namespace differs from ours.
fn wait_for_namespace(path: &Path) -> Result<()> {
    let ours = std::fs::read_link("/proc/self/ns/net")?;
    let start = Instant::now();
    while std::fs::read_link(path)? == ours {
        ensure!(start.elapsed() < PATIENCE, "unshare -n made no namespace");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
