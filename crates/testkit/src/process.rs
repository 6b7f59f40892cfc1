//! A program that runs beside a test, writes into a log file, and ends with its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; both of its outputs go to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        // Appending, since Envoy opens /dev/stdout once more for its access log.
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("{}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines that it has written but for access logs, under its name: what a failed test shows.
    pub fn tail(&self) -> String {
        const LINES: usize = 25;
        const LENGTH: usize = 300;
        let log = self.log();
        let lines = log.lines().filter(|line| !line.starts_with("{\"authority\""));
        let lines: Vec<String> = lines.map(|line| line.chars().take(LENGTH).collect()).collect();
        let from = lines.len().saturating_sub(LINES);
        format!(
            "--- {} (pid {}, {})\n{}",
            self.name,
            self.child.id(),
            self.log.display(),
            lines[from..].join("\n")
        )
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails when the program has ended.
    ///
    /// # Errors
    /// With its status and what it wrote last.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it has not ended within `deadline`; it is killed then.
    pub async fn terminate(mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let child = &mut self.child;
        let ended = wait::until(deadline, || std::future::ready(child.try_wait().ok().flatten())).await;
        ended.with_context(|| {
            format!("{} did not end within {deadline:?} of SIGTERM\n{}", self.name, self.tail())
        })
    }

    /// Stops its work (SIGSTOP) or lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.signal(if frozen { Signal::STOP } else { Signal::CONT })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("{} is gone", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
