//! What the demo runs: two echo services, umbra on a copy of the example, a real Envoy.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;
use umbra_testkit::client::{Ask, Tally, send};
use umbra_testkit::echo::Echo;
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::ports::Port;
use umbra_testkit::umbra::{self, UmbraProcess};
use umbra_testkit::wait::{self, PATIENCE};

use super::screen::Screen;

const EXAMPLE: &str = "httpbin-mirror";
const V1: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const V2: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
/// How the demo's own requests are told from those of the person who tries it.
const AGENT: &str = "umbra-demo";
/// The file with the rule, which the steps replace.
const RULE: &str = "virtualservice.yaml";

/// Everything that runs; dropped, all of it ends.
pub(super) struct Stage {
    envoy: EnvoyProcess,
    umbra: UmbraProcess,
    v1: Echo,
    v2: Echo,
    sidecar: SocketAddr,
    host: String,
    shown: (String, String),
    folder: TempDir,
    _ports: Vec<Port>,
}

impl Stage {
    /// Starts everything; with `log` the echo services print an access log.
    pub(super) async fn build(log: bool) -> Result<Self> {
        let binary = paths::envoy().context("no Envoy; run `make tools`, or set UMBRA_ENVOY to a binary")?;
        let folder = tempfile::Builder::new().prefix("umbra-demo-").tempdir()?;
        let net = Net::here();
        let mut ports = Vec::new();
        // The example's own ports, as far as they are free and allowed here.
        let pod_port = own_or_free(80, &[V1, V2], &mut ports)?;
        let service_port = own_or_free(8000, &[Ipv4Addr::LOCALHOST], &mut ports)?;
        for (name, text) in umbra::yaml_files(&paths::example(EXAMPLE).join("mesh"))? {
            let text = text.replace("port: 8000", &format!("port: {service_port}"));
            let text = text.replace("targetPort: 80\n", &format!("targetPort: {pod_port}\n"));
            umbra::write(&folder.path().join("mesh"), &name, &text)?;
        }
        let print = log.then_some(print as fn(&str, &str));
        let v1 = Echo::with_log(&net, "v1", (V1, pod_port).into(), print)?;
        let v2 = Echo::with_log(&net, "v2", (V2, pod_port).into(), print)?;
        let config = paths::example(EXAMPLE).join("umbra.yaml");
        let mesh = folder.path().join("mesh");
        let umbra = UmbraProcess::start(&net, &mesh, Some(&config), folder.path()).await?;
        let bootstrap = umbra::bootstrap("sidecar/default/app=sleep", umbra.xds())?;
        let envoy = EnvoyProcess::start(&net, &binary, folder.path(), "sleep", &bootstrap).await?;
        let ready = wait::until(PATIENCE, || async { envoy.ready().await.then_some(()) }).await;
        ready.with_context(|| format!("Envoy is not ready\n{}", envoy.process().tail()))?;
        let sidecar = (Ipv4Addr::LOCALHOST, service_port).into();
        let (host, shown) = (format!("httpbin:{service_port}"), Default::default());
        Ok(Self { envoy, umbra, v1, v2, sidecar, host, shown, folder, _ports: ports })
    }

    pub(super) fn envoy(&self) -> &EnvoyProcess {
        &self.envoy
    }

    pub(super) fn v1(&self) -> &Echo {
        &self.v1
    }

    pub(super) fn v2(&self) -> &Echo {
        &self.v2
    }

    fn rule(&self) -> PathBuf {
        self.folder.path().join("mesh").join(RULE)
    }

    /// What runs where.
    pub(super) fn describe(&self, screen: &Screen) {
        screen.line(&format!(
            "umbra serves a copy of deploy/examples/{EXAMPLE}/mesh to Envoy {}",
            paths::ENVOY_VERSION
        ));
        screen.line(&format!("httpbin v1 at {}, v2 at {}", self.v1.address(), self.v2.address()));
        screen.line(&format!(
            "a client asks http://{} through its sidecar, Envoy, at {}",
            self.host, self.sidecar
        ));
    }

