//! Verdicts on parts of an object, shared by validation (which says what is wrong) and translation (which
//! leaves it out), so that the two cannot disagree.

pub mod budget;
pub mod connection;
pub mod cors;
pub mod egress;
pub mod fault;
pub mod headers;
pub mod matching;
pub mod mirror_policy;
pub mod policy;
pub mod regex;
pub mod rule;
pub mod server;
pub mod socket;

use umbra_ir::{Code, PortNumber, Severity};

use crate::types::http_route::Destination;
use crate::types::scalar::Duration;

/// What is wrong with a value, without the place: the caller knows that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub code: Code,
    /// What is wrong; what happens instead is for the caller to add.
    pub message: String,
}

impl Problem {
    /// As bad as its code says.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Problem { severity: code.facts().severity, code, message: message.into() }
    }

    /// The same, worse or less bad than its code usually is.
    pub fn with_severity(self, severity: Severity) -> Self {
        Problem { severity, ..self }
    }
}

/// A port that is none.
pub(crate) fn bad_port(number: u32) -> Problem {
    Problem::new(Code::InvalidPort, format!("{number} is no port (1 to 65535)"))
}

/// Where a rule or a mirror sends to: a host by name, a port that is one. Whether they exist is not asked.
pub fn check_destination(destination: &Destination) -> Result<(), (&'static str, Problem)> {
    let error = |message: &str| Err(("host", Problem::new(Code::InvalidDestination, message)));
    if destination.host.is_empty() {
        return error("a destination without a host");
    }
    if destination.host == "*" {
        return error("* is no destination");
    }
    match destination.port {
        Some(port) if PortNumber::new(port.number.into()).is_none() => {
            Err(("port.number", bad_port(port.number)))
        }
        _ => Ok(()),
    }
}

/// A host name that a proxy can be told: there, and without line break or NUL. Its syntax is not judged.
pub fn check_host(host: &str) -> Result<(), Problem> {
    if host.is_empty() {
        return Err(Problem::new(Code::InvalidHost, "an empty host name"));
    }
    headers::check_text(host)
}

/// The host before a port, when there is one: Envoy compares hosts without ports, so no request is for such a host.
pub(crate) fn host_before_port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    // More colons are those of an IPv6 address.
    (is_port && !name.is_empty() && !name.contains(':')).then_some(name)
}

/// The share of a mirror, in percent: 0, or from 0.0001 (one millionth) to 100.
pub fn check_percent(percent: f64) -> Result<(), Problem> {
    if umbra_ir::RuntimeFraction::from_percent(percent).is_some() {
        return Ok(());
    }
    let message = if percent > 0.0 && percent < 0.0001 {
        format!("{percent} % is less than one request in a million (0.0001 %), the smallest share there is")
    } else {
        format!("{percent} is no percentage (0 to 100)")
    };
    Err(Problem::new(Code::InvalidPercentage, message))
}

/// A time limit: at least a millisecond, or 0 for none where `zero` is allowed. What fails counts as absent.
pub fn check_duration(duration: Duration, zero: bool) -> Result<(), Problem> {
    let problem = if duration.nanos() < 0 {
        "is negative"
    } else if duration.nanos() == 0 {
        if zero {
            return Ok(());
        }
        "must be more than 0"
    } else if duration.to_std().is_none() {
        "is shorter than a millisecond, the smallest step that there is"
    } else {
        return Ok(());
    };
    Err(Problem::new(Code::InvalidDuration, format!("{duration} {problem}")))
}
