//! One HTTP rule of a VirtualService.

use umbra_ir::{Code, MirrorPlace, Severity};

use super::Report;
use super::filters::{RULE_CLOSED, validate_cors, validate_fault};
use crate::HttpMirrorPolicy;

use crate::check::headers::{check_header_op, check_header_remove, is_authority};
use crate::check::matching::check_match;
use crate::check::regex::{STOCK_PROGRAM, check_regex};
use crate::check::rule::{RuleFate, body_len, check_rule, judge_rule};
use crate::check::{check_destination, check_percent};
use crate::read::path::join;
use crate::types::http_action::HttpRetry;
use crate::types::http_route::{HeaderOperations, Headers, HttpMatch, HttpRoute, StringMatch};
use crate::types::scalar::Percent;

const RULE_LEFT_OUT: &str = "the rule is left out";
const MIRROR_LEFT_OUT: &str = "the mirror is left out";

/// `delegate`: the rule is of one, so that another may add to it.
pub(super) fn validate(report: &mut Report, index: usize, rule: &HttpRoute, delegate: bool) {
    let path = &format!("spec.http[{index}]");
    let fate = judge_rule(rule);
    let instead = if fate == RuleFate::Closed { RULE_CLOSED } else { RULE_LEFT_OUT };
    for (field, problem) in check_rule(rule) {
        let field = if field.is_empty() { path.to_owned() } else { format!("{path}.{field}") };
        report.problem(field, problem, instead);
    }
    for (index, condition) in rule.matches.iter().enumerate() {
        validate_match(report, &format!("{path}.match[{index}]"), condition);
    }
    actions(report, path, index, rule);
    destinations(report, path, rule);
    mirrors(report, path, index, rule, delegate || rule.delegate.is_some());
    headers(report, &format!("{path}.headers"), rule.headers.as_ref());
    authority(report, path, rule);
    report.duration(format!("{path}.timeout"), rule.timeout, true, "the route has no time limit");
    if let Some(retries) = &rule.retries {
        validate_retries(report, &format!("{path}.retries"), retries);
    }
    if let Some(fault) = &rule.fault {
        validate_fault(report, &format!("{path}.fault"), fault);
    }
    if let Some(policy) = &rule.cors_policy {
        validate_cors(report, &format!("{path}.corsPolicy"), policy);
    }
}

fn validate_match(report: &mut Report, path: &str, condition: &HttpMatch) {
    for (field, problem) in check_match(condition) {
        report.problem(format!("{path}.{field}"), problem, "the match is left out");
    }
    if condition.uri == Some(StringMatch::Present) {
        let message = "no exact, prefix or regex; every path matches";
        report.add(Code::EmptyCondition, format!("{path}.uri"), message);
    }
    let texts = [&condition.scheme, &condition.method, &condition.authority].into_iter().flatten();
    let maps = [&condition.headers, &condition.without_headers, &condition.query_params];
    let all = condition.uri.iter().chain(texts).chain(maps.into_iter().flat_map(|m| m.values()));
    for value in all {
        if let StringMatch::Regex(pattern) = value {
            program_size(report, path, pattern);
        }
    }
    let sources = !condition.source_labels.is_empty() || !condition.source_namespace.is_empty();
    if sources && !condition.gateways.is_empty() {
        let message = "sourceLabels and sourceNamespace are not looked at beside gateways, as in Istio";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.gateways"), message);
    }
}

/// Says so when a pattern is too large for an Envoy whose bootstrap is not umbra's.
pub(super) fn program_size(report: &mut Report, path: &str, pattern: &str) {
    if let Ok(size) = check_regex(pattern)
        && size > STOCK_PROGRAM
    {
        let message = format!(
            "a regular expression of about {size} instructions: Envoy takes more than {STOCK_PROGRAM} only where its bootstrap raises re2.max_program_size.error_level, as umbra's does"
        );
        report.add(Code::LargeRegex, path, message);
    }
}

