//! VirtualService: hosts, gateways, kinds of rules.

use umbra_ir::budget::MIRRORS;
use umbra_ir::{Code, Hostname};

use super::{Report, connection, http_route, unreachable};
use crate::check::budget::{kept_mirrors, written_mirrors};
use crate::check::check_host;
use crate::types::http_route::HttpRoute;
use crate::types::virtual_service::VirtualServiceSpec;

pub(super) fn validate(report: &mut Report, spec: &VirtualServiceSpec) {
    if spec.hosts.is_empty() {
        delegate(report, spec);
    }
    hosts(report, spec);
    gateways(report, spec);
    report.export_to(&spec.export_to, false);
    if !spec.hosts.is_empty() {
        connection::validate(report, spec);
    }
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        report.add(Code::NoRules, "spec", "no rules at all; the object has no effect");
    }
    // Before what there may be a thousand of: what is left out must not be.
    mirrors(report, &spec.http);
    for (index, rule) in spec.http.iter().enumerate() {
        http_route::validate(report, index, rule, spec.hosts.is_empty());
    }
    unreachable::validate(report, &spec.http);
}

/// Each match of a rule has all of its mirrors.
fn mirrors(report: &mut Report, rules: &[HttpRoute]) {
    for ((index, rule), kept) in rules.iter().enumerate().zip(kept_mirrors(rules)) {
        let written = written_mirrors(rule);
        if kept < written {
            let message = format!(
                "the mirrors of all routes of this object are more than {MIRRORS}, the most that one object may have: of this rule's {written} mirrors for {} routes the first {kept} are served, the others copy nothing",
                rule.matches.len().max(1)
            );
            report.add(Code::OverBudget, format!("spec.http[{index}].mirrors"), message);
        }
    }
}

/// A VirtualService without hosts is a delegate: only other VirtualServices give its rules an effect, and only such as have
/// hosts.
fn delegate(report: &mut Report, spec: &VirtualServiceSpec) {
    for (field, present) in [
        ("gateways", !spec.gateways.is_empty()),
        ("tls", !spec.tls.is_empty()),
        ("tcp", !spec.tcp.is_empty()),
    ] {
        if present {
            let message = "a delegate (no hosts) may not have it; it has no effect".to_owned();
            report.add(Code::ConflictingFields, format!("spec.{field}"), message);
        }
    }
    for (index, _) in spec.http.iter().enumerate().filter(|(_, rule)| rule.delegate.is_some()) {
        let message =
            "a delegate (no hosts) cannot delegate: one level is all there is; the rule is left out";
        report.add(Code::NestedDelegate, format!("spec.http[{index}].delegate"), message);
    }
}

fn hosts(report: &mut Report, spec: &VirtualServiceSpec) {
    let mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == "mesh");
    let mut seen: Vec<Hostname> = Vec::new();
    for (index, text) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{index}]");
        if let Err(problem) = check_host(text) {
            report.problem(field, problem, "the host is left out");
            continue;
        }
        report.host_with_port(&field, text);
        if text == "*" && mesh {
            let message = "* for the whole mesh, Istio refuses it; the rules apply to every service that no more specific host names";
            report.add(Code::WildcardInMesh, field.as_str(), message);
        }
        let host = Hostname::new(text);
        // Every host overlaps with *; a long list of wildcards is compared in full, so bound it.
        if seen.contains(&host) {
            let message = format!("{text} is given twice (names compare without case); once is enough");
            report.add(Code::DuplicateHost, field, message);
        } else if let Some(other) = seen.iter().take(MAX_COMPARED).find(|other| other.matches(&host)) {
            let message =
                format!("{text} overlaps with {other}, Istio refuses that; the more specific host wins");
            report.add(Code::DuplicateHost, field, message);
        }
        if seen.len() < MAX_COMPARED {
            seen.push(host);
        }
    }
}

/// Hosts compared with each other: bounds the work on a hostile list.
const MAX_COMPARED: usize = 500;

fn gateways(report: &mut Report, spec: &VirtualServiceSpec) {
    for (index, name) in spec.gateways.iter().enumerate() {
        let field = format!("spec.gateways[{index}]");
        if name.is_empty() || name.starts_with('/') || name.ends_with('/') || name.matches('/').count() > 1 {
            let message =
                "not the name of a gateway (name, namespace/name or mesh); the rules are not served there";
            report.add(Code::InvalidGatewayName, field, message);
        } else if !name.contains('/') && name.contains('.') {
            let message = format!("{name} is an old spelling; it is taken for namespace/name");
            report.add(Code::LegacyGatewayName, field, message);
        }
    }
}
