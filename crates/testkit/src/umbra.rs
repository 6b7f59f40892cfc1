//! A real umbra.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::client::{Ask, Client};
use crate::net::Net;
use crate::paths;
use crate::ports::Port;
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// A running `umbra serve --dir`; it is killed on drop.
#[derive(Debug)]
pub struct UmbraProcess {
    process: Process,
    net: Net,
    xds: Port,
    admin: Port,
}

impl UmbraProcess {
    /// Starts umbra on `folder` with free ports, `config` as its `--config` and `logs` for its log, and waits until it is
    /// ready: until the first load of the folder.
    ///
    /// # Errors
    /// When it ends or does not become ready, with what it wrote.
    pub async fn start(net: &Net, folder: &Path, config: Option<&Path>, logs: &Path) -> Result<Self> {
        Self::start_on(net, folder, config, logs, (Port::free()?, Port::free()?)).await
    }

    /// As [`UmbraProcess::start`], on these ports (xDS, admin), so that a successor can take over.
    ///
    /// # Errors
    /// When it ends or does not become ready, with what it wrote.
    pub async fn start_on(
        net: &Net,
        folder: &Path,
        config: Option<&Path>,
        logs: &Path,
        (xds, admin): (Port, Port),
    ) -> Result<Self> {
        let mut command = net.command(&paths::umbra()?);
        command.arg("serve").arg("--dir").arg(folder);
        command.args(["--xds", &xds.local().to_string(), "--admin", &admin.local().to_string()]);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let process = Process::start("umbra", command, &logs.join("umbra.log"))?;
        let mut umbra = Self { process, net: net.clone(), xds, admin };
        let start = std::time::Instant::now();
        loop {
            let ready =
                wait::until(Duration::from_millis(100), || async { umbra.ready().await.then_some(()) }).await;
            umbra.process.check_alive()?;
            if ready.is_some() {
                return Ok(umbra);
            }
            if start.elapsed() > PATIENCE {
                bail!("umbra is not ready after {PATIENCE:?}\n{}", umbra.process.tail());
            }
        }
    }

    /// Where proxies connect.
    pub fn xds(&self) -> SocketAddr {
        self.xds.local()
    }

    /// The admin interface's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin.local()
    }

    /// The process, for its log and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether `/readyz` says so.
    pub async fn ready(&self) -> bool {
        self.get("/readyz").await.is_ok()
    }

    /// The answer of the admin interface to `GET path`.
    ///
    /// # Errors
    /// When it is not a 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let answer = Client::new(&self.net, self.admin()).ask(&Ask::get("localhost", path)).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.get(path).await?)?)
    }

    /// Ends umbra by SIGTERM; its ports stay taken for a successor.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(self, deadline: Duration) -> Result<(ExitStatus, (Port, Port))> {
        let Self { process, xds, admin, .. } = self;
        Ok((process.terminate(deadline).await?, (xds, admin)))
    }
}

/// Runs `umbra` with `args` to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run(args: &[&str]) -> Result<Output> {
    Command::new(paths::umbra()?).args(args).output().context("cannot run umbra")
}

/// The bootstrap that umbra prints for a proxy such as `sidecar/default/app=sleep`.
///
/// # Errors
/// When umbra refuses, with its words.
pub fn bootstrap(proxy: &str, server: SocketAddr) -> Result<String> {
    bootstrap_with(proxy, server, &[])
}

/// As [`bootstrap`], with further arguments.
///
/// # Errors
/// When umbra refuses, with its words.
pub fn bootstrap_with(proxy: &str, server: SocketAddr, further: &[&str]) -> Result<String> {
    let server = server.to_string();
    let out = run(&[&["bootstrap", "--proxy", proxy, "--server", &server], further].concat())?;
    ensure!(out.status.success(), "umbra bootstrap: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?)
}

/// Puts `text` into `folder/name` in one step: no reader sees half of it.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let (path, half) = (folder.join(name), folder.join(format!("{name}.half")));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&half, text)?;
    std::fs::rename(&half, &path)?;
    Ok(())
}

/// The YAML files directly in `folder`, with their texts, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn yaml_files(folder: &Path) -> Result<Vec<(String, String)>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    paths.iter().map(|path| Ok((name(path), std::fs::read_to_string(path)?))).collect()
}
