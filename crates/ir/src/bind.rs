//! Where a listener listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::UNIX_SOCKET;

/// An address of the proxy's machine.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Bind {
    /// With a port of its own.
    Ip(IpAddr),
    /// A socket of the Unix domain: where it is, without what such an address begins with. It has no port.
    Socket(Arc<str>),
}

impl Bind {
    /// All of the machine's addresses.
    pub const ANY: Bind = Bind::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    /// The machine itself.
    pub const LOCALHOST: Bind = Bind::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// Whether it is a socket of the Unix domain.
    pub fn is_socket(&self) -> bool {
        matches!(self, Bind::Socket(_))
    }
}

impl From<IpAddr> for Bind {
    fn from(ip: IpAddr) -> Self {
        Bind::Ip(ip)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Ip(ip) => ip.fmt(f),
            Bind::Socket(path) => write!(f, "{UNIX_SOCKET}{path}"),
        }
    }
}

impl Serialize for Bind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