/// Which of the actions counts, and what is nothing beside it.
fn actions(report: &mut Report, path: &str, index: usize, rule: &HttpRoute) {
    let closed = judge_rule(rule) == RuleFate::Closed;
    if closed {
        idle_mirrors(report, index, rule, "a fault or action that cannot be served");
    }
    let mut ignored = |field: &str, present: bool, beside: &str| {
        if present {
            let message = format!("has no effect beside {beside}");
            report.add(Code::ConflictingFields, format!("{path}.{field}"), message);
        }
    };
    if rule.delegate.is_some() {
        ignored("route", !rule.route.is_empty(), "delegate");
        ignored("redirect", rule.redirect.is_some(), "delegate");
        return;
    }
    let beside = match (&rule.redirect, &rule.direct_response) {
        (Some(_), _) => "redirect",
        (None, Some(_)) => "directResponse",
        (None, None) => {
            rewrite(report, path, rule);
            return;
        }
    };
    ignored("directResponse", rule.redirect.is_some() && rule.direct_response.is_some(), beside);
    ignored("route", !rule.route.is_empty(), beside);
    ignored("rewrite", rule.rewrite.is_some(), beside);
    if rule.fault.is_some() {
        let message = format!("acts on a rule with {beside} too, which Istio refuses");
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.fault"), message);
    }
    if !closed {
        idle_mirrors(report, index, rule, beside);
    }
    redirect(report, path, rule);
    if let Some(body) = rule.direct_response.as_ref().and_then(|d| d.body.as_ref()) {
        let field = format!("{path}.directResponse.body");
        let both = [("string", body.string.is_some()), ("bytes", body.bytes.is_some())];
        report.one_of(&field, &both, "string is served");
        let length = body_len(body);
        if (100 << 10..=crate::check::rule::MAX_DIRECT_BODY).contains(&length) {
            let message = format!("a body of {length} bytes is sent to every proxy with every change");
            report.add(Code::BodyTooLarge, field, message);
        }
    }
}

/// Mirrors of a rule that sends nothing.
fn idle_mirrors(report: &mut Report, index: usize, rule: &HttpRoute, why: &str) {
    let mirrors = rule.mirror.iter().map(|_| None).chain((0..rule.mirrors.len()).map(Some));
    for place in mirrors.map(|entry| MirrorPlace { rule: index, delegated: None, entry }) {
        let message = format!("ignored: a rule with {why} sends nothing that could be copied");
        report.about_mirror(place, |report| report.add(Code::MirrorIgnored, place.entry_field(), message));
    }
}

fn redirect(report: &mut Report, path: &str, rule: &HttpRoute) {
    let Some(redirect) = &rule.redirect else { return };
    let path = format!("{path}.redirect");
    let ports = [("port", redirect.port.is_some()), ("derivePort", redirect.derive_port.is_some())];
    report.one_of(&path, &ports, "port counts");
    let paths = [("uri", !redirect.uri.is_empty()), ("prefixRewrite", !redirect.prefix_rewrite.is_empty())];
    report.one_of(&path, &paths, "prefixRewrite counts");
    let prefix = |m: &HttpMatch| matches!(m.uri, None | Some(StringMatch::Prefix(_)));
    if !redirect.prefix_rewrite.is_empty() && !rule.matches.iter().all(prefix) {
        let message = "beside a match that is no prefix the whole path is replaced";
        report.add_as(Severity::Warning, Code::ConflictingFields, format!("{path}.prefixRewrite"), message);
    }
}

fn rewrite(report: &mut Report, path: &str, rule: &HttpRoute) {
    let Some(rewrite) = &rule.rewrite else { return };
    let path = format!("{path}.rewrite");
    let paths = [("uri", !rewrite.uri.is_empty()), ("uriRegexRewrite", rewrite.uri_regex_rewrite.is_some())];
    report.one_of(&path, &paths, "uriRegexRewrite counts");
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        program_size(report, &format!("{path}.uriRegexRewrite.match"), &regex.pattern);
    } else if rewrite.uri.is_empty() && rewrite.authority.is_empty() {
        report.add(Code::EmptyBlock, path, "nothing to rewrite; it has no effect");
    }
}

