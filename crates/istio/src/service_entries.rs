//! ServiceEntries to service heads and endpoints (istio-semantics "ServiceEntry").

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use umbra_api::check::socket::check_unix_socket;
use umbra_api::{
    EntryBudget, Meta, Object, Objects, ServiceEntry, ServiceEntryPort, ServiceEntrySpec, WorkloadEntry,
};
use umbra_ir::{
    Endpoint, Hostname, Locality, Network, ObjectId, PortNumber, Protocol, RULES_FROM, Resolution,
    ServiceHead, ServiceId, ServicePort, Visibility,
};
use umbra_mesh::{Index, View};

/// The services that a ServiceEntry defines, one for each host.
pub fn resolve_entry_heads(
    view: &(impl View + Objects),
    id: &ObjectId,
    entry: &ServiceEntry,
) -> Vec<Arc<ServiceHead>> {
    let mut seen: HashSet<Hostname> = HashSet::new();
    let common = Common {
        visibility: visibility_of(entry),
        admits: Visibility::listed(
            entry.meta.annotations.get(RULES_FROM).map(String::as_str),
            &entry.meta.namespace,
        ),
        subject_alt_names: served(&entry.spec).subject_alt_names.to_vec().into(),
    };
    let hosts = served(&entry.spec).hosts.iter();
    // `*` would be every service there is, and take every unknown Host.
    let hosts = hosts.filter(|h| *h != "*" && umbra_api::check_host(h).is_ok());
    let hosts = hosts.map(|written| (Hostname::new(written), written));
    hosts
        .filter(|(host, _)| seen.insert(host.clone()))
        .map(|(host, written)| Arc::new(entry_head(view, id, entry, &common, host, written)))
        .collect()
}

/// What all services of an entry have.
struct Common {
    visibility: Visibility,
    admits: Visibility,
    subject_alt_names: Arc<[String]>,
}

/// The parts of an entry that are served: all, unless they multiply beyond its budget.
struct Served<'a> {
    hosts: &'a [String],
    ports: &'a [ServiceEntryPort],
    endpoints: &'a [WorkloadEntry],
    addresses: &'a [String],
    subject_alt_names: &'a [String],
}

fn served(spec: &ServiceEntrySpec) -> Served<'_> {
    fn first<T>(list: &[T], count: usize) -> &[T] {
        &list[..count.min(list.len())]
    }
    let EntryBudget { hosts, ports, each } = EntryBudget::of(spec);
    Served {
        hosts: first(&spec.hosts, hosts),
        ports: first(&spec.ports, ports),
        endpoints: first(&spec.endpoints, each),
        addresses: first(&spec.addresses, each),
        subject_alt_names: first(&spec.subject_alt_names, each),
    }
}

fn entry_head(
    view: &(impl View + Objects),
    id: &ObjectId,
    entry: &ServiceEntry,
    common: &Common,
    host: Hostname,
    spelling: &str,
) -> ServiceHead {
    let spec = &entry.spec;
    let resolution = match spec.resolution {
        umbra_api::Resolution::Static => Resolution::Static,
        umbra_api::Resolution::Dns => Resolution::Dns,
        umbra_api::Resolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        umbra_api::Resolution::None => Resolution::Original(other_ports(entry)),
        umbra_api::Resolution::DynamicDns => Resolution::AsAsked,
    };
    let more = more_entries(view, id, entry, &common.visibility, &host);
    let entries = || {
        let more = more.iter().filter_map(|object| match &**object {
            Object::ServiceEntry(entry) => Some(entry),
            _ => None,
        });
        std::iter::once(entry).chain(more)
    };
    let ports = ServicePort::unique(entries().flat_map(|e| served(&e.spec).ports).map(|p| {
        (i64::from(p.number), p.name.as_str(), Protocol::parse(&p.protocol).unwrap_or(Protocol::Auto))
    }));
    let mut seen: HashSet<Network> = HashSet::new();
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut networks: Vec<Network> = Vec::new();
    // What is looked up by its name is known by its name.
    let by_name = resolution == Resolution::AsAsked;
    let written = entries().flat_map(|e| served(&e.spec).addresses).filter(|_| !by_name);
    let written = written.filter_map(|text| parse_network(text));
    for block in written.filter(|block| seen.insert(*block)) {
        match single(block) {
            Some(one) => addresses.push(one),
            None => networks.push(block),
        }
    }
    ServiceHead {
        id: ServiceId { object: id.clone(), host, also: more.iter().map(|object| object.id()).collect() },
        spelling: spelling.into(),
        created: entry.meta.created_seconds(),
        ports,
        resolution,
        addresses,
        networks,
        subject_alt_names: common.subject_alt_names.clone(),
        is_pod: false,
        external: spec.location == umbra_api::Location::MeshExternal,
        visibility: common.visibility.clone(),
        admits: common.admits.clone(),
    }
}

