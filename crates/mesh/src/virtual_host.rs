//! The names of virtual hosts.

use umbra_ir::{Hostname, PortNumber};

/// `host:port`, an IPv6 host in brackets.
pub(crate) fn virtual_host_name(host: &Hostname, port: PortNumber) -> String {
    if host.as_str().contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
