//! The listeners of a Sidecar: which of them are served.

use std::net::IpAddr;

use umbra_ir::{Code, PortNumber, Protocol};

use super::socket::check_unix_socket;
use super::{Problem, check_host};
use crate::types::sidecar::{EgressListener, SidecarPort, SidecarSpec};

/// A host of a Sidecar, `namespace/host`.
///
/// # Errors
/// It is none.
pub fn check_egress_host(text: &str) -> Result<(&str, &str), Problem> {
    let parts = text.split_once('/').filter(|(namespace, host)| !namespace.is_empty() && !host.contains('/'));
    let Some((namespace, host)) = parts else {
        return Err(Problem::new(
            Code::InvalidHost,
            "a Sidecar's hosts are NAMESPACE/HOST, where NAMESPACE may be . or *",
        ));
    };
    check_host(host)?;
    Ok((namespace, host))
}

/// Why each entry of `spec.egress` is left out, with the field that is to blame; `None`: it is served.
pub fn judge_egress(spec: &SidecarSpec) -> Vec<Option<(&'static str, Problem)>> {
    let mut ports: Vec<(u32, &str)> = Vec::new();
    let mut all = false;
    let judged = spec.egress.iter().map(|listener| {
        if all {
            let message = "an entry before it has no port and is for all that are left";
            return Some(("port", Problem::new(Code::ConflictingFields, message)));
        }
        let fault = judge_listener(listener);
        if fault.is_none() {
            match &listener.port {
                None => all = true,
                Some(port) => {
                    let place = match socket(listener) {
                        Some(bind) => (0, bind),
                        None => (port.number, ""),
                    };
                    if ports.contains(&place) {
                        let (field, message) = match socket(listener) {
                            Some(_) => ("bind", "an entry before it has the same socket"),
                            None => ("port.number", "an entry before it has the same port"),
                        };
                        return Some((field, Problem::new(Code::DuplicateName, message)));
                    }
                    ports.push(place);
                }
            }
        }
        fault
    });
    judged.collect()
}

fn judge_listener(listener: &EgressListener) -> Option<(&'static str, Problem)> {
    let unserved = |what| Problem::new(Code::NotActedOn, format!("accepted, not acted on yet: {what}"));
    if let Some(bind) = socket(listener) {
        return judge_socket(bind, listener.port.as_ref());
    }
    if !listener.bind.is_empty() && listener.bind.parse::<IpAddr>().is_err() {
        let message = format!("{:?} is no IP address", listener.bind);
        return Some(("bind", Problem::new(Code::InvalidAddress, message)));
    }
    let SidecarPort { number, protocol, .. } = listener.port.as_ref()?;
    if PortNumber::new((*number).into()).is_none() {
        return Some(("port.number", super::bad_port(*number)));
    }
    // A table for the hosts of all ports at once.
    protocol
        .eq_ignore_ascii_case("HTTP_PROXY")
        .then(|| ("port.protocol", unserved("one port for requests to all ports")))
}

/// The socket of the Unix domain that an entry listens at.
fn socket(listener: &EgressListener) -> Option<&str> {
    Some(listener.bind.as_str()).filter(|bind| bind.starts_with("unix:"))
}

/// Requests that come by a socket are for all ports of the entry's services; bytes would be for none of them.
fn judge_socket(bind: &str, port: Option<&SidecarPort>) -> Option<(&'static str, Problem)> {
    if let Err(problem) = check_unix_socket(bind) {
        return Some(("bind", problem));
    }
    let Some(port) = port else {
        let message =
            "a socket is for one entry, which says by `port` that it has the number 0 and what it speaks";
        return Some(("port", Problem::new(Code::ConflictingFields, message)));
    };
    let http = Protocol::parse(&port.protocol)
        .is_none_or(|protocol| protocol.is_http() && protocol != Protocol::HttpProxy);
    (!http).then(|| {
        let message = format!("accepted, not acted on yet: {} at a socket of the Unix domain", port.protocol);
        ("port.protocol", Problem::new(Code::NotActedOn, message))
    })
}
