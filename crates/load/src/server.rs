//! The server that is measured: a real `umbra serve`, and what the kernel says about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a process has used.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// Time on a core, of all threads that are alive.
    pub cpu: Duration,
    /// Resident bytes now.
    pub rss: u64,
    /// The most resident bytes since the last [`Server::forget_peak`].
    pub peak: u64,
}

/// How to start the server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// The mesh.
    pub folder: PathBuf,
    /// Where its log goes.
    pub log: PathBuf,
    /// The certificate and key of xDS over TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
}

/// A running server; it is killed on drop.
pub struct Server {
    child: Child,
    /// Its xDS port.
    pub xds: SocketAddr,
    admin: SocketAddr,
    /// From the start of the process until it was ready.
    pub ready_after: Duration,
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Server {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; its log says why.
    pub async fn start(launch: &Launch) -> Result<Self> {
        let (xds, admin) = (free_port()?, free_port()?);
        let plain = if launch.tls.is_some() { free_port()? } else { xds };
        let log = File::options().create(true).append(true).open(&launch.log)?;
        let mut command = Command::new(&launch.program);
        command.arg("serve").arg("--dir").arg(&launch.folder);
        command.args(["--xds", &plain.to_string(), "--admin", &admin.to_string()]);
        if let Some((certificate, key)) = &launch.tls {
            command.args(["--xds-tls", &xds.to_string()]).arg("--tls-cert").arg(certificate);
            command.arg("--tls-key").arg(key);
        }
        command.args(&launch.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", launch.program.display()))?;
        let mut server = Self { child, xds, admin, ready_after: Duration::ZERO };
        while server.get("/readyz").await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended: {status}\n{}", launch.program.display(), tail(&launch.log));
            }
            ensure!(start.elapsed() < PATIENCE, "the server is not ready\n{}", tail(&launch.log));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.ready_after = start.elapsed();
        Ok(server)
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<String> {
        self.ask(Request::get(path), String::new()).await
    }

    /// What `POST path` of the admin port answers to JSON.
    ///
    /// # Errors
    /// When it does not answer, or with no success.
    pub async fn post(&self, path: &str, body: String) -> Result<String> {
        self.ask(Request::post(path).header("content-type", "application/json"), body).await
    }

    async fn ask(&self, request: http::request::Builder, body: String) -> Result<String> {
        let io = TokioIo::new(TcpStream::connect(self.admin).await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        let connection = tokio::task::spawn_local(connection);
        let request = request.header("host", "umbra").body(Full::new(Bytes::from(body)))?;
        let path = request.uri().to_string();
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        let text = String::from_utf8_lossy(&body).into_owned();
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(text)
    }

    /// Its metrics by name and labels.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let text = self.get("/metrics").await?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// How many derived values it has computed.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keys(&self) -> Result<u64> {
        let found = self.metrics().await?.get("umbra_keys_recomputed_total").copied();
        Ok(found.context("umbra_keys_recomputed_total is no metric of this server")? as u64)
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn usage(&self) -> Result<Usage> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(process.join("status"))?;
        let kilobytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(process.join("task"))? {
            // A thread may end meanwhile.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let first = text.split_whitespace().next().and_then(|it| it.parse::<u64>().ok());
            nanoseconds += first.context("schedstat has no number")?;
        }
        Ok(Usage {
            cpu: Duration::from_nanos(nanoseconds),
            rss: kilobytes("VmRSS:").context("no VmRSS")? * 1024,
            peak: kilobytes("VmHWM:").context("no VmHWM")? * 1024,
        })
    }

    /// Starts [`Usage::peak`] anew, where the kernel allows it.
    pub fn forget_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
