//! A program that can be killed and started again the same way.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::Process;

/// See the module; while it is down, `running` is `None`.
#[derive(Debug)]
pub(super) struct Restartable {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    running: Option<Process>,
}

impl Restartable {
    /// Starts `program`; the log of every run goes into one file of `folder`.
    pub(super) fn start(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<String>,
        folder: &Path,
    ) -> Result<Self> {
        let mut part = Self::new(name, program, arguments, folder);
        part.start_again()?;
        Ok(part)
    }

    /// As [`Restartable::start`], but it is still to be started.
    pub(super) fn new(name: &'static str, program: PathBuf, arguments: Vec<String>, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name, program, arguments, log, running: None }
    }

    /// Starts it when it does not run.
    pub(super) fn start_again(&mut self) -> Result<()> {
        if self.running.is_none() {
            let mut command = Command::new(&self.program);
            command.args(&self.arguments);
            self.running = Some(Process::start(self.name, command, &self.log)?);
        }
        Ok(())
    }

    /// Kills it (SIGKILL).
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    /// Stops its work (SIGSTOP) or lets it go on (SIGCONT).
    pub(super) fn freeze(&self, frozen: bool) -> Result<()> {
        self.running.as_ref().map_or(Ok(()), |process| process.freeze(frozen))
    }

    /// Fails when it has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.running.as_mut().map_or(Ok(()), Process::check_alive)
    }

    /// The process, for its id and its log, while it runs.
    pub(super) fn process(&self) -> Option<&Process> {
        self.running.as_ref()
    }
}
