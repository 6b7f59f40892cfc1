//! `tls` and `tcp` rules of a VirtualService: what of them can be served.

use std::collections::HashSet;
use std::net::IpAddr;

use umbra_ir::{Code, Hostname};

use super::{Problem, bad_port, check_destination, check_host};
use crate::types::virtual_service::{L4Match, RouteDestination, TlsMatch};

/// What is wrong with a part, and the field below that part.
pub type Fault = (String, Problem);

/// The hosts of a VirtualService, to find which server names are theirs: names and hosts are many at a time.
#[derive(Debug)]
pub struct OwnHosts {
    exact: HashSet<Hostname>,
    /// What stands behind the `*` of those that begin with one.
    below: HashSet<String>,
}

impl OwnHosts {
    /// Those that are written.
    pub fn new(hosts: &[String]) -> Self {
        let (mut exact, mut below) = (HashSet::new(), HashSet::new());
        for host in hosts.iter().map(|host| Hostname::new(host)) {
            match host.as_str().strip_prefix('*') {
                Some(rest) => drop(below.insert(rest.to_owned())),
                None => drop(exact.insert(host)),
            }
        }
        OwnHosts { exact, below }
    }

    /// Whether one of them covers all that `name` does ([`Hostname::subset_of`]).
    pub fn hold(&self, name: &Hostname) -> bool {
        let text = name.as_str();
        let text = text.strip_prefix('*').unwrap_or(text);
        let ends = || text.char_indices().map(|(at, _)| &text[at..]).chain([""]);
        !name.is_wildcard() && self.exact.contains(name)
            || !self.below.is_empty() && ends().any(|end| self.below.contains(end))
    }
}

/// An address or a block of addresses, such as `10.0.0.0/8`: the address and how many bits count.
pub fn parse_block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(whole);
    (prefix <= whole).then_some((address, prefix))
}

fn check_place(port: u32, subnets: &[String]) -> Result<(), Fault> {
    if port > 65535 {
        return Err(("port".to_owned(), bad_port(port)));
    }
    for (index, subnet) in subnets.iter().enumerate() {
        if parse_block(subnet).is_none() {
            let message = format!("{subnet:?} is neither an address nor a block of addresses");
            let problem = Problem::new(Code::InvalidMatch, message);
            return Err((format!("destinationSubnets[{index}]"), problem));
        }
    }
    Ok(())
}

/// Whether one match of a `tcp` rule can be served.
///
/// # Errors
/// The first reason why not; leaving a condition out would widen the match.
pub fn check_tcp_match(written: &L4Match) -> Result<(), Fault> {
    check_place(written.port, &written.destination_subnets)?;
    if !written.source_subnet.is_empty() {
        let message = "accepted, not acted on yet: matches by the address of the client";
        return Err(("sourceSubnet".to_owned(), Problem::new(Code::NotActedOn, message)));
    }
    Ok(())
}

/// Whether one match of a `tls` rule in a VirtualService for `hosts` can be served; its names are judged one by one.
///
/// # Errors
/// As [`check_tcp_match`].
pub fn check_tls_match(written: &TlsMatch, hosts: &OwnHosts) -> Result<(), Fault> {
    check_place(written.port, &written.destination_subnets)?;
    if written.sni_hosts.is_empty() {
        let message = "a match without sniHosts";
        return Err(("sniHosts".to_owned(), Problem::new(Code::InvalidMatch, message)));
    }
    let usable = |name: &String| check_server_name(name, hosts).is_ok();
    if !written.sni_hosts.iter().any(usable) {
        let message = "none of the names can be served";
        return Err(("sniHosts".to_owned(), Problem::new(Code::InvalidMatch, message)));
    }
    Ok(())
}

/// Whether a server name of a `tls` rule can be served: one of the VirtualService's hosts, or below one.
///
/// # Errors
/// Why not.
pub fn check_server_name(name: &str, hosts: &OwnHosts) -> Result<(), Problem> {
    check_host(name)?;
    if name.starts_with('*') && name != "*" && !name.starts_with("*.") {
        let message =
            format!("{name:?} begins in the middle of a label, which Envoy takes for no server name");
        return Err(Problem::new(Code::InvalidHost, message));
    }
    if hosts.hold(&Hostname::new(name)) {
        return Ok(());
    }
    let message = format!("{name:?} is none of the VirtualService's hosts, nor below one");
    Err(Problem::new(Code::InvalidHost, message))
}

/// Whether the destinations of a `tls` or `tcp` rule can be served.
///
/// # Errors
/// Why none can.
pub fn check_connection_route(route: &[RouteDestination]) -> Result<(), Fault> {
    if route.is_empty() {
        return Err(("route".to_owned(), Problem::new(Code::NoAction, "a rule without a route")));
    }
    if route.len() > 1 && route.iter().all(|it| it.weight.unwrap_or(0) <= 0) {
        return Err(("route".to_owned(), Problem::new(Code::NoWeight, "the weights add up to 0")));
    }
    Ok(())
}

/// Whether one destination can be looked up.
///
/// # Errors
/// Why not; connections for it end.
pub fn check_connection_destination(written: &RouteDestination) -> Result<(), Fault> {
    let Some(destination) = &written.destination else {
        let problem = Problem::new(Code::InvalidDestination, "a destination is missing");
        return Err(("destination".to_owned(), problem));
    };
    check_destination(destination).map_err(|(field, problem)| (format!("destination.{field}"), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_of_hosts() {
        let all =
            ["a.com", "*.a.com", "b.com", "*.B.com", "x.b.com", "*b.com", "*", "", "**", "*.", "com", "c.d"];
        for host in all {
            for name in all {
                let (own, name) = (OwnHosts::new(&[host.to_owned()]), Hostname::new(name));
                assert_eq!(own.hold(&name), name.subset_of(&Hostname::new(host)), "{name} of {host}");
            }
        }
    }
}
