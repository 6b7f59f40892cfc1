//! MirrorPolicy.

use umbra_ir::{Code, Severity};

use super::Report;
use crate::check::headers::check_header_remove;
use crate::check::mirror_policy::{
    ANY_METHOD, MAX_HEADERS, MAX_METHODS, check_copy_header, check_method, check_mirror_target,
};
use crate::types::mirror_policy::{CopyHeaders, CopyLimits, MirrorPolicySpec};

pub(super) fn validate(report: &mut Report, spec: &MirrorPolicySpec) {
    if let Err((field, problem)) = check_mirror_target(spec.target_ref.as_ref()) {
        report.problem(format!("spec.targetRef{field}"), problem, "the policy has no effect");
    }
    if let Some(written) = &spec.methods {
        methods(report, written);
    }
    if let Some(written) = &spec.headers {
        headers(report, written);
    }
    if let Some(written) = &spec.limits {
        limits(report, written);
    }
}

fn methods(report: &mut Report, written: &[String]) {
    if written.is_empty() {
        let message = "no method; GET, HEAD and OPTIONS are copied, as without the field";
        report.add_as(Severity::Warning, Code::EmptyBlock, "spec.methods", message);
    }
    if written.len() > MAX_METHODS {
        let message = format!(
            "{} methods are more than {MAX_METHODS}; requests with those behind are not copied",
            written.len()
        );
        report.add(Code::OutOfRange, "spec.methods", message);
    }
    for (index, method) in written.iter().enumerate() {
        let field = format!("spec.methods[{index}]");
        if let Err(problem) = check_method(method) {
            report.problem(field, problem, "no request has it");
        } else if method == ANY_METHOD && written.len() > 1 {
            let message = "* is every method; the others say nothing more";
            report.add_as(Severity::Warning, Code::ConflictingFields, field, message);
        } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
            let message =
                format!("methods are told apart by case; no request that means {method:?} is copied");
            report.add_as(Severity::Warning, Code::InvalidMethod, field, message);
        } else if method == "CONNECT" {
            let message = "Envoy never copies CONNECT; it has no effect";
            report.add_as(Severity::Warning, Code::InvalidMethod, field, message);
        }
    }
}

fn headers(report: &mut Report, written: &CopyHeaders) {
    for (field, count, instead) in [
        ("remove", written.remove.as_ref().map_or(0, Vec::len), "those behind stay"),
        ("set", written.set.len(), "those behind are not given"),
    ] {
        if count > MAX_HEADERS {
            let message = format!("{count} headers are more than {MAX_HEADERS}; {instead}");
            report.add(Code::OutOfRange, format!("spec.headers.{field}"), message);
        }
    }
    for (index, name) in written.remove.iter().flatten().enumerate() {
        let field = format!("spec.headers.remove[{index}]");
        report.check(field, check_header_remove(name), "nothing is removed by it");
    }
    for (name, value) in &written.set {
        let field = format!("spec.headers.set[{name}]");
        report.check(field, check_copy_header(name, value), "the header is not given");
    }
}

fn limits(report: &mut Report, written: &CopyLimits) {
    let instead = "the limit of umbra.yaml counts";
    for (field, value) in [
        ("maxConnections", written.max_connections),
        ("maxPendingRequests", written.max_pending_requests),
        ("maxRequests", written.max_requests),
    ] {
        if value == Some(0) {
            let message =
                format!("must be at least 1; {instead} (to copy nothing, set the mirror's percentage to 0)");
            report.add(Code::OutOfRange, format!("spec.limits.{field}"), message);
        }
    }
    report.duration("spec.limits.maxStreamDuration", written.max_stream_duration, false, instead);
}