fn destinations(report: &mut Report, path: &str, rule: &HttpRoute) {
    if let [only] = rule.route.as_slice()
        && only.weight == Some(0)
    {
        let message = "a single destination gets every request, whatever its weight";
        report.add(Code::WeightIgnored, format!("{path}.route[0].weight"), message);
    }
    for (index, entry) in rule.route.iter().enumerate() {
        let path = format!("{path}.route[{index}]");
        match &entry.destination {
            None => {
                let message = "a destination is missing; requests for it get 503";
                report.add(Code::InvalidDestination, format!("{path}.destination"), message);
            }
            Some(destination) => {
                if let Err((field, problem)) = check_destination(destination) {
                    let field = format!("{path}.destination.{field}");
                    report.problem(field, problem, "requests for it get 503");
                }
            }
        }
        if let Some(weight) = entry.weight.filter(|w| *w < 0) {
            let message = format!("{weight} is negative; it counts as 0");
            report.add(Code::InvalidWeight, format!("{path}.weight"), message);
        }
        headers(report, &format!("{path}.headers"), entry.headers.as_ref());
    }
}

/// `merged`: a delegate's and a root's part add up, so one may have the mirror and the other its share.
fn mirrors(report: &mut Report, path: &str, index: usize, rule: &HttpRoute, merged: bool) {
    let percentage = format!("{path}.mirrorPercentage");
    let percent = format!("{path}.mirrorPercent");
    if rule.mirror.is_none() && !merged {
        for (field, present) in
            [(&percentage, rule.mirror_percentage.is_some()), (&percent, rule.mirror_percent.is_some())]
        {
            if present {
                let hint = if rule.mirrors.is_empty() {
                    ""
                } else {
                    "; entries of mirrors have their own percentage"
                };
                let message = format!("has no effect without mirror{hint}");
                report.add(Code::PercentageWithoutMirror, field, message);
            }
        }
    }
    report.about_mirror(MirrorPlace { rule: index, delegated: None, entry: None }, |report| {
        mirror(report, path, rule)
    });
    own_mirrors(report, index, rule);
    if rule.mirror.is_some() && !rule.mirrors.is_empty() {
        let message =
            "beside mirror: both are served here, but Istio's admission check refuses the combination";
        report.add(Code::MirrorAndMirrors, format!("{path}.mirrors"), message);
    }
    for (entry, written) in rule.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{entry}]");
        let place = MirrorPlace { rule: index, delegated: None, entry: Some(entry) };
        report.about_mirror(place, |report| mirrors_entry(report, &path, written));
    }
}

/// Mirrors that aim where the rule sends everything.
fn own_mirrors(report: &mut Report, index: usize, rule: &HttpRoute) {
    let [only] = rule.route.as_slice() else { return };
    let Some(destination) = &only.destination else { return };
    let written = rule.mirror.iter().map(|mirror| (None, mirror));
    let listed = rule.mirrors.iter().enumerate();
    let all = written.chain(listed.filter_map(|(entry, it)| Some((Some(entry), it.destination.as_ref()?))));
    for (entry, _) in all.filter(|(_, mirror)| *mirror == destination) {
        let place = MirrorPlace { rule: index, delegated: None, entry };
        let message =
            "the mirror is where the rule sends its requests: whoever serves one serves its copy, too";
        report.about_mirror(place, |report| report.add(Code::MirrorOfItself, place.entry_field(), message));
    }
}

/// `mirror` and the percentage beside it.
fn mirror(report: &mut Report, path: &str, rule: &HttpRoute) {
    let percent = format!("{path}.mirrorPercent");
    match (rule.mirror_percentage, rule.mirror_percent) {
        (Some(percentage), beaten) => {
            mirror_share(report, &percent_field(path, "mirrorPercentage"), percentage);
            if beaten.is_some() {
                let message = "has no effect beside mirrorPercentage";
                report.add_as(Severity::Warning, Code::ConflictingFields, percent, message);
            }
        }
        (None, Some(number)) => {
            report.check(&percent, check_percent(number as f64), MIRROR_LEFT_OUT);
            let message =
                "mirrorPercent is the old field; mirrorPercentage also takes fractions of a percent";
            report.add(Code::Deprecated, percent, message);
        }
        (None, None) => {}
    }
    if let Some(destination) = &rule.mirror
        && let Err((field, problem)) = check_destination(destination)
    {
        report.problem(format!("{path}.mirror.{field}"), problem, MIRROR_LEFT_OUT);
    }
}

