//! Which calls of a Pod are led to its sidecar: one list of rules, two ways to write it.
//!
//! Outbound alone: the copies of a mirror are made where the call begins. What enters a Pod goes to the application as
//! if there were no sidecar, so that probes need no change.

mod iptables;
mod nft;
mod values;

use std::collections::BTreeMap;
use std::fmt;

pub use iptables::{JUMP, render_iptables};
pub use nft::render_nft;
pub use values::{Cidr, Interface, Ranges};

use crate::words;

/// The port of Envoy's listener for everything that is captured (`virtualOutbound`), as in Istio.
pub const OUTBOUND_PORT: u16 = 15001;
/// The user and the group that the sidecar runs as, whose calls are never captured: they would come back for ever.
pub const SIDECAR_ID: u32 = 1337;

/// The word of Istio's nodes for how calls reach a sidecar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interception {
    /// They are captured by the rules of this module.
    #[default]
    Redirect,
    /// The application calls the sidecar's own listeners on 127.0.0.1. Needs no rights.
    None,
}

impl Interception {
    /// As nodes and annotations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Interception::Redirect => "REDIRECT",
            Interception::None => "NONE",
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Neither of the two, in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "REDIRECT" => Ok(Interception::Redirect),
            "NONE" => Ok(Interception::None),
            other => Err(format!("{other:?} is no mode that umbra has: REDIRECT or NONE")),
        }
    }
}

/// What is captured. Where a call meets several of these, the earlier in the order of [`Capture::rules`] decides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capture {
    /// How calls reach the sidecar at all.
    pub mode: Interception,
    /// Addresses that are captured.
    pub include_ranges: Ranges,
    /// Addresses that are not.
    pub exclude_ranges: Vec<Cidr>,
    /// Ports that are captured at addresses that are not included.
    pub include_ports: Vec<u16>,
    /// Ports that are not captured anywhere.
    pub exclude_ports: Vec<u16>,
    /// Interfaces by which calls leave uncaptured.
    pub exclude_interfaces: Vec<Interface>,
}

/// An annotation with a value that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct BadValue {
    /// Which.
    pub name: String,
    /// What is wrong with its value.
    pub why: String,
}

impl Capture {
    /// What a Pod's annotations say, and `self` where they say nothing.
    ///
    /// # Errors
    /// All values that cannot be, not the first alone.
    pub fn annotated(mut self, annotations: &BTreeMap<String, String>) -> Result<Self, Vec<BadValue>> {
        let mut bad = Vec::new();
        for (name, value) in annotations {
            let taken = match name.as_str() {
                words::INTERCEPTION_MODE => Interception::parse(value).map(|mode| self.mode = mode),
                words::INCLUDE_IP_RANGES => Ranges::parse(value).map(|ranges| self.include_ranges = ranges),
                words::EXCLUDE_IP_RANGES => values::cidrs(value).map(|list| self.exclude_ranges = list),
                words::INCLUDE_PORTS => values::ports(value).map(|list| self.include_ports = list),
                words::EXCLUDE_PORTS => values::ports(value).map(|list| self.exclude_ports = list),
                words::EXCLUDE_INTERFACES => {
                    values::interfaces(value).map(|list| self.exclude_interfaces = list)
                }
                _ => Ok(()),
            };
            if let Err(why) = taken {
                bad.push(BadValue { name: name.clone(), why });
            }
        }
        if bad.is_empty() { Ok(self) } else { Err(bad) }
    }

    /// The rules, in order: the first that meets a call decides. Of TCP alone, and of both families of addresses.
    /// None for [`Interception::None`].
    pub fn rules(&self) -> Vec<Rule> {
        if self.mode == Interception::None {
            return Vec::new();
        }
        let pass = |meets: Meets| Rule { meets: Some(meets), verdict: Verdict::Return };
        let take = |meets: Option<Meets>| Rule { meets, verdict: Verdict::Redirect(OUTBOUND_PORT) };
        let mut rules = Vec::new();
        rules.extend(self.exclude_interfaces.iter().map(|it| pass(Meets::Interface(it.clone()))));
        // A Pod's calls to itself, by whatever address of its own, are its own affair.
        rules.push(pass(Meets::Loopback));
        rules.push(pass(Meets::User(SIDECAR_ID)));
        rules.push(pass(Meets::Group(SIDECAR_ID)));
        rules.extend(self.exclude_ports.iter().map(|port| pass(Meets::Port(*port))));
        rules.extend(self.exclude_ranges.iter().map(|range| pass(Meets::To(*range))));
        match &self.include_ranges {
            Ranges::All => rules.push(take(None)),
            Ranges::Of(ranges) => {
                rules.extend(self.include_ports.iter().map(|port| take(Some(Meets::Port(*port)))));
                rules.extend(ranges.iter().map(|range| take(Some(Meets::To(*range)))));
            }
        }
        rules
    }
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Which calls; `None`: all.
    pub meets: Option<Meets>,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// Which calls a rule meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meets {
    /// That leave by this interface.
    Interface(Interface),
    /// That stay on this machine.
    Loopback,
    /// Of processes of this user.
    User(u32),
    /// Of processes of this group.
    Group(u32),
    /// To this port.
    Port(u16),
    /// To these addresses.
    To(Cidr),
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes where it wants.
    Return,
    /// It goes to this port of this machine.
    Redirect(u16),
}

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests;
