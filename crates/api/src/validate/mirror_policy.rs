//! MirrorPolicy.

use umbra_ir::{Code, Severity};

use super::Report;
use crate::check::mirror_policy::{
    ANY_METHOD, MAX_HEADERS, MAX_METHODS, MAX_STEPS, check_copy_header, check_copy_remove, check_limits,
    check_method, check_mirror_target, check_steps, check_verdicts,
};
use crate::types::mirror_policy::{CopyHeaders, CopyLimits, CopyRamp, CopySample, MirrorPolicySpec};

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
    if let Some(written) = &spec.verdicts {
        report.check("spec.verdicts.rate", check_verdicts(written).map(drop), "nothing is judged");
        if written.values == Some(true) && written.contents != Some(true) {
            let message = "values are those of contents, which are not compared: none is shown";
            report.add(Code::InvalidExamples, "spec.verdicts.values", message);
        }
    }
    if let Some(written) = &spec.abort {
        for (reason, limit) in check_limits(written) {
            if let Err((field, why)) = limit {
                let name = reason.limit_name();
                let message = format!("{name} {why}: it stops none");
                report.add(Code::InvalidAbort, format!("spec.abort.{name}.{field}"), message);
            }
        }
    }
    if spec.max_requests_per_second == Some(0) {
        let message = "must be at least 1; nothing holds the share down (to copy nothing, set the mirror's percentage to 0)";
        report.add(Code::OutOfRange, "spec.maxRequestsPerSecond", message);
    }
    if spec.sample == Some(CopySample::Independent) {
        let message =
            "Envoy draws one number for a request, by which it chooses for every mirror: samples are nested";
        report.add(Code::SamplesNested, "spec.sample", message);
    }
    if let Some(written) = &spec.ramp {
        ramp(report, written);
    }
    counted(report, spec);
}

/// What goes by counts cannot do without them.
fn counted(report: &mut Report, spec: &MirrorPolicySpec) {
    let by = [
        ("abort", spec.abort.is_some()),
        ("maxRequestsPerSecond", spec.max_requests_per_second.is_some()),
        ("ramp", spec.ramp.is_some()),
        ("verdicts", spec.verdicts.is_some()),
    ];
    let by: Vec<_> = by.into_iter().filter_map(|(field, is)| is.then_some(field)).collect();
    if spec.observe == Some(false) && !by.is_empty() {
        let message = format!("{} go by what is counted: it is counted all the same", by.join(", "));
        report.add(Code::ConflictingFields, "spec.observe", message);
    }
}

fn ramp(report: &mut Report, written: &CopyRamp) {
    if written.steps.is_empty() {
        report.add(Code::InvalidRamp, "spec.ramp.steps", "no step; nothing is copied");
    }
    if written.steps.len() > MAX_STEPS {
        let message =
            format!("{} steps are more than {MAX_STEPS}; those behind are left out", written.steps.len());
        report.add(Code::OutOfRange, "spec.ramp.steps", message);
    }
    for (index, step) in check_steps(written).into_iter().enumerate() {
        report.check(format!("spec.ramp.steps[{index}]"), step.map(drop), "it is left out");
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
        report.check(field, check_copy_remove(name), "nothing is removed by it");
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