    /// Writes the rule with a mirror of that percentage and waits until Envoy follows it; how long that took.
    pub(super) async fn mirror(&self, percent: u32) -> Result<Duration> {
        let step = std::fs::read_to_string(paths::example(EXAMPLE).join("steps/mirror.yaml"))?;
        let rule = step.replace("mirrorPercent: 100", &format!("mirrorPercent: {percent}"));
        umbra::write(&self.folder.path().join("mesh"), RULE, &rule)?;
        let start = Instant::now();
        let follows = || async {
            let shares = self.envoy.mirror_shares().await.ok()?;
            let routes = self.envoy.section("RoutesConfigDump").await.ok()?.to_string();
            (shares.values().eq([&(percent * 10_000)]) && routes.contains("mirror|")).then_some(())
        };
        let done = wait::until(PATIENCE, follows).await;
        done.with_context(|| format!("Envoy did not come to mirror {percent} %\n{}", self.logs()))?;
        Ok(start.elapsed())
    }

    /// Sends `n` requests, then waits until all copies have arrived, as far as it can be known: `copies` of them, and
    /// nothing under way (a mirror that hangs never gets there, and has had `copies` of them then).
    pub(super) async fn send(&mut self, n: usize, copies: usize) -> Result<Tally> {
        let ask = Ask::get(&self.host, "/headers").header("user-agent", AGENT);
        let tally = send(&Net::here(), self.sidecar, &ask, n).await;
        let arrived = || async {
            let quiet = self.v2.count() == n || self.envoy.in_flight().await.is_ok_and(|busy| busy == 0);
            (quiet && self.v2.count() >= copies).then_some(())
        };
        // Copies that are missing show in the table.
        let _ = wait::until(Duration::from_secs(30), arrived).await;
        let first = |echo: &Echo| echo.records().first().map(|r| r.host.clone()).unwrap_or_default();
        self.shown = (first(&self.v1), first(&self.v2));
        Ok(tally)
    }

    /// The hosts that the services saw.
    pub(super) fn hosts(&self) -> String {
        format!("Host at v1: {}    Host at v2: {}", self.shown.0, self.shown.1)
    }

    /// The last lines of the logs.
    pub(super) fn logs(&self) -> String {
        format!("{}\n{}", self.umbra.process().tail(), self.envoy.process().tail())
    }

    /// What to try with KEEP=1.
    pub(super) fn invite(&self, screen: &Screen) {
        screen.title("Everything goes on running, with mirrorPercent: 50, until Ctrl-C. Try:");
        screen.line(&format!("curl -H 'Host: {}' http://{}/headers", self.host, self.sidecar));
        screen.line(&format!("change mirrorPercent in {}", self.rule().display()));
        screen.line(&format!(
            "curl http://{}/debug/proxies      what umbra knows of its proxies",
            self.umbra.admin()
        ));
        screen.line(&format!("curl http://{}/metrics", self.umbra.admin()));
        screen.line(&format!("curl http://{}/config_dump        what Envoy was told", self.envoy.admin()));
        screen.line(&format!("logs in {}: umbra.log, sleep.log", self.folder.path().display()));
        screen.line("requests as v1 and v2 see them:");
    }
}

/// Prints an access log line; the demo's own requests, which it says itself, are left out.
fn print(service: &str, line: &str) {
    if !line.contains(AGENT) {
        println!("   [{service}] {line}");
    }
}

/// The port `own` when all of `addresses` can be bound with it, else a free one.
fn own_or_free(own: u16, addresses: &[Ipv4Addr], taken: &mut Vec<Port>) -> Result<u16> {
    if addresses.iter().all(|ip| TcpListener::bind((*ip, own)).is_ok()) {
        return Ok(own);
    }
    let port = Port::free()?;
    let number = port.number();
    taken.push(port);
    Ok(number)
}
