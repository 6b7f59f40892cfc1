//! Sidecar.

use umbra_ir::{Code, Severity};

use super::Report;
use super::service_entry::protocol;
use crate::check::egress::{check_egress_host, judge_egress};
use crate::types::sidecar::{CaptureMode, EgressListener, OutboundMode, SidecarSpec};

const LEFT_OUT: &str = "the entry is left out: nothing can be called by it";

pub(super) fn validate(report: &mut Report, spec: &SidecarSpec) {
    let nothing = spec.egress.is_empty()
        && spec.ingress.is_empty()
        && spec.outbound_traffic_policy.is_none()
        && spec.inbound_connection_pool.is_none();
    if nothing {
        let message = "neither egress nor ingress nor outboundTrafficPolicy, Istio refuses it; its proxies can call every visible service";
        report.add_as(Severity::Warning, Code::EmptyBlock, "spec", message);
    }
    if spec.workload_selector.as_ref().is_some_and(|selector| selector.labels.is_empty()) {
        let message = "a selector without labels is for every proxy of the namespace";
        report.add_as(Severity::Warning, Code::EmptyBlock, "spec.workloadSelector", message);
    }
    for (index, (listener, fault)) in spec.egress.iter().zip(judge_egress(spec)).enumerate() {
        let path = format!("spec.egress[{index}]");
        match fault {
            Some((field, problem)) => report.problem(format!("{path}.{field}"), problem, LEFT_OUT),
            None => validate_egress(report, &path, listener),
        }
        validate_hosts(report, &path, listener);
    }
    if !spec.ingress.is_empty() {
        let message = "no proxy of ours stands before the application";
        report.not_acted_on("spec.ingress", message);
    }
    if spec.inbound_connection_pool.is_some() {
        report.not_acted_on("spec.inboundConnectionPool", "no proxy of ours stands before the application");
    }
    if let Some(policy) = &spec.outbound_traffic_policy {
        if policy.mode == OutboundMode::AllowAnyDynamicDns {
            let message = "ALLOW_ANY counts: calls go to the address that they wanted to go to";
            report.not_acted_on("spec.outboundTrafficPolicy.mode", message);
        }
        if policy.egress_proxy.is_some() {
            let message = "the mode alone says where other calls go";
            report.not_acted_on("spec.outboundTrafficPolicy.egressProxy", message);
        }
    }
}

fn validate_egress(report: &mut Report, path: &str, listener: &EgressListener) {
    if let Some(port) = &listener.port {
        protocol(report, &format!("{path}.port.protocol"), &port.protocol);
        if port.target_port != 0 {
            let message = "deprecated and without effect, as in Istio";
            let field = format!("{path}.port.targetPort");
            report.add_as(Severity::Warning, Code::Deprecated, field, message);
        }
    }
    if listener.capture_mode == CaptureMode::Iptables && !listener.bind.is_empty() {
        let message =
            "captured connections are served whatever address they want to go to; bind has no effect";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.bind"), message);
    }
}

fn validate_hosts(report: &mut Report, path: &str, listener: &EgressListener) {
    if listener.hosts.is_empty() {
        let message = "no hosts, Istio refuses it; nothing can be called by this entry";
        report.add(Code::InvalidHost, format!("{path}.hosts"), message);
    }
    for (index, text) in listener.hosts.iter().enumerate() {
        let field = format!("{path}.hosts[{index}]");
        match check_egress_host(text) {
            Err(problem) => report.problem(field, problem, "the host is left out"),
            Ok((_, host)) if host != "*" && !host.contains('.') && !host.contains(':') => {
                let message = format!(
                    "{host} is a short name, Istio refuses it here; only a service or a rule of exactly that name is meant"
                );
                report.add(Code::ShortHost, field, message);
            }
            Ok(_) => {}
        }
    }
}
