//! Where the parts of a cluster are, so that a test can have two side by side in one network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of the node, of all clusters: the Endpoints of the Service `kubernetes` refuse a loopback address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 1);

/// The addresses of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The API server, as Pods reach it.
    pub server: SocketAddr,
    /// The DNS server of umbra and Envoy in Pods: the name of a Service leads to its Pods.
    pub dns: Ipv4Addr,
    /// The DNS server of applications: the name of a Service leads to its cluster IP, which needs a sidecar that captures.
    pub names: Ipv4Addr,
    /// Where its proxies find umbra.
    pub xds: SocketAddr,
    /// umbra's admin interface.
    pub admin: SocketAddr,
    pub(super) etcd: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Site {
    /// The addresses of a test's first (0), second (1) … cluster.
    pub fn nth(n: u8) -> Self {
        let at = |ip: Ipv4Addr, port: u16| SocketAddr::new(IpAddr::V4(ip), port + 10_000 * u16::from(n));
        Self {
            server: at(HOST, 6443),
            dns: Ipv4Addr::new(10, 96, n, 10),
            names: Ipv4Addr::new(10, 96, n, 11),
            xds: at(HOST, 15010),
            admin: at(Ipv4Addr::LOCALHOST, 15014),
            etcd: at(Ipv4Addr::LOCALHOST, 2379),
            peer: at(Ipv4Addr::LOCALHOST, 2380),
        }
    }
}