/// The virtual addresses that a ServiceEntry writes, blocks aside.
pub fn list_addresses(entry: &ServiceEntry) -> impl Iterator<Item = IpAddr> {
    entry.spec.addresses.iter().filter_map(|text| parse_network(text).and_then(single))
}

/// A block of addresses is not one that a request can name, a single one is.
fn single(block: Network) -> Option<IpAddr> {
    (block.prefix == whole(block.address)).then_some(block.address)
}

/// Where requests to a port go to another one of the address that was called.
fn other_ports(entry: &ServiceEntry) -> BTreeMap<PortNumber, PortNumber> {
    let port = |number: u32| PortNumber::new(number.into());
    let ports = entry.spec.ports.iter().filter(|p| p.target_port != p.number);
    ports.filter_map(|p| Some((port(p.number)?, port(p.target_port)?))).collect()
}

/// An address, or a block such as `10.0.0.0/8`.
pub(crate) fn parse_network(text: &str) -> Option<Network> {
    let (address, prefix) = umbra_api::parse_block(text)?;
    let rest = whole(address) - prefix;
    // One block has many spellings, and Envoy takes each block once.
    let address = match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(rest.into()).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(rest.into()).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    };
    Some(Network { address, prefix })
}

/// How many bits an address has.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn visibility_of(entry: &ServiceEntry) -> Visibility {
    Visibility::resolve(entry.spec.export_to.iter().map(String::as_str), &entry.meta.namespace)
}

/// The ServiceEntries that add their ports and endpoints to the host of this one: those of the namespace that define
/// it too and agree on who sees it, how it is found and on their labels (istio `canMergeServices`), oldest first. The
/// oldest of them all is the service; the others have no more of their own.
fn more_entries(
    view: &(impl View + Objects),
    id: &ObjectId,
    entry: &ServiceEntry,
    visibility: &Visibility,
    host: &Hostname,
) -> Vec<Arc<Object>> {
    let age = |meta: &Meta| (meta.created_seconds(), meta.name.clone());
    let agrees = |other: &ServiceEntry| {
        other.spec.resolution == entry.spec.resolution
            && other.spec.workload_selector.is_none()
            && entry.spec.workload_selector.is_none()
            && other.meta.labels == entry.meta.labels
            && (other.spec.export_to == entry.spec.export_to || visibility_of(other) == *visibility)
            && defines(other, host)
    };
    let same_host = view.ids(&Index::EntryHost(host.clone())).into_iter();
    let others = same_host.filter(|other| other != id && other.namespace == id.namespace);
    let mut more: Vec<Arc<Object>> = others
        .filter_map(|other| view.object(&other))
        .filter(|object| matches!(&**object, Object::ServiceEntry(other) if agrees(other)))
        .collect();
    if more.iter().any(|other| age(other.meta()) < age(&entry.meta)) {
        return Vec::new();
    }
    more.sort_by_key(|other| age(other.meta()));
    more
}

/// Whether a host that an entry names is among those that it has in fact.
fn defines(entry: &ServiceEntry, host: &Hostname) -> bool {
    let hosts = served(&entry.spec).hosts;
    hosts.len() == entry.spec.hosts.len() || hosts.iter().any(|h| h.eq_ignore_ascii_case(host.as_str()))
}

/// Whether each host of an entry stands for itself: the name is what is looked up.
pub fn hosts_are_endpoints(entry: &ServiceEntry) -> bool {
    let by_name =
        matches!(entry.spec.resolution, umbra_api::Resolution::Dns | umbra_api::Resolution::DnsRoundRobin);
    by_name && entry.spec.endpoints.is_empty() && entry.spec.workload_selector.is_none()
}

