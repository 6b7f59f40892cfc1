//! One network namespace for each Pod, with an address of 10.244.0.0/16 that every other Pod reaches.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, ensure};

use super::super::site::HOST;
use crate::net::Net;

/// Counts the Pods; addresses are not used twice.
static NEXT: AtomicU16 = AtomicU16::new(1);

/// What a Pod has of the network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// Its namespace.
    pub(super) net: Net,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// The name of the host's end of its link; none on the host's network.
    pub(super) link: Option<String>,
}

impl Network {
    /// The node's own, for `hostNetwork: true`.
    pub(super) fn of_host() -> Self {
        Self { net: Net::here(), address: HOST, link: None }
    }

    /// A new one. Blocks for some ten milliseconds, since `ip` is run a dozen times.
    pub(super) fn make() -> Result<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        // The links between the Pods and the host are networks of 100.64.0.0/10, which has room for so many.
        ensure!(n < 64 * 256, "this test has used up its addresses");
        let [high, low] = n.to_be_bytes();
        let (ours, theirs) = (Ipv4Addr::new(100, 64 + high, low, 1), Ipv4Addr::new(100, 64 + high, low, 2));
        let address = Ipv4Addr::new(10, 244, high, low);
        let name = format!("p{n}");
        let net = Net::joined(&name, IpAddr::V4(ours), IpAddr::V4(theirs))?;
        let (own, ours, theirs) = (address.to_string(), ours.to_string(), theirs.to_string());
        let route = format!("{own}/32");
        net.ip(&["address", "add", &route, "dev", "lo"])?;
        net.ip(&["route", "add", "default", "via", &ours, "src", &own])?;
        Net::here().ip(&["route", "add", &route, "via", &theirs])?;
        Ok(Self { net, address, link: Some(format!("{name}-near")) })
    }

    /// Cuts it off from everybody, or joins it again.
    pub(super) fn cut(&self, cut: bool) -> Result<()> {
        let Some(link) = &self.link else { return Ok(()) };
        Net::here().ip(&["link", "set", link, if cut { "down" } else { "up" }])?;
        if !cut {
            // Routes go with the link.
            let [_, _, high, low] = [0, 0, self.address.octets()[2], self.address.octets()[3]];
            let via = Ipv4Addr::new(100, 64 + high, low, 2).to_string();
            Net::here().ip(&["route", "replace", &format!("{}/32", self.address), "via", &via])?;
        }
        Ok(())
    }
}
