//! How a failure is told: in which words, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// The exit code of wrong usage, an unreadable path included.
pub const USAGE: u8 = 2;

/// The command line cannot be carried out as it is written: exit code [`USAGE`].
#[derive(Debug)]
pub struct WrongUsage(pub String);

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Says that the command line is at fault.
pub(crate) fn usage(error: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(WrongUsage(format!("{error:#}")))
}

/// An error with its causes, each said once: many a library's words have their cause in them already.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.contains(&cause) {
            continue;
        }
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&cause);
    }
    words
}

/// Tells why a verb failed, on standard error, and answers with which exit code.
pub(crate) fn tell(error: &anyhow::Error) -> ExitCode {
    // `umbra dump | head` is no failure.
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if causes.any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("umbra: {}", words(error));
    ExitCode::from(if error.is::<WrongUsage>() { USAGE } else { 1 })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        for (error, want) in [
            (anyhow!("no"), "no"),
            (anyhow!("no").context("--dir"), "--dir: no"),
            (anyhow!("no").context("cannot read: no").context("--dir"), "--dir: cannot read: no"),
        ] {
            assert_eq!(words(&error), want);
        }
    }
}
