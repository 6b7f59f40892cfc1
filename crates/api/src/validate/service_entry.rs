//! ServiceEntry.

use std::net::IpAddr;

use super::Report;
use umbra_ir::budget::{ENTRY_ENDPOINTS, ENTRY_PORTS};
use umbra_ir::{Code, Protocol, Severity};

use crate::check::budget::EntryBudget;
use crate::check::check_host;
use crate::check::headers::quote;
use crate::check::socket::check_unix_socket;
use crate::read::path::join;
use crate::types::service_entry::{Resolution, ServiceEntrySpec, WorkloadEntry};

pub(super) fn validate(report: &mut Report, spec: &ServiceEntrySpec) {
    if spec.hosts.is_empty() {
        report.add(Code::InvalidHost, "spec.hosts", "no hosts; the entry has no effect");
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{index}]");
        if host == "*" {
            report.add(
                Code::InvalidHost,
                field,
                "* would be every service there is; the host is left out, write the names that are meant",
            );
        } else {
            report.check(field, check_host(host), "the host is left out");
        }
    }
    budget(report, spec);
    resolution(report, spec);
    report.export_to(&spec.export_to, true);
    ports(report, spec);
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        validate_endpoint(report, &format!("spec.endpoints[{index}]"), endpoint, spec);
    }
    let dns = !matches!(spec.resolution, Resolution::None | Resolution::Static);
    for (index, address) in spec.addresses.iter().enumerate() {
        if dns && address.contains('/') && !address.ends_with("/32") && !address.ends_with("/128") {
            let message = "a block of addresses goes with resolution NONE or STATIC only; it has no effect";
            report.add(Code::ConflictingFields, format!("spec.addresses[{index}]"), message);
        } else if !is_network(address) {
            let message =
                format!("{} is neither an IP address nor a block of them; it has no effect", quote(address));
            report.add(Code::InvalidAddress, format!("spec.addresses[{index}]"), message);
        }
    }
    several_hosts(report, spec);
}

/// An IP address, or one with the length of its prefix.
fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u32>().is_ok_and(|length| length <= most))
}

/// Bytes carry no host, so that nothing tells the hosts of one port apart.
fn several_hosts(report: &mut Report, spec: &ServiceEntrySpec) {
    if spec.hosts.len() < 2 || spec.resolution == Resolution::None {
        return;
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let word = port.protocol.to_ascii_uppercase();
        if matches!(word.as_str(), "TCP" | "MONGO" | "REDIS" | "MYSQL") {
            let message = format!(
                "{word} carries no host: connections to this port are not told apart, and those of all {} hosts go to one of them",
                spec.hosts.len()
            );
            report.add_as(
                Severity::Warning,
                Code::ConflictingFields,
                format!("spec.ports[{index}].protocol"),
                message,
            );
        }
    }
}

/// Each host has all ports, and each port of each host all endpoints.
fn budget(report: &mut Report, spec: &ServiceEntrySpec) {
    let budget = EntryBudget::of(spec);
    let (hosts, ports) = (spec.hosts.len(), spec.ports.len());
    if budget.ports < ports {
        let message =
            format!("{ports} ports, more than {ENTRY_PORTS}; the first {} of them are served", budget.ports);
        report.add(Code::OverBudget, "spec.ports", message);
    }
    if budget.hosts < hosts {
        let message = format!(
            "{hosts} hosts of {} ports are {} clusters, more than the {ENTRY_PORTS} that one object may come to; the first {} hosts are served, the others are left out",
            budget.ports,
            hosts * budget.ports,
            budget.hosts
        );
        report.add(Code::OverBudget, "spec.hosts", message);
    }
    let clusters = budget.hosts * budget.ports;
    for (field, count, what) in [
        ("spec.endpoints", spec.endpoints.len(), "endpoints"),
        ("spec.addresses", spec.addresses.len(), "addresses"),
        ("spec.subjectAltNames", spec.subject_alt_names.len(), "names"),
    ] {
        if count > budget.each {
            let message = format!(
                "{count} {what} for each of {clusters} ports of hosts are {}, more than the {ENTRY_ENDPOINTS} that one object may come to; the first {} are used, the others are left out",
                count * clusters,
                budget.each
            );
            report.add(Code::OverBudget, field, message);
        }
    }
}