/// The endpoints of one port of a host that a ServiceEntry defines.
pub fn entry_endpoints(entry: &ServiceEntry, host: &Hostname, number: PortNumber) -> Vec<Endpoint> {
    let spec = &entry.spec;
    let Served { ports, endpoints, .. } = served(spec);
    let Some(port) = ports.iter().find(|p| p.number == u32::from(number.get())) else {
        return Vec::new();
    };
    let target = if port.target_port == 0 { port.number } else { port.target_port };
    let dns = match spec.resolution {
        umbra_api::Resolution::Static => false,
        umbra_api::Resolution::Dns | umbra_api::Resolution::DnsRoundRobin => true,
        umbra_api::Resolution::None | umbra_api::Resolution::DynamicDns => return Vec::new(),
    };
    if dns && spec.endpoints.is_empty() {
        // The host itself is what is asked for; a wildcard cannot be.
        if host.is_wildcard() {
            return Vec::new();
        }
        let written = spec.hosts.iter().find(|h| h.eq_ignore_ascii_case(host.as_str()));
        let address = written.map_or_else(|| host.as_str(), String::as_str).trim_end_matches('.');
        let itself = WorkloadEntry { address: address.into(), ..Default::default() };
        return entry_endpoint(&itself, &port.name, target).into_iter().collect();
    }
    let usable = endpoints.iter().filter(|written| is_usable(entry, written));
    usable.filter_map(|e| entry_endpoint(e, &port.name, target)).collect()
}

/// Whether an endpoint can be reached as the entry's resolution says.
pub(crate) fn is_usable(entry: &ServiceEntry, endpoint: &WorkloadEntry) -> bool {
    let by_name = match entry.spec.resolution {
        umbra_api::Resolution::Static => false,
        umbra_api::Resolution::Dns | umbra_api::Resolution::DnsRoundRobin => true,
        umbra_api::Resolution::None | umbra_api::Resolution::DynamicDns => return false,
    };
    let address = endpoint.address.as_str();
    let socket = address.starts_with("unix:");
    match by_name {
        true => !address.is_empty() && !socket,
        false => address.parse::<IpAddr>().is_ok() || (socket && check_unix_socket(address).is_ok()),
    }
}

/// The name of a port of an entry, and the port of endpoints that say none of their own.
pub(crate) fn port_of(entry: &ServiceEntry, number: PortNumber) -> Option<(&str, u32)> {
    let port = entry.spec.ports.iter().find(|p| p.number == u32::from(number.get()))?;
    Some((&port.name, if port.target_port == 0 { port.number } else { port.target_port }))
}

/// Whose endpoints a ServiceEntry takes by labels, and the port there; `None`: it selects nobody.
pub fn entry_selection(entry: &ServiceEntry, number: PortNumber) -> Option<(&BTreeMap<String, String>, u16)> {
    let selector = entry.spec.workload_selector.as_ref()?;
    let (_, target) = port_of(entry, number)?;
    Some((&selector.labels, u16::try_from(target).ok().filter(|p| *p != 0)?))
}

pub(crate) fn entry_endpoint(written: &WorkloadEntry, port_name: &str, target: u32) -> Option<Endpoint> {
    let port = written.ports.get(port_name).copied().filter(|p| *p != 0).unwrap_or(target);
    let locality = if written.locality.is_empty() {
        Locality::from_labels(&written.labels).unwrap_or_default()
    } else {
        Locality::parse(&written.locality)
    };
    let mut labels = written.labels.clone();
    locality.add_labels(&mut labels);
    Some(Endpoint {
        address: written.address.as_str().into(),
        port: u16::try_from(port).ok().filter(|p| *p != 0)?,
        locality,
        weight: written.weight.max(1),
        labels: Arc::new(labels),
        workload: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_blocks() {
        let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
        for (text, want) in [
            ("192.0.2.1", Some(network("192.0.2.1", 32))),
            ("192.0.2.1/32", Some(network("192.0.2.1", 32))),
            ("10.1.2.3/8", Some(network("10.0.0.0", 8))),
            ("10.1.2.3/0", Some(network("0.0.0.0", 0))),
            ("fd00::1", Some(network("fd00::1", 128))),
            ("fd00:1::1/16", Some(network("fd00::", 16))),
            ("fd00::1/0", Some(network("::", 0))),
            ("10.0.0.0/33", None),
            ("10.0.0.0/-1", None),
            ("10.0.0/8", None),
            ("unix:///a", None),
        ] {
            assert_eq!(parse_network(text), want, "{text}");
        }
    }
}
