//! The listeners of a Sidecar: which of them are served.

use std::net::IpAddr;

use umbra_ir::{Code, PortNumber};

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
    let mut ports: Vec<u32> = Vec::new();
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
                Some(port) if ports.contains(&port.number) => {
                    let message = "an entry before it has the same port";
                    return Some(("port.number", Problem::new(Code::DuplicateName, message)));
                }
                Some(port) => ports.push(port.number),
            }
        }
        fault
    });
    judged.collect()
}

fn judge_listener(listener: &EgressListener) -> Option<(&'static str, Problem)> {
    let unserved = |what| Problem::new(Code::NotActedOn, format!("accepted, not acted on yet: {what}"));
    if listener.bind.starts_with("unix:") {
        return Some(("bind", unserved("sockets of the Unix domain")));
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