fn resolution(report: &mut Report, spec: &ServiceEntrySpec) {
    if let Some(selector) = &spec.workload_selector {
        if !spec.endpoints.is_empty() {
            let message = "has no effect beside workloadSelector";
            report.add(Code::ConflictingFields, "spec.endpoints", message);
        }
        if selector.labels.is_empty() {
            let message = "a selector without labels selects nobody; the hosts have no endpoints";
            report.add(Code::EmptyBlock, "spec.workloadSelector", message);
        }
        if matches!(spec.resolution, Resolution::None | Resolution::DynamicDns) {
            let message = format!("has no effect with resolution {}", spec.resolution.as_str());
            report.add(Code::ConflictingFields, "spec.workloadSelector", message);
        }
    }
    let wildcard = spec.hosts.iter().any(|h| h.starts_with('*'));
    let selected = spec.workload_selector.is_some();
    match spec.resolution {
        Resolution::None => {
            let message = "NONE (also when absent): requests go to the address that was called, which only sidecars with \
                           captured traffic know; others and gateways answer 503, and there are no copies";
            report.add(Code::CapturedOnly, "spec.resolution", message);
            if !spec.endpoints.is_empty() {
                let message = "endpoints go with resolution STATIC or DNS; they have no effect";
                report.add(Code::ConflictingFields, "spec.endpoints", message);
            }
        }
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin if selected => {}
        Resolution::Static if spec.endpoints.is_empty() => {
            let message = "resolution STATIC without endpoints; requests get 503";
            report.add(Code::NoEndpointsWritten, "spec.endpoints", message);
        }
        Resolution::Dns | Resolution::DnsRoundRobin if spec.endpoints.is_empty() && wildcard => {
            let message = "a wildcard cannot be looked up in DNS; write endpoints, or whole names as hosts";
            report.add(Code::InvalidHost, "spec.hosts", message);
        }
        Resolution::DnsRoundRobin if spec.endpoints.len() > 1 => {
            let message = "resolution DNS_ROUND_ROBIN has one endpoint; the first counts";
            report.add(Code::ConflictingFields, "spec.endpoints", message);
        }
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {}
        Resolution::DynamicDns => looked_up(report, spec),
    }
}

/// DYNAMIC_DNS: what its hosts, ports and addresses come to.
fn looked_up(report: &mut Report, spec: &ServiceEntrySpec) {
    let message = "DYNAMIC_DNS: sidecars look up the Host of each request, and in TLS the name that the client asks for; gateways \
                   answer 503, and there are no copies";
    report.add(Code::HostLookedUp, "spec.resolution", message);
    for (index, _) in spec.hosts.iter().enumerate().filter(|(_, host)| !host.starts_with('*')) {
        let message =
            "a host without a wildcard beside DYNAMIC_DNS, Istio refuses it; it is looked up all the same";
        report.add_as(Severity::Warning, Code::InvalidHost, format!("spec.hosts[{index}]"), message);
    }
    for (field, there) in
        [("spec.addresses", !spec.addresses.is_empty()), ("spec.endpoints", !spec.endpoints.is_empty())]
    {
        if there {
            let message = "has no effect with resolution DYNAMIC_DNS: the name says where";
            report.add(Code::ConflictingFields, field, message);
        }
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let named = |protocol: Protocol| protocol.is_http() || is_tls(protocol);
        if Protocol::parse(&port.protocol)
            .is_some_and(|protocol| !named(protocol) && protocol != Protocol::Udp)
        {
            let message = format!(
                "{} names nobody who could be looked up: DYNAMIC_DNS is for HTTP and TLS; the port has no listener",
                port.protocol
            );
            report.add(Code::ConflictingFields, format!("spec.ports[{index}].protocol"), message);
        }
    }
}

fn is_tls(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Tls | Protocol::Https)
}

