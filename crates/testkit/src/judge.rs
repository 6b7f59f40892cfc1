//! A real `umbra judge`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::client::{Ask, Client};
use crate::net::Net;
use crate::paths;
use crate::ports::Port;
use crate::process::Process;

/// A judge that may be taken away and comes back to the same place; it is killed on drop.
#[derive(Debug)]
pub struct Judge {
    net: Net,
    log: PathBuf,
    bodies: SocketAddr,
    report: SocketAddr,
    further: Vec<String>,
    /// Held as long as it may come back.
    _ports: Vec<Port>,
    process: Option<Process>,
}

impl Judge {
    /// Starts one on free ports, whose log is in `folder`. Whoever needs it asks until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(net: &Net, folder: &Path) -> Result<Self> {
        Self::start_with(net, folder, &[])
    }

    /// As [`Judge::start`], with further arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(net: &Net, folder: &Path, further: &[&str]) -> Result<Self> {
        let ports = vec![Port::free()?, Port::free()?];
        let at = (ports[0].local(), ports[1].local());
        Self::start_on(net, folder, at, ports, further)
    }

    /// Starts one at these addresses: where Envoys send what is answered, and where umbra asks.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_at(net: &Net, folder: &Path, bodies: SocketAddr, report: SocketAddr) -> Result<Self> {
        Self::start_on(net, folder, (bodies, report), Vec::new(), &[])
    }

    fn start_on(
        net: &Net,
        folder: &Path,
        (bodies, report): (SocketAddr, SocketAddr),
        ports: Vec<Port>,
        further: &[&str],
    ) -> Result<Self> {
        let (net, log) = (net.clone(), folder.join("judge.log"));
        let further = further.iter().map(|it| (*it).to_owned()).collect();
        let mut judge = Self { net, log, bodies, report, further, _ports: ports, process: None };
        judge.again()?;
        Ok(judge)
    }

    /// Starts it anew, where it was.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn again(&mut self) -> Result<()> {
        let mut command = self.net.command(&paths::umbra()?);
        let (bodies, report) = (self.bodies().to_string(), self.report().to_string());
        command.args(["judge", "--listen", &bodies, "--report", &report]).args(&self.further);
        self.process = Some(Process::start("judge", command, &self.log)?);
        Ok(())
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The process, while it runs.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// How many answers have come whole since it was started; 0 while it does not answer.
    pub async fn answers(&self) -> u64 {
        let asked = Client::new(&self.net, self.report()).ask(&Ask::get("judge", "/metrics")).await;
        let text = asked.map(|answer| answer.text()).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("umbra_judge_answers_total "));
        count.and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    /// Where Envoys send what is answered.
    pub fn bodies(&self) -> SocketAddr {
        self.bodies
    }

    /// Where umbra asks what that comes to.
    pub fn report(&self) -> SocketAddr {
        self.report
    }
}
