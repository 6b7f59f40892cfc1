//! What a rule says to filters: faults and cross-origin rules.

use umbra_ir::{Code, Severity};

use super::Report;
use super::http_route::program_size;
use crate::check::cors::{allowed_origins, check_cors_word, check_max_age, check_origin};
use crate::check::fault::fault_parts;
use crate::types::http_action::{CorsPolicy, HttpFaultInjection};
use crate::types::http_route::StringMatch;

/// What a rule answers when it must not let requests pass.
pub(super) const RULE_CLOSED: &str = "the rule answers 503, since the abort may be somebody's lock";

pub(super) fn validate_fault(report: &mut Report, path: &str, fault: &HttpFaultInjection) {
    let parts = fault_parts(fault);
    if parts.is_empty() {
        report.add(Code::EmptyBlock, path, "neither delay nor abort; it has no effect");
    }
    for part in parts {
        if !part.share {
            let message = "without a percentage it never happens, as in Istio";
            report.add(Code::FaultWithoutPercentage, format!("{path}.{}", part.field), message);
        }
        let instead = if part.acts { RULE_CLOSED } else { "the share is 0, so it does not matter" };
        for (field, problem) in part.problems {
            // The code says what becomes of the rule, whatever is wrong.
            let severity = if part.acts { problem.severity } else { Severity::Warning };
            let problem = crate::check::Problem { code: Code::InvalidFault, severity, ..problem };
            report.problem(format!("{path}.{field}"), problem, instead);
        }
    }
    if let Some(delay) = fault.delay.as_ref().filter(|delay| delay.percent != 0) {
        let field = format!("{path}.delay.percent");
        if delay.percentage.is_some() {
            let message = "has no effect beside percentage";
            report.add_as(Severity::Warning, Code::ConflictingFields, field, message);
        } else {
            let message = "percent is the old field; percentage also takes fractions of a percent";
            report.add(Code::Deprecated, field, message);
        }
    }
}

pub(super) fn validate_cors(report: &mut Report, path: &str, policy: &CorsPolicy) {
    const ORIGIN_LEFT_OUT: &str = "the origin is left out";
    if !policy.allow_origin.is_empty() {
        let field = format!("{path}.allowOrigin");
        if policy.allow_origins.is_empty() {
            let message = "allowOrigin is the old field; allowOrigins also takes prefixes and patterns";
            report.add(Code::Deprecated, field, message);
        } else {
            let message = "has no effect beside allowOrigins";
            report.add_as(Severity::Warning, Code::ConflictingFields, field, message);
        }
    }
    let field = if policy.allow_origins.is_empty() { "allowOrigin" } else { "allowOrigins" };
    let origins = allowed_origins(policy);
    for (index, origin) in origins.iter().enumerate() {
        let at = format!("{path}.{field}[{index}]");
        if let StringMatch::Regex(pattern) = origin {
            program_size(report, &at, pattern);
        }
        report.check(at, check_origin(origin), ORIGIN_LEFT_OUT);
    }
    if !origins.iter().any(|origin| check_origin(origin).is_ok()) {
        let message = "no origin that can be allowed; browsers let none in";
        report.add_as(Severity::Warning, Code::InvalidCors, path, message);
    }
    let words = [
        ("allowMethods", &policy.allow_methods),
        ("allowHeaders", &policy.allow_headers),
        ("exposeHeaders", &policy.expose_headers),
    ];
    for (field, words) in words {
        for (index, word) in words.iter().enumerate() {
            report.check(format!("{path}.{field}[{index}]"), check_cors_word(word), "it is left out");
        }
    }
    if let Some(age) = policy.max_age {
        let field = format!("{path}.maxAge");
        match check_max_age(age) {
            Ok(()) if age.nanos() % 1_000_000_000 != 0 => {
                let message = format!("{age} is told to browsers in whole seconds, the rest is cut off");
                report.add_as(Severity::Warning, Code::InvalidCors, field, message);
            }
            verdict => report.check(field, verdict, "browsers are told no age"),
        }
    }
    let any = |origin: &StringMatch| match origin {
        StringMatch::Exact(text) => text == "*",
        StringMatch::Regex(text) => text == ".*",
        StringMatch::Prefix(_) | StringMatch::Present => false,
    };
    if policy.allow_credentials == Some(true) && origins.iter().any(any) {
        let message = "every page of every origin may send its visitors' credentials";
        report.add_as(Severity::Warning, Code::Insecure, format!("{path}.allowCredentials"), message);
    }
}
