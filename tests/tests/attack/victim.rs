//! The umbra that is attacked.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tokio_rustls::TlsConnector;
use umbra_testkit::client::{Answer, Ask, Client};
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::ports::Port;
use umbra_testkit::process::Process;
use umbra_testkit::tls::Authority;
use umbra_testkit::umbra::write;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_tests::manifests::{all, service};

use crate::client::trusting;

/// It is killed on drop.
pub(crate) struct Victim {
    pub(crate) process: Process,
    folder: tempfile::TempDir,
    pub(crate) ports: Ports,
    pub(crate) trust: Option<TlsConnector>,
}

/// Where it listens.
pub(crate) struct Ports {
    pub(crate) xds: Port,
    pub(crate) tls: Port,
    pub(crate) admin: Port,
    pub(crate) probe: Port,
    pub(crate) api: Port,
}

impl Victim {
    /// One with so many Services and so few files that it may have open, and waits until it is ready. TLS where there is `openssl`.
    pub(crate) async fn start(services: usize, files: usize, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mesh: Vec<String> =
            (0..services).map(|n| service("default", &format!("web-{n}"), &[("http", 80, 80)])).collect();
        write(&folder.path().join("mesh"), "all.yaml", &all(&mesh)).expect("manifests");
        let port = || Port::free().expect("a port");
        let ports = Ports { xds: port(), tls: port(), admin: port(), probe: port(), api: port() };
        Self::run(folder, ports, files, more).await
    }

    /// Kills it (SIGKILL), and starts it again in its place.
    pub(crate) async fn again(self, files: usize, more: &[&str]) -> Self {
        let Victim { process, folder, ports, .. } = self;
        drop(process);
        Self::run(folder, ports, files, more).await
    }

    async fn run(folder: tempfile::TempDir, ports: Ports, files: usize, more: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
            .arg(paths::umbra().expect("umbra"));
        command.arg("serve").arg("--dir").arg(folder.path().join("mesh"));
        let addresses = [
            ("--xds", &ports.xds),
            ("--admin", &ports.admin),
            ("--probe", &ports.probe),
            ("--api", &ports.api),
        ];
        for (option, port) in addresses {
            command.args([option, &port.local().to_string()]);
        }
        let trust = tls(folder.path(), &mut command, &ports.tls);
        command.args(more);
        let process = Process::start("umbra", command, &folder.path().join("umbra.log")).expect("umbra");
        let victim = Victim { process, folder, ports, trust };
        let ready = wait::until(PATIENCE, || async { victim.get("/readyz").await }).await;
        assert!(ready.is_some(), "{}", victim.process.tail());
        victim
    }

    /// What the admin interface answers, if that is a 200.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        ask(self.ports.admin.local(), path).await.filter(|it| it.status.is_success()).map(|it| it.text())
    }

    /// The value of a metric, 0 where there is none yet.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let all = self.get("/metrics").await.unwrap_or_default();
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Waits for a condition of a metric.
    pub(crate) async fn until(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let look = || async { holds(self.metric(name).await).then_some(()) };
        let seen = wait::until(PATIENCE, look).await;
        assert!(seen.is_some(), "{name} is {}\n{}", self.metric(name).await, self.process.tail());
    }

    /// Writes a file of the mesh.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.folder.path().join("mesh"), name, text).expect("a file");
    }

    /// Takes a file of the mesh away.
    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("mesh").join(name)).expect("a file");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
    }

    /// The memory that is resident now, in MiB.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that ever was.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, what: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    }
}

/// What a port answers over HTTP, if it does.
pub(crate) async fn ask(to: SocketAddr, path: &str) -> Option<Answer> {
    Client::new(&Net::here(), to).ask(&Ask::get("localhost", path)).await.ok()
}

fn tls(folder: &Path, command: &mut Command, port: &Port) -> Option<TlsConnector> {
    if !umbra_testkit::gate::require_openssl() {
        return None;
    }
    let authority = Authority::make(folder, "ca").expect("an authority");
    let issued = authority.issue("umbra", "DNS:umbra").expect("a certificate");
    command.args(["--xds-tls", &port.local().to_string()]);
    command.arg("--tls-cert").arg(issued.certificate).arg("--tls-key").arg(issued.key);
    Some(trusting(&authority))
}