fn ports(report: &mut Report, spec: &ServiceEntrySpec) {
    let mut numbers = std::collections::HashMap::new();
    let mut names = std::collections::HashMap::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        if report.port(format!("{path}.number"), port.number, "the port is left out")
            && let Some(first) = numbers.insert(port.number, index)
        {
            let message = format!("{} is already spec.ports[{first}]; the first counts", port.number);
            report.add(Code::DuplicateName, format!("{path}.number"), message);
        }
        if port.name.is_empty() {
            let message = "a port without a name, Istio refuses it; it is served all the same";
            report.add(Code::MissingName, format!("{path}.name"), message);
        } else if let Some(first) = names.insert(port.name.as_str(), index) {
            let message =
                format!("{} is already spec.ports[{first}]; endpoints cannot tell the two apart", port.name);
            report.add(Code::DuplicateName, format!("{path}.name"), message);
        }
        if port.target_port != 0 {
            report.port(
                format!("{path}.targetPort"),
                port.target_port,
                "endpoints without a port of their own are left out",
            );
        }
        protocol(report, &format!("{path}.protocol"), &port.protocol);
    }
}

/// Protocols that Istio knows, in upper case.
const PROTOCOLS: &[&str] = &[
    "HTTP",
    "HTTP2",
    "HTTP_PROXY",
    "GRPC",
    "GRPC-WEB",
    "HTTPS",
    "TLS",
    "TCP",
    "UDP",
    "MONGO",
    "REDIS",
    "MYSQL",
];

pub(super) fn protocol(report: &mut Report, field: &str, protocol: &str) {
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol.to_ascii_uppercase().as_str()) {
        let hint = crate::suggest::did_you_mean(protocol, PROTOCOLS);
        let protocol = crate::check::headers::quote(protocol);
        let message = format!("{protocol} is no protocol; it is detected, and the port served as HTTP{hint}");
        report.add(Code::UnknownProtocol, field, message);
    }
}

fn validate_endpoint(report: &mut Report, path: &str, endpoint: &WorkloadEntry, spec: &ServiceEntrySpec) {
    validate_address(report, path, endpoint, Some(spec.resolution == Resolution::Static));
    for (name, number) in &endpoint.ports {
        let field = join(&format!("{path}.ports"), name);
        if !spec.ports.iter().any(|p| p.name == *name) {
            let message = format!("no port of the entry is called {name}; it has no effect");
            report.add(Code::UnknownPort, field, message);
        } else {
            report.port(field, *number, LEFT_OUT);
        }
    }
    unused(report, path, endpoint);
}

/// What is left out is the endpoint.
const LEFT_OUT: &str = "the endpoint is left out";

/// `by_ip`: by resolution STATIC; `None`: whoever selects it says by what.
fn validate_address(report: &mut Report, path: &str, endpoint: &WorkloadEntry, by_ip: Option<bool>) {
    let address = format!("{path}.address");
    if endpoint.address.is_empty() {
        report.add(Code::InvalidAddress, address, format!("an address is missing; {LEFT_OUT}"));
    } else if endpoint.address.starts_with("unix:") {
        let problem = match by_ip {
            Some(false) => Some("only resolution STATIC reaches sockets of the Unix domain".to_owned()),
            Some(true) | None => check_unix_socket(&endpoint.address).err().map(|it| it.message),
        };
        if let Some(problem) = problem {
            report.add(Code::InvalidAddress, address, format!("{problem}; {LEFT_OUT}"));
        }
    } else if by_ip == Some(true) && endpoint.address.parse::<IpAddr>().is_err() {
        let message = format!("resolution STATIC takes IP addresses only; {LEFT_OUT}");
        report.add(Code::InvalidAddress, address, message);
    }
}

/// A WorkloadEntry: what ServiceEntries make of it is theirs to say.
pub(super) fn validate_workload(
    report: &mut Report,
    labels: &std::collections::BTreeMap<String, String>,
    workload: &WorkloadEntry,
) {
    validate_address(report, "spec", workload, None);
    if labels.is_empty() && workload.labels.is_empty() {
        report.add(Code::EmptyBlock, "spec.labels", "no labels: no ServiceEntry can select it");
    }
    for (name, number) in &workload.ports {
        report.port(join("spec.ports", name), *number, LEFT_OUT);
    }
    unused(report, "spec", workload);
}

fn unused(report: &mut Report, path: &str, endpoint: &WorkloadEntry) {
    for (field, value, consequence) in [
        ("network", &endpoint.network, "every endpoint is taken to be reachable directly"),
        ("serviceAccount", &endpoint.service_account, "nobody's identity is verified"),
    ] {
        if !value.is_empty() {
            report.not_acted_on(format!("{path}.{field}"), consequence);
        }
    }
}