fn mirrors_entry(report: &mut Report, path: &str, entry: &HttpMirrorPolicy) {
    match &entry.destination {
        None => {
            let message = format!("a destination is missing; {MIRROR_LEFT_OUT}");
            report.add(Code::InvalidDestination, format!("{path}.destination"), message);
        }
        Some(destination) => {
            if let Err((field, problem)) = check_destination(destination) {
                report.problem(format!("{path}.destination.{field}"), problem, MIRROR_LEFT_OUT);
            }
        }
    }
    if let Some(percentage) = entry.percentage {
        mirror_share(report, &percent_field(path, "percentage"), percentage);
    }
}

fn percent_field(path: &str, field: &str) -> String {
    format!("{path}.{field}.value")
}

fn mirror_share(report: &mut Report, field: &str, percentage: Percent) {
    report.check(field, check_percent(percentage.value), MIRROR_LEFT_OUT);
}

fn headers(report: &mut Report, path: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    if let Some(request) = &headers.request {
        operations(report, &format!("{path}.request"), request, true);
    }
    if let Some(response) = &headers.response {
        operations(report, &format!("{path}.response"), response, false);
    }
}

fn operations(report: &mut Report, path: &str, operations: &HeaderOperations, request: bool) {
    const INSTEAD: &str = "the operation is left out";
    for (field, pairs) in [("set", &operations.set), ("add", &operations.add)] {
        let path = format!("{path}.{field}");
        for (name, value) in pairs {
            if is_authority(name) && !request {
                let message = format!("{name} is no header of a response; {INSTEAD}");
                report.add(Code::InvalidHeader, join(&path, name), message);
            } else {
                report.check(join(&path, name), check_header_op(name, value), INSTEAD);
            }
        }
    }
    for (index, name) in operations.remove.iter().enumerate() {
        report.check(format!("{path}.remove[{index}]"), check_header_remove(name), INSTEAD);
    }
}

/// The request's host may be written in three places.
fn authority(report: &mut Report, path: &str, rule: &HttpRoute) {
    let request = rule.headers.as_ref().and_then(|h| h.request.as_ref());
    let names = |pick: fn(&HeaderOperations) -> &std::collections::BTreeMap<String, String>| {
        request.is_some_and(|r| pick(r).keys().any(|name| is_authority(name)))
    };
    let places = [
        ("rewrite.authority", rule.rewrite.as_ref().is_some_and(|r| !r.authority.is_empty())),
        ("headers.request.set", names(|r| &r.set)),
        ("headers.request.add", names(|r| &r.add)),
    ];
    let present: Vec<&str> = places.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
    if let [first, _, ..] = present.as_slice() {
        let message = format!("the host is set in {}; {first} counts", present.join(" and "));
        report.add(Code::ConflictingFields, path, message);
    }
}

/// Conditions of Envoy's `retry_on` for HTTP and gRPC (`config.route.v3.RetryPolicy`).
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

fn validate_retries(report: &mut Report, path: &str, retries: &HttpRetry) {
    if retries.attempts < 0 {
        let message = format!("{} is negative; nothing is retried", retries.attempts);
        report.add(Code::InvalidRetries, format!("{path}.attempts"), message);
    }
    let others = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some();
    if retries.attempts == 0 && others {
        let message = "without attempts nothing is retried, and the other fields have no effect";
        report.add(Code::InvalidRetries, path, message);
    }
    report.duration(
        format!("{path}.perTryTimeout"),
        retries.per_try_timeout,
        true,
        "attempts have no limit of their own",
    );
    report.duration(format!("{path}.backoff"), retries.backoff, false, "Envoy's default of 25ms counts");
    for word in retries.retry_on.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let status = word.parse::<u32>().is_ok_and(|code| (100..600).contains(&code));
        if !status && !RETRY_ON.contains(&word) {
            let hint = crate::suggest::did_you_mean(word, RETRY_ON);
            let word = crate::check::headers::quote(word);
            let message = format!("{word} is no condition or status; it has no effect{hint}");
            report.add(Code::InvalidRetries, format!("{path}.retryOn"), message);
        }
    }
}
